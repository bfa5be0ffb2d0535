//! Expression planners: operators that read better than calls, for the types that our functions are about.
//!
//! | operator | over spans | means |
//! |---|---|---|
//! | `a && b` | both sides | `span_overlaps(a, b)` |
//! | `a @> b` | both sides | `span_contains(a, b)` |
//! | `a <@ b` | both sides | `span_contains(b, a)` |
//!
//! PostgreSQL has the same operators for its ranges.  Invariant: an expression is ours only if both sides are structs
//! with the fields that `span_make` returns; every other one is left to DataFusion's own planners, which give the same
//! operators their meaning over arrays.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{ExprSchemable, ReturnFieldArgs, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

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
    if planner.name == "spans"
        && let Some(operators) = SpanOperators::new(functions)
    {
        state.register_expr_planner(Arc::new(operators))?;
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
        let ours = matches!(expr.op, BinaryOperator::PGOverlap | BinaryOperator::AtArrow | BinaryOperator::ArrowAt)
            && [&expr.left, &expr.right]
                .into_iter()
                // An expression without a type (a parameter, an unknown column) is none of ours.
                .all(|side| side.get_type(schema).is_ok_and(|data_type| self.is_span(&data_type)));
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
