//! Lineage: where the columns and the rows of a result come from.
//!
//! Built from the nodes and expressions of the optimized plan, never from a rendering of it.
//!
//! Promise: a relation's column that is not among its `columns` cannot change the result, and neither can a row that
//! fails a predicate of every scan of its relation.

mod extract;
mod predicates;
#[cfg(test)]
mod tests;

pub use extract::{extract, functions, predicate_expressions};

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputColumn {
    /// The relation.
    pub relation: String,
    /// The column.
    pub column: String,
}

/// How an output column comes from an input column, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivation {
    /// The value itself, possibly under another name.
    Copied,
    /// An expression over values of one row.
    Computed,
    /// A value over many rows: an aggregate or a window function.
    Aggregated,
    /// A float over many rows whose last digits depend on their order, as a sum that is not exact.
    OrderDependent,
}

/// One input column of an output column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ColumnSource {
    /// The relation.
    pub relation: String,
    /// The column.
    pub column: String,
    /// How it is used.
    pub how: Derivation,
}

/// An output column and the input columns that its values are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputColumn {
    /// The output column.
    pub name: String,
    /// Its sources, sorted; empty for a constant.
    pub sources: Vec<ColumnSource>,
}

/// A condition on the columns of one scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    /// The condition for people.
    pub display: String,
    /// The columns of the relation that it reads, sorted.
    pub columns: BTreeSet<String>,
    /// The expression over unqualified columns, DataFusion protobuf; see [`predicate_expressions`].
    #[serde(with = "crate::bundle::base64")]
    pub expression: Vec<u8>,
}

/// One place where a plan reads a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanLineage {
    /// Columns that are read here, in the order of the table.
    pub columns: Vec<String>,
    /// Conditions that a row must meet, all of them, to have an effect through this scan.
    pub predicates: Vec<Predicate>,
}

/// What a plan reads of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationLineage {
    /// The relation.
    pub relation: String,
    /// Columns that can change the result, in the order of the table.
    pub columns: Vec<String>,
    /// Every scan of the relation, in plan order; a row matters if it meets the predicates of one of them.
    pub scans: Vec<ScanLineage>,
}

/// One key of a join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinKey {
    /// Input columns of the left side of the equation.
    pub left: Vec<InputColumn>,
    /// Input columns of the right side.
    pub right: Vec<InputColumn>,
}

/// A join of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinLineage {
    /// `inner`, `left`, `right`, `full`, `left_semi`, `left_anti`, `left_mark` and their right forms.
    pub kind: String,
    /// Relations below the left input, sorted.
    pub left: BTreeSet<String>,
    /// Relations below the right input, sorted.
    pub right: BTreeSet<String>,
    /// The equations.
    pub keys: Vec<JoinKey>,
    /// Input columns of the condition beside the equations.
    pub condition: Vec<InputColumn>,
    /// Whether NULL keys match each other.
    pub null_equals_null: bool,
    /// Whether it is the anti join of `NOT IN`, where a NULL on the right removes every row.
    pub null_aware: bool,
}

/// A query inside an expression that the optimizer left there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubqueryLineage {
    /// `scalar`, `exists` or `in`.
    pub kind: String,
    /// The relations that it reads, sorted.
    pub relations: BTreeSet<String>,
    /// Columns of the outer query that it uses.
    pub outer: Vec<InputColumn>,
}

/// A function that the plan calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionUse {
    /// `scalar`, `aggregate`, `window` or `higher_order`.
    pub kind: String,
    /// The name under which it is registered.
    pub name: String,
}

/// An expression of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpressionLineage {
    /// The operator: `filter`, `projection`, `aggregate`, `window`, `join`, `sort`, …
    pub operator: String,
    /// Input columns, sorted.
    pub columns: Vec<InputColumn>,
    /// Names of functions, sorted.
    pub functions: BTreeSet<String>,
}

/// Where a result comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Relations by name.
    pub relations: Vec<RelationLineage>,
    /// Output columns in order.
    pub outputs: Vec<OutputColumn>,
    /// Input columns that decide which rows there are: filters, HAVING, limits' orders.
    pub filtered_by: Vec<InputColumn>,
    /// Input columns that rows are matched by.
    pub joined_on: Vec<InputColumn>,
    /// Input columns that rows are grouped, partitioned or made distinct by.
    pub grouped_by: Vec<InputColumn>,
    /// Input columns that rows are ordered by.
    pub ordered_by: Vec<InputColumn>,
    /// Joins in plan order.
    pub joins: Vec<JoinLineage>,
    /// Queries inside expressions.
    pub subqueries: Vec<SubqueryLineage>,
    /// Expressions of operators that compute, in plan order.
    pub expressions: Vec<ExpressionLineage>,
    /// Functions, sorted; also those whose calls were folded into literals.
    pub functions: Vec<FunctionUse>,
    /// The platform's functions among them, sorted.
    pub required_functions: Vec<String>,
    /// Their rewrite tags, sorted.
    pub required_rewrite_tags: Vec<String>,
}
