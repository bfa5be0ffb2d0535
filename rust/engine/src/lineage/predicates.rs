//! The conditions that filters put on a single scan.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use datafusion_proto::bytes::Serializeable;

use super::Predicate;

/// The conjuncts of a filter that only read columns of the scan below it; none if it is not above one scan.
///
/// Only renaming operators and other filters may lie between: what computes, matches or counts rows would make a
/// condition on its result another one on its input.
pub fn predicates_of(filter: &Filter) -> Option<Vec<Predicate>> {
    let columns = scan_columns(&filter.input)?;
    let predicates = split_conjunction(&filter.predicate)
        .into_iter()
        .filter_map(|conjunct| predicate(conjunct, &filter.input, &columns))
        .collect();
    Some(predicates)
}

/// For each output column of a chain of operators, the column of the scan below, if it is one.
fn scan_columns(plan: &LogicalPlan) -> Option<Vec<Option<String>>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            Some(scan.projected_schema.fields().iter().map(|field| Some(field.name().clone())).collect())
        }
        LogicalPlan::SubqueryAlias(alias) => scan_columns(&alias.input),
        LogicalPlan::Filter(filter) => scan_columns(&filter.input),
        LogicalPlan::Projection(projection) => {
            let below = scan_columns(&projection.input)?;
            let schema = projection.input.schema();
            Some(
                projection
                    .expr
                    .iter()
                    .map(|expr| match expr.clone().unalias() {
                        Expr::Column(column) => {
                            let position = schema.index_of_column(&column).ok()?;
                            below.get(position).cloned().flatten()
                        }
                        _ => None,
                    })
                    .collect(),
            )
        }
        _ => None,
    }
}

fn predicate(conjunct: &Expr, input: &LogicalPlan, columns: &[Option<String>]) -> Option<Predicate> {
    if conjunct.is_volatile() {
        return None;
    }
    let schema = input.schema();
    let names: BTreeMap<&Column, &str> = conjunct
        .column_refs()
        .into_iter()
        .map(|column| {
            let position = schema.index_of_column(column).ok()?;
            let name = columns.get(position)?.as_deref()?;
            Some((column, name))
        })
        .collect::<Option<_>>()?;
    let renamed = conjunct
        .clone()
        .transform(|part| match &part {
            Expr::Column(column) => match names.get(column) {
                Some(name) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(*name)))),
                None => Ok(Transformed::no(part)),
            },
            _ => Ok(Transformed::no(part)),
        })
        .ok()?
        .data;
    // What cannot be written (a sub-query) is no condition on this scan alone.
    let expression = renamed.to_bytes().ok()?.to_vec();
    Some(Predicate {
        display: renamed.to_string(),
        columns: names.values().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        expression,
    })
}
