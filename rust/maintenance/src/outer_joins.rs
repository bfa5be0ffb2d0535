//! Joins that keep rows without a match, or only say whether there is one: left, right, full, semi, anti and mark joins.
//!
//! Such a join `L ∘ R` is linear in the side whose rows it keeps, so for left, semi, anti and mark joins, with `K` the
//! join keys of the effective changes of `R`,
//!
//! ```text
//! changes(L ∘ R) = changes(L) ∘ now(R)  +  (before(L) ⋉ K) ∘ (now(R) ⋉ K)  -  (before(L) ⋉ K) ∘ (before(R) ⋉ K)
//! ```
//!
//! and mirrored where the right side is kept.  A full join is compared before and now over the keys of both changes.
//! Without an equality to take keys from, and for `NOT IN`, where one NULL decides over all rows, the second part is
//! compared as a whole.
//!
//! Source: Larson & Zhou, "Efficient maintenance of materialized outer-join views" (ICDE 2007); the closed form is theirs
//! with the rows whose match flips found by comparing instead of by counting.

use std::sync::Arc;

use datafusion::common::{DataFusionError, NullEquality};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};

use crate::Reason;
use crate::affected_keys::{Nulls, compared_as_a_whole, difference, keys_of, keys_of_both, keys_over};
use crate::columns::{all_columns, project, sum_of, weight};
use crate::derivation::{Changes, Derivation, cannot_build};
use crate::leaves::Side;
use crate::restriction::Restriction;

/// The side whose rows a join keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Left,
    Right,
    Both,
}

/// The side whose rows a join keeps, each once or once for each match; `None` for an inner join.
pub(crate) fn kept(join: &Join) -> Option<Kept> {
    match join.join_type {
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => Some(Kept::Left),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => Some(Kept::Right),
        JoinType::Full => Some(Kept::Both),
        JoinType::Inner => None,
    }
}

/// The join over other inputs that have the columns of its own.
pub(crate) fn over(join: &Join, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    Join::try_new(
        Arc::new(left),
        Arc::new(right),
        join.on.clone(),
        join.filter.clone(),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
    .map(LogicalPlan::Join)
}

/// The changes of a join that is not an inner one.
pub(crate) fn changes(
    plan: &LogicalPlan,
    join: &Join,
    kept: Kept,
    derivation: Derivation<'_>,
) -> Result<Option<Changes>, Reason> {
    let left = derivation.changes(&join.left)?;
    let right = derivation.changes(&join.right)?;
    if left.is_none() && right.is_none() {
        return Ok(None);
    }
    let rule = Rule { plan, join, derivation };
    match kept {
        Kept::Left => rule.one_sided(&Sides::left_kept(join), left, right).map(Some),
        Kept::Right => rule.one_sided(&Sides::right_kept(join), right, left).map(Some),
        Kept::Both => rule.full(left, right).map(Some),
    }
}

/// A join as the side that it keeps and the side that it looks into.
struct Sides<'a> {
    kept: &'a LogicalPlan,
    kept_keys: Vec<Expr>,
    looked: &'a LogicalPlan,
    looked_keys: Vec<Expr>,
    left_is_kept: bool,
}

impl<'a> Sides<'a> {
    fn left_kept(join: &'a Join) -> Self {
        let (kept_keys, looked_keys) = join.on.iter().cloned().unzip();
        Self { kept: &join.left, kept_keys, looked: &join.right, looked_keys, left_is_kept: true }
    }

    fn right_kept(join: &'a Join) -> Self {
        let (looked_keys, kept_keys) = join.on.iter().cloned().unzip();
        Self { kept: &join.right, kept_keys, looked: &join.left, looked_keys, left_is_kept: false }
    }
}

struct Rule<'a> {
    plan: &'a LogicalPlan,
    join: &'a Join,
    derivation: Derivation<'a>,
}

impl Rule<'_> {
    fn one_sided(&self, sides: &Sides<'_>, kept: Option<Changes>, looked: Option<Changes>) -> Result<Changes, Reason> {
        let mut terms = Vec::new();
        let mut insert_only = true;
        if let Some(kept) = kept {
            insert_only &= kept.insert_only;
            terms.push(self.of_kept(sides, kept)?);
        }
        if let Some(looked) = looked {
            insert_only = false;
            terms.push(self.of_looked(sides, &looked)?.plan);
        }
        let plan = sum_of(terms, self.plan.schema()).map_err(|error| self.lifted(&error))?;
        Ok(Changes { plan, insert_only })
    }

    /// The changed rows of the kept side, joined with the other side as it is now.
    fn of_kept(&self, sides: &Sides<'_>, changes: Changes) -> Result<LogicalPlan, Reason> {
        if !self.has_keys() {
            return self.weighted(sides, changes.plan, self.derivation.at(sides.looked, Side::Now)?);
        }
        let changes = self.derivation.once(self.plan, changes)?;
        let keys = self.keys(&changes, &sides.kept_keys)?;
        let looked = self.restricted(sides.looked, &sides.looked_keys, &keys, Side::Now)?;
        self.weighted(sides, changes.plan, looked)
    }

    /// What a change of the other side makes of the rows that were kept.
    fn of_looked(&self, sides: &Sides<'_>, changes: &Changes) -> Result<Changes, Reason> {
        let (kept, now, before) = if self.has_keys() {
            let keys = self.keys(changes, &sides.looked_keys)?;
            let kept = self.restricted(sides.kept, &sides.kept_keys, &keys, Side::Before)?;
            let looked = |side| self.restricted(sides.looked, &sides.looked_keys, &keys, side);
            (kept, looked(Side::Now)?, looked(Side::Before)?)
        } else {
            let at = |side| self.derivation.at(sides.looked, side);
            (self.derivation.at(sides.kept, Side::Before)?, at(Side::Now)?, at(Side::Before)?)
        };
        let build = || -> Result<Changes, DataFusionError> {
            let kept = self.derivation.steps.once(kept)?;
            let now = self.over(sides, kept.clone(), now)?;
            let before = self.over(sides, kept, before)?;
            difference(self.plan, now, before)
        };
        build().map_err(|error| self.lifted(&error))
    }

    fn full(&self, left: Option<Changes>, right: Option<Changes>) -> Result<Changes, Reason> {
        if !self.has_keys() {
            return compared_as_a_whole(self.plan, self.derivation);
        }
        let (on_left, on_right): (Vec<Expr>, Vec<Expr>) = self.join.on.iter().cloned().unzip();
        let of = |changes: Option<Changes>, expressions: &[Expr]| {
            changes.map(|changes| keys_of(&changes, expressions, Nulls::Kept)).transpose()
        };
        let build = || -> Result<Option<LogicalPlan>, DataFusionError> {
            let keys = match (of(left, &on_left)?, of(right, &on_right)?) {
                (Some(one), Some(other)) => Some(keys_of_both(one, other)?),
                (one, other) => one.or(other),
            };
            keys.map(|keys| self.derivation.steps.once(keys)).transpose()
        };
        let Some(keys) = build().map_err(|error| self.lifted(&error))? else {
            return compared_as_a_whole(self.plan, self.derivation);
        };
        let side = |side| {
            let left = self.restricted(&self.join.left, &on_left, &keys, side)?;
            let right = self.restricted(&self.join.right, &on_right, &keys, side)?;
            over(self.join, left, right).map_err(|error| self.lifted(&error))
        };
        difference(self.plan, side(Side::Now)?, side(Side::Before)?).map_err(|error| self.lifted(&error))
    }

    /// Whether the rows that a change can touch are found by their join keys.
    fn has_keys(&self) -> bool {
        !self.join.on.is_empty() && !self.join.null_aware
    }

    fn keys(&self, changes: &Changes, expressions: &[Expr]) -> Result<LogicalPlan, Reason> {
        let nulls = match self.join.null_equality {
            NullEquality::NullEqualsNothing => Nulls::Dropped,
            NullEquality::NullEqualsNull => Nulls::Kept,
        };
        keys_of(changes, expressions, nulls)
            .and_then(|keys| self.derivation.steps.once(keys))
            .map_err(|error| self.lifted(&error))
    }

    fn restricted(
        &self,
        input: &LogicalPlan,
        expressions: &[Expr],
        keys: &LogicalPlan,
        side: Side,
    ) -> Result<LogicalPlan, Reason> {
        Restriction { derivation: self.derivation, keys, side }.of(input, &keys_over(expressions.iter().cloned()))
    }

    /// The join over changed rows of the kept side, whose weights pass through.
    fn weighted(&self, sides: &Sides<'_>, changes: LogicalPlan, looked: LogicalPlan) -> Result<LogicalPlan, Reason> {
        let build = || {
            let mut expressions = all_columns(self.plan.schema());
            expressions.push(weight());
            project(expressions, self.over(sides, changes, looked)?)
        };
        build().map_err(|error| self.lifted(&error))
    }

    fn over(&self, sides: &Sides<'_>, kept: LogicalPlan, looked: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        if sides.left_is_kept { over(self.join, kept, looked) } else { over(self.join, looked, kept) }
    }

    fn lifted(&self, error: &DataFusionError) -> Reason {
        cannot_build(self.plan, error)
    }
}
