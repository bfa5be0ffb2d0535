//! Changes of files that were written again: of the rows before and now, only those that are on one side.
//!
//! Whoever writes a file again for a few of its rows leaves nearly all of them as they were.  Adding up both sides would
//! hold every one of these rows.  So the sides are read twice: first for the hashes of their rows, which cancel each
//! other ([`CommonRows`]), then for the few rows that are left, which are added up as any others.
//!
//! The equation: the parts given back add up to what the given ones add up to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use functions::{BagSide, CommonRows, HashedRows, RowPlace};
use futures::TryStreamExt;
use lake::{FeedPart, FileKey, PartWeight, PinnedTable};
use roaring::RoaringTreemap;
use tokio::task::{JoinError, JoinSet};

use crate::binding::LeafNeeds;
use crate::error::EngineError;
use crate::execution::{Execution, grow, scanned};
use crate::request::FileWork;

const FILE: &str = "__deltakeep_file";
const POSITION: &str = "__deltakeep_position";

/// Rows of the smaller side from which on rows are hashed first: fewer are added up as quickly, and need little memory.
const WORTH_ROWS: u64 = 100_000;

/// The parts of a difference without the rows that both sides have, and what was read to find them.
///
/// Parts come back as they are where they are small, where rows cannot be told apart this way, where the hashes do not
/// fit into the budget (adding up spills), and where so many rows are left that reading them again is not worth it.
pub(crate) async fn without_common_rows(
    execution: &Execution,
    parts: &[FeedPart],
    needs: &LeafNeeds,
    budget: u64,
) -> Result<(Vec<FeedPart>, FileWork)> {
    match sides(parts) {
        Some((before, now))
            if before.rows() >= Some(WORTH_ROWS) && now.rows() >= Some(WORTH_ROWS) && can_be_told_apart(now, needs) =>
        {
            let mut read = FileWork::default();
            match only_on_one_side(execution, before, now, needs, budget, &mut read).await {
                Ok(Some(fewer)) => Ok((fewer, read)),
                Ok(None) => Ok((parts.to_vec(), read)),
                Err(error) if is_over_budget(&error) => Ok((parts.to_vec(), read)),
                Err(error) => Err(error),
            }
        }
        _ => Ok((parts.to_vec(), FileWork::default())),
    }
}

fn is_over_budget(error: &DataFusionError) -> bool {
    let DataFusionError::External(inner) = error.find_root() else { return false };
    matches!(inner.downcast_ref(), Some(EngineError::BudgetExceeded { .. }))
}

/// The rows before and the rows now, if these are all there is.
fn sides(parts: &[FeedPart]) -> Option<(&PinnedTable, &PinnedTable)> {
    match parts {
        [now, before] if (now.weight, before.weight) == (PartWeight::Plus, PartWeight::Minus) => {
            Some((before.pinned()?, now.pinned()?))
        }
        _ => None,
    }
}

/// Whether rows have a form in bytes, and their places can stand beside them.
fn can_be_told_apart(table: &PinnedTable, needs: &LeafNeeds) -> bool {
    let schema = table.schema();
    let fields: Vec<SortField> = needs
        .own_columns()
        .filter_map(|name| schema.field_with_name(name).ok())
        .map(|field| SortField::new(field.data_type().clone()))
        .collect();
    let is_taken = |name| schema.column_with_name(name).is_some();
    !fields.is_empty() && RowConverter::supports_fields(&fields) && !is_taken(FILE) && !is_taken(POSITION)
}

/// The rows that either table has more often than the other; none where these are more than half of all, or where the
/// files number their rows in a way that does not find them again.
async fn only_on_one_side(
    execution: &Execution,
    before: &PinnedTable,
    now: &PinnedTable,
    needs: &LeafNeeds,
    budget: u64,
    read: &mut FileWork,
) -> Result<Option<Vec<FeedPart>>> {
    let common = Arc::new(CommonRows::default());
    let claim = Arc::new(Mutex::new(execution.reserve("rows that were written again")));
    let mut tasks = JoinSet::new();
    let mut plans = Vec::new();
    for (side, table) in [(BagSide::Before, before), (BagSide::Now, now)] {
        let physical = located(execution, table, needs).await?;
        let files = numbered(table);
        for stream in execution.streams(&physical)? {
            let reading = Reading { side, files: Arc::clone(&files), common: Arc::clone(&common) };
            // Dropping the set ends the tasks.
            tasks.spawn(reading.take(stream, Arc::clone(&claim), budget));
        }
        plans.push(physical);
    }
    let mut taken = Ok(());
    while let Some(ended) = tasks.join_next().await {
        // What was read until then counts too.
        taken = taken.and(ended.map_err(|error| broken(&error))?);
    }
    *read = plans.iter().map(scanned).fold(FileWork::default(), FileWork::plus);
    taken?;
    let left = left(common, &claim, budget).await?;
    if left.len() as u64 > read.rows / 2 {
        return Ok(None);
    }
    let of = |side| left.iter().filter(move |(of, _)| *of == side).map(|(_, place)| *place);
    let (Some(now), Some(before)) = (only(now, of(BagSide::Now)), only(before, of(BagSide::Before))) else {
        return Ok(None);
    };
    let part = |table, weight| FeedPart { provider: Arc::new(table), weight };
    Ok(Some(vec![part(now, PartWeight::Plus), part(before, PartWeight::Minus)]))
}

/// The rows that one side alone has, in order.
async fn left(
    common: Arc<CommonRows>,
    claim: &Mutex<MemoryReservation>,
    budget: u64,
) -> Result<Vec<(BagSide, RowPlace)>> {
    let mut tasks = JoinSet::new();
    for part in 0..common.parts() {
        let common = Arc::clone(&common);
        tasks.spawn(async move { common.left(part) });
    }
    let mut left = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let part: Vec<(BagSide, RowPlace)> = ended.map_err(|error| broken(&error))?;
        grow(&mut claim.lock().unwrap_or_else(PoisonError::into_inner), size_of_val(part.as_slice()), budget)?;
        left.extend(part);
    }
    left.sort_unstable();
    Ok(left)
}

fn broken(error: &JoinError) -> EngineError {
    EngineError::defect("change set", format!("a task broke: {error}"))
}

/// What is needed of the rows of a table, with their places.
async fn located(execution: &Execution, table: &PinnedTable, needs: &LeafNeeds) -> Result<Arc<dyn ExecutionPlan>> {
    let table = table.clone().with_file_column(FILE).with_row_index_column(POSITION);
    let mut rows = LogicalPlanBuilder::scan("side", provider_as_source(Arc::new(table)), None)?;
    if let Some(filter) = &needs.filter {
        rows = rows.filter(filter.clone())?;
    }
    let columns = needs.own_columns().chain([FILE, POSITION]).map(|name| Expr::Column(Column::new_unqualified(name)));
    execution.physical(&execution.optimize(&rows.project(columns)?.build()?)?).await
}

/// The files of a table by their paths, numbered as they come.
fn numbered(table: &PinnedTable) -> Arc<HashMap<String, u32>> {
    Arc::new((0..).zip(table.files().iter()).map(|(number, file)| (file.path.clone(), number)).collect())
}

/// The given rows of a table alone; places are in order.  None where two rows have one place.
fn only(table: &PinnedTable, places: impl Iterator<Item = RowPlace>) -> Option<PinnedTable> {
    let mut rows: HashMap<FileKey, Arc<RoaringTreemap>> = HashMap::new();
    let mut files = Vec::new();
    let mut places = places.peekable();
    for (number, file) in (0..).zip(table.files().iter()) {
        let mut chosen = RoaringTreemap::new();
        while let Some(place) = places.next_if(|place| place.file == number) {
            if !chosen.insert(place.row) {
                return None;
            }
        }
        if !chosen.is_empty() {
            rows.insert(file.key(), Arc::new(chosen));
            files.push(file.clone());
        }
    }
    Some(table.clone().with_files(files).with_chosen_rows(rows))
}

/// Reads rows of one side.
struct Reading {
    side: BagSide,
    files: Arc<HashMap<String, u32>>,
    common: Arc<CommonRows>,
}

impl Reading {
    async fn take(
        self,
        mut stream: SendableRecordBatchStream,
        claim: Arc<Mutex<MemoryReservation>>,
        budget: u64,
    ) -> Result<()> {
        let schema = stream.schema();
        let width = schema.fields().len() - 2;
        let fields = schema.fields().iter().take(width).map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let mut scratch = HashedRows::default();
        let mut rows = converter.empty_rows(0, 0);
        while let Some(batch) = stream.try_next().await? {
            rows.clear();
            converter.append(&mut rows, &batch.columns()[..width])?;
            let places = self.places(&batch)?;
            let grown = self.common.take(self.side, &rows, &mut scratch, |row| places[row]);
            if grown > 0 {
                grow(&mut claim.lock().unwrap_or_else(PoisonError::into_inner), grown, budget)?;
            }
        }
        Ok(())
    }

    fn places(&self, batch: &RecordBatch) -> Result<Vec<RowPlace>> {
        let width = batch.num_columns() - 2;
        let paths = cast(batch.column(width), &DataType::Utf8)?;
        let paths = paths.as_string::<i32>();
        let positions = batch.column(width + 1).as_primitive::<Int64Type>();
        let mut last: Option<(&str, u32)> = None;
        let mut places = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let path = paths.value(row);
            let file = match last {
                Some((known, file)) if known == path => file,
                _ => *self.files.get(path).ok_or_else(|| EngineError::defect("change set", "a row of no file"))?,
            };
            last = Some((path, file));
            let row = u64::try_from(positions.value(row))
                .map_err(|_| EngineError::defect("change set", "a row position is negative"))?;
            places.push(RowPlace { file, row });
        }
        Ok(places)
    }
}

#[cfg(test)]
#[path = "rewritten_files_tests.rs"]
mod tests;
