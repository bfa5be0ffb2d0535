//! DataFrame definitions: the messages of a plan that was built elsewhere, moved onto schema-only relations.
//!
//! They come from a DataFusion of the same major version, in which each relation was registered as a Parquet table
//! without rows under its bare name.  The paths of these tables are no part of the definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, TableScan, TableScanBuilder};
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
};

use crate::error::{EngineError, Result};
use crate::relation_source::{RelationCodec, RelationTable, plain_schema};

/// Reads a DataFrame's plan and binds it to the relations.
///
/// Returns the plan, and its bytes without paths, which are what it means.
///
/// # Errors
/// `corrupt_bundle` for bytes that are no plan, `unknown_relation`, and `schema_mismatch` naming the column.
pub fn plan(
    state: &SessionState,
    subject: &str,
    bytes: &[u8],
    relations: &[Arc<RelationTable>],
) -> Result<(LogicalPlan, Vec<u8>)> {
    let known: BTreeMap<&str, &Arc<RelationTable>> =
        relations.iter().map(|relation| (relation.relation(), relation)).collect();
    let plan = read(state, subject, bytes)?;
    let bound = replace_scans(subject, plan, &|name, schema| {
        let relation = known.get(name).ok_or_else(|| {
            let mut names: Vec<String> = known.keys().map(|name| format!("\"{name}\"")).collect();
            names.sort();
            EngineError::UnknownRelation {
                subject: subject.to_owned(),
                relation: name.to_owned(),
                known: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            }
        })?;
        require_columns(subject, name, schema, &relation.schema())?;
        Ok(Arc::clone(relation))
    })?;
    let meaning = write(subject, &bound)?;
    Ok((bound, meaning))
}

/// The bytes of a DataFrame's plan with names in the place of paths.
///
/// # Errors
/// `corrupt_bundle` for bytes that are no plan.
pub fn without_paths(state: &SessionState, subject: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let plan = read(state, subject, bytes)?;
    let bound = replace_scans(subject, plan, &|name, schema| Ok(Arc::new(RelationTable::new(name, schema))))?;
    write(subject, &bound)
}

fn read(state: &SessionState, subject: &str, bytes: &[u8]) -> Result<LogicalPlan> {
    logical_plan_from_bytes_with_extension_codec(bytes, &state.task_ctx(), &RelationCodec::new([]))
        .map_err(|error| EngineError::CorruptBundle { subject: subject.to_owned(), message: error.strip_backtrace() })
}

fn write(subject: &str, plan: &LogicalPlan) -> Result<Vec<u8>> {
    logical_plan_to_bytes_with_extension_codec(plan, &RelationCodec::new([]))
        .map(|bytes| bytes.to_vec())
        .map_err(|error| EngineError::planning(subject, error))
}

type Relation<'a> = dyn Fn(&str, &Schema) -> Result<Arc<RelationTable>> + 'a;

fn replace_scans(subject: &str, plan: LogicalPlan, relation: &Relation<'_>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => Ok(Transformed::yes(replace_scan(subject, scan, relation)?)),
        // Types below may have become those of the relation, so schemas above are made anew.
        other => Ok(Transformed::yes(other.recompute_schema()?)),
    })
    .map(|transformed| transformed.data)
    .map_err(|error| EngineError::planning(subject, error))
}

fn replace_scan(
    subject: &str,
    scan: TableScan,
    relation: &Relation<'_>,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    let provider = source_as_provider(&scan.source)?;
    if provider.downcast_ref::<ListingTable>().is_none() {
        // The work table of a recursive query.
        return Ok(LogicalPlan::TableScan(scan));
    }
    let TableReference::Bare { table } = &scan.table_name else {
        return Err(EngineError::invalid_query(
            subject,
            format!(
                "relation \"{}\" has a schema; read \"{}\", the name of a dataset or view",
                scan.table_name,
                scan.table_name.table()
            ),
        )
        .into());
    };
    let table = relation(table, &plain_schema(&provider.schema()))?;
    let schema = table.schema();
    let projection = scan
        .projected_schema
        .fields()
        .iter()
        .map(|field| schema.index_of(field.name()))
        .collect::<std::result::Result<Vec<usize>, _>>()?;
    let pushed = conjunction(scan.filters.clone());
    let mut columns = projection.clone();
    if let Some(filter) = &pushed {
        for column in filter.column_refs() {
            let position = schema.index_of(&column.name)?;
            if !columns.contains(&position) {
                columns.push(position);
            }
        }
    }
    let source = provider_as_source(Arc::clone(&table) as Arc<dyn TableProvider>);
    let inner = LogicalPlan::TableScan(
        TableScanBuilder::new(scan.table_name.clone(), source).with_projection(Some(columns.clone())).build()?,
    );
    let Some(filter) = pushed else {
        return Ok(inner);
    };
    // What was pushed into the Parquet scan is a filter over ours.
    let filtered = LogicalPlan::Filter(Filter::try_new(filter, Arc::new(inner))?);
    if columns == projection {
        return Ok(filtered);
    }
    let kept = projection
        .iter()
        .map(|position| {
            let name = schema.field(*position).name();
            Expr::Column(Column::new(Some(scan.table_name.clone()), name))
        })
        .collect::<Vec<_>>();
    LogicalPlanBuilder::from(filtered).project(kept)?.build()
}

fn require_columns(subject: &str, relation: &str, given: &Schema, actual: &SchemaRef) -> Result<()> {
    for field in given.fields() {
        let message = match actual.field_with_name(field.name()) {
            Err(_) => format!("relation \"{relation}\" has no column \"{}\"", field.name()),
            Ok(found) if !same_type(field.data_type(), found.data_type()) => format!(
                "column \"{}\" of relation \"{relation}\" is {}, but the DataFrame was built for {}",
                field.name(),
                found.data_type(),
                field.data_type()
            ),
            Ok(_) => continue,
        };
        return Err(EngineError::SchemaMismatch { subject: subject.to_owned(), message });
    }
    Ok(())
}

/// Equal types, apart from encodings of strings and from names and nullability of what is nested.
fn same_type(left: &DataType, right: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, LargeBinary, LargeList, LargeUtf8, List, Map, Struct, Timestamp, Utf8, Utf8View,
    };
    match (left, right) {
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        | (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (Timestamp(left, left_zone), Timestamp(right, right_zone)) => {
            left == right && left_zone.is_some() == right_zone.is_some()
        }
        (List(left) | LargeList(left), List(right) | LargeList(right)) => {
            same_type(left.data_type(), right.data_type())
        }
        (Map(left, _), Map(right, _)) => same_type(left.data_type(), right.data_type()),
        (Struct(left), Struct(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same_type(left.data_type(), right.data_type()))
        }
        (left, right) => left == right,
    }
}
