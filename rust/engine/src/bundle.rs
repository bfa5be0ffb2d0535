//! The bundle: the plan of a view and all that belongs to it.
//!
//! Everything after compiling (scan planning, scheduling, refreshing, previews) reads the bundle and nothing else.
//! Equation: two bundles with equal fingerprints compute equal rows from equal inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use maintenance::Analysis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::deep_stack::on_deep_stack;
use crate::error::{EngineError, Result};
use crate::identity::input_use;
use crate::lineage::Lineage;
use crate::relation_source::RelationTable;
use crate::session::EngineSession;

/// An input as it is offered to the compiler.
#[derive(Clone, Debug)]
pub struct InputSchema {
    /// The name of the dataset or view.
    pub relation: String,
    /// Its schema, as the Delta log maps to Arrow: plain strings, not views.
    pub schema: SchemaRef,
}

impl InputSchema {
    /// The same input with some of its columns, in their order.
    #[must_use]
    pub fn select(&self, columns: &BTreeSet<String>) -> Self {
        let fields: Vec<Arc<Field>> =
            self.schema.fields().iter().filter(|field| columns.contains(field.name())).map(Arc::clone).collect();
        Self { relation: self.relation.clone(), schema: Arc::new(Schema::new(fields)) }
    }
}

/// How the plan bytes of a bundle are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanEncoding {
    /// Substrait, chosen when decoding it gives the same plan back.
    Substrait,
    /// DataFusion's own protobuf messages, for plans that Substrait changes or refuses.
    Proto,
}

impl PlanEncoding {
    /// The name under which the encoding is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Substrait => "substrait",
            Self::Proto => "proto",
        }
    }
}

/// A column with its type as a Delta schema writes it (`"long"`, `"decimal(12,2)"`, `{"type": "array", …}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnType {
    /// The name of the column.
    pub name: String,
    /// The type, as JSON of a Delta schema.
    #[serde(rename = "type")]
    pub data_type: Value,
    /// Whether the column may hold NULL.
    pub nullable: bool,
}

/// What a plan needs of one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputUse {
    /// The columns that the plan reads, in the order of the table; other columns may come and go.
    pub columns: Vec<ColumnType>,
    /// sha256 of these columns, hex.
    pub schema_hash: String,
}

/// Renderings of the plan for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Displays {
    /// The plan as written, before any rule ran.
    pub logical: String,
    /// The plan that the bytes hold.
    pub optimized: String,
    /// The physical plan over empty tables: the operators, not the choices that depend on sizes.
    pub physical: Option<String>,
    /// The optimized plan in Graphviz's language.
    pub graphviz: String,
    /// The optimized plan as PostgreSQL's JSON.
    pub pgjson: String,
}

/// The compiled form of a view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanBundle {
    /// The name of the view.
    pub name: String,
    /// How `plan_bytes` are encoded.
    pub encoding: PlanEncoding,
    /// Why the bytes are not Substrait.
    pub encoding_reason: Option<String>,
    /// The optimized plan; base64 in JSON.
    #[serde(with = "base64")]
    pub plan_bytes: Vec<u8>,
    /// Identity of the inputs of compiling: definition, schemas, functions, settings, engine version.
    pub compile_key: String,
    /// Identity of the plan.
    pub fingerprint: String,
    /// Identity of the meaning: only its change makes stored content invalid.
    pub content_key: String,
    /// The columns of the result, with the types that the target has.
    pub output_schema: Vec<ColumnType>,
    /// The same as a Delta schema, JSON text.
    pub table_schema: String,
    /// Names of the platform's functions that the plan calls.
    pub required_functions: Vec<String>,
    /// Rewrite tags of these functions.
    pub required_rewrite_tags: Vec<String>,
    /// Hash of the whole function platform at planning.
    pub function_snapshot_hash: String,
    /// Hash over every function of the session, built-in ones included.
    pub function_registry_hash: String,
    /// Every function that the plan calls, built-in ones included, by `kind:name`, with its own hash.
    pub functions_used: BTreeMap<String, String>,
    /// The macros of the project that the view calls, directly or through another one, with their hashes.
    ///
    /// The plan has their expressions in place of their calls, so that running it needs none of them.
    #[serde(default)]
    pub macros_used: BTreeMap<String, String>,
    /// Names of the functions in the plan that give other values at each call, sorted.
    #[serde(default)]
    pub volatile_functions: Vec<String>,
    /// The domain planners that were on.
    pub domain_planners: Vec<String>,
    /// The functions that switched each of them on.
    #[serde(default)]
    pub domain_planner_functions: BTreeMap<String, Vec<String>>,
    /// Every setting of the session, as `information_schema.df_settings` shows them; not needed to run the plan.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where the result comes from.
    pub lineage: Lineage,
    /// Renderings for people; not needed to run the plan.
    #[serde(default)]
    pub displays: Displays,
    /// How each operator is maintained.
    pub maintenance: Analysis,
    /// What the plan needs of each input, by relation.
    pub inputs: BTreeMap<String, InputUse>,
    /// The version of this engine and of DataFusion.
    pub engine_version: String,
    /// The first of two stages: a view of its own, which this one reads in the place of a part of its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<PlanBundle>>,
}

/// Reads the plan of a bundle; its leaves are scans named by relation, over sources that know only their schemas.
///
/// The sources have the columns that the plan reads, in the order of the table, with the types of a pinned scan.
///
/// # Errors
/// `function_changed` if a function that the plan calls is not the one that it was planned with, `unknown_relation` and
/// `schema_mismatch` if an input is not what the plan was made for, `corrupt_bundle` if the bytes cannot be read.
pub fn decode_plan(session: &EngineSession, bundle: &PlanBundle, inputs: &[InputSchema]) -> Result<LogicalPlan> {
    let relations = checked_relations(session, bundle, inputs)?;
    on_deep_stack(|| canonical::decode(session, bundle.encoding, &bundle.plan_bytes, &relations))
        .map_err(|error| EngineError::no_thread(&error))?
        .map_err(|error| EngineError::CorruptBundle {
            subject: format!("view \"{}\"", bundle.name),
            message: error.strip_backtrace(),
        })
}

/// Checks what [`decode_plan`] checks, for a plan that was decoded before.
///
/// # Errors
/// As [`decode_plan`], but for `corrupt_bundle`.
pub fn require_fitting(session: &EngineSession, bundle: &PlanBundle, inputs: &[InputSchema]) -> Result<()> {
    checked_relations(session, bundle, inputs).map(drop)
}

/// The leaves of a bundle's plan, if functions and inputs are what the plan was made for.
fn checked_relations(
    session: &EngineSession,
    bundle: &PlanBundle,
    inputs: &[InputSchema],
) -> Result<Vec<Arc<RelationTable>>> {
    let subject = format!("view \"{}\"", bundle.name);
    require_functions(session, &subject, bundle)?;
    let mut relations = Vec::with_capacity(bundle.inputs.len());
    for (relation, used) in &bundle.inputs {
        let Some(input) = inputs.iter().find(|input| input.relation == *relation) else {
            return Err(crate::compile::unknown_relation(&subject, relation, inputs));
        };
        let names: BTreeSet<String> = used.columns.iter().map(|column| column.name.clone()).collect();
        let input = input.select(&names);
        require_schema(&subject, relation, used, &input)?;
        relations.push(Arc::new(RelationTable::new(relation, &input.schema)));
    }
    Ok(relations)
}

fn require_functions(session: &EngineSession, subject: &str, bundle: &PlanBundle) -> Result<()> {
    for (function, hash) in &bundle.functions_used {
        let (kind, name) = function.split_once(':').unwrap_or(("", function));
        let message = match session.platform().function_hash(kind, name) {
            Some(registered) if registered == hash => continue,
            Some(_) => {
                format!("{kind} function \"{name}\" is not the one that the plan was made with")
            }
            None => format!("{kind} function \"{name}\" is not registered"),
        };
        return Err(EngineError::FunctionChanged { subject: subject.to_owned(), message });
    }
    Ok(())
}

fn require_schema(subject: &str, relation: &str, used: &InputUse, input: &InputSchema) -> Result<()> {
    let found = input_use(relation, &input.schema)?;
    if found.schema_hash == used.schema_hash {
        return Ok(());
    }
    let difference = used
        .columns
        .iter()
        .find_map(|column| match found.columns.iter().find(|found| found.name == column.name) {
            None => Some(format!("column \"{}\" is gone", column.name)),
            Some(now) if now != column => {
                Some(format!("column \"{}\" was {} and is {}", column.name, column.describe(), now.describe()))
            }
            Some(_) => None,
        })
        .unwrap_or_else(|| "the order of its columns changed".to_owned());
    Err(EngineError::SchemaMismatch {
        subject: subject.to_owned(),
        message: format!("relation \"{relation}\": {difference}; compile the view again"),
    })
}

impl ColumnType {
    fn describe(&self) -> String {
        let data_type = match &self.data_type {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        };
        format!("{data_type}{}", if self.nullable { "" } else { " NOT NULL" })
    }
}

/// The version of this engine with that of DataFusion, as in `"0.1.0+datafusion.55.2.0"`.
pub fn engine_version() -> String {
    format!("{}+datafusion.{}", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION)
}

/// Base64 with padding (RFC 4648, section 4), as a serde representation of bytes.
pub mod base64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    /// Writes bytes as text.
    pub fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let group = chunk
                .iter()
                .enumerate()
                .fold(0u32, |group, (index, byte)| group | u32::from(*byte) << (16 - 8 * index));
            for position in 0..4 {
                if position <= chunk.len() {
                    let index = (group >> (18 - 6 * position)) & 63;
                    text.push(char::from(ALPHABET[index as usize]));
                } else {
                    text.push('=');
                }
            }
        }
        text
    }

    /// Reads what [`encode`] wrote; none if the text is not base64.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let text = text.as_bytes();
        if !text.len().is_multiple_of(4) {
            return None;
        }
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        for (number, chunk) in text.chunks(4).enumerate() {
            let last = (number + 1) * 4 == text.len();
            let padding = chunk.iter().rev().take_while(|byte| **byte == b'=').count();
            if padding > 2 || (padding > 0 && !last) {
                return None;
            }
            let mut group = 0u32;
            for byte in &chunk[..4 - padding] {
                group = group << 6 | value(*byte)?;
            }
            group <<= 6 * padding;
            let [_, first, second, third] = group.to_be_bytes();
            bytes.extend_from_slice(&[first, second, third][..3 - padding]);
        }
        Some(bytes)
    }

    fn value(byte: u8) -> Option<u32> {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        Some(u32::from(value))
    }

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| D::Error::custom("the text is not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::base64::{decode, encode};

    #[test]
    fn base64_follows_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn text_that_is_not_base64_is_refused() {
        for text in ["Zg", "Zg=a", "Z===", "Zg==Zg==", "Zm9*"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
