//! DataFusion's `eliminate_cross_join`, kept away from plans whose rows it would change.
//!
//! The rule flattens neighbouring inner joins into one list of inputs and keys and builds them up again with the NULL
//! meaning of the topmost join.  Where a join with null-safe keys (`IS NOT DISTINCT FROM`) stands beside an ordinary
//! one, NULL keys then match where they must not, or the other way round (DataFusion 55.2).

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The rule, for plans without null-safe inner joins.
#[derive(Debug, Default)]
pub struct EliminateCrossJoinSafely(EliminateCrossJoin);

impl OptimizerRule for EliminateCrossJoinSafely {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if has_null_safe_join(&plan)? { Ok(Transformed::no(plan)) } else { self.0.rewrite(plan, config) }
    }
}

fn has_null_safe_join(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node {
            found |= join.join_type == JoinType::Inner && join.null_equality == NullEquality::NullEqualsNull;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// DataFusion's logical rules with this one in the place of its own.
pub fn rules() -> Vec<std::sync::Arc<dyn OptimizerRule + Send + Sync>> {
    let safe = EliminateCrossJoinSafely::default();
    let name = safe.name().to_owned();
    let safe: std::sync::Arc<dyn OptimizerRule + Send + Sync> = std::sync::Arc::new(safe);
    datafusion::optimizer::Optimizer::new()
        .rules
        .into_iter()
        .map(|rule| if rule.name() == name { std::sync::Arc::clone(&safe) } else { rule })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    fn context() -> SessionContext {
        let state = SessionStateBuilder::new().with_default_features().with_optimizer_rules(rules()).build();
        let context = SessionContext::new_with_state(state);
        for (name, values) in [("a", vec![Some(1), None]), ("b", vec![Some(1), None]), ("c", vec![Some(1), None])] {
            let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
            let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values))]).unwrap();
            context.register_batch(name, batch).unwrap();
        }
        context
    }

    #[tokio::test]
    async fn null_keys_match_in_the_null_safe_join_only_also_when_a_plan_is_optimized_twice() {
        let context = context();
        let sql =
            "SELECT a.k AS a, b.k AS b, c.k AS c FROM a JOIN b ON (a.k IS NOT DISTINCT FROM b.k) JOIN c ON b.k = c.k";
        let once = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
        let twice = context.state().optimize(&once).unwrap();
        for plan in [once, twice] {
            let rows = context.execute_logical_plan(plan).await.unwrap().count().await.unwrap();
            assert_eq!(rows, 1);
        }
    }

    #[tokio::test]
    async fn comma_joins_still_become_inner_joins() {
        let plan = context().sql("SELECT a.k FROM a, b, c WHERE a.k = b.k AND b.k = c.k").await.unwrap();
        let text = plan.into_optimized_plan().unwrap().to_string();
        assert!(!text.contains("Cross Join"), "{text}");
        assert_eq!(text.matches("Inner Join").count(), 2, "{text}");
    }
}
