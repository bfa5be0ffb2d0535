//! One refresh: pinned inputs in, one Delta commit out.
//!
//! Invariant: after a commit the target equals the view's query at the pinned inputs, as a bag; before it nothing of
//! the target has changed.  A [`RefreshRequest`] holds all that is needed, so running it twice gives the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use lake::{ChangeFeed, CommitStep, DataFile, LakeError, WrittenFile};
use roaring::RoaringTreemap;

use crate::binding::{LeafNeeds, Side};
use crate::change_plans::{AffectedGroups, Held};
use crate::changes::{self, ChangeSets};
use crate::commit::{self, Commitment, Said};
use crate::difference::{Deletions, Limit, Matching, RowCounts};
use crate::digest::TargetDigest;
use crate::error::EngineError;
use crate::execution::{Execution, scanned};
use crate::given_up::GivenUp;
use crate::inputs::Inputs;
use crate::progress::{Ended, Progress};
use crate::request::{FileWork, Outcome, RefreshRequest, RefreshResult, RowCount, Strategy};
use crate::session::EngineSession;
use crate::target::{Among, Target, change_records, followed_by, repeated};
use crate::templates::Template;

/// What stands for the size of a pool without a limit.
const DEFAULT_POOL_BYTES: u64 = 4 << 30;

/// Told of each step of a refresh, by name, before it is taken.
pub type Observer<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Refresh a view, with the inputs that planning it has opened, if it was planned.
///
/// An incremental refresh that cannot be done right ends as `fell_back` with its reason and has written nothing.
pub(crate) async fn refresh(
    session: &EngineSession,
    request: &RefreshRequest,
    opened: Option<Inputs>,
    observer: Observer<'_>,
) -> Result<RefreshResult, EngineError> {
    Run { opened, ..Run::new(session, request, observer) }.finish().await
}

/// Compute a refresh up to the point where the first file would be written.
pub(crate) async fn dry_run(session: &EngineSession, request: &RefreshRequest) -> Result<RefreshResult, EngineError> {
    Run { dry: true, ..Run::new(session, request, &|_| {}) }.finish().await
}

struct Run<'a> {
    session: &'a EngineSession,
    request: &'a RefreshRequest,
    observer: Observer<'a>,
    /// The inputs, where they are open already.
    opened: Option<Inputs>,
    /// Count the changed rows and stop.
    dry: bool,
    digest: TargetDigest,
    /// Whether the target has lost a deletion vector, or a file that has one.
    vectors_lost: bool,
    progress: Progress,
}

impl<'a> Run<'a> {
    fn new(session: &'a EngineSession, request: &'a RefreshRequest, observer: Observer<'a>) -> Self {
        let digest = TargetDigest::upon(request.target.content_digest.as_deref());
        let (dry, vectors_lost) = (false, false);
        Self { session, request, observer, opened: None, dry, digest, vectors_lost, progress: Progress::default() }
    }

    async fn finish(mut self) -> Result<RefreshResult, EngineError> {
        let started = Instant::now();
        let outcome = match self.request.strategy {
            Strategy::Recompute => self.recompute().await,
            Strategy::Incremental => self.incremental().await,
        };
        let subject = format!("view \"{}\"", self.request.view.name);
        let ended = match outcome.map_err(|error| EngineError::execution(&subject, error)) {
            Ok(ended) => ended,
            Err(error) if self.request.strategy == Strategy::Incremental => GivenUp::from_error(error)?.into(),
            Err(error) => return Err(error),
        };
        if ended.outcome == Outcome::FellBack {
            self.progress.rest(started);
        }
        Ok(self.progress.result(ended))
    }

    async fn inputs(&mut self, with_before: bool) -> Result<Inputs> {
        match self.opened.take() {
            Some(inputs) => Ok(inputs),
            None => Inputs::open(self.session, &self.request.inputs, with_before).await,
        }
    }

    /// Replace the whole content, or write the exact difference to it where that was asked for.
    async fn recompute(&mut self) -> Result<Ended> {
        let started = Instant::now();
        (self.observer)("planning");
        let inputs = self.inputs(false).await?;
        let target = self.target().await?;
        let execution = Execution::new(self.session, self.request.clock_ms)?;
        let optimized = inputs.recompute_plan(self.session, &execution, &self.request.bundle)?;
        self.progress.scan_units = inputs.scan_units(&optimized)?;
        let mut physical = execution.physical(&optimized).await?;
        self.progress.timed("plan", started);
        if self.request.write.recompute_difference
            && !self.request.replace_definition
            && let Some(target) = &target
        {
            match self.write_difference(&inputs, &execution, target, &physical).await {
                Ok(ended) => return Ok(ended),
                Err(error) => {
                    let error = EngineError::execution("difference", error);
                    if !matches!(error.code(), "budget_exceeded" | "out_of_memory") {
                        return Err(error.into());
                    }
                }
            }
            // The difference does not fit into memory, but replacing everything streams.
            physical = execution.physical(&optimized).await?;
        }
        let schema = self.output_schema()?;
        let started = Instant::now();
        (self.observer)(CommitStep::Planned.name());
        (self.observer)("computing");
        self.digest = TargetDigest::anew();
        let added = self.write_all(&execution, &physical, &schema).await?;
        let target = match target {
            Some(target) => Some(self.purged(target).await?),
            None => None,
        };
        let removed: Vec<DataFile> = target.as_ref().map_or_else(Vec::new, |target| target.snapshot.files.to_vec());
        self.progress.read = self.progress.read.plus(scanned(&physical));
        self.progress.timed("compute", started);
        self.progress.rows =
            RowCount { inserted: rows_of(&added), deleted: removed.iter().filter_map(DataFile::live_rows).sum() };
        let commitment = Commitment {
            add: added,
            remove: removed,
            replaces_all: true,
            vectors_lost: self.vectors_lost,
            ..Commitment::default()
        };
        self.commit(&inputs, target.as_ref(), commitment).await
    }

    async fn write_difference(
        &mut self,
        inputs: &Inputs,
        execution: &Execution,
        target: &Target,
        physical: &Arc<dyn ExecutionPlan>,
    ) -> Result<Ended> {
        let bag = self.counted(execution, target, physical).await?;
        self.apply(inputs, execution, target, bag, Matching::Replace, Among::default()).await
    }

    /// The rows of a plan of the view, as a bag.
    async fn counted(
        &mut self,
        execution: &Execution,
        target: &Target,
        physical: &Arc<dyn ExecutionPlan>,
    ) -> Result<RowCounts> {
        let started = Instant::now();
        let mut bag = RowCounts::new(target.schema(), execution.reserve("new rows of the view"), self.limit())?;
        let mut stream = execution.stream(physical)?;
        while let Some(batch) = stream.try_next().await? {
            bag.add(&batch, None)?;
        }
        self.progress.read = self.progress.read.plus(scanned(physical));
        self.progress.timed("compute", started);
        Ok(bag)
    }

    /// Bring the target from the old pins to the new ones by the changes between them.
    async fn incremental(&mut self) -> Result<Ended> {
        let started = Instant::now();
        (self.observer)("planning");
        let inputs = self.inputs(true).await?;
        let target = self.target().await?.ok_or_else(|| {
            EngineError::defect("incremental refresh", "the target does not exist; only a recomputation can make it")
        })?;
        self.progress.timed("open", started);
        let ended = self.maintain(&inputs, &target).await?;
        if ended.outcome == Outcome::Unchanged && self.request.commit_empty && !self.dry {
            return self.commit(&inputs, Some(&target), Commitment::default()).await;
        }
        Ok(ended)
    }

    async fn maintain(&mut self, inputs: &Inputs, target: &Target) -> Result<Ended> {
        let started = Instant::now();
        let feeds = inputs.feeds(self.session).await?;
        if feeds.is_empty() && !self.request.goes_with_time() {
            return Ok(Ended::default());
        }
        let shapes = inputs.shapes(&feeds);
        let execution = Execution::new(self.session, self.request.clock_ms)?;
        let compiled = match inputs.compiled_changes(
            self.session,
            &execution,
            &self.request.bundle,
            &shapes,
            self.request.target.clock_ms,
        )? {
            Ok(compiled) => compiled,
            Err(reason) => return Ok(GivenUp::from(reason).into()),
        };
        self.progress.timed("plan", started);
        let Some(sets) = self.read_changes(inputs, &execution, &feeds, &compiled.needs).await? else {
            return Ok(Ended::default());
        };
        let held = self.run_steps(inputs, &execution, target, &compiled.steps, &sets).await?;
        let started = Instant::now();
        let first = inputs.bound(self.session, &execution, &compiled.first, &sets, &held)?;
        self.progress.scan_units.extend(inputs.scan_units(&first)?);
        self.progress.timed("plan", started);
        match &compiled.groups {
            None => self.apply_rows(inputs, &execution, target, &first, compiled.insert_only).await,
            Some(groups) => self.apply_groups(inputs, &execution, target, &first, groups, &sets).await,
        }
    }

    /// Compute what several plans of the change need, each once.
    async fn run_steps(
        &mut self,
        inputs: &Inputs,
        execution: &Execution,
        target: &Target,
        steps: &[Template],
        sets: &ChangeSets,
    ) -> Result<Held> {
        let started = Instant::now();
        let mut held = Held::over(target.table());
        for step in steps {
            let plan = inputs.bound(self.session, execution, step, sets, &held)?;
            self.progress.scan_units.extend(inputs.scan_units(&plan)?);
            let rows = execution.collect_optimized(&plan, self.budget()).await?;
            self.progress.read = self.progress.read.plus(rows.read);
            held.push(rows.table(&plan)?, rows);
        }
        self.progress.timed("steps", started);
        Ok(held)
    }

    /// Compute the affected groups anew: `keys` is the plan of their keys.
    async fn apply_groups(
        &mut self,
        inputs: &Inputs,
        execution: &Execution,
        target: &Target,
        keys: &LogicalPlan,
        groups: &AffectedGroups,
        sets: &ChangeSets,
    ) -> Result<Ended> {
        let started = Instant::now();
        (self.observer)("computing");
        let affected = execution.collect_optimized(keys, self.budget()).await?;
        self.progress.read = self.progress.read.plus(affected.read);
        self.progress.timed("keys", started);
        if affected.rows == 0 {
            return Ok(Ended::default());
        }
        let started = Instant::now();
        let (optimized, among) = if covers_most(affected.rows, target) {
            if let Some(rows) = self.request.change_limit_rows
                && target.snapshot.rows().is_some_and(|compared| compared > rows)
            {
                return Err(EngineError::CheaperRecompute { rows }.into());
            }
            // Picking nearly all groups out of the inputs and the target costs more than taking them all.
            (inputs.recompute_plan(self.session, execution, &self.request.bundle)?, Among::default())
        } else {
            let keys = affected.table(keys)?;
            let held = Held::of_keys(Arc::clone(&keys));
            let optimized = inputs.bound(self.session, execution, &groups.rows, sets, &held)?;
            let name = |index: &usize| target.snapshot.schema.field(*index).name().clone();
            (optimized, Among::keys(keys, groups.key_columns.iter().map(name).collect()))
        };
        self.progress.scan_units.extend(inputs.scan_units(&optimized)?);
        let physical = execution.physical(&optimized).await?;
        self.progress.timed("plan", started);
        let bag = self.counted(execution, target, &physical).await?;
        self.apply(inputs, execution, target, bag, Matching::Replace, among).await
    }

    /// The change sets that plans ask for; none where all of them are empty.
    async fn read_changes(
        &mut self,
        inputs: &Inputs,
        execution: &Execution,
        feeds: &BTreeMap<String, ChangeFeed>,
        needs: &BTreeMap<(Side, String), LeafNeeds>,
    ) -> Result<Option<ChangeSets>> {
        let started = Instant::now();
        (self.observer)("reading_changes");
        let budget = self.budget();
        let mut sets = ChangeSets::new();
        for ((side, relation), need) in needs {
            if *side != Side::Changes {
                continue;
            }
            let feed = feeds
                .get(relation)
                .ok_or_else(|| EngineError::defect("change plan", format!("\"{relation}\" did not change")))?;
            let set = changes::read(execution, feed, need, budget).await?;
            self.progress.scan_units.push(inputs.change_unit(relation, feed, need)?);
            self.progress.read = self.progress.read.plus(set.read());
            self.progress.change_rows.insert(relation.clone(), set.rows);
            sets.insert(relation.clone(), set);
        }
        self.progress.timed("changes", started);
        // What is compared as a whole reads no change set, and says nothing of what is in it.
        let empty = feeds.keys().all(|relation| sets.get(relation).is_some_and(|set| set.rows == 0));
        Ok((!empty || self.request.goes_with_time()).then_some(sets))
    }

    async fn apply_rows(
        &mut self,
        inputs: &Inputs,
        execution: &Execution,
        target: &Target,
        optimized: &LogicalPlan,
        insert_only: bool,
    ) -> Result<Ended> {
        let started = Instant::now();
        (self.observer)("computing");
        let physical = execution.physical(optimized).await?;
        let stream = execution.stream(&physical)?;
        if insert_only && self.dry {
            let mut rows = repeated(stream, target.schema());
            while let Some(batch) = rows.try_next().await? {
                self.progress.rows.inserted += batch.num_rows() as u64;
            }
            return Ok(Ended::default());
        }
        if insert_only {
            (self.observer)(CommitStep::Planned.name());
            let rows = self.digest.of_added(repeated(stream, target.schema()));
            let added = self.write(rows, &self.output_schema()?).await?;
            self.progress.read = self.progress.read.plus(scanned(&physical));
            self.progress.timed("compute", started);
            self.progress.rows = RowCount { inserted: rows_of(&added), deleted: 0 };
            if rows_of(&added) == 0 {
                return Ok(Ended::default());
            }
            let commitment = Commitment { add: added, ..Commitment::default() };
            return self.commit(inputs, Some(target), commitment).await;
        }
        let budget = self.budget();
        let mut bag = RowCounts::new(target.schema(), execution.reserve("change of the view"), self.limit())?;
        let mut stream = stream;
        while let Some(batch) = stream.try_next().await? {
            let width = batch.num_columns() - 1;
            let weights = batch
                .column(width)
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(|| EngineError::defect("change plan", "the weight is not an Int64"))?;
            bag.add(&batch.project(&(0..width).collect::<Vec<_>>())?, Some(weights))?;
        }
        self.progress.read = self.progress.read.plus(scanned(&physical));
        self.progress.timed("compute", started);
        let started = Instant::now();
        let mut held = execution.reserve("values of rows to take from the target");
        let among = if covers_most(bag.removed(), target) {
            Among::default()
        } else {
            Among::equal_to(&bag.negative()?, &target.snapshot, &mut held, budget)?
        };
        self.progress.timed("match", started);
        self.apply(inputs, execution, target, bag, Matching::Weighted, among).await
    }

    /// Find what has to go, rewrite the files that hold it, add what is new, commit.
    async fn apply(
        &mut self,
        inputs: &Inputs,
        execution: &Execution,
        target: &Target,
        mut bag: RowCounts,
        rule: Matching,
        among: Among,
    ) -> Result<Ended> {
        let budget = self.budget();
        let started = Instant::now();
        (self.observer)("matching");
        let deletions = if rule == Matching::Weighted && bag.only_inserts() {
            Deletions::default()
        } else {
            let (deletions, read) = target.matched(execution, &mut bag, rule, among, budget).await?;
            self.progress.read = self.progress.read.plus(read);
            deletions
        };
        if rule == Matching::Weighted && bag.removed() > 0 {
            return Err(EngineError::TargetMismatch { rows: bag.removed() }.into());
        }
        let inserts = bag.positive()?;
        self.progress.timed("match", started);
        let inserted: u64 = inserts.iter().map(|batch| batch.num_rows() as u64).sum();
        self.progress.rows = RowCount { inserted, deleted: deletions.count };
        if self.dry || (inserted == 0 && deletions.count == 0) {
            return Ok(Ended::default());
        }
        let started = Instant::now();
        (self.observer)(CommitStep::Planned.name());
        (self.observer)("writing");
        let remaining = target.remaining(execution, &deletions).await?;
        let removed = remaining.touched;
        let schema = self.output_schema()?;
        let mut added = self.write(followed_by(remaining.rows, inserts.clone(), &target.schema()), &schema).await?;
        if !remaining.hidden.is_empty() {
            added.extend(self.hide(target, &remaining.hidden).await?);
        }
        self.progress.read = self.progress.read.plus(remaining.plan.as_ref().map_or_else(FileWork::default, scanned));
        let mut change_files = Vec::new();
        // Somebody may have changed the table's property since it was made.
        let told = self.request.write.change_data_feed || target.snapshot.change_data_feed();
        if told && !removed.is_empty() {
            let (schema, records) = change_records(&target.schema(), &inserts, &deletions.rows)?;
            let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), stream::iter(records.into_iter().map(Ok)));
            let spec = commit::write_spec(self.request);
            change_files = lake::write_change_files(self.session.lake(), &spec, &schema, Box::pin(stream))
                .await
                .map_err(lake_error)?;
            self.count_written(&change_files);
        }
        self.digest.exchange(&inserts, &deletions.rows)?;
        self.progress.timed("write", started);
        let commitment = Commitment { add: added, remove: removed, change_files, ..Commitment::default() };
        self.commit(inputs, Some(target), commitment).await
    }

    /// Write all rows of a plan, its partitions side by side.
    async fn write_all(
        &mut self,
        execution: &Execution,
        physical: &Arc<dyn ExecutionPlan>,
        schema: &SchemaRef,
    ) -> Result<Vec<WrittenFile>> {
        if !self.request.write.partition_by.is_empty() {
            // Partition columns split the rows by value already: files from each thread would be too many.
            let rows = self.digest.of_added(physical_stream(execution, physical)?);
            return self.write(rows, schema).await;
        }
        let spec = commit::write_spec(self.request);
        let streams = execution.streams(physical)?.into_iter().map(|rows| self.digest.of_added(rows)).collect();
        let files = lake::write_partitions(self.session.lake(), &spec, schema, streams).await.map_err(lake_error)?;
        self.count_written(&files);
        Ok(files)
    }

    async fn write(&mut self, stream: SendableRecordBatchStream, schema: &SchemaRef) -> Result<Vec<WrittenFile>> {
        let spec = commit::write_spec(self.request);
        let files = lake::write_files(self.session.lake(), &spec, schema, stream).await.map_err(lake_error)?;
        self.count_written(&files);
        Ok(files)
    }

    /// Write the deletion vectors of files that stay.
    async fn hide(&mut self, target: &Target, hidden: &BTreeMap<String, RoaringTreemap>) -> Result<Vec<WrittenFile>> {
        let spec = commit::write_spec(self.request);
        let files = lake::hide_rows(self.session.lake(), &spec, &target.snapshot, hidden).await.map_err(lake_error)?;
        let bytes = files.iter().filter_map(|file| file.deletion_vector.as_ref());
        let bytes = bytes.map(|vector| u64::try_from(vector.size_in_bytes).unwrap_or_default()).sum();
        self.progress.written = self.progress.written.plus(FileWork { files: 1, bytes, rows: 0 });
        Ok(files)
    }

    /// The target without deletion vectors, for a commit that takes its files away and says nothing of their rows.
    ///
    /// Where a vector is lost nobody can tell any more which rows went, and the commit stands without.
    async fn purged(&mut self, target: Target) -> Result<Target> {
        let snapshot = &target.snapshot;
        let hidden = snapshot.files.iter().any(|file| file.deletion_vector.is_some());
        if !hidden || !snapshot.change_data_feed() {
            return Ok(target);
        }
        let size = self.request.write.target_file_size;
        let version = match lake::purge(&target.lake, Arc::clone(snapshot), size, self.request.clock_ms).await {
            Err(LakeError::MissingFile { .. }) => {
                self.vectors_lost = true;
                return Ok(target);
            }
            purged => purged.map_err(lake_error)?,
        };
        if version != Some(snapshot.version + 1) {
            // What came between was not looked at.
            return Err(lake_error(LakeError::CommitConflict {
                uri: snapshot.location.uri.clone(),
                version: snapshot.version,
                detail: "another writer was faster; the refresh is tried again".to_owned(),
            }));
        }
        let snapshot = target.lake.snapshot(&self.request.target.table, version).await.map_err(lake_error)?;
        Ok(Target { snapshot, ..target })
    }

    fn count_written(&mut self, files: &[WrittenFile]) {
        let work = FileWork {
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.size).sum(),
            rows: rows_of(files),
        };
        self.progress.written = self.progress.written.plus(work);
    }

    async fn commit(&mut self, inputs: &Inputs, target: Option<&Target>, work: Commitment) -> Result<Ended> {
        let started = Instant::now();
        (self.observer)("committing");
        inputs.still_the_same(self.session).await?;
        self.progress.removed_files = work.remove.len() as u64;
        let said = Said { rows: self.progress.rows, content_digest: self.digest.content() };
        let ended = commit::commit(self.session, self.request, target, work, said, self.observer).await?;
        self.progress.timed("commit", started);
        Ok(ended)
    }

    async fn target(&self) -> Result<Option<Target>> {
        let Some(base) = self.request.target.base else { return Ok(None) };
        let lake = self.session.lake();
        self.session.register_store(&self.request.target.table)?;
        let snapshot = lake.snapshot(&self.request.target.table, Some(base)).await.map_err(lake_error)?;
        Ok(Some(Target { lake: lake.clone(), snapshot }))
    }

    fn output_schema(&self) -> Result<SchemaRef> {
        output_schema(self.request)
    }

    /// How much of a view's rows may be compared.
    fn limit(&self) -> Limit {
        Limit { bytes: self.budget(), rows: self.request.change_limit_rows }
    }

    /// Bytes that the incremental path may hold: a quarter of the pool, or what the request says.
    fn budget(&self) -> u64 {
        let pool = match self.session.runtime().memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes as u64,
            MemoryLimit::Infinite | MemoryLimit::Unknown => DEFAULT_POOL_BYTES,
        };
        self.request.change_budget_bytes.unwrap_or(pool / 4)
    }
}

fn physical_stream(execution: &Execution, physical: &Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
    let stream = execution.stream(physical)?;
    let schema = stream.schema();
    Ok(Box::pin(RecordBatchStreamAdapter::new(
        schema,
        stream.filter(|batch| {
            let some = batch.as_ref().map_or(true, |batch| batch.num_rows() > 0);
            async move { some }
        }),
    )))
}

/// Whether rows, or groups, are so many of the target's that picking them out saves nothing.
fn covers_most(picked: u64, target: &Target) -> bool {
    target.snapshot.rows().is_some_and(|rows| picked.saturating_mul(2) >= rows)
}

fn rows_of(files: &[WrittenFile]) -> u64 {
    files.iter().map(|file| file.rows).sum()
}

/// Schema of a view's target, in Arrow's types.
pub(crate) fn output_schema(request: &RefreshRequest) -> Result<SchemaRef> {
    lake::schema_from_delta_json(&request.target.table.uri, &request.bundle.table_schema).map_err(lake_error)
}

/// An error of a table on its way through DataFusion; one of DataFusion's own, as it was met while rows were written,
/// stays what it is.
pub(crate) fn lake_error(error: lake::LakeError) -> datafusion::error::DataFusionError {
    error.into()
}
