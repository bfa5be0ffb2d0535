//! Optimizing plans that were optimized before, in this process or another one.
//!
//! DataFusion's rules give what they take out of an expression a name with a number, and a session counts from one.  In
//! a plan that has such names already the same name would stand for two things, and columns would silently be mixed up
//! (seen with `__common_expr_1` in 55.2).  So the session goes on counting where the plan ends.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;

/// Numbers above this are no names that a session made.
const MOST: usize = 1 << 32;

/// The optimized form of a plan.
///
/// # Errors
/// Those of DataFusion's rules.
pub fn optimize(state: &SessionState, plan: &LogicalPlan) -> Result<LogicalPlan> {
    state.execution_props().alias_generator.update_min_id(largest_number(plan)?);
    state.optimize(plan)
}

/// A state that leaves an expression where it is, however often it occurs.
///
/// What a condition asks the clock twice would be taken out of it otherwise, and be a column of the rows below.
pub fn without_common_expressions(state: &SessionState) -> SessionState {
    let rules = state.optimizers().iter().filter(|rule| rule.name() != "common_sub_expression_eliminate");
    let rules = rules.map(Arc::clone).collect();
    let mut without = SessionStateBuilder::new_from_existing(state.clone()).with_optimizer_rules(rules).build();
    *without.execution_props_mut() = ExecutionProps::new();
    without
}

/// The largest number at the end of a name like those that rules make: two underscores, words, and a number.
fn largest_number(plan: &LogicalPlan) -> Result<usize> {
    let mut largest = 0;
    plan.apply_with_subqueries(|node| {
        for (qualifier, field) in node.schema().iter() {
            let qualifier = qualifier.map(datafusion::common::TableReference::table).unwrap_or_default();
            for name in [qualifier, field.name().as_str()] {
                largest = largest.max(number_in(name));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(largest)
}

/// The largest number in a name that follows an underscore; 0 where no name of a rule can be in it.
fn number_in(name: &str) -> usize {
    let Some((_, made)) = name.split_once("__") else { return 0 };
    let words = made.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter_map(|word| word.parse().ok()).filter(|number| *number < MOST).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_wherever_a_name_is_shown() {
        for (name, number) in [
            ("__common_expr_7", 7),
            ("sum(__common_expr_12 * Int64(3))", 12),
            ("CAST(__scalar_sq_4.value AS Int64)", 4),
            ("orders_2024", 0),
            ("__x_99999999999999999999", 0),
            ("__common_expr_", 0),
        ] {
            assert_eq!(number_in(name), number, "{name}");
        }
    }
}
