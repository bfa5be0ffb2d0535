//! Simplifying, folding and rewriting calls changes no result and no error, for expressions of all families.
//!
//! Where several parts of an expression fail, SQL leaves open which of them is told: a call that takes the arguments of
//! another one evaluates them all before it looks at any.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::error::Result as PlanResult;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use crate::{PlatformOptions, install};

const TABLE: &str = "CREATE TABLE t AS SELECT s, m, n, c, make_array(n, NULL, 3, n) AS l, \
                     map(make_array('a', s), make_array(n, 7)) AS d, \
                     CASE WHEN n = 5 THEN NULL ELSE named_struct('x', n, 'y', s, 'z', m) END AS r \
                     FROM (VALUES ('A\u{301}b', 'nfc', 1, 'insert'), ('\u{fb01} . x', 'NFKD', 4, 'delete'), \
                     ('u', 'NFC', 2, 'update_postimage'), (' \u{a0}', NULL, 5, NULL), \
                     ('a::b', 'NFD', NULL, 'update_preimage')) AS v(s, m, n, c)";

/// A session with the platform; without `simplifying` nothing is simplified, folded or rewritten.
async fn session(simplifying: bool) -> SessionContext {
    let mut builder =
        SessionStateBuilder::new().with_config(SessionConfig::new().with_target_partitions(1)).with_default_features();
    if !simplifying {
        let rules = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != "simplify_expressions").collect();
        builder = builder.with_optimizer_rules(rules);
    }
    let mut state = builder.build();
    install(&mut state, &PlatformOptions { enable_expr_planners: simplifying, ..PlatformOptions::default() }).unwrap();
    let context = SessionContext::new_with_state(state);
    context.sql(TABLE).await.unwrap().collect().await.unwrap();
    context
}

async fn answer(context: &SessionContext, expression: &str) -> Result<String, String> {
    collected(context.sql(&query(expression)).await).await
}

fn query(expression: &str) -> String {
    format!("SELECT {expression} AS result FROM t")
}

async fn collected(frame: PlanResult<DataFrame>) -> Result<String, String> {
    let batches = match frame {
        Ok(frame) => frame.collect().await,
        Err(error) => Err(error),
    };
    match batches {
        Ok(batches) => Ok(pretty_format_batches(&batches).unwrap().to_string()),
        Err(error) => Err(without_row(error.strip_backtrace())),
    }
}

/// The errors of all parts of an expression, each evaluated by itself.
async fn errors_of_parts(context: &SessionContext, expression: &str) -> Vec<String> {
    let plan = context.sql(&query(expression)).await.unwrap().into_unoptimized_plan();
    let mut parts = Vec::new();
    for whole in plan.expressions() {
        whole
            .apply(|part| {
                parts.push(part.clone().alias("part"));
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
    }
    let mut errors = Vec::new();
    for part in parts {
        errors.extend(collected(context.table("t").await.unwrap().select(vec![part])).await.err());
    }
    errors
}

/// A message without the row that it is about: a call that was folded is about no row.
fn without_row(message: String) -> String {
    let Some((before, rest)) = message.split_once(" in row ") else { return message };
    format!(
        "{before}{}",
        rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).replacen(" of the batch", "", 1)
    )
}

/// Expressions of each type over the columns of the table, as nested as they come.
#[derive(Clone, Debug)]
struct Expressions {
    text: BoxedStrategy<String>,
    number: BoxedStrategy<String>,
    list: BoxedStrategy<String>,
    map: BoxedStrategy<String>,
    record: BoxedStrategy<String>,
    span: BoxedStrategy<String>,
    flag: BoxedStrategy<String>,
}

fn one_of(leaves: &[&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(leaves.to_vec()).prop_map(str::to_owned).boxed()
}

/// A template whose `{}` are filled in order.
fn filled(template: &'static str, parts: Vec<BoxedStrategy<String>>) -> BoxedStrategy<String> {
    parts
        .prop_map(move |parts| parts.into_iter().fold(template.to_owned(), |text, part| text.replacen("{}", &part, 1)))
        .boxed()
}

fn leaves() -> Expressions {
    Expressions {
        text: one_of(&["s", "m", "'\u{c9}\u{fb01}'", "' '", "'a::b'", "CAST(NULL AS VARCHAR)"]),
        number: one_of(&["n", "3", "0", "-1", "CAST(NULL AS BIGINT)"]),
        list: one_of(&["l", "make_array(2, 1, 2)", "make_array(1, NULL)", "nullif(l, l)"]),
        map: one_of(&["d", "map(make_array('a', 'b', 'a'), make_array(1, 2, 3))"]),
        record: one_of(&["r", "named_struct('x', 1, 'y', 'b', 'z', m)"]),
        span: one_of(&["span_make(0, 4)", "span_make(n, n + 2)", "span_make(2, n)", "span_make(1, 2, 'utf16')"]),
        flag: one_of(&["n > 3", "true", "CAST(NULL AS BOOLEAN)"]),
    }
}

fn nested(inner: &Expressions) -> Expressions {
    let Expressions { text, number, list, map, record, span, flag } = inner.clone();
    let form = one_of(&["'NFC'", "'NFD'", "'NFKC'", "'nfkd'", "CAST(NULL AS VARCHAR)", "m"]);
    let change = one_of(&["c", "'insert'", "'update_preimage'", "'other'", "CAST(NULL AS VARCHAR)"]);
    let key = one_of(&["'a'", "'b'", "s", "CAST(NULL AS VARCHAR)"]);
    let fields = one_of(&["'x', 'y', 'z'", "'y', 'x'", "'x'"]);
    let field = one_of(&["'x'", "'y'"]);
    Expressions {
        text: prop_oneof![
            filled("utf8_normalize({})", vec![text.clone()]),
            filled("utf8_normalize({}, {})", vec![text.clone(), form.clone()]),
            filled("utf8_normalize({}, {}, {})", vec![text.clone(), form, flag.clone()]),
            filled("utf8_null_if_blank({})", vec![text.clone()]),
            filled("qname_normalize({})", vec![text.clone()]),
            filled("qname_normalize({}, {}, 'python')", vec![text.clone(), text.clone()]),
            filled("stable_id_parts({}, {}, n)", vec![text.clone(), text.clone()]),
            filled("span_id({}, {}, n, {})", vec![text.clone(), text.clone(), number.clone()]),
            filled("struct_pick({}, 'y', 'x')['y']", vec![record.clone()]),
        ]
        .boxed(),
        number: prop_oneof![
            filled("stable_hash_any({})", vec![text.clone()]),
            filled("stable_hash_any({}, {})", vec![number.clone(), list.clone()]),
            filled("prefixed_hash_parts64({}, {})", vec![text.clone(), number.clone()]),
            filled("span_len({})", vec![span.clone()]),
            filled("span_len({}, {})", vec![number.clone(), number.clone()]),
            filled("cdf_change_rank({})", vec![change.clone()]),
            filled("map_get_default({}, {}, {})", vec![map.clone(), key, number.clone()]),
            filled("struct_pick({}, 'x', 'z')['x']", vec![record.clone()]),
        ]
        .boxed(),
        list: prop_oneof![
            filled("list_compact({})", vec![list.clone()]),
            filled("list_unique_sorted({})", vec![list.clone()]),
            filled("make_array({}, {})", vec![number.clone(), number.clone()]),
        ]
        .boxed(),
        map: filled("map_normalize({})", vec![map]),
        record: prop_oneof![
            filled("struct_pick(struct_pick({}, 'z', 'x', 'y'), {})", vec![record.clone(), fields]),
            filled("named_struct('x', {}, 'y', {}, 'z', {})", vec![number.clone(), text.clone(), text]),
            filled("struct_pick({}, 'y', 'z', 'x')", vec![record]),
        ]
        .boxed(),
        span: prop_oneof![
            filled("span_make({}, {})", vec![number.clone(), number.clone()]),
            filled("span_make({}, {}, 'codepoint')", vec![number.clone(), number.clone()]),
        ]
        .boxed(),
        flag: prop_oneof![
            filled("span_overlaps({}, {})", vec![span.clone(), span.clone()]),
            filled("span_contains({}, {})", vec![span.clone(), span.clone()]),
            filled("span_contains({}, {})", vec![span, number.clone()]),
            filled("span_contains({}, {}, {})", vec![number.clone(), number.clone(), number]),
            filled("cdf_is_upsert({})", vec![change.clone()]),
            filled("cdf_is_delete({})", vec![change]),
            filled("(struct_pick(r, 'x', 'y')[{}] IS NULL OR {})", vec![field, flag]),
        ]
        .boxed(),
    }
}

fn expression() -> BoxedStrategy<String> {
    let one = nested(&leaves());
    let two = nested(&one);
    let three = nested(&mixed(&one, &leaves()));
    let all = |of: &Expressions| {
        let all = [&of.text, &of.number, &of.list, &of.map, &of.record, &of.span, &of.flag];
        prop::strategy::Union::new(all.map(Clone::clone)).boxed()
    };
    prop_oneof![all(&one), all(&two), all(&three)].boxed()
}

fn mixed(left: &Expressions, right: &Expressions) -> Expressions {
    let either = |a: &BoxedStrategy<String>, b: &BoxedStrategy<String>| prop_oneof![a.clone(), b.clone()].boxed();
    Expressions {
        text: either(&left.text, &right.text),
        number: either(&left.number, &right.number),
        list: either(&left.list, &right.list),
        map: either(&left.map, &right.map),
        record: either(&left.record, &right.record),
        span: either(&left.span, &right.span),
        flag: either(&left.flag, &right.flag),
    }
}

#[test]
fn simplifying_changes_no_result_and_no_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sessions = runtime.block_on(async { (session(true).await, session(false).await) });
    let sessions = Arc::new(sessions);
    let answered = std::sync::atomic::AtomicUsize::new(0);
    proptest!(ProptestConfig { cases: 600, ..ProptestConfig::default() }, |(expression in expression())| {
        let (with, without) = runtime.block_on(async {
            (answer(&sessions.0, &expression).await, answer(&sessions.1, &expression).await)
        });
        answered.fetch_add(usize::from(without.is_ok()), std::sync::atomic::Ordering::Relaxed);
        if let (Err(told), Err(_)) = (&with, &without) && with != without {
            let possible = runtime.block_on(errors_of_parts(&sessions.1, &expression));
            prop_assert!(possible.contains(told), "{}: {}, not one of {:?}", expression, told, possible);
            return Ok(());
        }
        prop_assert_eq!(with, without, "{}", expression);
    });
    let answered = answered.into_inner();
    assert!(answered > 200, "only {answered} expressions have an answer");
}
