//! The rewrite that makes sums of floats in a view exact.
//!
//! Every aggregate over Float64 that has a counterpart in [`exact_sums`](crate::exact_sums) becomes it, as an aggregate
//! and as a window function.  Aggregates over integers and decimals are exact already and stay.  It needs a plan whose
//! types are coerced: before that, what is added may not be a float yet.
//!
//! Invariant: the rewritten plan has the columns of the plan, by name, qualifier and type.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Window, WindowFunctionDefinition,
};

use crate::exact_sums::exact_counterpart;

/// Aggregates of DataFusion's that have no exact form and whose floats depend on the order of rows.
const WITHOUT_COUNTERPART: &[&str] = &["approx_median", "approx_percentile_cont", "approx_percentile_cont_with_weight"];

/// Puts exact functions in the place of sums of floats, in the plan and in the queries inside its expressions.
///
/// # Errors
/// DataFusion's, if the plan is not analyzed or a function is not registered.
pub fn exact_sums(plan: LogicalPlan, functions: &dyn FunctionRegistry) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => exact_aggregate(aggregate, functions),
        LogicalPlan::Window(window) => exact_window(window, functions),
        other => Ok(Transformed::no(other)),
    })
}

/// Whether an aggregate or a window function makes floats whose last digits depend on the order of rows.
pub fn float_order_dependent(expr: &Expr, input: &DFSchema) -> bool {
    match expr {
        Expr::Alias(alias) => float_order_dependent(&alias.expr, input),
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            sums_floats(func.name(), &params.args, input) || WITHOUT_COUNTERPART.contains(&func.name())
        }
        Expr::WindowFunction(window) => match &window.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                sums_floats(function.name(), &window.params.args, input)
                    || WITHOUT_COUNTERPART.contains(&function.name())
            }
            WindowFunctionDefinition::WindowUDF(_) => false,
        },
        _ => false,
    }
}

fn sums_floats(name: &str, arguments: &[Expr], input: &DFSchema) -> bool {
    exact_counterpart(name).is_some() && all_floats(arguments, input)
}

fn all_floats(arguments: &[Expr], input: &DFSchema) -> bool {
    arguments.iter().all(|argument| argument.get_type(input).is_ok_and(|found| found == DataType::Float64))
}

/// The counterpart that a call is to become; none if it stays.
fn replacement(name: &str, arguments: &[Expr], distinct: bool, input: &DFSchema) -> Option<&'static str> {
    // Distinct pairs have no exact form.
    let known = arguments.len() == 1 || !distinct;
    exact_counterpart(name).filter(|_| known && all_floats(arguments, input))
}

fn exact_aggregate(aggregate: Aggregate, functions: &dyn FunctionRegistry) -> Result<Transformed<LogicalPlan>> {
    let input = aggregate.input.schema();
    let mut changed = false;
    // Different functions may become the same one; it is computed once.
    let mut calls: Vec<Expr> = Vec::with_capacity(aggregate.aggr_expr.len());
    let mut places = Vec::with_capacity(aggregate.aggr_expr.len());
    for expr in &aggregate.aggr_expr {
        let call = exact_call(expr, input, functions)?;
        changed |= call != *expr;
        let place = calls.iter().position(|known| *known == call).unwrap_or(calls.len());
        if place == calls.len() {
            calls.push(call);
        }
        places.push(place);
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let exact = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr, calls)?;
    let columns: Vec<Expr> = (0..groups)
        .chain(places.into_iter().map(|place| groups + place))
        .zip(aggregate.schema.iter())
        .map(|(from, (qualifier, field))| {
            let column = Expr::Column(Column::from(exact.schema.qualified_field(from)));
            if exact.schema.field(from).name() == field.name() {
                column
            } else {
                column.alias_qualified(qualifier.cloned(), field.name())
            }
        })
        .collect();
    let plan = LogicalPlanBuilder::from(LogicalPlan::Aggregate(exact)).project(columns)?.build()?;
    Ok(Transformed::yes(plan))
}

/// The exact form of an aggregate, or the aggregate itself.
fn exact_call(expr: &Expr, input: &DFSchema, functions: &dyn FunctionRegistry) -> Result<Expr> {
    match expr {
        Expr::Alias(alias) => {
            let mut alias = alias.clone();
            alias.expr = Box::new(exact_call(&alias.expr, input, functions)?);
            Ok(Expr::Alias(alias))
        }
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            match replacement(func.name(), &params.args, params.distinct, input) {
                Some(name) => Ok(Expr::AggregateFunction(AggregateFunction {
                    func: functions.udaf(name)?,
                    params: params.clone(),
                })),
                None => Ok(expr.clone()),
            }
        }
        other => Ok(other.clone()),
    }
}

fn exact_window(window: Window, functions: &dyn FunctionRegistry) -> Result<Transformed<LogicalPlan>> {
    let input = Arc::clone(window.input.schema());
    let mut changed = false;
    let calls = window
        .window_expr
        .iter()
        .zip(window.schema.iter().skip(input.fields().len()))
        .map(|(expr, (qualifier, field))| {
            let call = exact_window_call(expr, &input, functions)?;
            if call == *expr {
                return Ok(call);
            }
            changed = true;
            // Windows show the columns of the windows below them, so a projection in between could hide none.
            Ok(match call {
                alias @ Expr::Alias(_) => alias,
                call => call.alias_qualified(qualifier.cloned(), field.name()),
            })
        })
        .collect::<Result<Vec<Expr>>>()?;
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(calls, window.input)?)))
}

/// The exact form of a window function, or the function itself.
fn exact_window_call(expr: &Expr, input: &DFSchema, functions: &dyn FunctionRegistry) -> Result<Expr> {
    match expr {
        Expr::Alias(alias) => {
            let mut alias = alias.clone();
            alias.expr = Box::new(exact_window_call(&alias.expr, input, functions)?);
            Ok(Expr::Alias(alias))
        }
        Expr::WindowFunction(call) => {
            let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
                return Ok(expr.clone());
            };
            match replacement(function.name(), &call.params.args, call.params.distinct, input) {
                Some(name) => {
                    let fun = WindowFunctionDefinition::AggregateUDF(functions.udaf(name)?);
                    Ok(Expr::WindowFunction(Box::new(WindowFunction { fun, params: call.params.clone() })))
                }
                None => Ok(expr.clone()),
            }
        }
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{Field, Schema};
    use datafusion::datasource::MemTable;
    use datafusion::execution::session_state::SessionState;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn context() -> SessionContext {
        let context = SessionContext::new();
        crate::install(&mut context.state_ref().write(), &crate::PlatformOptions::default()).unwrap();
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("n", DataType::Int64, true),
            Field::new("d", DataType::Decimal128(10, 2), true),
            Field::new("f", DataType::Float32, true),
            Field::new("x", DataType::Float64, true),
            Field::new("y", DataType::Float64, true),
        ]));
        let empty = RecordBatch::new_empty(Arc::clone(&schema));
        context.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![empty]]).unwrap())).unwrap();
        context
            .sql("INSERT INTO t VALUES (1, 1, 1, 1, 0.1, 1), (1, 2, 2, 2, 0.2, 2), (2, 3, 3, 3, 0.3, 5), (1, 1, 4, 4, 0.7, 3)")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        context
    }

    fn analyzed(state: &SessionState, plan: LogicalPlan) -> LogicalPlan {
        state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).unwrap()
    }

    /// The optimized plan of a query with exact sums; its columns are those of the query, and it runs.
    async fn exact(sql: &str) -> String {
        let context = context().await;
        let state = context.state();
        let plan = analyzed(&state, state.create_logical_plan(sql).await.unwrap());
        let rewritten = exact_sums(plan.clone(), &state).unwrap();
        assert_eq!(rewritten.data.schema(), plan.schema(), "{sql}");
        let shown = rewritten.data.display_indent().to_string();
        assert_eq!(rewritten.transformed, shown.contains("_exact("), "{sql}: {shown}");
        assert!(!exact_sums(rewritten.data.clone(), &state).unwrap().transformed, "{sql}: {shown}");
        let optimized = state.optimize(&rewritten.data).unwrap();
        let before = context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
        let after = context.execute_logical_plan(optimized.clone()).await.unwrap().collect().await.unwrap();
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!(rows(&before), rows(&after), "{sql}");
        optimized.display_indent().to_string()
    }

    #[tokio::test]
    async fn every_sum_of_floats_becomes_exact() {
        let plan = exact(
            "SELECT sum(x), avg(x), mean(y), var(x), var_samp(x) AS v, var_sample(x), var_pop(x), var_population(x), \
             stddev(x), stddev_samp(x), stddev_pop(x), covar(y, x), covar_samp(y, x), covar_pop(y, x), corr(y, x), \
             regr_slope(y, x), regr_intercept(y, x), regr_r2(y, x), regr_avgx(y, x), regr_avgy(y, x), regr_sxx(y, x), \
             regr_syy(y, x), regr_sxy(y, x), regr_count(y, x) FROM t",
        )
        .await;
        let functions = crate::exact_sums::functions();
        for name in functions.iter().map(|function| function.function.name()).filter(|name| name.ends_with("_exact")) {
            assert!(plan.contains(&format!("{name}(")), "{name} is not in {plan}");
        }
        assert!(plan.contains("regr_count("), "{plan}");
    }

    #[tokio::test]
    async fn the_optimized_plan_shows_it() {
        let plan = exact("SELECT k, sum(x) AS total, sum(f) FROM t GROUP BY k HAVING sum(x) > 1 ORDER BY sum(x)").await;
        assert!(plan.contains("aggr=[[sum_exact(t.x), sum_exact(CAST(t.f AS Float64))]]"), "{plan}");
    }

    #[tokio::test]
    async fn integers_and_decimals_stay() {
        for sql in [
            "SELECT k, sum(n), sum(d), avg(d), min(x), max(x), count(x) FROM t GROUP BY k",
            "SELECT sum(n) OVER (PARTITION BY k), sum(DISTINCT n) OVER () FROM t",
            "SELECT approx_median(x), median(x) FROM t",
            "SELECT corr(DISTINCT y, x) FROM t",
        ] {
            let plan = exact(sql).await;
            assert!(!plan.contains("_exact("), "{plan}");
        }
        // Types are known only after coercion: the first branch of the case is an integer.
        let plan = exact("SELECT sum(CASE WHEN k = 1 THEN n ELSE x END), avg(n), sum(n) FROM t").await;
        for part in ["sum_exact(CASE", "avg_exact(", "sum(t.n)]]"] {
            assert!(plan.contains(part), "{plan}");
        }
    }

    #[tokio::test]
    async fn windows_filters_distinct_and_sub_queries_too() {
        for (sql, part) in [
            ("SELECT sum(x) OVER (ORDER BY n ROWS 1 PRECEDING) FROM t", "sum_exact(t.x) ORDER BY"),
            (
                "SELECT k, sum(x) OVER (PARTITION BY k) AS s, rank() OVER (ORDER BY x) FROM t",
                "sum_exact(t.x) PARTITION BY",
            ),
            ("SELECT sum(x) FILTER (WHERE n > 1) FROM t", "sum_exact(t.x) FILTER (WHERE t.n > Int64(1))"),
            ("SELECT sum(DISTINCT x), count(DISTINCT n) FROM t", "sum_exact(DISTINCT t.x)"),
            ("SELECT k FROM t WHERE x > (SELECT avg(x) FROM t)", "avg_exact(t.x)"),
            ("SELECT k FROM t a WHERE x >= (SELECT avg(x) FROM t b WHERE b.k = a.k)", "avg_exact(b.x)"),
            ("SELECT k, n, avg(x), grouping(k) FROM t GROUP BY ROLLUP (k, n)", "avg_exact(t.x)"),
            ("SELECT k, sum(x), sum_exact(x) FROM t GROUP BY k", "aggr=[[sum_exact(t.x)]]"),
            ("SELECT sum(x), sum_exact(x) AS e, sum(x) OVER () FROM t GROUP BY x", "sum_exact(t.x) ROWS"),
            ("SELECT sum(s) FROM (SELECT k, sum(x) AS s FROM t GROUP BY k)", "aggr=[[sum_exact("),
            ("WITH w AS (SELECT avg(x) OVER (ORDER BY n) AS a FROM t) SELECT sum(a) FROM w", "avg_exact(t.x) ORDER BY"),
        ] {
            let plan = exact(sql).await;
            assert!(plan.contains(part), "{sql}: {plan}");
        }
    }

    #[tokio::test]
    async fn what_is_left_over_is_known() {
        let context = context().await;
        let state = context.state();
        for (sql, dependent) in [
            ("SELECT sum(x) FROM t", true),
            ("SELECT sum(n) FROM t", false),
            ("SELECT sum_exact(x) FROM t", false),
            ("SELECT approx_percentile_cont(n, 0.5) FROM t", true),
            ("SELECT corr(DISTINCT y, x) FROM t", true),
            ("SELECT avg(x) OVER (ORDER BY n) FROM t", true),
            ("SELECT first_value(x) OVER (ORDER BY n) FROM t", false),
        ] {
            let plan = analyzed(&state, state.create_logical_plan(sql).await.unwrap());
            let inner = plan.inputs()[0].clone();
            let found = match &inner {
                LogicalPlan::Aggregate(aggregate) => {
                    float_order_dependent(&aggregate.aggr_expr[0], aggregate.input.schema())
                }
                LogicalPlan::Window(window) => float_order_dependent(&window.window_expr[0], window.input.schema()),
                other => panic!("{sql}: {other}"),
            };
            assert_eq!(found, dependent, "{sql}");
        }
    }
}
