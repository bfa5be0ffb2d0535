//! Volatility: what of a plan depends on when, or how often, it is run.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, Volatility};
use maintenance::called_function;

/// Whether a plan gives the same rows at any time, so that optimizing it puts no moment into it.
pub fn is_timeless(plan: &LogicalPlan) -> Result<bool> {
    let mut timeless = true;
    for_each_call(plan, |_, volatility| timeless &= volatility == Volatility::Immutable)?;
    Ok(timeless)
}

/// The functions that give other values at each call.
pub fn volatile_functions(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for_each_call(plan, |name, volatility| {
        if volatility == Volatility::Volatile {
            found.insert(name.to_owned());
        }
    })?;
    Ok(found)
}

/// Tells the name and the volatility of every call of a function, also inside sub-queries.
fn for_each_call(plan: &LogicalPlan, mut visit: impl FnMut(&str, Volatility)) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Some((name, volatility)) = called_function(part) {
                    visit(name, volatility);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}
