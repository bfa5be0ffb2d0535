//! The pinned inputs of a refresh: snapshots, change feeds, and plans bound to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use lake::{ChangeFeed, FeedKind, LakeError, PinnedTable, TableIdentity, TableSnapshot};
use maintenance::{InputShape, Reason};

use crate::binding::{LeafNeeds, Side, bind};
use crate::bundle::{InputSchema, PlanBundle, decode_plan, require_fitting};
use crate::change_plans::{CompiledChanges, Held, empty_change_set};
use crate::changes::{self, ChangeSets};
use crate::error::EngineError;
use crate::execution::Execution;
use crate::feeds::change_feed;
use crate::refresh::lake_error;
use crate::request::{RefreshInput, ScanUnit};
use crate::scan_units::{ScanSource, scan_units};
use crate::session::EngineSession;
use crate::templates::Template;
use crate::volatility::is_timeless;

/// One input, opened.
struct Opened {
    pin: RefreshInput,
    before: Option<Arc<TableSnapshot>>,
    now: Arc<TableSnapshot>,
}

/// The inputs of a refresh, opened at their pins.
pub struct Inputs {
    opened: BTreeMap<String, Opened>,
}

impl Inputs {
    /// Open every input; the older versions too, when they are needed.
    pub async fn open(session: &EngineSession, pins: &[RefreshInput], with_before: bool) -> Result<Self> {
        let lake = session.lake();
        let mut opened = BTreeMap::new();
        for pin in pins {
            session.register_store(&pin.table)?;
            let now = lake.snapshot(&pin.table, Some(pin.now)).await.map_err(lake_error)?;
            if now.table_id != pin.table_id {
                return Err(replaced(pin, &now.table_id));
            }
            let before = match pin.before {
                Some(version) if with_before && version == pin.now => Some(Arc::clone(&now)),
                Some(version) if with_before => {
                    Some(lake.snapshot(&pin.table, Some(version)).await.map_err(lake_error)?)
                }
                _ => None,
            };
            opened.insert(pin.relation.clone(), Opened { pin: pin.clone(), before, now });
        }
        Ok(Self { opened })
    }

    /// The view's plan over sources that only know their schema.
    fn plan(&self, session: &EngineSession, bundle: &PlanBundle) -> Result<LogicalPlan> {
        Ok(decode_plan(session, bundle, &self.schemas())?)
    }

    fn schemas(&self) -> Vec<InputSchema> {
        self.opened
            .iter()
            .map(|(relation, opened)| InputSchema {
                relation: relation.clone(),
                schema: Arc::clone(&opened.now.schema),
            })
            .collect()
    }

    /// The view's plan over the inputs at their new pins.
    pub fn now_plan(&self, session: &EngineSession, bundle: &PlanBundle) -> Result<LogicalPlan> {
        let plan = over_now(&self.plan(session, bundle)?)?;
        bind(plan, &|name| self.table(session, name, &ChangeSets::new(), &Held::default()))
    }

    /// The optimized plan of a recomputation at the new pins.
    pub fn recompute_plan(
        &self,
        session: &EngineSession,
        execution: &Execution,
        bundle: &PlanBundle,
    ) -> Result<LogicalPlan> {
        let none = ChangeSets::new();
        let tables = |name: &TableReference| self.table(session, name, &none, &Held::default());
        if let Some(template) = session.recomputes().get(&bundle.fingerprint) {
            require_fitting(session, bundle, &self.schemas())?;
            return template.bound(execution, &tables);
        }
        let plan = self.plan(session, bundle)?;
        let template = Template::new(execution, over_now(&plan)?, &tables)?;
        let bound = template.bound(execution, &tables)?;
        // Optimizing puts the clock of this refresh into a plan that asks for it.
        if is_timeless(&plan)? {
            session.recomputes().put(bundle.fingerprint.clone(), Arc::new(template));
        }
        Ok(bound)
    }

    /// The optimized plans of the view's changes, or why there are none.
    ///
    /// `clock_before_ms` is the time of the content that is there.
    pub fn compiled_changes(
        &self,
        session: &EngineSession,
        execution: &Execution,
        bundle: &PlanBundle,
        shapes: &BTreeMap<String, InputShape>,
        clock_before_ms: Option<i64>,
    ) -> Result<Result<Arc<CompiledChanges>, Reason>> {
        let known = shapes.iter().map(|(relation, shape)| (relation.clone(), shape.changed, shape.insert_only));
        let key = (bundle.fingerprint.clone(), known.collect());
        if let Some(compiled) = session.changes().get(&key) {
            require_fitting(session, bundle, &self.schemas())?;
            return Ok(Ok(compiled));
        }
        let plan = self.plan(session, bundle)?;
        let before = match (bundle.maintenance.is_temporal(), clock_before_ms) {
            (false, _) => None,
            (true, Some(clock_ms)) => Some(Execution::new(session, clock_ms)?),
            (true, None) => return Ok(Err(Reason::ClockDependent("the content that is there".to_owned()))),
        };
        let none = ChangeSets::new();
        let compiled =
            CompiledChanges::compile(execution, before.as_ref(), &plan, shapes, &|name| match Side::of(name) {
                Some((Side::Changes, relation)) => empty_change_set(&self.get(relation)?.now.schema),
                _ => self.table(session, name, &none, &Held::default()),
            })?;
        Ok(compiled.map(|compiled| {
            let compiled = Arc::new(compiled);
            // Optimizing put the clocks of this refresh into plans that ask for them.
            if before.is_none() {
                session.changes().put(key, Arc::clone(&compiled));
            }
            compiled
        }))
    }

    /// The optimized plan of a template over pinned scans, change sets and what was computed on the way.
    pub fn bound(
        &self,
        session: &EngineSession,
        execution: &Execution,
        template: &Template,
        sets: &ChangeSets,
        held: &Held,
    ) -> Result<LogicalPlan> {
        template.bound(execution, &|name| self.table(session, name, sets, held))
    }

    /// What stands behind a leaf.
    fn table(
        &self,
        session: &EngineSession,
        name: &TableReference,
        sets: &ChangeSets,
        held: &Held,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some((side, relation)) = Side::of(name) else { return held.table(name) };
        let opened = self.get(relation)?;
        let scan = |snapshot: &Arc<TableSnapshot>| {
            let table = PinnedTable::new(session.lake().clone(), Arc::clone(snapshot));
            Arc::new(table) as Arc<dyn TableProvider>
        };
        match side {
            Side::Now => Ok(scan(&opened.now)),
            Side::Before => opened.before.as_ref().map(scan).ok_or_else(|| {
                EngineError::defect("change plan", format!("\"{relation}\" has no earlier version")).into()
            }),
            Side::Changes => sets
                .get(relation)
                .map(|set| Arc::clone(&set.table))
                .ok_or_else(|| EngineError::defect("change plan", format!("\"{relation}\" has no change set")).into()),
        }
    }

    /// The snapshot of a relation at its new pin.
    pub fn now(&self, relation: &str) -> Result<Arc<TableSnapshot>> {
        Ok(Arc::clone(&self.get(relation)?.now))
    }

    /// The change feeds of the inputs that moved.
    pub async fn feeds(&self, session: &EngineSession) -> Result<BTreeMap<String, ChangeFeed>> {
        let mut feeds = BTreeMap::new();
        for (relation, opened) in &self.opened {
            let Some(before) = opened.pin.before else {
                let message = format!("\"{relation}\" has no earlier pin to start from");
                return Err(EngineError::InvalidArgument { message }.into());
            };
            if before == opened.pin.now {
                continue;
            }
            let expected = TableIdentity {
                table_id: opened.pin.table_id.clone(),
                commit_hash: opened.pin.before_commit_hash.clone(),
            };
            let (range, trusted) = ((before, opened.pin.now), &opened.pin.trusted_writers);
            let feed = change_feed(session, &opened.pin.table, range, Some(&expected), trusted).await?;
            if feed.kind != FeedKind::Empty {
                feeds.insert(relation.clone(), feed);
            }
        }
        Ok(feeds)
    }

    /// What the algebra has to know of each input.
    pub fn shapes(&self, feeds: &BTreeMap<String, ChangeFeed>) -> BTreeMap<String, InputShape> {
        self.opened.keys().map(|relation| (relation.clone(), changes::shape(feeds.get(relation)))).collect()
    }

    /// The scan units of an optimized plan over these inputs.
    pub fn scan_units(&self, optimized: &LogicalPlan) -> Result<Vec<ScanUnit>> {
        scan_units(optimized, &|side, relation| {
            let opened = self.opened.get(relation)?;
            let snapshot = match side {
                Side::Now => &opened.now,
                Side::Before => opened.before.as_ref()?,
                Side::Changes => return None,
            };
            Some(ScanSource { snapshot, files: &snapshot.files })
        })
    }

    /// The scan unit of a change feed: the files whose rows differ between the two pins, or those that say how.
    pub fn change_unit(&self, relation: &str, feed: &ChangeFeed, needs: &LeafNeeds) -> Result<ScanUnit> {
        let filters: Vec<_> = needs.filter.iter().cloned().collect();
        let snapshot = &self.get(relation)?.now;
        let files: Vec<_> = feed.files().cloned().collect();
        let schema = lake::view_typed(&snapshot.schema);
        let pruned = lake::prune(&files, &schema, &snapshot.partition_columns, &filters);
        let kept: Vec<_> = pruned.kept.iter().map(|index| &files[*index]).collect();
        Ok(ScanUnit {
            relation: relation.to_owned(),
            version: snapshot.version,
            side: Side::Changes.name().to_owned(),
            files: kept.iter().map(|file| file.path.clone()).collect(),
            skipped_files: pruned.skipped.len() as u64,
            bytes: kept.iter().map(|file| file.size).sum(),
            rows: kept.iter().filter_map(|file| file.live_rows()).sum(),
            filters: filters.iter().map(ToString::to_string).collect(),
            columns: needs.own_columns().map(str::to_owned).collect(),
        })
    }

    /// Check once more that every pin still belongs to the table that it was taken from.
    pub async fn still_the_same(&self, session: &EngineSession) -> Result<()> {
        for opened in self.opened.values() {
            let pin = &opened.pin;
            let identity = session.lake().identity(&pin.table, pin.now).await.map_err(lake_error)?;
            let moved = match (&identity.commit_hash, &pin.commit_hash) {
                (Some(found), Some(pinned)) => found != pinned,
                _ => identity.table_id != pin.table_id,
            };
            if moved {
                return Err(replaced(pin, &identity.table_id));
            }
        }
        Ok(())
    }

    fn get(&self, relation: &str) -> Result<&Opened> {
        let known = || self.opened.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        self.opened.get(relation).ok_or_else(|| {
            EngineError::UnknownRelation {
                subject: "refresh".to_owned(),
                relation: relation.to_owned(),
                known: known(),
            }
            .into()
        })
    }
}

/// A view's plan over the new pins of its inputs.
///
/// Re-based like a change plan: a decoded plan that is optimized once more must not have null-safe join keys.
fn over_now(plan: &LogicalPlan) -> Result<LogicalPlan> {
    maintenance::over(plan, maintenance::Side::Now)
}

fn replaced(pin: &RefreshInput, found: &str) -> datafusion::error::DataFusionError {
    lake_error(LakeError::TableReplaced {
        uri: pin.table.uri.clone(),
        version: pin.now,
        detail: format!("its id is {found}, and was {} when it was pinned", pin.table_id),
    })
}
