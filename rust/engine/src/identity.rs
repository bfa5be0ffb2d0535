//! The three identities of a bundle.
//!
//! - The *compile key* is known without planning; while it holds, the stored bundle is used and nothing is planned.
//! - The *fingerprint* is the plan: equal in every process and on every machine.
//! - The *content key* is the meaning; only its change makes stored content invalid.
//!
//! They differ in which settings count.  Where work is done (memory, folders, number of partitions) counts for none;
//! what shapes plans counts for the fingerprint; what can change rows counts for the content key.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use functions::snapshot::hash_json;

use crate::bundle::{ColumnType, InputSchema, InputUse, PlanEncoding, engine_version};
use crate::compile::CompileOptions;
use crate::error::Result;
use crate::output_types::column_types;
use crate::session::EngineSession;

/// Settings that tell where and how parallel work is done, by prefix; they shape no logical plan.
const MACHINE_SETTINGS: &[&str] = &[
    "datafusion.runtime.",
    "datafusion.explain.",
    "datafusion.format.",
    "datafusion.execution.target_partitions",
    "datafusion.execution.planning_concurrency",
    "datafusion.execution.meta_fetch_concurrency",
    "datafusion.execution.spill_compression",
    "datafusion.execution.sort_spill_reservation_bytes",
    "datafusion.execution.sort_in_place_threshold_bytes",
    "datafusion.execution.max_spill_file_size_bytes",
    "datafusion.execution.parquet.created_by",
];

/// Settings that can change which rows a query has, by prefix.
const CONTENT_SETTINGS: &[&str] = &[
    "datafusion.sql_parser.parse_float_as_decimal",
    "datafusion.sql_parser.enable_ident_normalization",
    "datafusion.sql_parser.dialect",
    "datafusion.sql_parser.support_varchar_with_length",
    "datafusion.sql_parser.default_null_ordering",
    "datafusion.execution.time_zone",
    "datafusion.execution.enable_ansi_mode",
    "datafusion.execution.parquet.binary_as_string",
    "datafusion.execution.parquet.coerce_int96",
    "datafusion.spark.",
];

/// The settings that shape logical plans.
pub fn planning_settings(settings: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    select(settings, |key| !MACHINE_SETTINGS.iter().any(|prefix| key.starts_with(prefix)))
}

/// The settings that can change rows.
pub fn content_settings(settings: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    select(settings, |key| CONTENT_SETTINGS.iter().any(|prefix| key.starts_with(prefix)))
}

fn select(settings: &BTreeMap<String, String>, wanted: impl Fn(&str) -> bool) -> BTreeMap<&str, &str> {
    settings.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The compile key of a definition over inputs with the given schemas.
///
/// # Errors
/// As [`column_types`], for an input type that Delta does not have.
pub fn compile_key(
    session: &EngineSession,
    definition: &[u8],
    inputs: &[InputSchema],
    options: &CompileOptions,
) -> Result<String> {
    let mut schemas: BTreeMap<&str, Vec<ColumnType>> = BTreeMap::new();
    for input in inputs {
        let subject = format!("relation \"{}\"", input.relation);
        schemas.insert(&input.relation, column_types(&subject, &input.schema)?);
    }
    let platform = session.platform();
    Ok(hash_json(&(
        "compile key",
        definition,
        options.exact_sums,
        &options.state,
        schemas,
        &platform.functions.snapshot_hash,
        &platform.registry_hash,
        planning_settings(session.settings()),
        engine_version(),
    )))
}

/// The fingerprint of a plan.
pub fn fingerprint(
    session: &EngineSession,
    encoding: PlanEncoding,
    plan: &[u8],
    functions: &BTreeMap<String, String>,
    inputs: &BTreeMap<String, InputUse>,
) -> String {
    hash_json(&("fingerprint", encoding, plan, planning_settings(session.settings()), functions, used_schemas(inputs)))
}

/// The content key of a definition.
///
/// `definition` is its meaning as text or bytes: SQL without comments and white space, a plan without paths; `exact` says
/// whether there are sums of floats in it that were made exact.
pub fn content_key(
    session: &EngineSession,
    definition: &[u8],
    exact: bool,
    functions: &BTreeMap<String, String>,
    inputs: &BTreeMap<String, InputUse>,
) -> String {
    let settings = content_settings(session.settings());
    hash_json(&("content key", definition, exact, settings, functions, used_schemas(inputs)))
}

/// What is used of an input with the given schema.
pub fn input_use(relation: &str, schema: &Schema) -> Result<InputUse> {
    let mut columns = column_types(&format!("relation \"{relation}\""), schema)?;
    // Plans name columns; a writer that moves a column behind another one changes nothing.
    columns.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(InputUse { schema_hash: hash_json(&columns), columns })
}

fn used_schemas(inputs: &BTreeMap<String, InputUse>) -> BTreeMap<&str, &str> {
    inputs.iter().map(|(relation, used)| (relation.as_str(), used.schema_hash.as_str())).collect()
}
