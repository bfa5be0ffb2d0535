//! DataFrame definitions come as messages over Parquet registrations without rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_proto::bytes::logical_plan_to_bytes;

use crate::bundle::{InputSchema, decode_plan};
use crate::compile::{CompileOptions, Definition, compile, definition_key};
use crate::session::{EngineOptions, EngineSession};
use crate::tpch::table;

fn inputs() -> Vec<InputSchema> {
    vec![
        table(
            "flights",
            &[
                ("dest", DataType::Utf8),
                ("distance", DataType::Float64),
                ("tailnum", DataType::Utf8),
                ("day", DataType::Date32),
            ],
        ),
        table("planes", &[("tailnum", DataType::Utf8), ("year", DataType::Int32)]),
    ]
}

fn write_empty(path: &Path, schema: &Schema) {
    let writer = ArrowWriter::try_new(File::create(path).unwrap(), Arc::new(schema.clone()), None).unwrap();
    writer.close().unwrap();
}

/// What the authoring process sends for a query, with its tables in a folder of their own.
async fn messages(text: &str, optimized: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let context = SessionContext::new();
    for input in inputs() {
        let path = folder.path().join(format!("{}.parquet", input.relation));
        write_empty(&path, &input.schema);
        context.register_parquet(input.relation, path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    let frame = context.sql(text).await.unwrap();
    let plan = if optimized { frame.into_optimized_plan().unwrap() } else { frame.logical_plan().clone() };
    logical_plan_to_bytes(&plan).unwrap().to_vec()
}

const LATE: &str = "SELECT f.dest, sum(f.distance) AS total, max(p.year) AS newest FROM flights f \
                    JOIN planes p ON f.tailnum = p.tailnum WHERE f.distance > 10 AND f.day > date '2024-01-01' GROUP BY f.dest";

#[tokio::test]
async fn a_dataframe_compiles_to_the_plan_of_its_query() {
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let definition = Definition::Proto(messages(LATE, true).await);
    let bundle = compile(&session, "late", &definition, &inputs(), &CompileOptions::default()).unwrap();
    let sql =
        compile(&session, "late", &Definition::Sql(LATE.to_owned()), &inputs(), &CompileOptions::default()).unwrap();
    assert_eq!(bundle.output_schema, sql.output_schema);
    assert_eq!(bundle.lineage.relations, sql.lineage.relations);
    assert_eq!(bundle.lineage.outputs, sql.lineage.outputs);
    let flights = &bundle.lineage.relations[0];
    assert_eq!(flights.columns, ["dest", "distance", "tailnum", "day"]);
    assert_eq!(flights.scans[0].predicates.len(), 2);
    decode_plan(&session, &bundle, &inputs()).unwrap();
}

#[tokio::test]
async fn where_its_tables_lay_is_no_part_of_a_dataframe() {
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let first = Definition::Proto(messages(LATE, true).await);
    let second = Definition::Proto(messages(LATE, true).await);
    assert_ne!(first, second);
    let key = |definition: &Definition| {
        definition_key(&session, "late", definition, &inputs(), &CompileOptions::default()).unwrap()
    };
    assert_eq!(key(&first), key(&second));
    let compiled =
        |definition: &Definition| compile(&session, "late", definition, &inputs(), &CompileOptions::default()).unwrap();
    assert_eq!(compiled(&first).fingerprint, compiled(&second).fingerprint);
    assert_eq!(compiled(&first).content_key, compiled(&second).content_key);
    assert_eq!(compiled(&first).compile_key, key(&first));
}

#[tokio::test]
async fn the_clock_of_a_plan_that_was_not_optimized_stays_a_call() {
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let text = "SELECT dest, now() AS seen FROM flights WHERE day > date '2024-01-01'";
    let definition = Definition::Proto(messages(text, false).await);
    let bundle = compile(&session, "seen", &definition, &inputs(), &CompileOptions::default()).unwrap();
    assert!(bundle.displays.optimized.contains("now()"), "{}", bundle.displays.optimized);
}

#[tokio::test]
async fn a_column_of_another_type_is_named() {
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let definition = Definition::Proto(messages(LATE, true).await);
    let mut changed = inputs();
    changed[1] = table("planes", &[("tailnum", DataType::Utf8), ("year", DataType::Int64)]);
    let error = compile(&session, "late", &definition, &changed, &CompileOptions::default()).unwrap_err();
    assert_eq!(error.code(), "schema_mismatch");
    assert!(error.message().contains("column \"year\" of relation \"planes\" is Int64"), "{error}");

    changed.pop();
    let error = compile(&session, "late", &definition, &changed, &CompileOptions::default()).unwrap_err();
    assert_eq!(error.code(), "unknown_relation");
}

#[test]
fn bytes_that_are_no_plan_are_refused() {
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let error = compile(&session, "late", &Definition::Proto(vec![1, 2, 3]), &inputs(), &CompileOptions::default())
        .unwrap_err();
    assert_eq!(error.code(), "corrupt_bundle");
}

#[tokio::test]
async fn sums_of_floats_in_a_dataframe_become_exact() {
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    for optimized in [true, false] {
        let text = "SELECT dest, avg(distance) AS mean, count(DISTINCT day) AS days FROM flights GROUP BY dest";
        let definition = Definition::Proto(messages(text, optimized).await);
        let bundle = compile(&session, "means", &definition, &inputs(), &CompileOptions::default()).unwrap();
        assert!(bundle.displays.optimized.contains("avg_exact("), "{}", bundle.displays.optimized);
        let names: Vec<&str> = bundle.output_schema.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["dest", "mean", "days"]);
        let options = &CompileOptions { exact_sums: false, state: None };
        let plain = compile(&session, "means", &definition, &inputs(), options).unwrap();
        assert!(!plain.displays.optimized.contains("avg_exact("), "{}", plain.displays.optimized);
    }
}
