//! The session: the one place where settings, functions, memory and object stores are decided.
//!
//! Invariant: two sessions made from equal options plan equal queries to equal plans, on any machine.  Every setting
//! whose default follows the machine (number of cores, time zone) is set here.
//!
//! Nothing is planned in a shared context: [`EngineSession::planning_state`] hands out a fresh one with an empty
//! catalogue and a new alias generator, so that a plan does not depend on what was planned before it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray};
use arrow::temporal_conversions::timestamp_ms_to_datetime;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::physical_plan::common::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use functions::{MacroProblem, MacroSource, Macros, PlatformFunction, PlatformOptions, PlatformSnapshot};
use futures::executor::block_on;
use lake::{Lake, LakeOptions, TableLocation};

use crate::change_plans::CompiledChanges;
use crate::error::{EngineError, Result};
use crate::feeds::Feeds;
use crate::handover::Handovers;
use crate::patient_pool::PatientPool;
use crate::recent::Recent;
use crate::templates::Template;

/// The catalogue and the schema in which relations live; plans name them by their bare names.
pub const CATALOG: &str = "deltakeep";
/// See [`CATALOG`].
pub const SCHEMA: &str = "project";

/// Partitions of a task when the caller names no number: not the number of cores, so that runs can be compared.
const DEFAULT_TARGET_PARTITIONS: usize = 2;
/// How many consumers a message about exhausted memory names.
const REPORTED_CONSUMERS: NonZeroUsize = NonZeroUsize::new(5).unwrap();
/// Snapshots of tables that a session keeps open.
const SNAPSHOT_CACHE: usize = 256;
/// Optimized plans of each kind that a session keeps.
const PLAN_CACHE: usize = 256;

/// Settings that must not be overridden, with the reason.
const FIXED: &[(&str, &str, &str)] = &[
    ("datafusion.catalog.information_schema", "true", "bundles store the settings that it shows"),
    ("datafusion.catalog.default_catalog", CATALOG, "plans name relations by their bare names"),
    ("datafusion.catalog.default_schema", SCHEMA, "plans name relations by their bare names"),
    ("datafusion.optimizer.skip_failed_rules", "false", "a rule that fails silently would make plans differ"),
];

/// Settings that we choose otherwise than DataFusion; a caller may override them.
const CHOSEN: &[(&str, &str)] = &[
    ("datafusion.execution.time_zone", "UTC"),
    ("datafusion.execution.collect_statistics", "true"),
    ("datafusion.execution.planning_concurrency", "2"),
    // Pruning by statistics is on; filtering row by row inside the decoder was slower than a filter above it.
    ("datafusion.execution.parquet.pushdown_filters", "false"),
    ("datafusion.sql_parser.collect_spans", "true"),
];

/// What a session is made from.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// DataFusion settings by their full names, as in `information_schema.df_settings`.
    pub settings: BTreeMap<String, String>,
    /// Bytes that all tasks together may hold; none: no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Folder for spilled data; none: the temporary folder of the system.
    pub spill_directory: Option<PathBuf>,
    /// Partitions of a task.
    pub target_partitions: Option<usize>,
    /// Whether local stores are synced before and after a log entry.
    pub durable: bool,
    /// Which parts of the function platform are installed; planning needs all of them.
    pub platform: PlatformOptions,
}

/// A session: functions, settings, memory, stores and the lake.
#[derive(Clone)]
pub struct EngineSession {
    template: SessionState,
    platform: Arc<PlatformSnapshot>,
    settings: Arc<BTreeMap<String, String>>,
    lake: Lake,
    durable: bool,
    caches: Arc<Caches>,
    macros: Arc<Mutex<Option<MadeMacros>>>,
}

/// The macros that were made last, with their texts: a project has one set of them at a time.
type MadeMacros = (Vec<MacroSource>, Arc<Macros>);

/// What a session remembers to be quicker; none of it is needed.
struct Caches {
    recomputes: Recent<String, Arc<Template>>,
    changes: Recent<ChangeKey, Arc<CompiledChanges>>,
    feeds: Feeds,
    handovers: Handovers,
}

/// A view's plan by its fingerprint, and of each input whether it changed and whether rows were only added.
pub(crate) type ChangeKey = (String, Vec<(String, bool, bool)>);

impl std::fmt::Debug for EngineSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EngineSession")
            .field("functions", &self.platform.functions.snapshot_hash)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl EngineSession {
    /// Makes a session.
    ///
    /// # Errors
    /// `invalid_argument` for an unknown setting or an impossible value, `platform_missing` if a part of the function
    /// platform is switched off.
    pub fn new(options: EngineOptions) -> Result<Self> {
        let session = Self::with_functions(options, &functions::families())?;
        functions::require_installed(&session.template, &session.platform)
            .map_err(|message| EngineError::PlatformMissing { message })?;
        Ok(session)
    }

    /// Makes a session that has these functions for a platform.
    fn with_functions(options: EngineOptions, functions: &[PlatformFunction]) -> Result<Self> {
        let EngineOptions {
            settings,
            memory_limit_bytes,
            spill_directory,
            target_partitions,
            durable,
            platform: platform_options,
        } = options;
        let mut state = SessionStateBuilder::new()
            .with_config(session_config(settings, target_partitions)?)
            .with_runtime_env(runtime(memory_limit_bytes, spill_directory)?)
            .with_default_features()
            .with_optimizer_rules(crate::cross_joins::rules())
            .with_session_id("deltakeep".to_owned())
            .build();
        let platform = functions::install_functions(&mut state, functions, &platform_options)
            .map_err(|error| EngineError::planning("function platform", error))?;
        let settings = read_settings(&state)?;
        Ok(Self {
            template: state,
            platform: Arc::new(platform),
            settings: Arc::new(settings),
            lake: Lake::new(LakeOptions { durable, snapshot_cache: SNAPSHOT_CACHE }),
            durable,
            caches: Arc::new(Caches {
                recomputes: Recent::new(PLAN_CACHE),
                changes: Recent::new(PLAN_CACHE),
                feeds: Feeds::new(),
                handovers: Handovers::new(),
            }),
            macros: Arc::new(Mutex::new(None)),
        })
    }

    /// The plans of recomputations, by fingerprint.
    pub(crate) fn recomputes(&self) -> &Recent<String, Arc<Template>> {
        &self.caches.recomputes
    }

    /// The change plans, by fingerprint and shapes.
    pub(crate) fn changes(&self) -> &Recent<ChangeKey, Arc<CompiledChanges>> {
        &self.caches.changes
    }

    /// The feeds that were read last.
    pub(crate) fn feeds(&self) -> &Feeds {
        &self.caches.feeds
    }

    /// What plans left for their refreshes.
    pub(crate) fn handovers(&self) -> &Handovers {
        &self.caches.handovers
    }

    /// A session whose platform has other versions of some functions, as a later release would.
    #[cfg(test)]
    pub(crate) fn with_versions(versions: &[(&str, u32)]) -> Self {
        let functions: Vec<PlatformFunction> = functions::families()
            .into_iter()
            .map(|function| {
                let changed = versions.iter().find(|(name, _)| *name == function.function.name());
                PlatformFunction { version: changed.map_or(function.version, |(_, version)| *version), ..function }
            })
            .collect();
        Self::with_functions(EngineOptions::default(), &functions).unwrap()
    }

    /// The lake behind the session.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Whether local stores are synced around a log entry.
    pub fn durable(&self) -> bool {
        self.durable
    }

    /// The functions, tags and planners that were installed.
    pub fn platform(&self) -> &PlatformSnapshot {
        &self.platform
    }

    /// Every setting and its value, as `information_schema.df_settings` shows them.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// The partitions of a task.
    pub fn target_partitions(&self) -> usize {
        self.template.config().target_partitions()
    }

    /// A fresh state without a clock: `now()` stays a call in what it optimizes.
    pub fn planning_state(&self) -> SessionState {
        let mut state = self.template.clone();
        state.register_catalog_list(empty_catalogs());
        *state.execution_props_mut() = ExecutionProps::new();
        state
    }

    /// A fresh context over [`EngineSession::planning_state`], to register relations in and to plan SQL.
    pub fn planning_context(&self) -> SessionContext {
        SessionContext::new_with_state(self.planning_state())
    }

    /// A fresh state whose `now()` is the clock of the cycle, in milliseconds since the epoch.
    ///
    /// Plan with the state itself (`create_physical_plan`): a `SessionContext` around it would put the time of the
    /// machine in its place.
    ///
    /// # Errors
    /// `invalid_argument` if the clock is outside of what a timestamp can hold.
    pub fn execution_state(&self, clock_ms: i64) -> Result<SessionState> {
        let moment = timestamp_ms_to_datetime(clock_ms).ok_or_else(|| EngineError::InvalidArgument {
            message: format!("clock {clock_ms} is not a moment in milliseconds since the epoch"),
        })?;
        let mut state = self.planning_state();
        let config = Arc::clone(state.config_options());
        let properties = state.execution_props_mut();
        properties.mark_start_execution(config);
        properties.query_execution_start_time = Some(moment.and_utc());
        Ok(state)
    }

    /// The memory, disk and stores that tasks run in.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        self.template.runtime_env()
    }

    /// A task context over the session's memory and stores.
    pub fn task_context(&self) -> Arc<TaskContext> {
        self.template.task_ctx()
    }

    /// Bytes that running tasks hold in the memory pool.
    pub fn reserved_bytes(&self) -> usize {
        self.runtime().memory_pool.reserved()
    }

    /// Makes the store of a table known to tasks and returns the address under which they find it.
    ///
    /// # Errors
    /// As [`Lake::object_store`].
    pub fn register_store(&self, location: &TableLocation) -> Result<ObjectStoreUrl> {
        let (url, store) = self.lake.object_store(location)?;
        self.runtime().register_object_store(url.as_ref(), store);
        Ok(url)
    }

    /// The macros of a project, made once for as long as their texts are the same.
    ///
    /// # Errors
    /// `invalid_query` with the first problem; [`Macros::define`] gives all of them.
    pub fn macros(&self, sources: &[MacroSource]) -> Result<Arc<Macros>> {
        let mut made = self.macros.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((texts, macros)) = made.as_ref()
            && texts == sources
        {
            return Ok(Arc::clone(macros));
        }
        let macros = Arc::new(self.define_macros(sources).map_err(|problems| {
            let problem =
                problems.into_iter().next().map(|problem| (problem.name, problem.message)).unwrap_or_default();
            EngineError::invalid_query(format!("function \"{}\"", problem.0), problem.1)
        })?);
        *made = Some((sources.to_vec(), Arc::clone(&macros)));
        Ok(macros)
    }

    /// The macros of a project, or everything that is wrong with them.
    ///
    /// # Errors
    /// As [`Macros::define`].
    pub fn define_macros(&self, sources: &[MacroSource]) -> std::result::Result<Macros, Vec<MacroProblem>> {
        Macros::define(&self.planning_state(), &self.platform, sources)
    }

    /// Fails unless the state has exactly the functions of this session's platform.
    ///
    /// # Errors
    /// `platform_missing` names the function that is missing or replaced.
    pub fn require_platform(&self, state: &SessionState) -> Result<()> {
        functions::require_registered(state, &self.platform).map_err(|message| EngineError::PlatformMissing { message })
    }
}

fn session_config(settings: BTreeMap<String, String>, target_partitions: Option<usize>) -> Result<SessionConfig> {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(true)
        .with_target_partitions(target_partitions.unwrap_or(DEFAULT_TARGET_PARTITIONS).max(1));
    let values = config.options_mut();
    for (key, value) in CHOSEN {
        set(values, key, value)?;
    }
    for (key, value) in settings {
        if let Some((_, fixed, reason)) = FIXED.iter().find(|(fixed, _, _)| *fixed == key)
            && *fixed != value
        {
            return Err(EngineError::InvalidArgument {
                message: format!("setting \"{key}\" must be {fixed}: {reason}"),
            });
        }
        if key.starts_with("datafusion.runtime.") {
            return Err(EngineError::InvalidArgument {
                message: format!(
                    "setting \"{key}\" is made from the memory limit and the spill directory; set those instead"
                ),
            });
        }
        set(values, &key, &value)?;
    }
    for (key, value, _) in FIXED {
        set(values, key, value)?;
    }
    Ok(config)
}

fn set(values: &mut datafusion::config::ConfigOptions, key: &str, value: &str) -> Result<()> {
    values.set(key, value).map_err(|error| EngineError::InvalidArgument {
        message: format!("setting \"{key}\" cannot be \"{value}\": {}", error.strip_backtrace()),
    })
}

fn runtime(memory_limit_bytes: Option<u64>, spill_directory: Option<PathBuf>) -> Result<Arc<RuntimeEnv>> {
    let mut builder = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory_limit_bytes {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let pool: Arc<dyn MemoryPool> =
            Arc::new(TrackConsumersPool::new(PatientPool(FairSpillPool::new(bytes)), REPORTED_CONSUMERS));
        builder = builder.with_memory_pool(pool);
    }
    if let Some(folder) = spill_directory {
        std::fs::create_dir_all(&folder).map_err(|error| EngineError::InvalidArgument {
            message: format!("spill directory \"{}\" cannot be made: {error}", folder.display()),
        })?;
        builder = builder.with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![folder])),
        );
    }
    builder.build_arc().map_err(|error| EngineError::InvalidArgument {
        message: format!("memory or spill directory: {}", error.strip_backtrace()),
    })
}

fn empty_catalogs() -> Arc<dyn CatalogProviderList> {
    let catalog = MemoryCatalogProvider::new();
    // A memory catalogue refuses no schema.
    let _ = catalog.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new()));
    let list = MemoryCatalogProviderList::new();
    list.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Arc::new(list)
}

/// Reads `information_schema.df_settings` without planning a query, so that it needs no runtime.
fn read_settings(state: &SessionState) -> Result<BTreeMap<String, String>> {
    let read = async {
        let schema = state.schema_for_ref("information_schema.df_settings")?;
        let table = schema
            .table("df_settings")
            .await?
            .ok_or_else(|| DataFusionError::Internal("information_schema has no table df_settings".to_owned()))?;
        let plan = table.scan(state, None, &[], None).await?;
        collect(plan.execute(0, state.task_ctx())?).await
    };
    let batches = block_on(read).map_err(|error| EngineError::planning("settings", error))?;
    let mut settings = BTreeMap::new();
    for batch in &batches {
        let names = batch.column(0).as_string::<i32>();
        let values = batch.column(1).as_string::<i32>();
        for row in 0..batch.num_rows() {
            if values.is_valid(row) {
                settings.insert(names.value(row).to_owned(), values.value(row).to_owned());
            }
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_do_not_follow_the_machine() {
        let session = EngineSession::new(EngineOptions::default()).unwrap();
        let settings = session.settings();
        assert_eq!(settings["datafusion.execution.target_partitions"], "2");
        assert_eq!(settings["datafusion.execution.time_zone"], "UTC");
        assert_eq!(settings["datafusion.catalog.information_schema"], "true");
        assert_eq!(settings["datafusion.execution.parquet.pushdown_filters"], "false");
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let options = EngineOptions {
            settings: BTreeMap::from([("datafusion.execution.batchsize".to_owned(), "1".to_owned())]),
            ..EngineOptions::default()
        };
        let error = EngineSession::new(options).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.message().contains("datafusion.execution.batchsize"), "{error}");
    }

    #[test]
    fn a_fixed_setting_cannot_be_overridden() {
        let options = EngineOptions {
            settings: BTreeMap::from([("datafusion.catalog.information_schema".to_owned(), "false".to_owned())]),
            ..EngineOptions::default()
        };
        let error = EngineSession::new(options).unwrap_err();
        assert!(error.message().contains("information_schema"), "{error}");
    }

    #[test]
    fn a_session_without_the_platform_is_refused() {
        let options = EngineOptions {
            platform: PlatformOptions { enable_udfs: false, ..PlatformOptions::default() },
            ..EngineOptions::default()
        };
        let error = EngineSession::new(options).unwrap_err();
        assert_eq!(error.code(), "platform_missing");
        assert!(error.to_string().contains("was not installed"), "{error}");
    }

    #[test]
    fn a_state_without_our_functions_is_refused() {
        let session = EngineSession::new(EngineOptions::default()).unwrap();
        let foreign = SessionStateBuilder::new().with_default_features().build();
        let error = session.require_platform(&foreign).unwrap_err();
        assert_eq!(error.code(), "platform_missing");
        assert!(error.message().contains("is missing"), "{error}");
    }

    #[test]
    fn execution_has_the_clock_that_it_was_given() {
        let session = EngineSession::new(EngineOptions::default()).unwrap();
        let state = session.execution_state(1_700_000_000_000).unwrap();
        let start = state.execution_props().query_execution_start_time.unwrap();
        assert_eq!(start.timestamp_millis(), 1_700_000_000_000);
        assert!(session.planning_state().execution_props().query_execution_start_time.is_none());
    }
}
