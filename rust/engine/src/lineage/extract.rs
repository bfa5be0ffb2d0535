//! Walking a plan: for each operator, what its output columns are made from.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Subquery, TableScan, Unnest, Window, WindowFunctionDefinition,
};
use datafusion_proto::bytes::Serializeable;
use functions::exact_rewrite::float_order_dependent;

use super::predicates::predicates_of;
use super::{
    ColumnSource, Derivation, ExpressionLineage, FunctionUse, InputColumn, JoinKey, JoinLineage, Lineage, OutputColumn,
    RelationLineage, ScanLineage, SubqueryLineage,
};
use crate::compile::is_relation;

/// The lineage of an optimized plan whose leaves are schema-only relations.
pub fn extract(plan: &LogicalPlan) -> Lineage {
    let mut walk = Walk::default();
    let outputs = walk.plan(plan);
    let names = plan.schema().fields();
    Lineage {
        relations: walk.relations(),
        outputs: names
            .iter()
            .zip(outputs)
            .map(|(field, origins)| OutputColumn { name: field.name().clone(), sources: sources(origins) })
            .collect(),
        filtered_by: walk.filtered_by.into_iter().collect(),
        joined_on: walk.joined_on.into_iter().collect(),
        grouped_by: walk.grouped_by.into_iter().collect(),
        ordered_by: walk.ordered_by.into_iter().collect(),
        joins: walk.joins,
        subqueries: walk.subqueries,
        expressions: walk.expressions,
        functions: walk.functions.into_iter().collect(),
        required_functions: Vec::new(),
        required_rewrite_tags: Vec::new(),
    }
}

/// Every function that a plan calls, in its queries inside expressions too, whether or not it is optimized.
pub fn functions(plan: &LogicalPlan) -> BTreeSet<FunctionUse> {
    let mut found = BTreeSet::new();
    // The visitors do not fail.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                found.extend(function_of(part));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    found
}

/// The predicates of a scan as expressions over unqualified columns.
///
/// # Errors
/// DataFusion's, if a function is not registered in the context any more.
pub fn predicate_expressions(context: &TaskContext, scan: &ScanLineage) -> Result<Vec<Expr>, DataFusionError> {
    scan.predicates.iter().map(|predicate| Expr::from_bytes_with_ctx(&predicate.expression, context)).collect()
}

/// Input columns of a value, each with the strongest way in which it is used.
type Origins = BTreeMap<InputColumn, Derivation>;

fn sources(origins: Origins) -> Vec<ColumnSource> {
    origins
        .into_iter()
        .map(|(input, how)| ColumnSource { relation: input.relation, column: input.column, how })
        .collect()
}

fn add(into: &mut Origins, from: &Origins, at_least: Derivation) {
    for (input, how) in from {
        let how = (*how).max(at_least);
        into.entry(input.clone()).and_modify(|known| *known = (*known).max(how)).or_insert(how);
    }
}

fn merge(parts: &[Origins], at_least: Derivation) -> Origins {
    parts.iter().fold(Origins::new(), |mut all, part| {
        add(&mut all, part, at_least);
        all
    })
}

#[derive(Default)]
struct Walk {
    scans: Vec<(String, ScanLineage, Vec<String>)>,
    filtered_by: BTreeSet<InputColumn>,
    joined_on: BTreeSet<InputColumn>,
    grouped_by: BTreeSet<InputColumn>,
    ordered_by: BTreeSet<InputColumn>,
    joins: Vec<JoinLineage>,
    subqueries: Vec<SubqueryLineage>,
    expressions: Vec<ExpressionLineage>,
    functions: BTreeSet<FunctionUse>,
    /// Columns of the recursive queries that are being walked.
    work_tables: BTreeMap<String, Vec<Origins>>,
    /// Columns of the queries around the sub-query that is being walked, the nearest last.
    outer: Vec<(DFSchema, Vec<Origins>)>,
}

impl Walk {
    /// Visits a plan; the origins of its output columns, in order.
    fn plan(&mut self, plan: &LogicalPlan) -> Vec<Origins> {
        let width = plan.schema().fields().len();
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => {
                let input = self.plan(&projection.input);
                projection
                    .expr
                    .iter()
                    .map(|expr| self.value("projection", expr, projection.input.schema(), &input))
                    .collect()
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, width),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Sort(sort) => {
                let input = self.plan(&sort.input);
                let keys = self.sort_keys("sort", &sort.expr, sort.input.schema(), &input);
                if sort.fetch.is_some() {
                    self.filtered_by.extend(keys.keys().cloned());
                }
                self.ordered_by.extend(keys.into_keys());
                input
            }
            LogicalPlan::Limit(limit) => {
                if let LogicalPlan::Sort(sort) = limit.input.as_ref() {
                    // Which rows a limit keeps is decided by the order below it.
                    let input = self.plan(&sort.input);
                    let keys = self.sort_keys("sort", &sort.expr, sort.input.schema(), &input);
                    self.filtered_by.extend(keys.keys().cloned());
                    self.ordered_by.extend(keys.into_keys());
                    return input;
                }
                self.plan(&limit.input)
            }
            LogicalPlan::Union(union) => {
                let inputs: Vec<Vec<Origins>> = union.inputs.iter().map(|input| self.plan(input)).collect();
                (0..width)
                    .map(|position| {
                        let parts: Vec<Origins> =
                            inputs.iter().filter_map(|input| input.get(position).cloned()).collect();
                        merge(&parts, Derivation::Copied)
                    })
                    .collect()
            }
            LogicalPlan::Distinct(distinct) => self.distinct(distinct),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, width),
            LogicalPlan::RecursiveQuery(query) => {
                let first = self.plan(&query.static_term);
                self.work_tables.insert(query.name.clone(), first.clone());
                let next = self.plan(&query.recursive_term);
                self.work_tables.remove(&query.name);
                first
                    .into_iter()
                    .zip(next)
                    .map(|(first, next)| {
                        let mut all = first;
                        add(&mut all, &next, Derivation::Computed);
                        all
                    })
                    .collect()
            }
            LogicalPlan::Subquery(subquery) => self.plan(&subquery.subquery),
            LogicalPlan::Values(values) => {
                for row in &values.values {
                    for expr in row {
                        self.value("values", expr, &values.schema, &[]);
                    }
                }
                vec![Origins::new(); width]
            }
            LogicalPlan::EmptyRelation(_) => vec![Origins::new(); width],
            other => {
                // An operator without a rule: every output may come from every input column.
                let mut all = Origins::new();
                for input in other.inputs() {
                    for origins in self.plan(input) {
                        add(&mut all, &origins, Derivation::Computed);
                    }
                }
                vec![all; width]
            }
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Vec<Origins> {
        let relation = scan.table_name.table().to_owned();
        let columns: Vec<String> = scan.projected_schema.fields().iter().map(|field| field.name().clone()).collect();
        if !is_relation(scan) {
            let Some(table) = self.work_tables.get(&relation) else {
                return vec![Origins::new(); columns.len()];
            };
            return match &scan.projection {
                None => table.clone(),
                Some(positions) => {
                    positions.iter().map(|position| table.get(*position).cloned().unwrap_or_default()).collect()
                }
            };
        }
        let table: Vec<String> = scan.source.schema().fields().iter().map(|field| field.name().clone()).collect();
        self.scans.push((relation.clone(), ScanLineage { columns: columns.clone(), predicates: Vec::new() }, table));
        columns
            .into_iter()
            .map(|column| {
                let input = InputColumn { relation: relation.clone(), column };
                Origins::from([(input, Derivation::Copied)])
            })
            .collect()
    }

    /// A filter, and the predicates that it and the filters below it put on a scan.
    fn filter(&mut self, filter: &Filter) -> Vec<Origins> {
        let before = self.scans.len();
        let input = self.plan(&filter.input);
        let origins = self.value("filter", &filter.predicate, filter.input.schema(), &input);
        self.filtered_by.extend(origins.into_keys());
        if let Some(predicates) = predicates_of(filter)
            // A chain of operators ends in one scan: the one that was visited last.
            && let [(_, scan, _)] = &mut self.scans[before..]
        {
            scan.predicates.extend(predicates);
        }
        input
    }

    fn join(&mut self, join: &Join) -> Vec<Origins> {
        let before = self.scans.len();
        let left = self.plan(&join.left);
        let middle = self.scans.len();
        let right = self.plan(&join.right);
        let relations = |scans: &[(String, ScanLineage, Vec<String>)]| -> BTreeSet<String> {
            scans.iter().map(|(relation, _, _)| relation.clone()).collect()
        };
        let left_relations = relations(&self.scans[before..middle]);
        let right_relations = relations(&self.scans[middle..]);
        let mut matched = Origins::new();
        let mut keys = Vec::with_capacity(join.on.len());
        for (left_key, right_key) in &join.on {
            let left_key = self.value("join", left_key, join.left.schema(), &left);
            let right_key = self.value("join", right_key, join.right.schema(), &right);
            add(&mut matched, &left_key, Derivation::Computed);
            add(&mut matched, &right_key, Derivation::Computed);
            keys.push(JoinKey { left: left_key.into_keys().collect(), right: right_key.into_keys().collect() });
        }
        let mut condition = Origins::new();
        if let Some(filter) = &join.filter {
            let both: Vec<Origins> = left.iter().chain(&right).cloned().collect();
            if let Ok(schema) = join.left.schema().join(join.right.schema()) {
                condition = self.value("join", filter, &schema, &both);
            }
            add(&mut matched, &condition, Derivation::Computed);
        }
        self.joined_on.extend(matched.keys().cloned());
        self.joins.push(JoinLineage {
            kind: join_name(join.join_type).to_owned(),
            left: left_relations,
            right: right_relations,
            keys,
            condition: condition.into_keys().collect(),
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            null_aware: join.null_aware,
        });
        match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                left.into_iter().chain(right).collect()
            }
            JoinType::LeftSemi | JoinType::LeftAnti => left,
            JoinType::RightSemi | JoinType::RightAnti => right,
            JoinType::LeftMark => left.into_iter().chain([matched]).collect(),
            JoinType::RightMark => right.into_iter().chain([matched]).collect(),
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, width: usize) -> Vec<Origins> {
        let input = self.plan(&aggregate.input);
        let schema = aggregate.input.schema();
        let groups =
            grouping_set_to_exprlist(&aggregate.group_expr).unwrap_or_else(|_| aggregate.group_expr.iter().collect());
        let mut outputs: Vec<Origins> =
            groups.into_iter().map(|expr| self.value("aggregate", expr, schema, &input)).collect();
        self.grouped_by.extend(outputs.iter().flat_map(|origins| origins.keys().cloned()));
        // Grouping sets have one more column, which tells the set.
        outputs.resize(width.saturating_sub(aggregate.aggr_expr.len()), Origins::new());
        for expr in &aggregate.aggr_expr {
            let value = self.value("aggregate", expr, schema, &input);
            outputs.push(merge(&[value], over_rows(expr, schema)));
        }
        outputs
    }

    fn window(&mut self, window: &Window) -> Vec<Origins> {
        let mut outputs = self.plan(&window.input);
        let input = outputs.clone();
        let schema = window.input.schema();
        for expr in &window.window_expr {
            if let Expr::WindowFunction(function) = unalias(expr) {
                for partition in &function.params.partition_by {
                    let origins = self.value("window", partition, schema, &input);
                    self.grouped_by.extend(origins.into_keys());
                }
                let keys = self.sort_keys("window", &function.params.order_by, schema, &input);
                self.ordered_by.extend(keys.into_keys());
            }
            let value = self.value("window", expr, schema, &input);
            outputs.push(merge(&[value], over_rows(expr, schema)));
        }
        outputs
    }

    fn distinct(&mut self, distinct: &Distinct) -> Vec<Origins> {
        match distinct {
            Distinct::All(input) => {
                let outputs = self.plan(input);
                self.grouped_by.extend(outputs.iter().flat_map(|origins| origins.keys().cloned()));
                outputs
            }
            Distinct::On(on) => {
                let input = self.plan(&on.input);
                let schema = on.input.schema();
                for expr in &on.on_expr {
                    let origins = self.value("distinct", expr, schema, &input);
                    self.grouped_by.extend(origins.into_keys());
                }
                if let Some(keys) = &on.sort_expr {
                    let keys = self.sort_keys("distinct", keys, schema, &input);
                    self.filtered_by.extend(keys.keys().cloned());
                    self.ordered_by.extend(keys.into_keys());
                }
                on.select_expr.iter().map(|expr| self.value("distinct", expr, schema, &input)).collect()
            }
        }
    }

    fn unnest(&mut self, unnest: &Unnest, width: usize) -> Vec<Origins> {
        let input = self.plan(&unnest.input);
        (0..width)
            .map(|position| {
                let from = unnest.dependency_indices.get(position).copied();
                let origins = from.and_then(|from| input.get(from)).cloned().unwrap_or_default();
                let opened = from.is_some_and(|from| {
                    unnest.struct_type_columns.contains(&from)
                        || unnest.list_type_columns.iter().any(|(column, _)| *column == from)
                });
                if opened { merge(&[origins], Derivation::Computed) } else { origins }
            })
            .collect()
    }

    fn sort_keys(&mut self, operator: &str, keys: &[SortExpr], schema: &DFSchema, input: &[Origins]) -> Origins {
        keys.iter().fold(Origins::new(), |mut all, key| {
            let origins = self.value(operator, &key.expr, schema, input);
            add(&mut all, &origins, Derivation::Computed);
            all
        })
    }

    /// What an expression is made from; its functions and sub-queries are noted.
    fn value(&mut self, operator: &str, expr: &Expr, schema: &DFSchema, input: &[Origins]) -> Origins {
        if let Expr::Column(column) = unalias(expr) {
            return origin_of(column, schema, input);
        }
        let mut origins = Origins::new();
        let mut functions = BTreeSet::new();
        let mut queries: Vec<(&'static str, Subquery)> = Vec::new();
        let mut outer = Vec::new();
        // The visitor does not fail.
        let _ = expr.apply(|part| {
            match part {
                Expr::Column(column) => {
                    add(&mut origins, &origin_of(column, schema, input), Derivation::Computed);
                }
                Expr::OuterReferenceColumn(_, column) => outer.push(column.clone()),
                Expr::ScalarSubquery(subquery) => queries.push(("scalar", subquery.clone())),
                Expr::Exists(exists) => queries.push(("exists", exists.subquery.clone())),
                Expr::InSubquery(query) => queries.push(("in", query.subquery.clone())),
                Expr::SetComparison(query) => queries.push(("comparison", query.subquery.clone())),
                other => {
                    functions.extend(function_of(other));
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        for column in &outer {
            if let Some((schema, columns)) = self.outer.last() {
                add(&mut origins, &origin_of(column, schema, columns), Derivation::Computed);
            }
        }
        for (kind, query) in queries {
            let inside = self.subquery(kind, &query, schema, input);
            add(&mut origins, &inside, Derivation::Computed);
        }
        if !matches!(unalias(expr), Expr::Literal(..)) {
            self.expressions.push(ExpressionLineage {
                operator: operator.to_owned(),
                columns: origins.keys().cloned().collect(),
                functions: functions.iter().map(|function| function.name.clone()).collect(),
            });
        }
        self.functions.extend(functions);
        origins
    }

    fn subquery(&mut self, kind: &str, query: &Subquery, schema: &DFSchema, input: &[Origins]) -> Origins {
        let before = self.scans.len();
        self.outer.push((schema.clone(), input.to_vec()));
        let outputs = self.plan(&query.subquery);
        self.outer.pop();
        let outer = query.outer_ref_columns.iter().fold(Origins::new(), |mut all, expr| {
            if let Expr::OuterReferenceColumn(_, column) = expr {
                add(&mut all, &origin_of(column, schema, input), Derivation::Computed);
            }
            all
        });
        self.subqueries.push(SubqueryLineage {
            kind: kind.to_owned(),
            relations: self.scans[before..].iter().map(|(relation, _, _)| relation.clone()).collect(),
            outer: outer.into_keys().collect(),
        });
        merge(&outputs, Derivation::Computed)
    }

    /// The scans, gathered by relation.
    fn relations(&self) -> Vec<RelationLineage> {
        let mut relations: BTreeMap<&str, RelationLineage> = BTreeMap::new();
        for (relation, scan, table) in &self.scans {
            let entry = relations.entry(relation).or_insert_with(|| RelationLineage {
                relation: relation.clone(),
                columns: Vec::new(),
                scans: Vec::new(),
            });
            let read: BTreeSet<&String> = entry.columns.iter().chain(&scan.columns).collect();
            entry.columns = table.iter().filter(|column| read.contains(column)).cloned().collect();
            entry.scans.push(scan.clone());
        }
        relations.into_values().collect()
    }
}

fn origin_of(column: &Column, schema: &DFSchema, input: &[Origins]) -> Origins {
    schema.index_of_column(column).ok().and_then(|position| input.get(position)).cloned().unwrap_or_default()
}

fn unalias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unalias(&alias.expr),
        other => other,
    }
}

/// How an aggregate or a window function derives its value.
fn over_rows(expr: &Expr, schema: &DFSchema) -> Derivation {
    if float_order_dependent(expr, schema) { Derivation::OrderDependent } else { Derivation::Aggregated }
}

fn function_of(expr: &Expr) -> Option<FunctionUse> {
    let (kind, name) = match expr {
        Expr::ScalarFunction(function) => ("scalar", function.func.name()),
        Expr::AggregateFunction(function) => ("aggregate", function.func.name()),
        Expr::HigherOrderFunction(function) => ("higher_order", function.name()),
        Expr::WindowFunction(function) => match &function.fun {
            WindowFunctionDefinition::AggregateUDF(function) => ("aggregate", function.name()),
            WindowFunctionDefinition::WindowUDF(function) => ("window", function.name()),
        },
        _ => return None,
    };
    Some(FunctionUse { kind: kind.to_owned(), name: name.to_owned() })
}

fn join_name(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Inner => "inner",
        JoinType::Left => "left",
        JoinType::Right => "right",
        JoinType::Full => "full",
        JoinType::LeftSemi => "left_semi",
        JoinType::RightSemi => "right_semi",
        JoinType::LeftAnti => "left_anti",
        JoinType::RightAnti => "right_anti",
        JoinType::LeftMark => "left_mark",
        JoinType::RightMark => "right_mark",
    }
}
