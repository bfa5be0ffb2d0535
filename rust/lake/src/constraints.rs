//! Constraints of a table, checked over rows before any file of theirs is committed.
//!
//! A row passes a check or an invariant where it is true; false and NULL break it, as in Delta's own writer.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DFSchema;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use crate::error::{LakeError, Result};
use crate::properties::DeltaWriteSpec;
use crate::table::{Constraint, TableSnapshot};

/// The constraints that rows written by `spec` must meet: those of its properties, and those of the table.
pub fn required_constraints(spec: &DeltaWriteSpec, table: Option<&TableSnapshot>) -> Vec<Constraint> {
    let mut constraints = crate::properties::constraints(&spec.properties, "{}");
    for constraint in table.iter().flat_map(|table| &table.constraints) {
        if !constraints.contains(constraint) {
            constraints.push(constraint.clone());
        }
    }
    constraints
}

/// The same rows, ending in `constraint_violated` at the first one that breaks a constraint of the table `uri`.
///
/// `context` gives the functions that the constraints use.
pub fn checked_stream(
    context: &SessionContext,
    uri: &str,
    constraints: &[Constraint],
    stream: SendableRecordBatchStream,
) -> Result<SendableRecordBatchStream> {
    if constraints.is_empty() {
        return Ok(stream);
    }
    let schema = stream.schema();
    let checks = constraints
        .iter()
        .map(|constraint| Check::new(context, uri, constraint, &schema))
        .collect::<Result<Vec<_>>>()?;
    let checked = stream.map(move |batch| {
        let batch = batch?;
        for check in &checks {
            check.run(&batch)?;
        }
        Ok(batch)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)))
}

struct Check {
    uri: String,
    constraint: Constraint,
    expression: Arc<dyn PhysicalExpr>,
}

impl Check {
    fn new(context: &SessionContext, uri: &str, constraint: &Constraint, schema: &SchemaRef) -> Result<Self> {
        let unusable = |error: &dyn std::fmt::Display| LakeError::UnsupportedFeature {
            uri: uri.to_owned(),
            feature: format!("constraint '{}'", constraint.name),
            action: "written",
            hint: format!(
                "its condition '{}' cannot be evaluated ({error}); write it in standard SQL",
                constraint.expression
            ),
        };
        let columns = DFSchema::try_from(Arc::clone(schema)).map_err(|error| unusable(&error))?;
        let expression = context
            .parse_sql_expr(&constraint.expression, &columns)
            .and_then(|expression| context.create_physical_expr(expression, &columns))
            .map_err(|error| unusable(&error))?;
        Ok(Self { uri: uri.to_owned(), constraint: constraint.clone(), expression })
    }

    fn run(&self, batch: &RecordBatch) -> Result<()> {
        let values = self.expression.evaluate(batch)?.into_array(batch.num_rows())?;
        let values = cast(&values, &DataType::Boolean)?;
        let Some(values) = values.as_any().downcast_ref::<BooleanArray>() else {
            return Err(LakeError::invalid(format!(
                "constraint '{}' of table '{}' is not a condition",
                self.constraint.name, self.uri
            )));
        };
        let broken = (0..values.len()).find(|row| values.is_null(*row) || !values.value(*row));
        match broken {
            None => Ok(()),
            Some(row) => Err(LakeError::ConstraintViolated {
                uri: self.uri.clone(),
                constraint: self.constraint.name.clone(),
                detail: format!(
                    "'{}' does not hold for the row {}",
                    self.constraint.expression,
                    display_row(batch, row)
                ),
            }),
        }
    }
}

/// Text of a partition column for which delta-rs's writer writes NULL: what Hive names the folder of NULL.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Refuses NULL where the table does not take it, and texts of which a partition would make NULL.
pub(crate) fn check_nulls(uri: &str, schema: &SchemaRef, partition_by: &[String], batch: &RecordBatch) -> Result<()> {
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !field.is_nullable() && column.null_count() > 0 {
            let row = (0..column.len()).find(|row| column.is_null(*row)).unwrap_or(0);
            return Err(LakeError::ConstraintViolated {
                uri: uri.to_owned(),
                constraint: "NOT NULL".to_owned(),
                detail: format!("column '{}' is NULL in the row {}", field.name(), display_row(batch, row)),
            });
        }
        if partition_by.contains(field.name())
            && let Some(texts) = column.as_any().downcast_ref::<arrow::array::StringArray>()
            && let Some(text) = texts.iter().flatten().find(|text| text.is_empty() || *text == HIVE_NULL)
        {
            return Err(LakeError::SchemaMismatch {
                uri: uri.to_owned(),
                detail: format!(
                    "partition column '{}' holds the text '{text}', which a partition cannot tell from NULL; \
                     write NULLIF({0}, '{text}') or partition by another column",
                    field.name()
                ),
            });
        }
    }
    Ok(())
}

fn display_row(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let shown: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .take(8)
        .map(|(field, column)| {
            let value = ArrayFormatter::try_new(column, &options)
                .map_or_else(|_| "?".to_owned(), |values| values.value(row).to_string());
            format!("{}={value}", field.name())
        })
        .collect();
    format!("({})", shown.join(", "))
}
