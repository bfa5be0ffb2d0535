//! Expression planners: operators that read better than calls, for the types that our functions are about.
//!
//! | operator | over spans | means |
//! |---|---|---|
//! | `a && b` | both sides | `span_overlaps(a, b)` |
//! | `a @> b` | both sides, or the left one and a position | `span_contains(a, b)` |
//! | `a <@ b` | both sides, or the right one and a position | `span_contains(b, a)` |
//!
//! PostgreSQL has the same operators for its ranges.  Invariant: an expression is ours only if a side is a struct with
//! the fields that `span_make` returns, and the other one too or a whole number; every other one is left to DataFusion's own planners, which give the same
//! operators their meaning over arrays.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ReturnFieldArgs, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::arguments::is_integer;
use crate::nested::FieldOfPicked;
use crate::tags::DomainPlanner;
use crate::{Function, PlatformFunction};

/// Installs the rules of a domain planner in a session.
///
/// Rules that are part of a function itself (its `simplify`) need no installing, and the rewrite of exact sums is an
/// option of each view.
///
/// # Errors
/// DataFusion's, if the session takes no rules.
pub fn install(planner: &DomainPlanner, functions: &[PlatformFunction], state: &mut SessionState) -> Result<()> {
    match planner.name {
        "nested" => state.register_function_rewrite(Arc::new(FieldOfPicked))?,
        "spans" => {
            if let Some(operators) = SpanOperators::new(functions) {
                state.register_expr_planner(Arc::new(operators))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The scalar function with this name.
pub fn scalar(functions: &[PlatformFunction], name: &str) -> Option<Arc<ScalarUDF>> {
    functions.iter().find_map(|member| match &member.function {
        Function::Scalar(function) if function.name() == name => Some(Arc::clone(function)),
        _ => None,
    })
}

/// Gives `&&`, `@>` and `<@` their meaning over spans.
#[derive(Debug)]
struct SpanOperators {
    overlaps: Arc<ScalarUDF>,
    contains: Arc<ScalarUDF>,
    span: DataType,
}

impl SpanOperators {
    /// None without the functions that the operators stand for.
    fn new(functions: &[PlatformFunction]) -> Option<Self> {
        Some(Self {
            overlaps: scalar(functions, "span_overlaps")?,
            contains: scalar(functions, "span_contains")?,
            span: span_type(scalar(functions, "span_make")?.as_ref())?,
        })
    }

    fn is_span(&self, data_type: &DataType) -> bool {
        let (DataType::Struct(expected), DataType::Struct(found)) = (&self.span, data_type) else {
            return false;
        };
        expected.iter().all(|field| {
            found.find(field.name()).is_some_and(|(_, found)| is_alike(field.data_type(), found.data_type()))
        })
    }
}

/// Whether the functions over spans read one type like the other: integers of any width, texts of any encoding.
fn is_alike(expected: &DataType, found: &DataType) -> bool {
    match found {
        DataType::Dictionary(_, values) => is_alike(expected, values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            matches!(expected, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => *found == *expected || (found.is_integer() && expected.is_integer()),
    }
}

impl ExprPlanner for SpanOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        // An expression without a type (a parameter, an unknown column) is none of ours.
        let span = |side: &Expr| side.get_type(schema).is_ok_and(|found| self.is_span(&found));
        let position = |side: &Expr| side.get_type(schema).is_ok_and(|found| is_integer(&found) && !found.is_null());
        let ours = match expr.op {
            BinaryOperator::PGOverlap => span(&expr.left) && span(&expr.right),
            BinaryOperator::AtArrow => span(&expr.left) && (span(&expr.right) || position(&expr.right)),
            BinaryOperator::ArrowAt => span(&expr.right) && (span(&expr.left) || position(&expr.left)),
            _ => false,
        };
        if !ours {
            return Ok(PlannerResult::Original(expr));
        }
        let RawBinaryExpr { op, left, right } = expr;
        Ok(PlannerResult::Planned(match op {
            BinaryOperator::PGOverlap => self.overlaps.call(vec![left, right]),
            BinaryOperator::ArrowAt => self.contains.call(vec![right, left]),
            _ => self.contains.call(vec![left, right]),
        }))
    }
}

/// The type of a span of two positions.
fn span_type(span_make: &ScalarUDF) -> Option<DataType> {
    let position = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let field = span_make
        .return_field_from_args(ReturnFieldArgs {
            arg_fields: &[position("start"), position("end")],
            scalar_arguments: &[None, None],
        })
        .ok()?;
    Some(field.data_type().clone())
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use crate::{PlatformOptions, install};

    const SPANS: &str = "CREATE TABLE t AS SELECT span_make(x, y) AS a, span_make(y, z) AS b \
                         FROM (VALUES (0, 4, 8), (0, 8, 8), (3, 3, 5)) AS v(x, y, z)";

    async fn session(enable_expr_planners: bool) -> SessionContext {
        let mut state = SessionStateBuilder::new().with_default_features().build();
        install(&mut state, &PlatformOptions { enable_expr_planners, ..PlatformOptions::default() }).unwrap();
        let context = SessionContext::new_with_state(state);
        context.sql(SPANS).await.unwrap();
        context
    }

    async fn optimized(context: &SessionContext, query: &str) -> String {
        context.sql(query).await.unwrap().into_optimized_plan().unwrap().display_indent().to_string()
    }

    async fn values(context: &SessionContext, query: &str) -> String {
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let table = pretty_format_batches(&batches).unwrap().to_string();
        let rows = table.lines().skip(3).filter(|line| line.starts_with('|'));
        rows.map(|line| line.replace(['|', ' '], "")).collect::<Vec<_>>().join(",")
    }

    #[tokio::test]
    async fn operators_over_spans_are_calls_in_the_plan() {
        let context = session(true).await;
        for (operation, call, rows) in [
            ("a && b", "span_overlaps(t.a, t.b)", "false,false,false"),
            ("a @> b", "span_contains(t.a, t.b)", "false,true,false"),
            ("a <@ b", "span_contains(t.b, t.a)", "false,false,true"),
            ("a @> 3", "span_contains(t.a, Int64(3))", "true,true,false"),
            ("a['start'] <@ b", "span_contains(t.b, get_field(t.a, Utf8(\"start\")))", "false,false,true"),
        ] {
            let query = format!("SELECT {operation} AS o FROM t");
            let plan = optimized(&context, &query).await;
            assert!(plan.contains(call), "{operation}: {plan}");
            assert_eq!(values(&context, &query).await, rows, "{operation}");
        }
        let join = "SELECT count(*) FROM t AS l JOIN t AS r ON l.a && r.b";
        assert!(optimized(&context, join).await.contains("span_overlaps(l.a, r.b)"));
        assert_eq!(values(&context, join).await, "3");
    }

    #[tokio::test]
    async fn a_struct_with_the_fields_of_a_span_is_one() {
        let context = session(true).await;
        let span = "named_struct('start', arrow_cast(3, 'Int32'), 'end', 9, 'unit', arrow_cast('byte', 'Utf8View'))";
        assert_eq!(values(&context, &format!("SELECT a && {span} FROM t")).await, "true,true,false");
        let error = context.sql("SELECT a && named_struct('start', 1, 'end', 2) FROM t").await.unwrap_err();
        assert!(error.to_string().contains("PGOverlap"), "{error}");
    }

    #[tokio::test]
    async fn the_same_operators_over_arrays_keep_their_meaning() {
        let context = session(true).await;
        assert_eq!(values(&context, "SELECT [1, 2, 3] @> [2] AS a, [1] <@ [2] AS b").await, "truefalse");
    }

    #[tokio::test]
    async fn without_planners_there_are_no_operators() {
        let context = session(false).await;
        assert!(context.sql("SELECT a && b FROM t").await.is_err());
        assert!(context.sql("SELECT span_overlaps(a, b) FROM t").await.is_ok());
    }

    #[tokio::test]
    async fn fields_of_spans_are_read_by_dot_and_by_name() {
        let context = session(true).await;
        let query = "SELECT t.a.start AS s, a['end'] AS e, span_make(1, 2, col_unit => 'utf16')['unit'] AS u FROM t";
        assert_eq!(values(&context, query).await, "04utf16,08utf16,33utf16");
        assert!(optimized(&context, query).await.contains("get_field(t.a, Utf8(\"start\"))"));
    }
}
