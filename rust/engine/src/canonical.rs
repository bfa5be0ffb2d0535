//! Canonical bytes of a plan.
//!
//! Substrait is the first choice, because other engines read it.  But its producer loses meaning silently (`NOT IN`
//! with NULLs, RANGE frames with intervals, IGNORE NULLS, DISTINCT and FILTER in windows, time zones), so bytes are
//! Substrait only if decoding them gives a plan of the same [shape](crate::plan_shape).  Otherwise they are
//! DataFusion's own messages, held to the same test.
//!
//! Equation: `decode(encode(plan))` computes what `plan` computes, and equal plans have equal bytes in every process.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::Transformed;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, Union};
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
};
use datafusion_substrait::logical_plan::consumer::from_substrait_plan;
use datafusion_substrait::logical_plan::producer::to_substrait_plan;
use datafusion_substrait::substrait::proto::Plan;
use datafusion_substrait::substrait::proto::extensions::simple_extension_declaration::MappingType;
use futures::executor::block_on;
use prost::Message;

use crate::bundle::PlanEncoding;
use crate::error::{EngineError, Result};
use crate::optimizing::optimize;
use crate::plan_shape::{Unknown, identical, shape};
use crate::relation_source::{RelationCodec, RelationTable};
use crate::session::{CATALOG, EngineSession, SCHEMA};

/// Characters of an error that are kept as the reason for an encoding.
const LONGEST_REASON: usize = 200;

/// A plan with its bytes.
#[derive(Debug)]
pub struct Encoded {
    /// How the bytes are encoded.
    pub encoding: PlanEncoding,
    /// Why they are not Substrait.
    pub reason: Option<String>,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What decoding them gives: the plan that will run.
    pub plan: LogicalPlan,
}

/// Encodes an optimized plan whose leaves are the given relations.
///
/// # Errors
/// `engine_defect` if neither encoding keeps the meaning of the plan.
pub fn encode(
    session: &EngineSession,
    subject: &str,
    plan: &LogicalPlan,
    relations: &[Arc<RelationTable>],
) -> Result<Encoded> {
    let reason = match encode_substrait(session, plan, relations) {
        Ok((bytes, plan)) => {
            return Ok(Encoded { encoding: PlanEncoding::Substrait, reason: None, bytes, plan });
        }
        Err(reason) => reason,
    };
    let codec = RelationCodec::new([]);
    let bytes = logical_plan_to_bytes_with_extension_codec(plan, &codec).map_err(|error| {
        EngineError::invalid_query(
            subject,
            format!("the plan cannot be stored: {} (and as Substrait: {reason})", error.strip_backtrace()),
        )
    })?;
    let decoded = decode(session, PlanEncoding::Proto, &bytes, relations).map_err(|error| {
        EngineError::defect(subject, format!("the plan cannot be read back: {}", error.strip_backtrace()))
    })?;
    if !identical(plan, &decoded) {
        same_shape(plan, &decoded).map_err(|difference| {
            EngineError::defect(subject, format!("the plan changes when it is stored: {difference}"))
        })?;
    }
    Ok(Encoded { encoding: PlanEncoding::Proto, reason: Some(reason), bytes: bytes.to_vec(), plan: decoded })
}

/// Reads bytes back over the given relations.
///
/// # Errors
/// DataFusion's, if the bytes are damaged or name something that is not there.
pub fn decode(
    session: &EngineSession,
    encoding: PlanEncoding,
    bytes: &[u8],
    relations: &[Arc<RelationTable>],
) -> Result<LogicalPlan, DataFusionError> {
    let state = session.planning_state();
    match encoding {
        PlanEncoding::Substrait => {
            register(&state, relations)?;
            let message = Plan::decode(bytes).map_err(|error| DataFusionError::Substrait(error.to_string()))?;
            let plan = block_on(from_substrait_plan(&state, &message))?;
            // The decoder builds joins and windows in its own way; optimizing gives the form that was encoded.
            optimize(&state, &plan)
        }
        PlanEncoding::Proto => {
            let codec = RelationCodec::new(relations.iter().map(Arc::clone));
            let plan = logical_plan_from_bytes_with_extension_codec(bytes, &state.task_ctx(), &codec)?;
            unions_of_many(plan)
        }
    }
}

/// Joins unions of unions, since the decoder of messages builds a union of many inputs out of unions of two.
fn unions_of_many(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let joined = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Union(union) = node else { return Ok(Transformed::no(node)) };
        let inputs = union.inputs.iter().flat_map(|input| match input.as_ref() {
            LogicalPlan::Union(inner) => inner.inputs.clone(),
            _ => vec![Arc::clone(input)],
        });
        Ok(Transformed::yes(LogicalPlan::Union(Union { inputs: inputs.collect(), schema: union.schema })))
    })?;
    Ok(joined.data)
}

/// Makes relations known to a fresh state under their bare names.
pub fn register(state: &SessionState, relations: &[Arc<RelationTable>]) -> Result<(), DataFusionError> {
    let schema = state
        .catalog_list()
        .catalog(CATALOG)
        .and_then(|catalog| catalog.schema(SCHEMA))
        .ok_or_else(|| DataFusionError::Internal("a planning state has no catalogue".to_owned()))?;
    for relation in relations {
        schema.register_table(relation.relation().to_owned(), Arc::clone(relation) as Arc<dyn TableProvider>)?;
    }
    Ok(())
}

/// The bytes and what they decode to, or the reason why Substrait does not hold the plan.
fn encode_substrait(
    session: &EngineSession,
    plan: &LogicalPlan,
    relations: &[Arc<RelationTable>],
) -> Result<(Vec<u8>, LogicalPlan), String> {
    // A plan without a shape could not be checked.
    let expected = shape(plan).map_err(|Unknown(what)| format!("{what} is not compared in Substrait"))?;
    let state = session.planning_state();
    let mut message = to_substrait_plan(plan, &state)
        .map_err(|error| format!("Substrait has no form for it: {}", first_line(&error)))?;
    // The producer collects declarations in a hash map.
    message.extensions.sort_by_key(|declaration| match &declaration.mapping_type {
        None => (0, 0),
        Some(MappingType::ExtensionType(mapping)) => (1, mapping.type_anchor),
        Some(MappingType::ExtensionTypeVariation(mapping)) => (2, mapping.type_variation_anchor),
        Some(MappingType::ExtensionFunction(mapping)) => (3, mapping.function_anchor),
    });
    let bytes = message.encode_to_vec();
    let decoded = decode(session, PlanEncoding::Substrait, &bytes, relations)
        .map_err(|error| format!("Substrait does not decode: {}", first_line(&error)))?;
    let found = shape(&decoded).map_err(|Unknown(what)| format!("Substrait gives back {what}"))?;
    if found != expected {
        return Err(format!("Substrait changes {}", difference(&expected.text(), &found.text())));
    }
    same_schema(plan, &decoded).map_err(|difference| format!("Substrait changes {difference}"))?;
    Ok((bytes, decoded))
}

fn same_shape(plan: &LogicalPlan, decoded: &LogicalPlan) -> Result<(), String> {
    let expected = shape(plan).map_err(|Unknown(what)| format!("{what} differs"))?;
    let found = shape(decoded).map_err(|Unknown(what)| format!("{what} differs"))?;
    if found != expected {
        return Err(difference(&expected.text(), &found.text()));
    }
    same_schema(plan, decoded)
}

/// Names, types and nullability of the result.
fn same_schema(plan: &LogicalPlan, decoded: &LogicalPlan) -> Result<(), String> {
    let expected = plan.schema().fields();
    let found = decoded.schema().fields();
    if expected.len() != found.len() {
        return Err(format!("the number of columns from {} to {}", expected.len(), found.len()));
    }
    for (expected, found) in expected.iter().zip(found) {
        if expected.name() != found.name() {
            return Err(format!("column \"{}\" to \"{}\"", expected.name(), found.name()));
        }
        if expected.data_type() != found.data_type() {
            return Err(format!(
                "the type of column \"{}\" from {} to {}",
                expected.name(),
                expected.data_type(),
                found.data_type()
            ));
        }
        if expected.is_nullable() != found.is_nullable() {
            return Err(format!("whether column \"{}\" may be NULL", expected.name()));
        }
    }
    Ok(())
}

/// The place where two texts part, with a little of what surrounds it.
fn difference(expected: &str, found: &str) -> String {
    const BEFORE: usize = 40;
    const AFTER: usize = 80;
    let part = expected.chars().zip(found.chars()).take_while(|(left, right)| left == right).count();
    let excerpt =
        |text: &str| -> String { text.chars().skip(part.saturating_sub(BEFORE)).take(BEFORE + AFTER).collect() };
    format!("\"…{}…\" to \"…{}…\"", excerpt(expected), excerpt(found))
}

/// The beginning of an error: some hold the whole plan in one line.
fn first_line(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
