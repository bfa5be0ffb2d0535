//! Expressions: which of them give the same value for the same row at any time.
//!
//! Invariant: an expression that passes is a function of its row alone, so it commutes with taking changes.  The one
//! exception are conditions on the time, which have [a rule of their own](crate::temporal).

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, WindowFunctionDefinition};

use crate::Reason;
use crate::temporal::{self, is_clock};

/// The reason why an expression of an operator cannot be maintained, for the first such expression.
pub(crate) fn refusal(plan: &LogicalPlan) -> Option<Reason> {
    let clock_is_covered = temporal::is_covered(plan);
    let mut found = None;
    let visited = plan.apply_expressions(|expression| {
        expression.apply(|node| {
            found = if clock_is_covered && is_clock(node) { None } else { refusal_of_node(node) };
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    match visited {
        Ok(_) => found,
        Err(error) => Some(unreadable(&error)),
    }
}

fn unreadable(error: &DataFusionError) -> Reason {
    Reason::UnsupportedExpression(error.strip_backtrace())
}

fn refusal_of_node(node: &Expr) -> Option<Reason> {
    match node {
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::ScalarSubquery(_)
        | Expr::OuterReferenceColumn(..) => {
            return Some(Reason::SubqueryNotIncremental(shown(node)));
        }
        Expr::Placeholder(_) | Expr::ScalarVariable(..) | Expr::Unnest(_) => {
            return Some(Reason::UnsupportedExpression(shown(node)));
        }
        _ => {}
    }
    match called_function(node)?.1 {
        Volatility::Immutable => None,
        // Within one query a stable function is constant; between two refreshes only the clock moves it.
        Volatility::Stable => Some(Reason::ClockDependent(shown(node))),
        Volatility::Volatile => Some(Reason::VolatileFunction(shown(node))),
    }
}

/// The function that an expression calls, whatever its kind, and its volatility.
pub fn called_function(node: &Expr) -> Option<(&str, Volatility)> {
    Some(match node {
        Expr::ScalarFunction(function) => (function.func.name(), function.func.signature().volatility),
        Expr::HigherOrderFunction(function) => (function.func.name(), function.func.signature().volatility),
        Expr::AggregateFunction(function) => (function.func.name(), function.func.signature().volatility),
        Expr::WindowFunction(window) => match &window.fun {
            WindowFunctionDefinition::AggregateUDF(function) => (function.name(), function.signature().volatility),
            WindowFunctionDefinition::WindowUDF(function) => (function.name(), function.signature().volatility),
        },
        _ => return None,
    })
}

/// The text of an expression, short enough for a message.
fn shown(expression: &Expr) -> String {
    match expression {
        Expr::Exists(_) => "EXISTS".to_owned(),
        Expr::InSubquery(_) => "IN".to_owned(),
        Expr::ScalarSubquery(_) => "scalar sub-query".to_owned(),
        Expr::SetComparison(_) => "ANY or ALL".to_owned(),
        other => shortened(&other.to_string()),
    }
}

/// One line of text, cut where it gets long.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(LONGEST).collect();
    short.push('…');
    short
}
