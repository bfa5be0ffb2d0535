//! One order of rows: what a view makes of rows that tie is decided by the plan, not by who came first.
//!
//! SQL leaves open which of the rows that tie in an ORDER BY comes first, and without an ORDER BY all rows tie.  A view
//! that depends on it would differ from run to run, and could neither be compared with its recomputation nor kept by
//! changes.  So whatever depends on the order of rows gets the whole row of its input as the last part of its order:
//!
//! | operator | what is added |
//! |---|---|
//! | LIMIT without ORDER BY | a sort by all columns |
//! | LIMIT with ORDER BY | all columns of the sort's input |
//! | `row_number`, `ntile`, `lag`, `lead`; frames by ROWS; `first_value` and its like from an open end | all columns of the window's input |
//! | `array_agg`, `string_agg`, `first_value`, `last_value`, `nth_value` | all columns of the aggregate's input; with DISTINCT the value itself |
//!
//! Rows that agree in all of these columns cannot be told apart by anything above, so which of them comes first makes
//! no difference.  Ranks and frames by RANGE or GROUPS treat rows that tie alike and stay as they are.
//! The rewritten plan *is* the view: recompute, incremental refresh and audit all run it.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, get_required_sort_exprs_indices};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Expr, Limit, LogicalPlan, Projection, Sort, Window, WindowFrameBound, WindowFrameUnits,
};

/// Aggregates whose value depends on the order of the rows.
const ORDERED_AGGREGATES: &[&str] = &["array_agg", "first_value", "last_value", "nth_value", "string_agg"];

/// Window functions that number rows or look at neighbours.
const NUMBERING: &[&str] = &["lag", "lead", "ntile", "row_number"];

/// Gives limits without an order over several rows an order, before the optimizer moves them about.
pub fn ordered_limits(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Limit(limit) if !is_sorted(&limit.input) && limit.input.max_rows() != Some(1) => {
            let expr = whole_row(limit.input.schema(), &[]);
            if expr.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Limit(limit)));
            }
            let input = Arc::new(LogicalPlan::Sort(Sort { expr, input: limit.input, fetch: None }));
            Ok(Transformed::yes(LogicalPlan::Limit(Limit { input, ..limit })))
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

/// Adds the whole row to every order that something depends on; for an optimized plan, whose operators have no columns
/// but those that are used.
pub fn without_ties(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Sort(mut sort) if sort.fetch.is_some() => {
            let added = whole_row(sort.input.schema(), &sort.expr);
            let changed = !added.is_empty();
            sort.expr.extend(added);
            let node = LogicalPlan::Sort(sort);
            Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
        }
        LogicalPlan::Window(window) => windows_without_ties(window),
        LogicalPlan::Aggregate(aggregate) => aggregates_without_ties(aggregate),
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

/// Whether a sort decides the order of a plan's rows.
fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        LogicalPlan::Limit(limit) => is_sorted(&limit.input),
        _ => false,
    }
}

/// All columns of a schema as an order, without those that an order starts with already.
fn whole_row(schema: &DFSchema, present: &[SortExpr]) -> Vec<SortExpr> {
    let columns = schema
        .iter()
        .filter(|(_, field)| can_be_sorted(field.data_type()))
        .map(|(qualifier, field)| Expr::Column(Column::from((qualifier, field))))
        .filter(|column| !present.iter().any(|sort| sort.expr == *column))
        .map(|column| SortExpr::new(column, true, false));
    let order: Vec<SortExpr> = present.iter().cloned().chain(columns).collect();
    // What follows from columns before it, as an aggregate from its keys, decides nothing; DataFusion drops it anyway.
    let names: Vec<String> = order.iter().map(|sort| sort.expr.schema_name().to_string()).collect();
    let needed = get_required_sort_exprs_indices(schema, &names);
    needed.into_iter().filter(|index| *index >= present.len()).map(|index| order[index].clone()).collect()
}

fn can_be_sorted(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) | DataType::Union(..) | DataType::RunEndEncoded(..) => false,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => can_be_sorted(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| can_be_sorted(field.data_type())),
        DataType::Dictionary(_, value) => can_be_sorted(value),
        _ => true,
    }
}

fn windows_without_ties(window: Window) -> Result<Transformed<LogicalPlan>> {
    let mut kept = Vec::new();
    let mut decided = Vec::new();
    for expression in &window.window_expr {
        match without_tie(expression, window.input.schema()) {
            Some(rewritten) => decided.push(rewritten),
            None => kept.push(expression.clone()),
        }
    }
    if decided.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    // All functions of one operator share an order, so those that got another one form an operator of their own.
    let width = window.input.schema().fields().len();
    let mut input = Arc::clone(&window.input);
    if !kept.is_empty() {
        input = Arc::new(LogicalPlan::Window(Window::try_new(kept.clone(), input)?));
    }
    let top = LogicalPlan::Window(Window::try_new(decided, input)?);
    let (mut next_kept, mut next_decided) = (width, width + kept.len());
    let positions = (0..width).chain(window.window_expr.iter().map(|expression| {
        let next = if kept.contains(expression) { &mut next_kept } else { &mut next_decided };
        *next += 1;
        *next - 1
    }));
    renamed(top, positions.collect::<Vec<_>>(), &window.schema).map(Transformed::yes)
}

fn without_tie(expression: &Expr, input: &DFSchema) -> Option<Expr> {
    let (function, name) = match expression {
        Expr::WindowFunction(function) => (function, None),
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::WindowFunction(function) => (function, Some(alias.name.clone())),
            _ => return None,
        },
        _ => return None,
    };
    if !depends_on_ties(function) {
        return None;
    }
    let mut function = function.clone();
    // Within a partition its keys are all the same.
    let partition = function.params.partition_by.iter().map(|key| SortExpr::new(key.clone(), true, false));
    let present: Vec<SortExpr> = function.params.order_by.iter().cloned().chain(partition).collect();
    let added = whole_row(input, &present);
    if added.is_empty() {
        return None;
    }
    function.params.order_by.extend(added);
    let rewritten = Expr::WindowFunction(function);
    Some(match name {
        Some(name) => rewritten.alias(name),
        None => rewritten,
    })
}

fn depends_on_ties(function: &WindowFunction) -> bool {
    let frame = &function.params.window_frame;
    let open = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(limit) | WindowFrameBound::Following(limit) => limit.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let in_rows = frame.units == WindowFrameUnits::Rows;
    let whole = open(&frame.start_bound) && open(&frame.end_bound);
    match function.fun.name() {
        name if NUMBERING.contains(&name) => true,
        "rank" | "dense_rank" | "percent_rank" | "cume_dist" => false,
        // From an open end the first row is the same however the frame goes on.
        "first_value" => in_rows || open(&frame.start_bound),
        "last_value" => in_rows || open(&frame.end_bound),
        name if ORDERED_AGGREGATES.contains(&name) => in_rows || whole,
        // What does not depend on the order of its rows depends on which they are.
        _ => in_rows && !whole,
    }
}

fn aggregates_without_ties(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    let rewritten: Vec<Expr> = aggregate
        .aggr_expr
        .iter()
        .map(|expression| match expression {
            Expr::AggregateFunction(function) => match with_whole_row(function, aggregate.input.schema()) {
                Some(function) => {
                    changed = true;
                    Expr::AggregateFunction(function)
                }
                None => expression.clone(),
            },
            other => other.clone(),
        })
        .collect();
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let schema = Arc::clone(&aggregate.schema);
    let top = LogicalPlan::Aggregate(Aggregate::try_new(aggregate.input, aggregate.group_expr, rewritten)?);
    renamed(top, (0..schema.fields().len()).collect(), &schema).map(Transformed::yes)
}

fn with_whole_row(function: &AggregateFunction, input: &DFSchema) -> Option<AggregateFunction> {
    if !ORDERED_AGGREGATES.contains(&function.func.name()) {
        return None;
    }
    let added = if function.params.distinct {
        // An aggregate over distinct values can be ordered by these values only.
        let value = function.params.args.first()?;
        let present = function.params.order_by.iter().any(|sort| sort.expr == *value);
        if present { Vec::new() } else { vec![SortExpr::new(value.clone(), true, false)] }
    } else {
        whole_row(input, &function.params.order_by)
    };
    if added.is_empty() {
        return None;
    }
    let mut function = function.clone();
    function.params.order_by.extend(added);
    Some(function)
}

/// The columns of a plan at these positions, under the names of a schema.
fn renamed(plan: LogicalPlan, positions: Vec<usize>, schema: &DFSchema) -> Result<LogicalPlan> {
    let columns = positions
        .into_iter()
        .zip(schema.iter())
        .map(|(position, (qualifier, field))| {
            let column = Column::from(plan.schema().qualified_field(position));
            if column.relation.as_ref() == qualifier && column.name == *field.name() {
                return Expr::Column(column);
            }
            Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}
