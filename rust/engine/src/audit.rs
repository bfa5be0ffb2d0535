//! The proof that a view is right: its content against its query at its pins, as counted bags.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::json::ArrayWriter;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast as cast_expr, col, lit};
use lake::{PinnedTable, TableLocation, Version};
use maintenance::{Reason, WEIGHT};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::PlanBundle;
use crate::error::EngineError;
use crate::execution::Execution;
use crate::inputs::Inputs;
use crate::lineage::{Derivation, OutputColumn};
use crate::refresh::lake_error;
use crate::request::RefreshInput;
use crate::session::EngineSession;

/// Differing rows that are told in full.
const SAMPLES: usize = 20;

/// Differing rows that may be held, in bytes, to compare floats that are not exact.
const BUDGET: u64 = 1 << 30;

/// Largest relative difference of floats whose last digits depend on the order of rows: 12 significant digits.
const TOLERANCE: f64 = 1e-12;

/// An input at a pin.
#[derive(Clone, Debug, Deserialize)]
pub struct PinnedInput {
    /// Name of the dataset or view.
    pub relation: String,
    /// Where it lies.
    pub table: TableLocation,
    /// The version to read.
    pub version: Version,
    /// The id that the table must have.
    pub table_id: String,
}

/// What to compare: a view at its pins, and a version of its target.
#[derive(Clone, Debug, Deserialize)]
pub struct VerifyRequest {
    /// The compiled view.
    pub bundle: PlanBundle,
    /// Its inputs at the frontier.
    pub inputs: Vec<PinnedInput>,
    /// The table to look at.
    pub target: TableLocation,
    /// Its version.
    pub version: Version,
    /// What `now()` was when that version was made, milliseconds since the epoch.
    #[serde(default)]
    pub clock_ms: i64,
}

/// Inputs that are only read, as a refresh takes them.
pub(crate) fn pins(inputs: &[PinnedInput]) -> Vec<RefreshInput> {
    inputs
        .iter()
        .map(|input| RefreshInput {
            relation: input.relation.clone(),
            table: input.table.clone(),
            before: None,
            now: input.version,
            table_id: input.table_id.clone(),
            timestamp_ms: 0,
            commit_hash: None,
            before_commit_hash: None,
            trusted_writers: Vec::new(),
        })
        .collect()
}

/// A row that one side has and the other lacks.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// The row, by column.
    pub row: Value,
    /// How many the query gives more than the target has; negative if the target has more.
    pub missing: i64,
}

/// What the comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Whether both are the same bag.
    pub equal: bool,
    /// Rows that the query gives.
    pub rows: u64,
    /// Rows that the query gives and the target lacks.
    pub missing: u64,
    /// Rows that the target has and the query does not give.
    pub unexpected: u64,
    /// Some of them.
    pub samples: Vec<Sample>,
    /// Columns that were compared to 12 significant digits, because they are not the same bits in every run.
    pub approximate_columns: Vec<String>,
    /// The code of the reason why, if there are any; all other columns were compared bit for bit.
    pub approximate_reason: Option<&'static str>,
}

/// Compare a view with its query.
pub async fn verify(session: &EngineSession, request: &VerifyRequest) -> Result<VerifyReport, EngineError> {
    let subject = format!("view \"{}\"", request.bundle.name);
    compare(session, request).await.map_err(|error| EngineError::execution(&subject, error))
}

async fn compare(session: &EngineSession, request: &VerifyRequest) -> Result<VerifyReport> {
    let execution = Execution::new(session, request.clock_ms)?;
    let inputs = Inputs::open(session, &pins(&request.inputs), false).await?;
    let target = &request.target;
    session.register_store(target)?;
    let snapshot = session.lake().snapshot(target, Some(request.version)).await.map_err(lake_error)?;
    let schema = lake::view_typed(&snapshot.schema);
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let unqualified = |name: &str| Expr::Column(Column::new_unqualified(name));
    let expected = inputs.now_plan(session, &request.bundle)?;
    // By position: the target has the view's columns in the view's order.
    let expected_columns: Vec<Expr> = expected
        .schema()
        .columns()
        .into_iter()
        .zip(schema.fields())
        .map(|(column, field)| cast_expr(Expr::Column(column), field.data_type().clone()).alias(field.name().as_str()))
        .chain([lit(1_i64).alias(WEIGHT)])
        .collect();
    let actual_columns: Vec<Expr> =
        names.iter().map(|name| unqualified(name)).chain([lit(-1_i64).alias(WEIGHT)]).collect();
    let table = PinnedTable::new(session.lake().clone(), Arc::clone(&snapshot));
    let actual = LogicalPlanBuilder::scan("target", provider_as_source(Arc::new(table)), None)?
        .project(actual_columns)?
        .build()?;
    let counted = LogicalPlanBuilder::from(expected)
        .project(expected_columns)?
        .union(actual)?
        .aggregate(names.iter().map(|name| unqualified(name)).collect::<Vec<_>>(), [sum(col(WEIGHT)).alias(WEIGHT)])?;
    let differing = counted.filter(col(WEIGHT).not_eq(lit(0_i64)))?.build()?;
    let collected = execution.collect(&differing, BUDGET).await?;
    let approximate = approximate_columns(&request.bundle.lineage.outputs, &schema);
    let mut rows = weighted_rows(&collected.batches)?;
    if !approximate.is_empty() {
        cancel_nearly_equal(&mut rows, &collected.batches, &approximate)?;
    }
    let missing: u64 = rows.iter().map(|row| u64::try_from(row.weight.max(0)).unwrap_or(0)).sum();
    let unexpected: u64 = rows.iter().map(|row| row.weight.min(0).unsigned_abs()).sum();
    let in_target = match snapshot.rows() {
        Some(rows) => rows,
        None => snapshot.files.iter().filter_map(lake::DataFile::live_rows).sum(),
    };
    let samples = rows
        .iter()
        .filter(|row| row.weight != 0)
        .take(SAMPLES)
        .map(|row| sample(&collected.batches, row))
        .collect::<Result<_>>()?;
    Ok(VerifyReport {
        equal: missing == 0 && unexpected == 0,
        rows: (in_target + missing).saturating_sub(unexpected),
        missing,
        unexpected,
        samples,
        approximate_reason: (!approximate.is_empty()).then(|| Reason::FloatOrderDependent.code()),
        approximate_columns: approximate.into_iter().map(|index| names[index].clone()).collect(),
    })
}

/// Float columns that depend on the order of rows: their sums are not exact.
pub(crate) fn approximate_columns(
    outputs: &[OutputColumn],
    schema: &datafusion::arrow::datatypes::Schema,
) -> BTreeSet<usize> {
    outputs
        .iter()
        .enumerate()
        .filter(|(index, output)| {
            schema.fields().get(*index).is_some_and(|field| field.data_type().is_floating())
                && output.sources.iter().any(|source| source.how == Derivation::OrderDependent)
        })
        .map(|(index, _)| index)
        .collect()
}

struct Weighted {
    batch: usize,
    row: usize,
    weight: i64,
}

fn weighted_rows(batches: &[RecordBatch]) -> Result<Vec<Weighted>> {
    let mut rows = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        let weights = batch
            .column(batch.num_columns() - 1)
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| EngineError::defect("verify", "the weight is not an Int64"))?;
        rows.extend(weights.values().iter().enumerate().map(|(row, weight)| Weighted {
            batch: index,
            row,
            weight: *weight,
        }));
    }
    Ok(rows)
}

/// Rows that differ only in approximate columns, and there by less than the tolerance, meet and vanish.
fn cancel_nearly_equal(rows: &mut [Weighted], batches: &[RecordBatch], approximate: &BTreeSet<usize>) -> Result<()> {
    let options = FormatOptions::default().with_null("\u{0}");
    let mut exact: Vec<(String, Vec<f64>)> = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let batch = &batches[row.batch];
        let (mut key, mut values) = (String::new(), Vec::new());
        for (index, column) in batch.columns().iter().take(batch.num_columns() - 1).enumerate() {
            if approximate.contains(&index) && column.is_valid(row.row) {
                let number = cast(&column.slice(row.row, 1), &DataType::Float64)?;
                values.push(number.as_primitive::<Float64Type>().value(0));
                key.push('\u{1}');
            } else {
                let text = ArrayFormatter::try_new(column.as_ref(), &options)?.value(row.row).to_string();
                for part in [text.len().to_string().as_str(), ":", text.as_str(), "\u{1}"] {
                    key.push_str(part);
                }
            }
        }
        exact.push((key, values));
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|left, right| exact[*left].0.cmp(&exact[*right].0));
    for group in order.chunk_by(|left, right| exact[*left].0 == exact[*right].0) {
        for (position, &left) in group.iter().enumerate() {
            for &right in &group[position + 1..] {
                let opposite = rows[left].weight.signum() * rows[right].weight.signum() < 0;
                if opposite && exact[left].1.iter().zip(&exact[right].1).all(|(one, other)| nearly(*one, *other)) {
                    let common = rows[left].weight.abs().min(rows[right].weight.abs());
                    rows[left].weight -= rows[left].weight.signum() * common;
                    rows[right].weight -= rows[right].weight.signum() * common;
                }
            }
        }
    }
    Ok(())
}

fn nearly(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits()
        || (one.is_nan() && other.is_nan())
        || (one - other).abs() <= TOLERANCE * one.abs().max(other.abs()).max(f64::MIN_POSITIVE)
}

fn sample(batches: &[RecordBatch], row: &Weighted) -> Result<Sample> {
    let batch = &batches[row.batch];
    let columns: Vec<usize> = (0..batch.num_columns() - 1).collect();
    let one = batch.project(&columns)?.slice(row.row, 1);
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write(&one)?;
    writer.finish()?;
    let value: Value = serde_json::from_slice(&writer.into_inner()).unwrap_or(Value::Null);
    let row_value = value.as_array().and_then(|rows| rows.first()).cloned().unwrap_or(Value::Null);
    Ok(Sample { row: row_value, missing: row.weight })
}
