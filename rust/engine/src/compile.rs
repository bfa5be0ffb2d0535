//! Compiling: the definition of a view in, its bundle out.
//!
//! Promise: compiling reads nothing and runs nothing, and equal definitions over equal schemas give equal bytes in
//! every process.  `now()` stays a call, because a plan must not depend on when it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, TableScanBuilder, TableSource};
use datafusion::physical_plan::displayable;
use functions::Macros;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

use crate::bundle::{Displays, InputSchema, InputUse, PlanBundle, engine_version};
use crate::canonical::{encode, register};
use crate::deep_stack::on_deep_stack;
use crate::error::{EngineError, Result};
use crate::identity::{compile_key, content_key, fingerprint, input_use};
use crate::lineage::{self, FunctionUse, Lineage};
use crate::output_types::{column_types, is_storable, storable, target_schema};
use crate::relation_source::{RelationTable, planning_schema};
use crate::session::EngineSession;
use crate::volatility::{is_timeless, volatile_functions};
use crate::{dataframe_plan, optimizing, row_order, set_operations, sql, sub_queries};

/// What a view is defined by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// One SQL query.
    Sql(String),
    /// The optimized plan of a DataFrame, as DataFusion's messages, over Parquet registrations named like relations.
    Proto(Vec<u8>),
}

/// What a view says about its plan beside the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Whether sums of floats, and what is made of them, are exact and so independent of the order of rows.
    ///
    /// The plan with exact sums *is* the view then, for refreshes of every kind and for the audit.
    pub exact_sums: bool,
    /// The state that the view may have; none keeps it in one stage.
    pub state: Option<StateOption>,
}

/// What follows the name of a state in that of the state behind it.
const STATE_SUFFIX: &str = "__state";

/// When a view has states, and under which name it reads the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOption {
    /// The name of the relation.
    pub name: String,
    /// Also where changes keep the view as a whole, if its groups can be added up, and for such groups below others.
    pub always: bool,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self { exact_sums: true, state: None }
    }
}

/// Compiles a view over inputs with the given schemas.
///
/// # Errors
/// `invalid_query`, `unknown_relation`, `unsupported_type`, `schema_mismatch`: fix the definition.
/// `engine_defect`: a plan that cannot be stored faithfully.
pub fn compile(
    session: &EngineSession,
    name: &str,
    definition: &Definition,
    inputs: &[InputSchema],
    options: &CompileOptions,
) -> Result<PlanBundle> {
    compile_with_macros(session, name, definition, inputs, options, &Macros::default())
}

/// Compiles a view that may call the macros of its project; a DataFrame calls none.
///
/// # Errors
/// As [`compile`].
pub fn compile_with_macros(
    session: &EngineSession,
    name: &str,
    definition: &Definition,
    inputs: &[InputSchema],
    options: &CompileOptions,
    macros: &Macros,
) -> Result<PlanBundle> {
    on_deep_stack(|| compile_here(session, name, definition, inputs, options, macros))
        .map_err(|error| EngineError::no_thread(&error))?
}

fn compile_here(
    session: &EngineSession,
    name: &str,
    definition: &Definition,
    inputs: &[InputSchema],
    options: &CompileOptions,
    macros: &Macros,
) -> Result<PlanBundle> {
    let subject = format!("view \"{name}\"");
    let mut state = session.planning_state();
    session.require_platform(&state)?;
    macros.register(&mut state).map_err(|error| EngineError::planning(&subject, error))?;
    let relations: Vec<Arc<RelationTable>> =
        inputs.iter().map(|input| Arc::new(RelationTable::new(&input.relation, &input.schema))).collect();
    register(&state, &relations).map_err(|error| EngineError::planning(&subject, error))?;

    let (logical, meaning) = match definition {
        Definition::Sql(text) => sql::plan(&state, &subject, text, inputs)?,
        Definition::Proto(bytes) => dataframe_plan::plan(&state, &subject, bytes, &relations)?,
    };
    let logical = settled(&subject, storable(&subject, without_order(logical))?)?;
    let exact = if options.exact_sums {
        exact_sums(&state, &subject, logical.clone())?
    } else {
        Transformed::no(logical.clone())
    };
    let optimized = optimize(&state, &subject, &exact.data)?;
    sub_queries::require_joined(&optimized).map_err(|error| EngineError::planning(&subject, error))?;
    let optimized = row_order::without_ties(optimized).map_err(|error| EngineError::planning(&subject, error))?;
    let view = Compiling {
        session,
        state: &state,
        written: &logical,
        functions: &exact.data,
        // The option changes the meaning of those views only in which there is something to make exact.
        exact: exact.transformed,
        macros,
        meaning,
        compile_key: compile_key(session, &definition_bytes(session, &subject, definition, macros)?, inputs, options)?,
    };
    let whole = view.bundle(name, &optimized, inputs, &Stage::Whole)?;
    match &options.state {
        // A state would have a time of its own, which need not be that of what is computed from it.
        Some(state) if is_timeless(&optimized).map_err(|error| EngineError::planning(&subject, error))? => {
            Ok(view.in_stages(name, state, &optimized, inputs)?.unwrap_or(whole))
        }
        _ => Ok(whole),
    }
}

/// Which part of a view a bundle computes.
enum Stage {
    /// All of it.
    Whole,
    /// The state that so many others come before, and the content key of the one behind it.
    State(usize, Option<String>),
    /// The rest, over the state with this content key.
    Rest(String),
}

/// A view that is compiled, as far as its stages have it in common.
struct Compiling<'a> {
    session: &'a EngineSession,
    state: &'a SessionState,
    /// The plan as it was written.
    written: &'a LogicalPlan,
    /// The plan that has every function that is called.
    functions: &'a LogicalPlan,
    exact: bool,
    macros: &'a Macros,
    meaning: Vec<u8>,
    compile_key: String,
}

impl Compiling<'_> {
    /// The bundle of an optimized plan.
    fn bundle(&self, name: &str, optimized: &LogicalPlan, inputs: &[InputSchema], stage: &Stage) -> Result<PlanBundle> {
        let (session, subject) = (self.session, format!("view \"{name}\""));
        let (plan, used) = narrow(&subject, optimized, inputs)?;
        let relations: Vec<Arc<RelationTable>> =
            used.iter().map(|input| Arc::new(RelationTable::new(&input.relation, &input.schema))).collect();
        let encoded = encode(session, &subject, &plan, &relations)?;

        let mut lineage = lineage::extract(&plan);
        let is_state = matches!(stage, Stage::State(..));
        // What the query says beyond a state's own plan is for those who read the state.
        let macros_used =
            if is_state { BTreeMap::new() } else { note_written_functions(&mut lineage, self.functions, self.macros) };
        let functions_used = function_hashes(session, &subject, &lineage)?;
        let closure = closure(&functions_used, &macros_used);
        require_tags(session, &mut lineage);
        let inputs_used: BTreeMap<String, InputUse> = used
            .iter()
            .map(|input| Ok((input.relation.clone(), input_use(&input.relation, &input.schema)?)))
            .collect::<Result<_>>()?;
        let target = target_schema(&subject, &plan)?;
        let platform = session.platform();
        let meaning = match stage {
            Stage::Whole => self.meaning.clone(),
            // Its plan alone, so that a state outlives an edit of what is computed from it.
            Stage::State(_, behind) => [&encoded.bytes, behind.as_deref().unwrap_or_default().as_bytes()].concat(),
            Stage::Rest(key) => [&self.meaning, key.as_bytes()].concat(),
        };
        Ok(PlanBundle {
            name: name.to_owned(),
            compile_key: match stage {
                Stage::State(number, _) => format!("{}{}", self.compile_key, "/state".repeat(number + 1)),
                Stage::Whole | Stage::Rest(_) => self.compile_key.clone(),
            },
            fingerprint: fingerprint(session, encoded.encoding, &encoded.bytes, &closure, &inputs_used),
            content_key: content_key(session, &meaning, self.exact && !is_state, &closure, &inputs_used),
            output_schema: column_types(&subject, &target)?,
            table_schema: lake::delta_schema_json(&subject, &target)?,
            required_functions: lineage.required_functions.clone(),
            required_rewrite_tags: lineage.required_rewrite_tags.clone(),
            function_snapshot_hash: platform.functions.snapshot_hash.clone(),
            function_registry_hash: platform.registry_hash.clone(),
            functions_used,
            macros_used,
            volatile_functions: volatile_functions(&plan)
                .map_err(|error| EngineError::planning(&subject, error))?
                .into_iter()
                .collect(),
            domain_planners: platform.functions.domain_planners.clone(),
            domain_planner_functions: platform.functions.domain_planner_functions.clone(),
            settings: session.settings().clone(),
            displays: displays(self.state, self.written, &plan),
            // What will run is what was decoded, so that is what is analyzed.
            maintenance: maintenance::analyze(&encoded.plan),
            lineage,
            inputs: inputs_used,
            engine_version: engine_version(),
            encoding: encoded.encoding,
            encoding_reason: encoded.reason,
            plan_bytes: encoded.bytes,
            state: None,
        })
    }

    /// The bundles of a view that is kept in stages, each with that of the state behind it; none where one stage is as
    /// good.
    fn in_stages(
        &self,
        name: &str,
        state: &StateOption,
        optimized: &LogicalPlan,
        inputs: &[InputSchema],
    ) -> Result<Option<PlanBundle>> {
        let subject = format!("view \"{name}\"");
        let failed = |error| EngineError::planning(&subject, error);
        // A value that its table holds in another form would not be met again.
        let fits = |plan: &LogicalPlan| plan.schema().fields().iter().all(|field| is_storable(field.data_type()));
        let source = |name: &str, plan: &LogicalPlan| -> datafusion::error::Result<Option<Arc<dyn TableSource>>> {
            if !fits(plan) {
                return Ok(None);
            }
            let schema = target_schema(&subject, plan)?;
            Ok(Some(provider_as_source(Arc::new(RelationTable::new(name, &schema)))))
        };
        let name_of = |number: usize| format!("{}{}", state.name, STATE_SUFFIX.repeat(number));
        let Some(stages) = maintenance::stages(optimized, state.always, name_of, source).map_err(failed)? else {
            return Ok(None);
        };
        let given = inputs;
        let mut inputs = given.to_vec();
        let mut behind: Option<PlanBundle> = None;
        for (number, plan) in stages.states.iter().enumerate().rev() {
            let relation = name_of(number);
            let key = behind.as_ref().map(|bundle| bundle.content_key.clone());
            let mut bundle = self.bundle(&relation, plan, &inputs, &Stage::State(number, key))?;
            if !bundle.maintenance.incremental {
                // What is stored is judged, and it may read otherwise than what was cut: then one state has to do.
                let one = StateOption { name: state.name.clone(), always: false };
                return if state.always { self.in_stages(name, &one, optimized, given) } else { Ok(None) };
            }
            bundle.state = behind.map(Box::new);
            inputs.push(InputSchema { relation, schema: target_schema(&subject, plan)? });
            behind = Some(bundle);
        }
        let Some(first) = behind else { return Ok(None) };
        let mut rest = self.bundle(name, &stages.rest, &inputs, &Stage::Rest(first.content_key.clone()))?;
        rest.state = Some(Box::new(first));
        Ok(Some(rest))
    }
}

/// The compile key of a definition: known without planning.
///
/// # Errors
/// `corrupt_bundle` if the bytes of a DataFrame plan cannot be read.
pub fn definition_key(
    session: &EngineSession,
    name: &str,
    definition: &Definition,
    inputs: &[InputSchema],
    options: &CompileOptions,
) -> Result<String> {
    definition_key_with_macros(session, name, definition, inputs, options, &Macros::default())
}

/// The compile key of a definition that may call macros: those that it can reach are part of it.
///
/// # Errors
/// As [`definition_key`], and `invalid_query` for a text that is not one query.
pub fn definition_key_with_macros(
    session: &EngineSession,
    name: &str,
    definition: &Definition,
    inputs: &[InputSchema],
    options: &CompileOptions,
    macros: &Macros,
) -> Result<String> {
    let subject = format!("view \"{name}\"");
    let bytes = on_deep_stack(|| definition_bytes(session, &subject, definition, macros))
        .map_err(|error| EngineError::no_thread(&error))??;
    compile_key(session, &bytes, inputs, options)
}

fn definition_bytes(
    session: &EngineSession,
    subject: &str,
    definition: &Definition,
    macros: &Macros,
) -> Result<Vec<u8>> {
    match definition {
        Definition::Sql(text) if macros.is_empty() => Ok(text.as_bytes().to_vec()),
        Definition::Sql(text) => {
            let called = sql::called_functions(&session.planning_state(), subject, text)?;
            let mut bytes = text.as_bytes().to_vec();
            for (name, hash) in macros.reachable(called.iter().map(String::as_str)) {
                bytes.extend_from_slice(format!("\0{name}\0{hash}").as_bytes());
            }
            Ok(bytes)
        }
        Definition::Proto(bytes) => dataframe_plan::without_paths(&session.planning_state(), subject, bytes),
    }
}

/// The plan with what SQL leaves open, or DataFusion answers otherwise, decided.
fn settled(subject: &str, plan: LogicalPlan) -> Result<LogicalPlan> {
    set_operations::counted(plan)
        .and_then(sub_queries::asked_for_existence)
        .and_then(row_order::ordered_limits)
        .map_err(|error| EngineError::planning(subject, error))
}

fn optimize(state: &SessionState, subject: &str, plan: &LogicalPlan) -> Result<LogicalPlan> {
    // The state has no query start time, so calls of the clock are not folded.
    is_timeless(plan)
        .and_then(|timeless| {
            if timeless {
                optimizing::optimize(state, plan)
            } else {
                optimizing::optimize(&optimizing::without_common_expressions(state), plan)
            }
        })
        .map_err(|error| EngineError::planning(subject, error))
}

/// The plan with exact functions in the place of sums of floats, if there are any.
fn exact_sums(state: &SessionState, subject: &str, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    // Whether a sum is one of floats is known only when types are coerced.
    state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .and_then(|analyzed| functions::exact_rewrite::exact_sums(analyzed, state))
        .map_err(|error| EngineError::planning(subject, error))
}

/// The plan without an ORDER BY at its top: a view is a bag of rows.
fn without_order(plan: LogicalPlan) -> LogicalPlan {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_order(Arc::unwrap_or_clone(sort.input)),
        LogicalPlan::Projection(mut projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(sort) if sort.fetch.is_none()) =>
        {
            // A sort has the schema of its input, so the projection stays valid.
            projection.input = Arc::new(without_order(Arc::unwrap_or_clone(projection.input)));
            LogicalPlan::Projection(projection)
        }
        other => other,
    }
}

/// Reduces the relations of a plan to the columns that it reads.
///
/// A column that is added to a table and that the view does not read then changes neither bytes nor identities.
fn narrow(subject: &str, plan: &LogicalPlan, inputs: &[InputSchema]) -> Result<(LogicalPlan, Vec<InputSchema>)> {
    let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && is_relation(scan)
        {
            let read = columns.entry(scan.table_name.table().to_owned()).or_default();
            read.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
            for filter in &scan.filters {
                read.extend(filter.column_refs().into_iter().map(|column| column.name.clone()));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| EngineError::planning(subject, error))?;
    let mut used = Vec::with_capacity(columns.len());
    for (relation, read) in &columns {
        let input = inputs
            .iter()
            .find(|input| input.relation == *relation)
            .ok_or_else(|| unknown_relation(subject, relation, inputs))?;
        used.push(input.select(read));
    }
    let narrowed = plan
        .clone()
        .transform_down_with_subqueries(|node| match node {
            LogicalPlan::TableScan(scan) if is_relation(&scan) => {
                let Some(input) = used.iter().find(|input| input.relation == scan.table_name.table()) else {
                    return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
                };
                let source = RelationTable::new(&input.relation, &input.schema);
                let schema = planning_schema(&input.schema);
                let projection: Vec<usize> = scan
                    .projected_schema
                    .fields()
                    .iter()
                    .map(|field| schema.index_of(field.name()))
                    .collect::<std::result::Result<_, _>>()?;
                let scan = TableScanBuilder::new(scan.table_name, provider_as_source(Arc::new(source)))
                    .with_projection(Some(projection))
                    .with_filters(scan.filters)
                    .with_fetch(scan.fetch)
                    .build()?;
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            LogicalPlan::TableScan(scan) if scan.projection.is_some() => Ok(Transformed::yes(whole(scan)?)),
            other => Ok(Transformed::no(other)),
        })
        .map_err(|error| EngineError::planning(subject, error))?;
    Ok((narrowed.data, used))
}

/// The scan of a work table with its projection above it, because encodings drop the one inside.
fn whole(scan: TableScan) -> std::result::Result<LogicalPlan, DataFusionError> {
    let columns: Vec<Expr> = scan.projected_schema.columns().into_iter().map(Expr::Column).collect();
    let every = TableScanBuilder::new(scan.table_name, scan.source).build()?;
    if every.projected_schema == scan.projected_schema {
        return Ok(LogicalPlan::TableScan(every));
    }
    LogicalPlanBuilder::from(LogicalPlan::TableScan(every)).project(columns)?.build()
}

/// Whether a scan reads a relation, and not the work table of a recursive query.
pub fn is_relation(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| provider.downcast_ref::<RelationTable>().is_some())
}

/// The error for a name that no input has.
pub fn unknown_relation(subject: &str, relation: &str, inputs: &[InputSchema]) -> EngineError {
    let mut known: Vec<String> = inputs.iter().map(|input| format!("\"{}\"", input.relation)).collect();
    known.sort();
    EngineError::UnknownRelation {
        subject: subject.to_owned(),
        relation: relation.to_owned(),
        known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
    }
}

/// Adds the functions that a view calls as it is written: a call that was folded into a literal is part of its meaning,
/// though not of its plan any more.
///
/// Returns the macros among them, and those that they call, with their hashes.
fn note_written_functions(lineage: &mut Lineage, logical: &LogicalPlan, macros: &Macros) -> BTreeMap<String, String> {
    let written = lineage::functions(logical);
    let scalar = written.iter().filter(|used| used.kind == "scalar");
    let macros_used = macros.reachable(scalar.map(|used| used.name.as_str()));
    let own = written.into_iter().filter(|used| !(used.kind == "scalar" && macros_used.contains_key(&used.name)));
    let every: BTreeSet<FunctionUse> = own.chain(std::mem::take(&mut lineage.functions)).collect();
    lineage.functions = every.into_iter().collect();
    macros_used
}

/// Everything whose change changes the view: its functions, and the macros that they came from.
fn closure(functions: &BTreeMap<String, String>, macros: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let macros = macros.iter().map(|(name, hash)| (format!("macro:{name}"), hash.clone()));
    functions.iter().map(|(name, hash)| (name.clone(), hash.clone())).chain(macros).collect()
}

fn function_hashes(session: &EngineSession, subject: &str, lineage: &Lineage) -> Result<BTreeMap<String, String>> {
    lineage
        .functions
        .iter()
        .map(|FunctionUse { kind, name }| {
            let hash = session.platform().function_hash(kind, name).ok_or_else(|| {
                EngineError::invalid_query(
                    subject,
                    format!("{kind} function \"{name}\" is not registered in this engine"),
                )
            })?;
            Ok((format!("{kind}:{name}"), hash.to_owned()))
        })
        .collect()
}

/// Adds to a lineage which functions of the platform it needs, and their tags.
fn require_tags(session: &EngineSession, lineage: &mut Lineage) {
    let mut functions = BTreeSet::new();
    let mut tags = BTreeSet::new();
    for function in &session.platform().functions.functions {
        let called = lineage.functions.iter().any(|used| used.kind == function.kind && used.name == function.name);
        if called {
            functions.insert(function.name.clone());
            tags.extend(function.rewrite_tags.iter().cloned());
        }
    }
    lineage.required_functions = functions.into_iter().collect();
    lineage.required_rewrite_tags = tags.into_iter().collect();
}

fn displays(state: &SessionState, logical: &LogicalPlan, plan: &LogicalPlan) -> Displays {
    let physical = block_on(state.query_planner().create_physical_plan(plan, state));
    Displays {
        logical: logical.display_indent().to_string(),
        optimized: plan.display_indent().to_string(),
        physical: physical.ok().map(|plan| displayable(plan.as_ref()).indent(false).to_string()),
        graphviz: plan.display_graphviz().to_string(),
        pgjson: plan.display_pg_json().to_string(),
    }
}
