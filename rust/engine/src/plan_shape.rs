//! The shape of a plan: what it computes, without the names and the layers that encodings change.
//!
//! Two plans with equal shapes compute the same bag of rows (the same list under a sort).  A shape replaces columns by
//! where their values come from, so aliases, sub-query aliases and projections vanish, while everything with a meaning
//! stays: kinds of joins, NULL equality, NULL awareness, frames, DISTINCT, FILTER, order, NULL treatment, literal types.
//!
//! It is used to check encodings.  What it does not know ([`Unknown`]) counts as different, never as equal.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, NullEquality, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunctionParams, InList, NullTreatment, Sort as SortExpr, WindowFunctionParams,
};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Between, BinaryExpr, Distinct, Expr, GroupingSet, Join, JoinType, Like, LogicalPlan, Operator, Sort,
    Unnest, Window,
};

/// Why a plan has no shape: the operator or expression that is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

type Result<T> = std::result::Result<T, Unknown>;

/// What a plan computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The operators that make rows, as a nested term.
    rows: String,
    /// Each column as an expression over `rows`.
    columns: Vec<String>,
    /// Whether `rows` ends in a window operator whose expressions are still open for more.
    windows: Option<(String, Vec<String>)>,
}

impl Shape {
    /// The shape as text, for comparisons and messages.
    pub fn text(&self) -> String {
        format!("{} -> [{}]", self.rows, self.columns.join(", "))
    }

    fn closed(rows: String, columns: Vec<String>) -> Self {
        Self { rows, columns, windows: None }
    }
}

/// The shape of a plan.
///
/// # Errors
/// Names the operator or expression that has no shape.
pub fn shape(plan: &LogicalPlan) -> Result<Shape> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let qualified = scan.projected_schema.as_ref();
            let columns: Vec<String> = qualified
                .fields()
                .iter()
                .map(|field| format!("{}.{}:{}", scan.table_name, field.name(), field.data_type()))
                .collect();
            if !scan.filters.is_empty() {
                return Err(Unknown("a scan with filters".to_owned()));
            }
            Ok(Shape::closed(format!("scan({})", scan.table_name), columns))
        }
        LogicalPlan::SubqueryAlias(alias) => shape(&alias.input),
        LogicalPlan::Projection(projection) => {
            let input = shape(&projection.input)?;
            let columns = expressions(&projection.expr, projection.input.schema(), &input)?;
            Ok(Shape { columns, ..input })
        }
        LogicalPlan::Filter(filter) => {
            let input = shape(&filter.input)?;
            let predicate = expression(&filter.predicate, filter.input.schema(), &input)?;
            Ok(Shape::closed(format!("filter({}, {predicate})", input.rows), input.columns))
        }
        LogicalPlan::Join(join) => join_shape(join),
        LogicalPlan::Aggregate(aggregate) => aggregate_shape(aggregate),
        LogicalPlan::Window(window) => window_shape(window),
        LogicalPlan::Sort(sort) => sort_shape(sort),
        LogicalPlan::Limit(limit) => {
            let input = shape(&limit.input)?;
            let skip = limit_text(limit.skip.as_deref())?.filter(|skip| *skip != 0);
            let fetch = limit_text(limit.fetch.as_deref())?;
            Ok(limited(input, skip, fetch))
        }
        LogicalPlan::Union(union) => {
            let inputs: Vec<String> =
                union.inputs.iter().map(|input| shape(input).map(|input| input.text())).collect::<Result<_>>()?;
            Ok(Shape::closed(format!("union({})", inputs.join("; ")), positions(&union.schema, "u")))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let inner = shape(input)?;
            Ok(Shape::closed(format!("distinct({})", inner.text()), positions(input.schema(), "d")))
        }
        LogicalPlan::EmptyRelation(empty) => {
            Ok(Shape::closed(format!("empty({})", empty.produce_one_row), positions(&empty.schema, "e")))
        }
        LogicalPlan::Values(values) => {
            let empty = DFSchema::empty();
            let nothing = Shape::closed(String::new(), Vec::new());
            let rows: Vec<String> = values
                .values
                .iter()
                .map(|row| expressions(row, &empty, &nothing).map(|row| row.join(", ")))
                .collect::<Result<_>>()?;
            Ok(Shape::closed(format!("values({})", rows.join("; ")), positions(&values.schema, "v")))
        }
        LogicalPlan::Subquery(subquery) => shape(&subquery.subquery),
        LogicalPlan::Unnest(unnest) => unnest_shape(unnest),
        LogicalPlan::RecursiveQuery(query) => Ok(Shape::closed(
            // Its name is what the scan of its work table refers to.
            format!(
                "recursive({}, distinct {}, {}, {})",
                query.name,
                query.is_distinct,
                shape(&query.static_term)?.text(),
                shape(&query.recursive_term)?.text()
            ),
            positions(&query.schema, "w"),
        )),
        other => Err(Unknown(operator_name(other))),
    }
}

/// The name of an operator, as in `Aggregate` or `RecursiveQuery`.
pub fn operator_name(plan: &LogicalPlan) -> String {
    let text = plan.display().to_string();
    text.split([':', ' ', '[']).next().unwrap_or_default().to_owned()
}

fn join_shape(join: &Join) -> Result<Shape> {
    let left = shape(&join.left)?;
    let right = shape(&join.right)?;
    let both = join
        .left
        .schema()
        .join(join.right.schema())
        .map_err(|error| Unknown(format!("a join with an ambiguous schema ({error})")))?;
    let left_columns = positions(join.left.schema(), "l");
    let right_columns = positions(join.right.schema(), "r");
    let inside = Shape::closed(String::new(), left_columns.iter().chain(&right_columns).cloned().collect());
    let equal = match join.null_equality {
        NullEquality::NullEqualsNothing => Operator::Eq,
        NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
    };
    let mut conditions: Vec<String> = join
        .on
        .iter()
        .map(|(left, right)| {
            let equation = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), equal, Box::new(right.clone())));
            expression(&equation, &both, &inside)
        })
        .collect::<Result<_>>()?;
    if let Some(filter) = &join.filter {
        for conjunct in split_conjunction(filter) {
            conditions.push(expression(conjunct, &both, &inside)?);
        }
    }
    conditions.sort();
    let rows = format!(
        "join({}{}, {}, {}, [{}])",
        join.join_type,
        if join.null_aware { " null aware" } else { "" },
        left.text(),
        right.text(),
        conditions.join(" AND ")
    );
    let columns = match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => inside.columns,
        JoinType::LeftSemi | JoinType::LeftAnti => left_columns,
        JoinType::RightSemi | JoinType::RightAnti => right_columns,
        JoinType::LeftMark => left_columns.into_iter().chain(["mark".to_owned()]).collect(),
        JoinType::RightMark => right_columns.into_iter().chain(["mark".to_owned()]).collect(),
    };
    Ok(Shape::closed(rows, columns))
}

fn aggregate_shape(aggregate: &Aggregate) -> Result<Shape> {
    let input = shape(&aggregate.input)?;
    let groups = expressions(&aggregate.group_expr, aggregate.input.schema(), &input)?;
    let values = expressions(&aggregate.aggr_expr, aggregate.input.schema(), &input)?;
    Ok(Shape::closed(
        format!("aggregate({}, [{}], [{}])", input.rows, groups.join(", "), values.join(", ")),
        positions(&aggregate.schema, "a"),
    ))
}

fn unnest_shape(unnest: &Unnest) -> Result<Shape> {
    let input = shape(&unnest.input)?;
    let lists: Vec<String> =
        unnest.list_type_columns.iter().map(|(position, list)| format!("{position} depth {}", list.depth)).collect();
    Ok(Shape::closed(
        format!(
            "unnest({}, lists [{}], structs {:?}, outputs {:?}, {:?})",
            input.text(),
            lists.join(", "),
            unnest.struct_type_columns,
            unnest.dependency_indices,
            unnest.options
        ),
        positions(&unnest.schema, "n"),
    ))
}

/// Windows over the same rows are one operator, in any order: each is an expression over rows and windows below.
fn window_shape(window: &Window) -> Result<Shape> {
    let input = shape(&window.input)?;
    let added = expressions(&window.window_expr, window.input.schema(), &input)?;
    let (rows, mut all) = match input.windows {
        Some((rows, all)) => (rows, all),
        None => (input.rows.clone(), Vec::new()),
    };
    all.extend(added.iter().cloned());
    all.sort();
    all.dedup();
    Ok(Shape {
        rows: format!("window({rows}, [{}])", all.join(", ")),
        columns: input.columns.into_iter().chain(added).collect(),
        windows: Some((rows, all)),
    })
}

fn sort_shape(sort: &Sort) -> Result<Shape> {
    let input = shape(&sort.input)?;
    let keys = sort_keys(&sort.expr, sort.input.schema(), &input)?;
    let sorted = Shape::closed(format!("sort({}, [{keys}])", input.rows), input.columns);
    Ok(limited(sorted, None, sort.fetch.map(|fetch| i64::try_from(fetch).unwrap_or(i64::MAX))))
}

/// A limit over a limit with the same count is that limit: encodings write the count of a sort as one of its own.
fn limited(input: Shape, skip: Option<i64>, fetch: Option<i64>) -> Shape {
    let bound = |skip: Option<i64>, fetch: Option<i64>| fetch.map(|fetch| fetch.saturating_add(skip.unwrap_or(0)));
    let (rows, inner_fetch) = unlimited(&input.rows);
    let rows = match (inner_fetch, bound(skip, fetch)) {
        // The inner limit keeps at least what the outer one looks at, so it changes nothing.
        (Some(inner), Some(outer)) if inner >= outer => rows.to_owned(),
        _ => input.rows.clone(),
    };
    if skip.is_none() && fetch.is_none() {
        return input;
    }
    let text = |value: Option<i64>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    Shape::closed(format!("limit({rows}, skip {}, fetch {})", text(skip), text(fetch)), input.columns)
}

/// The rows below a limit without skip, and its count.
fn unlimited(rows: &str) -> (&str, Option<i64>) {
    let parts = rows
        .strip_prefix("limit(")
        .and_then(|rows| rows.strip_suffix(')'))
        .and_then(|rows| rows.rsplit_once(", skip none, fetch "));
    match parts {
        Some((inner, fetch)) => match fetch.parse() {
            Ok(fetch) => (inner, Some(fetch)),
            Err(_) => (rows, None),
        },
        None => (rows, None),
    }
}

fn limit_text(value: Option<&Expr>) -> Result<Option<i64>> {
    match value {
        None => Ok(None),
        Some(Expr::Literal(ScalarValue::Int64(value), _)) => Ok(*value),
        Some(other) => Err(Unknown(format!("a limit that is not a number ({other})"))),
    }
}

fn positions(schema: &DFSchema, prefix: &str) -> Vec<String> {
    schema
        .fields()
        .iter()
        .enumerate()
        .map(|(position, field)| format!("{prefix}{position}:{}", field.data_type()))
        .collect()
}

fn expressions(expressions: &[Expr], schema: &DFSchema, input: &Shape) -> Result<Vec<String>> {
    expressions.iter().map(|one| expression(one, schema, input)).collect()
}

fn sort_keys(keys: &[SortExpr], schema: &DFSchema, input: &Shape) -> Result<String> {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| {
            let value = expression(&key.expr, schema, input)?;
            Ok(format!(
                "{value} {} {}",
                if key.asc { "asc" } else { "desc" },
                if key.nulls_first { "nulls first" } else { "nulls last" }
            ))
        })
        .collect::<Result<_>>()?;
    Ok(keys.join(", "))
}

fn column(column: &Column, schema: &DFSchema, input: &Shape) -> Result<String> {
    let position =
        schema.index_of_column(column).map_err(|_| Unknown(format!("column {column} that is not in its input")))?;
    input.columns.get(position).cloned().ok_or_else(|| Unknown(format!("column {column} beyond its input")))
}

fn expression(expr: &Expr, schema: &DFSchema, input: &Shape) -> Result<String> {
    let one = |expr: &Expr| expression(expr, schema, input);
    let many = |exprs: &[Expr]| expressions(exprs, schema, input).map(|parts| parts.join(", "));
    Ok(match expr {
        Expr::Alias(alias) => one(&alias.expr)?,
        Expr::Column(name) => column(name, schema, input)?,
        Expr::Literal(value, _) => format!("{value:?}:{}", value.data_type()),
        Expr::BinaryExpr(BinaryExpr { op, .. }) if matches!(op, Operator::And | Operator::Or) => {
            let mut parts = Vec::new();
            flatten(expr, *op, &mut parts);
            let parts: Vec<String> = parts.into_iter().map(one).collect::<Result<_>>()?;
            format!("({})", parts.join(&format!(" {op} ")))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            format!("({} {op} {})", one(left)?, one(right)?)
        }
        Expr::Like(like) => like_text("like", like, &one)?,
        Expr::SimilarTo(like) => like_text("similar", like, &one)?,
        Expr::Not(inner) => format!("not({})", one(inner)?),
        Expr::IsNotNull(inner) => format!("not(is_null({}))", one(inner)?),
        Expr::IsNull(inner) => format!("is_null({})", one(inner)?),
        Expr::IsTrue(inner) => format!("is_true({})", one(inner)?),
        Expr::IsFalse(inner) => format!("is_false({})", one(inner)?),
        Expr::IsUnknown(inner) => format!("is_unknown({})", one(inner)?),
        Expr::IsNotTrue(inner) => format!("not(is_true({}))", one(inner)?),
        Expr::IsNotFalse(inner) => format!("not(is_false({}))", one(inner)?),
        Expr::IsNotUnknown(inner) => format!("not(is_unknown({}))", one(inner)?),
        Expr::Negative(inner) => format!("negative({})", one(inner)?),
        Expr::Between(Between { expr, negated, low, high }) => {
            let value = one(expr)?;
            let inside = format!("({value} >= {} AND {value} <= {})", one(low)?, one(high)?);
            if *negated { format!("not({inside})") } else { inside }
        }
        Expr::Case(case) => {
            let branches: Vec<String> = case
                .when_then_expr
                .iter()
                .map(|(when, then)| Ok(format!("{} -> {}", one(when)?, one(then)?)))
                .collect::<Result<_>>()?;
            format!(
                "case({}; {}; else {})",
                optional(case.expr.as_deref(), &one)?,
                branches.join("; "),
                optional(case.else_expr.as_deref(), &one)?
            )
        }
        Expr::Cast(cast) => format!("cast({}, {})", one(&cast.expr)?, cast.field.data_type()),
        Expr::TryCast(cast) => {
            format!("try_cast({}, {})", one(&cast.expr)?, cast.field.data_type())
        }
        Expr::ScalarFunction(function) => {
            format!("{}({})", function.func.name(), many(&function.args)?)
        }
        Expr::AggregateFunction(function) => {
            let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = &function.params;
            format!(
                "{}({}, distinct {distinct}, filter {}, order [{}], {})",
                function.func.name(),
                many(args)?,
                optional(filter.as_deref(), &one)?,
                sort_keys(order_by, schema, input)?,
                treatment(*null_treatment)
            )
        }
        Expr::WindowFunction(function) => {
            let WindowFunctionParams { args, partition_by, order_by, window_frame, filter, null_treatment, distinct } =
                &function.params;
            format!(
                "window {}({}, partition [{}], order [{}], frame {:?} {:?} {:?}, distinct {distinct}, filter {}, {})",
                function.fun.name(),
                many(args)?,
                many(partition_by)?,
                sort_keys(order_by, schema, input)?,
                window_frame.units,
                window_frame.start_bound,
                window_frame.end_bound,
                optional(filter.as_deref(), &one)?,
                treatment(*null_treatment)
            )
        }
        Expr::InList(InList { expr, list, negated }) => {
            let inside = format!("in({}, [{}])", one(expr)?, many(list)?);
            if *negated { format!("not({inside})") } else { inside }
        }
        Expr::GroupingSet(GroupingSet::Rollup(parts)) => format!("rollup({})", many(parts)?),
        Expr::GroupingSet(GroupingSet::Cube(parts)) => format!("cube({})", many(parts)?),
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
            let sets: Vec<String> =
                sets.iter().map(|set| many(set).map(|set| format!("({set})"))).collect::<Result<_>>()?;
            format!("sets({})", sets.join(", "))
        }
        Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => {
            format!("scalar_query({})", shape(&subquery.subquery)?.text())
        }
        other => return Err(Unknown(format!("{} ({other})", other.variant_name()))),
    })
}

fn flatten<'a>(expr: &'a Expr, operator: Operator, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == operator => {
            flatten(left, operator, parts);
            flatten(right, operator, parts);
        }
        Expr::Alias(alias) => flatten(&alias.expr, operator, parts),
        other => parts.push(other),
    }
}

fn like_text(kind: &str, like: &Like, one: &impl Fn(&Expr) -> Result<String>) -> Result<String> {
    let inside = format!(
        "{kind}({}, {}, escape {:?}, case insensitive {})",
        one(&like.expr)?,
        one(&like.pattern)?,
        like.escape_char,
        like.case_insensitive
    );
    Ok(if like.negated { format!("not({inside})") } else { inside })
}

fn optional(expr: Option<&Expr>, one: &impl Fn(&Expr) -> Result<String>) -> Result<String> {
    expr.map_or_else(|| Ok("none".to_owned()), one)
}

/// Not saying how NULLs are treated means to respect them.
fn treatment(treatment: Option<NullTreatment>) -> &'static str {
    match treatment {
        Some(NullTreatment::IgnoreNulls) => "ignore nulls",
        Some(NullTreatment::RespectNulls) | None => "respect nulls",
    }
}

/// Whether two plans are the same down to every name, apart from the row counts that the optimizer left in scans.
///
/// Such a count only repeats a limit above the scan, and encodings drop it.
pub fn identical(left: &LogicalPlan, right: &LogicalPlan) -> bool {
    without_scan_limits(left) == without_scan_limits(right)
}

fn without_scan_limits(plan: &LogicalPlan) -> Option<LogicalPlan> {
    plan.clone()
        .transform_down_with_subqueries(|node| {
            Ok(match node {
                LogicalPlan::TableScan(mut scan) if scan.fetch.is_some() => {
                    scan.fetch = None;
                    Transformed::yes(LogicalPlan::TableScan(scan))
                }
                other => Transformed::no(other),
            })
        })
        .ok()
        .map(|transformed| transformed.data)
}
