//! Compiling: encodings keep meaning, bytes and identities are stable, errors name what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::bundle::{InputSchema, PlanBundle, PlanEncoding, decode_plan};
use crate::compile::{CompileOptions, Definition, StateOption, compile, definition_key};
use crate::error::EngineError;
use crate::plan_shape::shape;
use crate::session::{EngineOptions, EngineSession};
use crate::sql;
use crate::tpch::{QUERIES, inputs, table};

fn session() -> EngineSession {
    EngineSession::new(EngineOptions::default()).unwrap()
}

fn small() -> Vec<InputSchema> {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let tags = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
    let place = DataType::Struct(
        vec![Field::new("city", DataType::Utf8, true), Field::new("zip", DataType::Int32, true)].into(),
    );
    vec![
        table(
            "t",
            &[
                ("id", DataType::Int64),
                ("parent", DataType::Int64),
                ("name", DataType::Utf8),
                ("price", DataType::Decimal128(12, 2)),
                ("score", DataType::Float64),
                ("day", DataType::Date32),
                ("at", zoned),
                ("tags", tags),
                ("place", place),
                ("flag", DataType::Boolean),
                ("data", DataType::Binary),
                ("_change_type", DataType::Utf8),
            ],
        ),
        table("u", &[("id", DataType::Int64), ("name", DataType::Utf8), ("day", DataType::Date32)]),
    ]
}

fn compile_sql(text: &str) -> Result<PlanBundle, EngineError> {
    compile(&session(), "v", &Definition::Sql(text.to_owned()), &small(), &CompileOptions::default())
}

fn refused(text: &str) -> String {
    let error = compile_sql(text).unwrap_err();
    format!("{}: {}", error.code(), error.message())
}

#[test]
fn tpch_queries_compile_and_come_back() {
    let session = session();
    let inputs = inputs();
    let mut proto = BTreeMap::new();
    for (number, text) in QUERIES {
        let bundle = compile(
            &session,
            &format!("q{number}"),
            &Definition::Sql((*text).to_owned()),
            &inputs,
            &CompileOptions::default(),
        )
        .unwrap_or_else(|error| panic!("query {number}: {error}"));
        let plan = decode_plan(&session, &bundle, &inputs).unwrap();
        shape(&plan).unwrap();
        assert_eq!(bundle.lineage.outputs.len(), bundle.output_schema.len());
        if bundle.encoding == PlanEncoding::Proto {
            proto.insert(*number, bundle.encoding_reason.unwrap());
        }
    }
    // NOT IN (16) is the one that Substrait would get wrong.
    assert_eq!(proto.keys().copied().collect::<Vec<_>>(), [16], "{proto:#?}");
}

#[test]
fn what_substrait_loses_is_stored_as_proto() {
    for (text, lost) in [
        ("SELECT id FROM t WHERE id NOT IN (SELECT id FROM u)", "null aware"),
        (
            "SELECT id, sum(price) OVER (ORDER BY at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW) AS s FROM t",
            "Substrait",
        ),
        ("SELECT id, first_value(name) IGNORE NULLS OVER (ORDER BY id) AS f FROM t", "nulls"),
        ("SELECT id, lag(name) IGNORE NULLS OVER (ORDER BY id) AS f FROM t", "nulls"),
        ("SELECT id, sum(price) FILTER (WHERE flag) OVER (PARTITION BY day) AS s FROM t", "filter"),
        ("SELECT id, count(DISTINCT name) OVER (PARTITION BY day) AS n FROM t", "distinct"),
        ("SELECT id, at AT TIME ZONE 'Europe/Berlin' AS local FROM t", "Substrait"),
        (
            "SELECT id, sum(price) OVER (ORDER BY day GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t",
            "Substrait",
        ),
        ("SELECT id, unnest(tags) AS tag FROM t", "Substrait"),
        (
            "WITH RECURSIVE up AS (SELECT id, parent FROM t WHERE parent IS NULL UNION ALL \
             SELECT t.id, t.parent FROM t JOIN up ON t.parent = up.id) SELECT id, parent FROM up",
            "Substrait",
        ),
    ] {
        let bundle = compile_sql(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(bundle.encoding, PlanEncoding::Proto, "{text}");
        let reason = bundle.encoding_reason.unwrap();
        assert!(reason.contains(lost), "{text}: {reason}");
    }
}

#[test]
fn plain_shapes_are_stored_as_substrait() {
    for text in [
        "SELECT id, name FROM t WHERE id > 10 AND name LIKE 'a%' ORDER BY id",
        "SELECT t.id, u.name FROM t LEFT JOIN u ON t.id = u.id WHERE t.day BETWEEN date '2024-01-01' AND date '2024-02-01'",
        "SELECT day, sum(price) AS s, avg(score) AS a, count(DISTINCT name) AS n FROM t GROUP BY day HAVING count(*) > 1",
        "SELECT id, row_number() OVER (PARTITION BY day ORDER BY at, id) AS n FROM t",
        "SELECT id, sum(price) OVER (PARTITION BY day ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t",
        "SELECT id, name FROM t UNION ALL SELECT id, name FROM u",
        "SELECT DISTINCT name FROM t",
        "SELECT id, CASE WHEN flag THEN 'x' WHEN id = 3 THEN name END AS c, CAST(id AS VARCHAR) AS v FROM t",
        "SELECT t.id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
        "SELECT t.id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
        "SELECT id FROM t WHERE id IN (1, 2, 3) OR name IN (SELECT name FROM u)",
        "SELECT count(*) AS n FROM t",
        "SELECT id, cdf_change_rank(_change_type) AS r FROM t WHERE cdf_is_upsert(_change_type)",
        "SELECT id, price FROM t ORDER BY price DESC, id LIMIT 5 OFFSET 2",
        "SELECT t.id FROM t JOIN u ON t.name IS NOT DISTINCT FROM u.name",
    ] {
        let bundle = compile_sql(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(bundle.encoding, PlanEncoding::Substrait, "{text}: {:?}", bundle.encoding_reason);
    }
}

#[test]
fn bytes_and_identities_do_not_depend_on_the_session() {
    let texts: Vec<&str> = QUERIES.iter().map(|(_, text)| *text).collect();
    let mut first = Vec::new();
    for round in 0..6 {
        let session = EngineSession::new(EngineOptions {
            target_partitions: Some(1 + round * 3),
            memory_limit_bytes: Some(1 << (28 + round)),
            ..EngineOptions::default()
        })
        .unwrap();
        let all: Vec<(Vec<u8>, String, String)> = texts
            .iter()
            .map(|text| {
                let bundle =
                    compile(&session, "q", &Definition::Sql((*text).to_owned()), &inputs(), &CompileOptions::default())
                        .unwrap();
                (bundle.plan_bytes, bundle.fingerprint, bundle.content_key)
            })
            .collect();
        if first.is_empty() {
            first = all;
        } else {
            for (number, (left, right)) in first.iter().zip(&all).enumerate() {
                assert_eq!(left, right, "query {} in round {round}", number + 1);
            }
        }
    }
}

#[test]
fn windows_and_proto_plans_have_stable_bytes_too() {
    let text = "SELECT id, rank() OVER (PARTITION BY day ORDER BY at) AS a, lag(name) OVER (PARTITION BY day ORDER BY at) AS b, \
                sum(price) OVER (PARTITION BY name ORDER BY id) AS c, count(*) FILTER (WHERE flag) OVER (PARTITION BY day) AS d \
                FROM t WHERE id NOT IN (SELECT id FROM u)";
    let first = compile_sql(text).unwrap();
    for _ in 0..8 {
        let again = compile_sql(text).unwrap();
        assert_eq!(again.plan_bytes, first.plan_bytes);
        assert_eq!(again.fingerprint, first.fingerprint);
    }
}

#[test]
fn the_clock_stays_a_call() {
    let text = "SELECT id, now() AS seen FROM t WHERE at > now() - INTERVAL '1 day'";
    let first = compile_sql(text).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let second = compile_sql(text).unwrap();
    assert_eq!(first.fingerprint, second.fingerprint);
    assert!(first.displays.optimized.contains("now()"), "{}", first.displays.optimized);
}

#[test]
fn an_unused_column_changes_no_identity_and_a_used_one_does() {
    let session = session();
    let definition = Definition::Sql("SELECT id, name FROM t WHERE flag".to_owned());
    let first = compile(&session, "v", &definition, &small(), &CompileOptions::default()).unwrap();
    let with = |name: &str, data_type: DataType| {
        let mut inputs = small();
        let mut fields: Vec<Field> = inputs[0].schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.retain(|field| field.name() != name);
        fields.push(Field::new(name, data_type, true));
        inputs[0].schema = Arc::new(Schema::new(fields));
        inputs
    };
    let wider =
        compile(&session, "v", &definition, &with("extra", DataType::Int64), &CompileOptions::default()).unwrap();
    assert_eq!(wider.fingerprint, first.fingerprint);
    assert_eq!(wider.content_key, first.content_key);
    assert_ne!(wider.compile_key, first.compile_key);
    decode_plan(&session, &first, &with("extra", DataType::Int64)).unwrap();

    let other = compile(&session, "v", &definition, &with("id", DataType::Int32), &CompileOptions::default()).unwrap();
    assert_ne!(other.fingerprint, first.fingerprint);
    assert_ne!(other.content_key, first.content_key);
    let error = decode_plan(&session, &first, &with("id", DataType::Int32)).unwrap_err();
    assert_eq!(error.code(), "schema_mismatch");
    assert!(error.message().contains("\"id\" was long and is integer"), "{error}");
}

#[test]
fn comments_and_white_space_are_no_content() {
    let first = compile_sql("SELECT id FROM t WHERE id > 1").unwrap();
    let second = compile_sql("-- all of them\nSELECT id\n  FROM t /* here */ WHERE id > 1;").unwrap();
    assert_eq!(first.content_key, second.content_key);
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_ne!(first.compile_key, second.compile_key);
}

#[test]
fn settings_that_change_rows_change_the_content_key() {
    let definition = Definition::Sql("SELECT id, now() AS n FROM t".to_owned());
    let zone = |zone: &str| {
        let session = EngineSession::new(EngineOptions {
            settings: BTreeMap::from([("datafusion.execution.time_zone".to_owned(), zone.to_owned())]),
            ..EngineOptions::default()
        })
        .unwrap();
        compile(&session, "v", &definition, &small(), &CompileOptions::default()).unwrap()
    };
    assert_ne!(zone("UTC").content_key, zone("Europe/Berlin").content_key);
}

#[test]
fn the_compile_key_is_known_without_planning() {
    let session = session();
    let definition = Definition::Sql("SELECT id FROM t".to_owned());
    let bundle = compile(&session, "v", &definition, &small(), &CompileOptions::default()).unwrap();
    assert_eq!(
        definition_key(&session, "v", &definition, &small(), &CompileOptions::default()).unwrap(),
        bundle.compile_key
    );
}

#[test]
fn a_bundle_survives_json() {
    let session = session();
    let bundle = compile_sql("SELECT day, sum(price) AS s FROM t WHERE flag GROUP BY day").unwrap();
    let text = serde_json::to_string(&bundle).unwrap();
    let read: PlanBundle = serde_json::from_str(&text).unwrap();
    assert_eq!(read.plan_bytes, bundle.plan_bytes);
    assert_eq!(read.lineage, bundle.lineage);
    let plan = decode_plan(&session, &read, &small()).unwrap();
    assert_eq!(plan.schema().fields().len(), 2);
    assert!(bundle.displays.physical.unwrap().contains("RelationExec: relation=t"));
    assert!(bundle.displays.graphviz.starts_with("\n// Begin DataFusion GraphViz"));
    serde_json::from_str::<serde_json::Value>(&bundle.displays.pgjson).unwrap();
}

#[test]
fn a_function_that_changed_is_named() {
    let session = session();
    let mut bundle = compile_sql("SELECT cdf_is_delete(_change_type) AS d FROM t").unwrap();
    assert_eq!(bundle.required_functions, ["cdf_is_delete"]);
    assert_eq!(bundle.required_rewrite_tags, ["cdf", "delta", "incremental"]);
    bundle.functions_used.insert("scalar:cdf_is_delete".to_owned(), "other".to_owned());
    let error = decode_plan(&session, &bundle, &small()).unwrap_err();
    assert_eq!(error.code(), "function_changed");
    assert!(error.message().contains("cdf_is_delete"), "{error}");
}

#[test]
fn faults_of_a_definition_are_named() {
    for (text, part) in [
        ("", "there is no query"),
        ("SELECT id FROM t; SELECT 2", "second statement at line 1, column 19"),
        ("SELECT id FORM t WHERE", "invalid_query"),
        ("SELEC id FROM t", "line: 1, column: 1"),
        ("INSERT INTO t VALUES (1)", "INSERT is not a query"),
        ("CREATE TABLE x AS SELECT 1 AS a", "CREATE is not a query"),
        (
            "SELECT id FROM missing",
            "unknown_relation: view \"v\": relation \"missing\" is not known; known are \"t\", \"u\"",
        ),
        ("SELECT id FROM project.t", "has a schema; write \"t\""),
        ("SELECT id,\n nope FROM t", "view \"v\", line 2, column 2: there is no column \"nope\""),
        ("SELECT t.id, u.id FROM t JOIN u ON t.id = u.id", "column \"id\" occurs twice"),
        ("SELECT id, name AS \"ID\" FROM t", "differ only in case"),
        ("SELECT count(*) FROM t", "column \"count(*)\" has a name that a Delta table cannot have"),
        ("SELECT id AS _change_type FROM t", "change feeds use"),
        ("SELECT id, NULL AS x FROM t", "unsupported_type: view \"v\": column \"x\" is always NULL"),
        ("SELECT at - at AS x FROM t", "column \"x\" has type Duration"),
        ("SELECT id FROM t WHERE id = $1", "parameter $1 has no value"),
        ("SELECT a FROM r TABLESAMPLE SYSTEM (10)", "TABLESAMPLE of \"r\" would give other rows"),
        ("SELECT * FROM generate_series(1, 3)", "table function \"generate_series\""),
        ("SELECT id FROM t WHERE nofunction(id)", "nofunction"),
        ("SELECT name + day AS x FROM t", "invalid_query"),
        ("SELECT id FROM t JOIN u ON t.id = u.id", "column \"id\" is ambiguous"),
    ] {
        let message = refused(text);
        assert!(message.to_lowercase().contains(&part.to_lowercase()), "{text}: {message}");
    }
}

#[test]
fn output_types_become_those_of_delta() {
    let bundle = compile_sql(
        "SELECT id, row_number() OVER (ORDER BY id) AS n, arrow_cast(id, 'UInt32') AS small, \
         arrow_cast(at, 'Timestamp(Nanosecond, Some(\"+02:00\"))') AS moment, name FROM t",
    )
    .unwrap();
    let types: Vec<String> = bundle
        .output_schema
        .iter()
        .map(|column| format!("{} {}", column.name, column.data_type.as_str().unwrap()))
        .collect();
    assert_eq!(types, ["id long", "n long", "small long", "moment timestamp", "name string"]);
    assert!(bundle.output_schema.iter().all(|column| column.nullable));
}

#[test]
fn a_query_that_is_nested_deeply_comes_back() {
    let joins: Vec<String> =
        (1..60).map(|number| format!("LEFT JOIN t t{number} ON t{}.parent = t{number}.id", number - 1)).collect();
    let bundle = compile_sql(&format!("SELECT t0.id, t59.name FROM t t0 {}", joins.join(" "))).unwrap();
    decode_plan(&session(), &bundle, &small()).unwrap();
}

#[test]
fn relations_of_a_query_are_listed_without_its_ctes() {
    let session = session();
    let names = sql::relations(
        &session,
        "query",
        "WITH a AS (SELECT * FROM t), b AS (SELECT * FROM a) SELECT * FROM b, u x WHERE EXISTS (SELECT 1 FROM w)",
    )
    .unwrap();
    assert_eq!(names, ["t", "u", "w"]);
}

#[test]
fn a_view_that_changes_cannot_keep_is_cut_into_two_stages() {
    let compiled = |text: &str, always: bool| {
        let state = Some(StateOption { name: "v__state".to_owned(), always });
        let options = CompileOptions { state, ..CompileOptions::default() };
        compile(&session(), "v", &Definition::Sql(text.to_owned()), &small(), &options).unwrap()
    };
    let best = "SELECT id, count(*) AS n FROM t GROUP BY id ORDER BY n DESC LIMIT 3";
    let bundle = compiled(best, false);
    assert!(!bundle.maintenance.incremental);
    assert_eq!(bundle.inputs.keys().collect::<Vec<_>>(), ["v__state"]);
    let state = bundle.state.as_deref().unwrap();
    assert_eq!((state.name.as_str(), state.maintenance.incremental), ("v__state", true));
    assert_eq!(state.inputs.keys().collect::<Vec<_>>(), ["t"]);
    assert_ne!(state.content_key, bundle.content_key);
    assert_eq!(state.compile_key, format!("{}/state", bundle.compile_key));

    let total = compiled("SELECT sum(id) AS total FROM t", false);
    assert!(total.maintenance.incremental && total.state.is_some_and(|state| state.maintenance.incremental));

    // Extremes of everything are those of one group, by whose constant key its rows are found again.
    for (extremes, column) in [
        ("SELECT max(id) AS m FROM t", "id"),
        ("SELECT max(a.id) AS m, count(*) AS n FROM t a JOIN t b ON a.id = b.parent WHERE a.parent > 0", "parent"),
    ] {
        let extremes = compiled(extremes, false);
        let state = extremes.state.as_deref().unwrap();
        assert!(extremes.maintenance.incremental && state.maintenance.incremental);
        assert!(state.maintenance.operators.iter().any(|operator| operator.how == "merged_groups"));
        assert_eq!(state.output_schema[0].name, "key_0");
        assert!(state.inputs["t"].columns.iter().any(|read| read.name == column));
    }
    assert_eq!(
        compiled("SELECT max(g.n) AS m FROM (SELECT id, count(*) AS n FROM t GROUP BY id) g", false)
            .state
            .unwrap()
            .output_schema
            .len(),
        2,
        "the groups are the state, not the greatest of them"
    );

    let groups = "SELECT id, sum(id) AS s FROM t GROUP BY id HAVING count(*) > 1";
    assert!(compiled(groups, false).state.is_none(), "groups are kept without a state");
    assert!(compiled(groups, true).state.is_some());
    for one_stage in [
        "SELECT id FROM t ORDER BY id LIMIT 3",
        "SELECT id, count(*) AS n FROM t GROUP BY id",
        "SELECT median(a.id) AS m FROM t a JOIN t b ON a.id = b.id",
        "SELECT id, count(*) AS n FROM t WHERE random() > 2 GROUP BY id LIMIT 3",
    ] {
        assert!(compiled(one_stage, true).state.is_none(), "{one_stage}");
    }
    // The state outlives an edit of what is computed from it, and no other.
    for (edited, same) in [
        (best.replace("LIMIT 3", "LIMIT 5"), true),
        (best.replace("SELECT id, count(*) AS n", "SELECT id, 2 * count(*) AS m, abs(count(*)) AS n"), true),
        (best.replace("FROM t", "FROM t WHERE id > 1"), false),
        (best.replace("SELECT id,", "SELECT id, min(parent) AS least,"), false),
    ] {
        let state_of_edited = compiled(&edited, false).state.unwrap();
        assert_eq!(state_of_edited.content_key == state.content_key, same, "{edited}");
        assert_eq!(state_of_edited.fingerprint == state.fingerprint, same, "{edited}");
    }
    let alone = compile(&session(), "v", &Definition::Sql(best.to_owned()), &small(), &CompileOptions::default());
    assert!(alone.unwrap().state.is_none());
}

#[test]
fn groups_below_others_are_states_where_they_are_asked_for() {
    let compiled = |text: &str, always: bool| {
        let state = Some(StateOption { name: "v__state".to_owned(), always });
        let options = CompileOptions { state, ..CompileOptions::default() };
        compile(&session(), "v", &Definition::Sql(text.to_owned()), &small(), &options).unwrap()
    };
    let inputs = |bundle: &PlanBundle| bundle.inputs.keys().cloned().collect::<Vec<_>>();
    // A total over rows that are compared with their group: a state that reads a state.
    let total = "SELECT sum(t.id) AS s FROM t JOIN (SELECT parent, count(*) AS n FROM t GROUP BY parent) g \
                 ON t.parent = g.parent WHERE t.id > g.n";
    let view = compiled(total, true);
    let first = view.state.as_deref().unwrap();
    let second = first.state.as_deref().unwrap();
    assert_eq!(inputs(&view), ["v__state"]);
    assert_eq!((first.name.as_str(), inputs(first)), ("v__state", vec!["t".to_owned(), "v__state__state".to_owned()]));
    assert_eq!((second.name.as_str(), inputs(second)), ("v__state__state", vec!["t".to_owned()]));
    assert_eq!(second.compile_key, format!("{}/state/state", view.compile_key));
    assert!(second.state.is_none() && second.maintenance.incremental && first.maintenance.incremental);
    assert!(compiled(total, false).state.unwrap().state.is_none(), "one state is enough to keep it");

    // Equal groups are one state, whoever reads them.
    let twice = "WITH g AS (SELECT parent, count(*) AS n FROM t GROUP BY parent) \
                 SELECT a.parent, b.parent AS other FROM g a JOIN g b ON a.n = b.n AND a.parent < b.parent";
    let view = compiled(twice, true);
    assert_eq!(inputs(&view), ["v__state"]);
    assert!(view.maintenance.incremental && view.state.unwrap().state.is_none());
    assert!(compiled(twice, false).state.is_none());

    // What another state changes changes the content key of all before it.
    let other = compiled(&total.replace("count(*)", "count(name)"), true);
    assert_ne!(other.state.unwrap().content_key, first.content_key);
}

#[test]
fn existence_needs_no_order_and_no_limit() {
    let plain = compile_sql("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)").unwrap();
    for rest in ["LIMIT 1", "ORDER BY u.name LIMIT 3", "ORDER BY u.name"] {
        let same = format!("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id {rest})");
        let same = compile_sql(&same).unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(same.displays.optimized, plain.displays.optimized, "{rest}");
        assert!(same.maintenance.incremental, "{rest}");
    }
    let none = compile_sql("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u LIMIT 0)").unwrap();
    assert_ne!(none.displays.optimized, plain.displays.optimized);
}

#[test]
fn a_sub_query_that_nothing_runs_is_told_with_what_to_write() {
    for (text, words) in [
        (
            "SELECT id, (SELECT count(*) FROM u WHERE u.id < t.id) AS n FROM t",
            ["depends on t.id", "something else than an equality"],
        ),
        ("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id OFFSET 1)", ["EXISTS", "WHERE"]),
        ("SELECT CASE WHEN EXISTS (SELECT 1 FROM u WHERE u.id = t.id) THEN 1 END AS n FROM t", ["EXISTS", "LEFT JOIN"]),
        ("SELECT sum(CASE WHEN id IN (SELECT id FROM u) THEN 1 END) AS n FROM t", ["IN (SELECT", "LEFT JOIN"]),
        (
            "SELECT t.id, q.name FROM t CROSS JOIN LATERAL (SELECT name FROM u WHERE u.id = t.id ORDER BY name LIMIT 2) q",
            ["depends on t.id", "group or rank"],
        ),
    ] {
        let error = compile_sql(text).unwrap_err();
        assert_eq!(error.code(), "invalid_query", "{text}: {error}");
        assert!(words.iter().all(|word| error.message().contains(word)), "{text}: {error}");
    }
}
