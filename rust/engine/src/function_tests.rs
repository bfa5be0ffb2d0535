//! Functions in views: what a change of one touches, what a stored plan holds of them, and what reaches the scan.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use functions::{MacroSource, Macros};
use lake::TableLocation;

use crate::bundle::{InputSchema, PlanBundle, decode_plan};
use crate::compile::{CompileOptions, Definition, compile, compile_with_macros, definition_key_with_macros};
use crate::query::{NamedTable, QueryRequest, TableKind, query};
use crate::records::{AppendRequest, append};
use crate::session::{EngineOptions, EngineSession};
use crate::tpch::table;

fn inputs() -> Vec<InputSchema> {
    vec![table("t", &[("id", DataType::Int64), ("kind", DataType::Utf8), ("delay", DataType::Float64)])]
}

fn session() -> EngineSession {
    EngineSession::new(EngineOptions::default()).unwrap()
}

fn sources(texts: &[(&str, &str)]) -> Vec<MacroSource> {
    texts.iter().map(|(name, text)| MacroSource { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

const LATE: &str = "CREATE FUNCTION late(minutes DOUBLE) RETURNS BOOLEAN RETURN minutes > 15";
const STAYS: &str = "CREATE FUNCTION stays(word VARCHAR) RETURNS BOOLEAN RETURN cdf_is_upsert(word)";
const COUNTS: &str = "CREATE FUNCTION counts(word VARCHAR, minutes DOUBLE) RETURNS BOOLEAN \
                      RETURN stays(word) AND NOT late(minutes)";

fn macros(session: &EngineSession, texts: &[(&str, &str)]) -> Macros {
    session.define_macros(&sources(texts)).unwrap()
}

fn all(session: &EngineSession) -> Macros {
    macros(session, &[("late", LATE), ("stays", STAYS), ("counts", COUNTS)])
}

fn compiled(session: &EngineSession, macros: &Macros, text: &str) -> PlanBundle {
    compile_with_macros(session, "v", &Definition::Sql(text.to_owned()), &inputs(), &CompileOptions::default(), macros)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn key(session: &EngineSession, macros: &Macros, text: &str) -> String {
    definition_key_with_macros(
        session,
        "v",
        &Definition::Sql(text.to_owned()),
        &inputs(),
        &CompileOptions::default(),
        macros,
    )
    .unwrap()
}

/// Views by how they use `cdf_is_upsert`: not at all, directly, in a literal that is folded, through one macro, two.
const VIEWS: [(&str, bool); 7] = [
    ("SELECT id FROM t WHERE delay > 1", false),
    ("SELECT id, cdf_is_delete(kind) AS gone FROM t", false),
    ("SELECT id FROM t WHERE late(delay)", false),
    ("SELECT id FROM t WHERE cdf_is_upsert(kind)", true),
    ("SELECT id, cdf_is_upsert('insert') AS yes FROM t", true),
    ("SELECT id, stays(kind) AS stays FROM t", true),
    ("SELECT id FROM t WHERE counts(kind, delay)", true),
];

#[test]
fn a_changed_function_touches_exactly_the_views_that_use_it() {
    let before = session();
    let after = EngineSession::with_versions(&[("cdf_is_upsert", 2)]);
    for (text, uses) in VIEWS {
        let old = compiled(&before, &all(&before), text);
        let new = compiled(&after, &all(&after), text);
        assert_eq!(old.content_key != new.content_key, uses, "{text}");
        assert_eq!(old.fingerprint != new.fingerprint, uses, "{text}");
        // The platform is another one, so everything is planned again.
        assert_ne!(old.compile_key, new.compile_key, "{text}");
        assert_eq!(decode_plan(&after, &old, &inputs()).is_err(), old.functions_used != new.functions_used, "{text}");
    }
}

#[test]
fn a_changed_macro_touches_exactly_the_views_that_reach_it() {
    let session = session();
    let before = all(&session);
    let later = "CREATE FUNCTION late(minutes DOUBLE) RETURNS BOOLEAN RETURN minutes > 20";
    let after = macros(&session, &[("late", later), ("stays", STAYS), ("counts", COUNTS)]);
    for (text, _) in VIEWS {
        let uses = text.contains("late(") || text.contains("counts(");
        let (old, new) = (compiled(&session, &before, text), compiled(&session, &after, text));
        assert_eq!(old.content_key != new.content_key, uses, "{text}");
        assert_eq!(old.fingerprint != new.fingerprint, uses, "{text}");
        assert_eq!(old.compile_key != new.compile_key, uses, "{text}");
        assert_eq!(key(&session, &after, text), new.compile_key, "{text}");
        // Macros that a view cannot reach are nothing to it, and neither is how they are written.
        let spaced = LATE.replace("minutes > 15", "minutes   > /* a quarter */ 15");
        let again = macros(&session, &[("late", &spaced), ("stays", STAYS), ("counts", COUNTS)]);
        assert_eq!(key(&session, &again, text), old.compile_key, "{text}");
    }
    let alone = "SELECT id FROM t WHERE delay > 1";
    assert_eq!(key(&session, &Macros::default(), alone), key(&session, &before, alone));
}

#[test]
fn a_stored_plan_has_the_expressions_of_its_macros() {
    let session = session();
    let bundle = compiled(&session, &all(&session), "SELECT id FROM t WHERE counts(kind, delay)");
    assert_eq!(bundle.macros_used.keys().collect::<Vec<_>>(), ["counts", "late", "stays"]);
    assert_eq!(bundle.required_functions, ["cdf_is_upsert"]);
    assert!(!bundle.functions_used.keys().any(|name| name.contains("counts")), "{:?}", bundle.functions_used);
    for macro_name in ["counts(", "late(", "stays("] {
        assert!(!bundle.displays.optimized.contains(macro_name), "{}", bundle.displays.optimized);
    }
    assert!(bundle.displays.optimized.contains("cdf_is_upsert(t.kind)"), "{}", bundle.displays.optimized);
    let same = "SELECT id FROM t WHERE cdf_is_upsert(kind) AND NOT (delay > 15)";
    let written =
        compile(&session, "v", &Definition::Sql(same.to_owned()), &inputs(), &CompileOptions::default()).unwrap();
    assert_eq!(bundle.plan_bytes, written.plan_bytes);
    assert_ne!(bundle.content_key, written.content_key);
    // Running it takes no macro.
    decode_plan(&session, &bundle, &inputs()).unwrap();
    let read: PlanBundle = serde_json::from_str(&serde_json::to_string(&bundle).unwrap()).unwrap();
    assert_eq!(read.macros_used, bundle.macros_used);
}

#[test]
fn a_call_that_is_wrong_is_told_like_every_other() {
    let session = session();
    let macros = all(&session);
    for (text, part) in [
        ("SELECT id, late(kind, delay) AS l FROM t", "late"),
        ("SELECT id, late(minute => delay) AS l FROM t", "minute"),
        ("SELECT id, later(delay) AS l FROM t", "late"),
    ] {
        let error = compile_with_macros(
            &session,
            "v",
            &Definition::Sql(text.to_owned()),
            &inputs(),
            &CompileOptions::default(),
            &macros,
        )
        .unwrap_err();
        assert_eq!(error.code(), "invalid_query", "{text}: {error}");
        assert!(error.message().contains(part), "{text}: {error}");
    }
    let error =
        session.macros(&sources(&[("late", "CREATE FUNCTION late(m DOUBLE) RETURNS INT RETURN n")])).unwrap_err();
    assert!(error.message().starts_with("function \"late\": there is no argument \"n\""), "{error}");
}

#[test]
fn a_bundle_says_which_planners_were_on_and_who_switched_them_on() {
    let session = session();
    let bundle = compiled(&session, &Macros::default(), "SELECT id FROM t WHERE cdf_is_upsert(kind)");
    assert!(bundle.domain_planners.contains(&"change_types@1".to_owned()), "{:?}", bundle.domain_planners);
    assert_eq!(
        bundle.domain_planner_functions["change_types@1"],
        ["cdf_change_rank", "cdf_is_delete", "cdf_is_upsert"]
    );
    assert_eq!(bundle.domain_planners, bundle.domain_planner_functions.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn a_function_that_is_missing_at_replay_is_named() {
    let session = session();
    let mut bundle = compiled(&session, &Macros::default(), "SELECT id FROM t WHERE cdf_is_upsert(kind)");
    bundle.functions_used.insert("aggregate:sum_of_later".to_owned(), "hash".to_owned());
    let error = decode_plan(&session, &bundle, &inputs()).unwrap_err();
    assert_eq!(error.code(), "function_changed");
    assert!(error.message().contains("\"sum_of_later\" is not registered"), "{error}");
}

#[tokio::test]
async fn a_filter_on_a_function_reaches_the_scan_and_so_does_the_projection() {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    let location = TableLocation::parse(folder.path().join("t").to_str().unwrap(), BTreeMap::new()).unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("kind", DataType::Utf8, true),
        Field::new("note", DataType::Utf8, true),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(StringArray::from(vec!["insert", "delete"])),
            Arc::new(StringArray::from(vec!["a", "b"])),
        ],
    )
    .unwrap();
    let request =
        AppendRequest { table: location.clone(), partition_by: vec![], properties: BTreeMap::new(), timestamp_ms: 0 };
    append(&session, &request, schema, vec![batch], &|_| {}).await.unwrap();
    let asked = async |sql: &str, functions: Vec<MacroSource>| {
        let table = NamedTable { name: "t".to_owned(), kind: TableKind::Delta, table: location.clone(), version: None };
        let request = QueryRequest { sql: sql.to_owned(), tables: vec![table], functions, limit: None };
        let rows = query(&session, &request, BTreeMap::new()).await.unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await.unwrap() {
            batches.push(batch);
        }
        pretty_format_batches(&batches).unwrap().to_string()
    };
    for filter in ["cdf_is_upsert(kind)", "cdf_change_rank(kind) >= 2", "stays(kind)"] {
        let functions = sources(&[("stays", STAYS)]);
        let plan = asked(&format!("EXPLAIN SELECT id FROM t WHERE {filter}"), functions.clone()).await;
        let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
        assert!(scan.contains("predicate=cdf_"), "{filter}: {plan}");
        assert!(scan.contains("projection=[id, kind]"), "{filter}: {plan}");
        let rows = asked(&format!("SELECT id FROM t WHERE {filter}"), functions).await;
        assert_eq!(rows, "+----+\n| id |\n+----+\n| 1  |\n+----+", "{filter}");
    }
    let plan = asked("EXPLAIN SELECT cdf_is_delete(kind) AS gone FROM t", vec![]).await;
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    assert!(!scan.contains("note"), "{plan}");
}
