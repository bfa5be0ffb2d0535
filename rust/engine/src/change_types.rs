//! What change files say of rows, by our own functions of change types: the weight of each row, and whether all of it
//! can be true.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, lit, when};
use lake::{CHANGE_TYPE, ChangeFeed, FeedPart, PartWeight};

use crate::error::EngineError;
use crate::execution::Execution;

/// The weight that a row of a change file stands for.
pub fn signed(execution: &Execution, provider: &dyn TableProvider) -> Result<Expr> {
    let upsert = execution.function("cdf_is_upsert")?.call(vec![change_type(provider)?]);
    when(upsert, lit(1_i64)).otherwise(lit(-1_i64))
}

/// What cannot be true of the change files of a feed; none where nothing is found.
///
/// Each row has a change type, each updated row an image before and one after, and all changes together are the
/// difference in the number of rows that the log tells.  Writers get this wrong: the UPDATE of delta-rs leaves out the
/// image after where the table has an equal row already.
pub async fn contradiction(execution: &Execution, feed: &ChangeFeed) -> Result<Option<String>> {
    let mut more = 0;
    for part in &feed.parts {
        match part.weight {
            PartWeight::Plus => more += counted(execution, part, &[]).await?.0,
            PartWeight::Minus => more -= counted(execution, part, &[]).await?.0,
            PartWeight::ChangeType => {
                let counted = counted(execution, part, &kinds(execution, part.provider.as_ref())?).await;
                if let Err(error) = &counted
                    && let DataFusionError::Execution(unknown) = error.find_root()
                {
                    return Ok(Some(format!("they say what nobody understands ({unknown})")));
                }
                let (rows, [preimages, deletes, upserts, postimages]) = counted?;
                let untold = rows - preimages - deletes - upserts;
                if untold != 0 {
                    return Ok(Some(format!("{untold} of their {rows} rows have no change type")));
                }
                if preimages != postimages {
                    return Ok(Some(format!(
                        "they have {preimages} rows from before an update and {postimages} from after one"
                    )));
                }
                more += upserts - deletes - preimages;
            }
        }
    }
    let (Some(before), Some(now)) = (feed.before.rows(), feed.now.rows()) else { return Ok(None) };
    let grown = i128::from(now) - i128::from(before);
    let wrong = || format!("they make {more:+} rows, and the table has {grown:+}");
    Ok((i128::from(more) != grown).then(wrong))
}

/// Which rows of a change file are from before an update, deleted, there after their commit, and from after an update.
fn kinds(execution: &Execution, provider: &dyn TableProvider) -> Result<[Expr; 4]> {
    let change_type = change_type(provider)?;
    let of = |name: &str| Ok::<Expr, DataFusionError>(execution.function(name)?.call(vec![change_type.clone()]));
    let rank = of("cdf_change_rank")?;
    Ok([rank.clone().eq(lit(0_i32)), of("cdf_is_delete")?, of("cdf_is_upsert")?, rank.eq(lit(3_i32))])
}

/// How many rows a part has, and how many of each kind.
async fn counted<const N: usize>(execution: &Execution, part: &FeedPart, kinds: &[Expr; N]) -> Result<(i64, [i64; N])> {
    let plan = counts(part, kinds)?;
    let counts = execution.collect(&plan, u64::MAX).await?;
    let count = |column: usize| {
        let rows: Option<&RecordBatch> = counts.batches.first();
        rows.and_then(|rows| rows.column(column).as_primitive_opt::<Int64Type>())
            .map(|counts| counts.value(0))
            .ok_or_else(|| EngineError::defect("change files", "counting their rows gave no number"))
    };
    let mut found = [0; N];
    for (column, slot) in (1..).zip(&mut found) {
        *slot = count(column)?;
    }
    Ok((count(0)?, found))
}

fn counts(part: &FeedPart, kinds: &[Expr]) -> Result<LogicalPlan> {
    let rows = || count(lit(1_i64));
    let all = [Ok(rows().alias("rows"))].into_iter();
    let each = kinds.iter().cloned().enumerate().map(|(index, kind)| {
        let counted = rows().filter(kind).build()?;
        Ok(counted.alias(format!("kind {index}")))
    });
    LogicalPlanBuilder::scan("part", provider_as_source(Arc::clone(&part.provider)), None)?
        .aggregate(Vec::<Expr>::new(), all.chain(each).collect::<Result<Vec<_>>>()?)?
        .build()
}

fn change_type(provider: &dyn TableProvider) -> Result<Expr> {
    let fields = provider.schema();
    let field = fields.fields().iter().find(|field| field.name() == CHANGE_TYPE);
    let field =
        field.ok_or_else(|| EngineError::defect("change set", "a change file has no column \"_change_type\""))?;
    Ok(Expr::Column(Column::new_unqualified(field.name())))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;
    use datafusion::catalog::MemTable;

    use super::*;
    use crate::session::{EngineOptions, EngineSession};

    fn part_of(words: &[Option<&str>]) -> FeedPart {
        let rows = RecordBatch::try_from_iter_with_nullable([(
            CHANGE_TYPE,
            Arc::new(StringArray::from(words.to_vec())) as _,
            true,
        )]);
        let rows = rows.unwrap();
        let provider = Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap());
        FeedPart { provider, weight: PartWeight::ChangeType }
    }

    #[tokio::test]
    async fn rows_of_each_kind_are_counted_by_our_own_functions() {
        let session = EngineSession::new(EngineOptions::default()).unwrap();
        let execution = Execution::new(&session, 0).unwrap();
        let part = part_of(&[
            Some("insert"),
            Some("insert"),
            Some("insert"),
            Some("delete"),
            Some("delete"),
            Some("update_preimage"),
            Some("update_postimage"),
            None,
        ]);
        let kinds = kinds(&execution, part.provider.as_ref()).unwrap();
        let plan = counts(&part, &kinds).unwrap().display_indent().to_string();
        for function in ["cdf_change_rank", "cdf_is_delete", "cdf_is_upsert"] {
            assert!(plan.contains(&format!("{function}(part._change_type)")), "{plan}");
        }
        assert_eq!(counted(&execution, &part, &kinds).await.unwrap(), (8, [1, 2, 4, 1]));
        let unknown = part_of(&[Some("vanished")]);
        let error = counted(&execution, &unknown, &kinds).await.unwrap_err();
        assert!(error.to_string().contains("\"vanished\""), "{error}");
    }
}
