//! Macros: what they mean, how they are told apart, and what is no macro.

use arrow::datatypes::DataType;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionContext;

use crate::{MacroProblem, MacroSource, Macros, PlatformOptions, PlatformSnapshot, install};

fn platform() -> (SessionState, PlatformSnapshot) {
    let mut state = SessionStateBuilder::new().with_default_features().build();
    let snapshot = install(&mut state, &PlatformOptions::default()).unwrap();
    (state, snapshot)
}

fn define(texts: &[(&str, &str)]) -> Result<Macros, Vec<MacroProblem>> {
    let (state, snapshot) = platform();
    let sources: Vec<MacroSource> =
        texts.iter().map(|(name, text)| MacroSource { name: (*name).to_owned(), text: (*text).to_owned() }).collect();
    Macros::define(&state, &snapshot, &sources)
}

fn session(texts: &[(&str, &str)]) -> SessionContext {
    let (mut state, _) = platform();
    define(texts).unwrap().register(&mut state).unwrap();
    SessionContext::new_with_state(state)
}

async fn value(context: &SessionContext, query: &str) -> String {
    let frame = context.sql(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let table = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    table
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches(['|', ' ']))
        .collect::<Vec<_>>()
        .join(",")
}

async fn plan(context: &SessionContext, query: &str) -> String {
    context.sql(query).await.unwrap().into_optimized_plan().unwrap().display_indent().to_string()
}

fn hash(macros: &Macros, name: &str) -> String {
    macros.reachable([name])[name].clone()
}

#[tokio::test]
async fn an_argument_is_its_name_its_dollar_name_or_its_position() {
    for body in ["a + 2 * b", "$a + 2 * $b", "$1 + 2 * $2", "A + 2 * $b", "\"a\" + 2 * $2"] {
        let text = format!("CREATE FUNCTION weigh(a BIGINT, b BIGINT) RETURNS BIGINT RETURN {body}");
        let context = session(&[("weigh", &text)]);
        assert_eq!(value(&context, "SELECT weigh(x, 10) FROM (VALUES (1), (2)) AS t(x)").await, "21,22", "{body}");
        assert_eq!(value(&context, "SELECT weigh(b => 1, a => 5)").await, "7", "{body}");
        assert_eq!(value(&context, "SELECT weigh(5, b => 1)").await, "7", "{body}");
    }
}

#[tokio::test]
async fn a_call_becomes_its_expression_in_the_plan() {
    let context = session(&[
        ("late", "CREATE FUNCTION late(minutes DOUBLE) RETURNS BOOLEAN RETURN minutes > 15"),
        ("very_late", "CREATE FUNCTION very_late(m DOUBLE) RETURNS BOOLEAN RETURN late(m) AND late(m / 4)"),
    ]);
    let plan = plan(&context, "SELECT x FROM (VALUES (1.5), (80)) AS t(x) WHERE very_late(x)").await;
    assert!(!plan.contains("late("), "{plan}");
    assert!(plan.contains("> Float64(15)"), "{plan}");
    assert_eq!(value(&context, "SELECT x FROM (VALUES (1.5), (80)) AS t(x) WHERE very_late(x)").await, "80.0");
    // It may stand wherever an expression may.
    let query = "SELECT late(x) AS l, count(*) AS n FROM (VALUES (1), (30), (40)) AS t(x) GROUP BY late(x) \
                 HAVING bool_or(late(x)) ORDER BY late(x)";
    assert_eq!(value(&context, query).await.split_whitespace().collect::<String>(), "true|2");
}

#[tokio::test]
async fn arguments_get_their_declared_types_and_the_result_too() {
    let context = session(&[
        ("half", "CREATE FUNCTION half(a DOUBLE) RETURNS DOUBLE RETURN a / 2"),
        ("small", "CREATE FUNCTION small(a INT) RETURNS INT RETURN a + 1"),
        ("word", "CREATE FUNCTION word() RETURNS VARCHAR RETURN 'word'"),
    ]);
    // Without the declared type this would be an integer division.
    assert_eq!(value(&context, "SELECT half(CAST(3 AS INT))").await, "1.5");
    assert_eq!(value(&context, "SELECT half(a => NULL)").await, "");
    assert_eq!(value(&context, "SELECT arrow_typeof(small(1))").await, "Int32");
    assert_eq!(value(&context, "SELECT word()").await, "word");
    let error = context.sql("SELECT half(DATE '2024-01-01')").await.unwrap_err().to_string();
    assert!(error.contains("half: argument \"a\" is Float64, to which Date32 is not assigned"), "{error}");
    let wide = context.sql("SELECT small(3000000000) AS a").await.unwrap().collect().await.unwrap_err().to_string();
    assert!(wide.contains("3000000000"), "{wide}");
    let frame = context.sql("SELECT small(1) AS a").await.unwrap();
    assert_eq!(frame.schema().field(0).data_type(), &DataType::Int32);
}

#[tokio::test]
async fn a_struct_is_read_by_field() {
    let text = "CREATE FUNCTION city(place STRUCT<city VARCHAR, zip INT>) RETURNS VARCHAR RETURN upper(place.city)";
    let context = session(&[("city", text)]);
    assert_eq!(value(&context, "SELECT city(named_struct('city', 'ulm', 'zip', 1))").await, "ULM");
}

#[tokio::test]
async fn a_volatile_argument_is_computed_once_or_refused() {
    let context = session(&[
        ("twice", "CREATE FUNCTION twice(a DOUBLE) RETURNS DOUBLE RETURN a + a"),
        ("once", "CREATE FUNCTION once(a DOUBLE) RETURNS DOUBLE RETURN a + 1"),
    ]);
    let frame = context.sql("SELECT twice(random())").await.unwrap();
    let error = frame.into_optimized_plan().unwrap_err().to_string();
    assert!(error.contains("\"twice\"") && error.contains("argument 1 2 times"), "{error}");
    context.sql("SELECT once(random())").await.unwrap().collect().await.unwrap();
}

#[tokio::test]
async fn a_session_makes_macros_of_create_function() {
    let (state, _) = platform();
    let context = SessionContext::new_with_state(state);
    context.sql("CREATE FUNCTION add_one(a BIGINT) RETURNS BIGINT RETURN $a + 1").await.unwrap();
    assert_eq!(value(&context, "SELECT add_one(a => 4)").await, "5");
    for (statement, expected) in [
        ("CREATE OR REPLACE FUNCTION add_one(a BIGINT) RETURNS BIGINT RETURN $a", "neither replaced nor temporary"),
        ("CREATE FUNCTION abs(a BIGINT) RETURNS BIGINT RETURN $a", "taken"),
        ("CREATE FUNCTION other(a BIGINT) RETURNS BIGINT RETURN $2", "no argument $2"),
    ] {
        let error = context.sql(statement).await.map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{statement}: {error}");
    }
}

#[test]
fn what_is_no_macro_is_told() {
    for (text, expected) in [
        ("", "there is no statement"),
        ("SELECT 1", "SELECT is not CREATE FUNCTION"),
        ("CREATE TABLE f (a INT)", "CREATE is not CREATE FUNCTION"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a; SELECT 1", "a second statement at line 1"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a +", "Expected"),
        ("CREATE FUNCTION g(a INT) RETURNS INT RETURN a", "it defines \"g\""),
        ("CREATE FUNCTION x.f(a INT) RETURNS INT RETURN a", "has a schema"),
        ("CREATE OR REPLACE FUNCTION f(a INT) RETURNS INT RETURN a", "it says OR REPLACE"),
        ("CREATE TEMPORARY FUNCTION f(a INT) RETURNS INT RETURN a", "it says TEMPORARY"),
        ("CREATE FUNCTION f(a INT) RETURNS INT IMMUTABLE RETURN a", "that follows from the expression"),
        ("CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE python RETURN a", "another LANGUAGE"),
        ("CREATE FUNCTION f(INT) RETURNS INT RETURN 1", "argument 1 has no name"),
        ("CREATE FUNCTION f(a INT, A INT) RETURNS INT RETURN a", "two arguments are called \"a\""),
        ("CREATE FUNCTION f(a INT DEFAULT 1) RETURNS INT RETURN a", "\"a\" has a default"),
        ("CREATE FUNCTION f(OUT a INT) RETURNS INT RETURN a", "argument 1 has a mode"),
        ("CREATE FUNCTION f(a INT) RETURN a", "write RETURNS"),
        ("CREATE FUNCTION f(a INT) RETURNS INT", "write RETURN and an expression"),
        ("CREATE FUNCTION f(a INT) RETURNS INT AS 'a'", "write RETURN and an expression"),
        (
            "CREATE FUNCTION f(a INT)\nRETURNS INT\nRETURN a + b",
            "no argument \"b\" at line 3, column 12; a function sees its arguments only: \"a\"",
        ),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a + $2", "no argument $2"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a + $b", "no argument $b"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN (SELECT 1)", "it holds a query"),
        ("CREATE FUNCTION f(a INT) RETURNS BOOLEAN RETURN a IN (SELECT 1)", "it holds a query"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN sum(a)", "aggregate function \"sum\""),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN row_number() OVER ()", "window function"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN upper('x')", "not assigned to Int32"),
        ("CREATE FUNCTION f(a VARCHAR) RETURNS INT RETURN a", "not assigned to Int32"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN nofunction(a)", "nofunction"),
        ("CREATE FUNCTION f(a notype) RETURNS INT RETURN 1", "notype"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a || DATE '2024-01-01' AND a", "type"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN f(a)", "circle: f -> f"),
    ] {
        let problems = define(&[("f", text)]).map(drop).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(
            problems[0].message.to_lowercase().contains(&expected.to_lowercase()),
            "{text}: {}",
            problems[0].message
        );
    }
    let problems = define(&[("abs", "CREATE FUNCTION abs(a INT) RETURNS INT RETURN a")]).map(drop).unwrap_err();
    assert!(problems[0].message.contains("\"abs\" is taken"), "{problems:?}");
}

#[test]
fn circles_are_named_and_every_problem_is_told_once() {
    let problems = define(&[
        ("a", "CREATE FUNCTION a(x INT) RETURNS INT RETURN b(x)"),
        ("b", "CREATE FUNCTION b(x INT) RETURNS INT RETURN c(x)"),
        ("c", "CREATE FUNCTION c(x INT) RETURNS INT RETURN a(x)"),
        ("d", "CREATE FUNCTION d(x INT) RETURNS INT RETURN nope"),
        ("e", "CREATE FUNCTION e(x INT) RETURNS INT RETURN d(x)"),
        ("g", "CREATE FUNCTION g(x INT) RETURNS INT RETURN x"),
    ])
    .map(drop)
    .unwrap_err();
    let told: Vec<&str> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(told, ["d", "a"], "{problems:?}");
    assert!(problems[1].message.contains("a -> b -> c -> a"), "{problems:?}");
}

#[test]
fn a_hash_follows_the_meaning_through_other_macros() {
    let inner = |body: &str| format!("CREATE FUNCTION inner_one(x BIGINT) RETURNS BIGINT RETURN {body}");
    let outer = "CREATE FUNCTION outer_one(x BIGINT) RETURNS BIGINT RETURN inner_one(x) * 2";
    let other = "CREATE FUNCTION other(x BIGINT) RETURNS BIGINT RETURN x";
    let all = |body: &str| define(&[("inner_one", &inner(body)), ("outer_one", outer), ("other", other)]).unwrap();
    let (first, spaced, changed) = (all("x + 1"), all("x  +  /* one */ 1"), all("x + 2"));
    for name in ["inner_one", "outer_one", "other"] {
        assert_eq!(hash(&first, name), hash(&spaced, name), "{name}");
    }
    assert_ne!(hash(&first, "inner_one"), hash(&changed, "inner_one"));
    assert_ne!(hash(&first, "outer_one"), hash(&changed, "outer_one"));
    assert_eq!(hash(&first, "other"), hash(&changed, "other"));
    let reachable: Vec<String> = first.reachable(["outer_one", "upper"]).into_keys().collect();
    assert_eq!(reachable, ["inner_one", "outer_one"]);
}

#[test]
fn a_macro_has_a_snapshot_like_every_function() {
    let text = "-- Changes that leave\n-- a row behind.\nCREATE FUNCTION stays(kind VARCHAR) RETURNS BOOLEAN \
                RETURN cdf_is_upsert(kind)";
    let macros = define(&[("stays", text)]).unwrap();
    let snapshot = macros.snapshots().next().unwrap();
    assert_eq!((snapshot.kind.as_str(), snapshot.argument_names.as_slice()), ("macro", &["kind".to_owned()][..]));
    assert_eq!(snapshot.rewrite_tags, ["cdf", "delta", "incremental"]);
    assert_eq!((snapshot.return_rule.as_str(), snapshot.volatility.as_str()), ("Boolean", "immutable"));
    let documentation = snapshot.documentation.as_ref().unwrap();
    assert_eq!(documentation.description, "Changes that leave a row behind.");
    assert_eq!(documentation.syntax, "stays(kind)");
}

#[test]
fn a_changed_function_changes_the_macros_over_it_only() {
    let (state, mut snapshot) = platform();
    let sources: Vec<MacroSource> = [
        ("above", "CREATE FUNCTION above(kind VARCHAR) RETURNS BOOLEAN RETURN cdf_is_upsert(kind)"),
        ("beside", "CREATE FUNCTION beside(kind VARCHAR) RETURNS BOOLEAN RETURN cdf_is_delete(kind)"),
    ]
    .map(|(name, text)| MacroSource { name: name.to_owned(), text: text.to_owned() })
    .to_vec();
    let before = Macros::define(&state, &snapshot, &sources).unwrap();
    for function in &mut snapshot.functions.functions {
        if function.name == "cdf_is_upsert" {
            "another".clone_into(&mut function.hash);
        }
    }
    let after = Macros::define(&state, &snapshot, &sources).unwrap();
    assert_ne!(hash(&before, "above"), hash(&after, "above"));
    assert_eq!(hash(&before, "beside"), hash(&after, "beside"));
}
