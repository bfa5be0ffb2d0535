//! The pinned inputs of a refresh: snapshots, change feeds, and plans bound to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use lake::{ChangeFeed, FeedKind, FeedPolicy, LakeError, PinnedTable, TableIdentity, TableSnapshot};
use maintenance::InputShape;

use crate::binding::{LeafNeeds, Side, bind};
use crate::bundle::{InputSchema, PlanBundle, decode_plan};

use crate::changes::{self, ChangeSets};
use crate::error::EngineError;
use crate::refresh::lake_error;
use crate::request::{RefreshInput, ScanUnit};
use crate::scan_units::{ScanSource, scan_units};
use crate::session::EngineSession;

/// Schema part of the name of the scan of affected keys.
const KEYS: &str = "keys";

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
    pub fn plan(&self, session: &EngineSession, bundle: &PlanBundle) -> Result<LogicalPlan> {
        let schemas: Vec<InputSchema> = self
            .opened
            .iter()
            .map(|(relation, opened)| InputSchema {
                relation: relation.clone(),
                schema: Arc::clone(&opened.now.schema),
            })
            .collect();
        Ok(decode_plan(session, bundle, &schemas)?)
    }

    /// The view's plan over the inputs at their new pins.
    pub fn now_plan(&self, session: &EngineSession, bundle: &PlanBundle) -> Result<LogicalPlan> {
        // Re-based like a change plan: a decoded plan that is optimized once more must not have null-safe join keys.
        let plan = maintenance::over(&self.plan(session, bundle)?, maintenance::Side::Now)?;
        self.bind_sides(session, &plan, &ChangeSets::new())
    }

    /// A plan over pinned scans and change sets.
    pub fn bind_sides(&self, session: &EngineSession, plan: &LogicalPlan, sets: &ChangeSets) -> Result<LogicalPlan> {
        bind(plan.clone(), &|name| self.provider(session, name, sets))
    }

    /// The rows of affected groups now, over pinned scans and the keys of these groups.
    pub fn bind_group_rows(
        &self,
        session: &EngineSession,
        plan: &LogicalPlan,
        shapes: &BTreeMap<String, InputShape>,
        sets: &ChangeSets,
        keys: &Arc<dyn TableProvider>,
    ) -> Result<LogicalPlan> {
        let name = TableReference::partial(KEYS, "affected");
        let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(keys)), None)?.build()?;
        let rows = maintenance::group_rows(plan, shapes, &scan)
            .map_err(|reason| EngineError::defect("change plan", reason.message()))?;
        bind(rows, &|name| {
            if name.schema() == Some(KEYS) { Ok(Arc::clone(keys)) } else { self.provider(session, name, sets) }
        })
    }

    fn provider(
        &self,
        session: &EngineSession,
        name: &TableReference,
        sets: &ChangeSets,
    ) -> Result<Arc<dyn TableProvider>> {
        let (side, relation) = Side::of(name);
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
            let policy = FeedPolicy { trusted_writers: opened.pin.trusted_writers.clone(), force: None };
            let expected = TableIdentity {
                table_id: opened.pin.table_id.clone(),
                commit_hash: opened.pin.before_commit_hash.clone(),
            };
            let feed = session
                .lake()
                .change_feed(&opened.pin.table, before, opened.pin.now, Some(&expected), &policy)
                .await
                .map_err(lake_error)?;
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

    /// The scan unit of a change feed: the files whose rows differ between the two pins.
    pub fn change_unit(&self, relation: &str, feed: &ChangeFeed, needs: &LeafNeeds) -> Result<ScanUnit> {
        let filters: Vec<_> = needs.filter.iter().cloned().collect();
        let snapshot = &self.get(relation)?.now;
        let files: Vec<_> = feed.added.iter().chain(&feed.removed).cloned().collect();
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
            columns: needs.columns.iter().filter(|name| name.as_str() != maintenance::WEIGHT).cloned().collect(),
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

fn replaced(pin: &RefreshInput, found: &str) -> datafusion::error::DataFusionError {
    lake_error(LakeError::TableReplaced {
        uri: pin.table.uri.clone(),
        version: pin.now,
        detail: format!("its id is {found}, and was {} when it was pinned", pin.table_id),
    })
}
