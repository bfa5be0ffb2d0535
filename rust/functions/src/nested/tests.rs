use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use arrow::record_batch::RecordBatch;
use datafusion::assert_batches_eq;
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::model_tests::maps;
use crate::total_order::samples::Sample;
use crate::{Function, PlatformOptions, install};

fn context() -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true));
    install(&mut context.state_ref().write(), &PlatformOptions::default()).unwrap();
    context
}

async fn collect(query: &str) -> Result<Vec<RecordBatch>> {
    context().sql(query).await?.collect().await
}

async fn message(query: &str) -> String {
    collect(query).await.unwrap_err().to_string()
}

fn function(name: &str) -> Arc<ScalarUDF> {
    super::functions()
        .into_iter()
        .find_map(|function| match function.function {
            Function::Scalar(scalar) if scalar.name() == name => Some(scalar),
            _ => None,
        })
        .unwrap()
}

/// Calls a function as a plan does, and checks that the array has the type that was promised.
pub(super) fn invoke(name: &str, arguments: Vec<ColumnarValue>, rows: usize) -> Result<ArrayRef> {
    let function = function(name);
    let fields: Vec<FieldRef> =
        arguments.iter().map(|value| Arc::new(Field::new("a", value.data_type(), true)) as FieldRef).collect();
    let literals: Vec<Option<ScalarValue>> = arguments
        .iter()
        .map(|value| match value {
            ColumnarValue::Scalar(scalar) => Some(scalar.clone()),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    let literals: Vec<Option<&ScalarValue>> = literals.iter().map(Option::as_ref).collect();
    let return_field =
        function.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &literals })?;
    let constant = arguments.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
    let result = function.invoke_with_args(ScalarFunctionArgs {
        args: arguments,
        arg_fields: fields,
        number_rows: rows,
        return_field: Arc::clone(&return_field),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    assert_eq!(matches!(result, ColumnarValue::Scalar(_)), constant, "a constant call gives a constant");
    let array = result.into_array(rows)?;
    assert_eq!((array.data_type(), array.len()), (return_field.data_type(), rows));
    Ok(array)
}

pub(super) fn of_column(name: &str, array: &ArrayRef) -> ArrayRef {
    invoke(name, vec![ColumnarValue::Array(Arc::clone(array))], array.len()).unwrap()
}

#[tokio::test]
async fn golden_lists() {
    let query = "SELECT list_compact([3, NULL, 1]) AS a, list_compact([NULL]) AS b, list_compact(NULL) AS c, \
                 list_unique_sorted([3, NULL, 1, 3, NULL]) AS d";
    assert_batches_eq!(
        [
            "+--------+----+---+----------+",
            "| a      | b  | c | d        |",
            "+--------+----+---+----------+",
            "| [3, 1] | [] |   | [1, 3, ] |",
            "+--------+----+---+----------+",
        ],
        &collect(query).await.unwrap()
    );
    let query = "SELECT list_unique_sorted([[1, NULL], [1], [], [1, 2], [1]]) AS a, \
                 list_unique_sorted(['NaN'::DOUBLE, 1.0, '-0.0'::DOUBLE, 0.0, -'NaN'::DOUBLE]) AS b, \
                 list_unique_sorted(list_compact(['b', NULL, 'a', 'b'])) AS c";
    assert_batches_eq!(
        [
            "+--------------------------+-----------------+--------+",
            "| a                        | b               | c      |",
            "+--------------------------+-----------------+--------+",
            "| [[], [1], [1, 2], [1, ]] | [0.0, 1.0, NaN] | [a, b] |",
            "+--------------------------+-----------------+--------+",
        ],
        &collect(query).await.unwrap()
    );
}

#[tokio::test]
async fn the_built_in_function_whose_other_name_is_taken_over_gives_the_same() {
    let query = "SELECT bool_and(list_compact(l) IS NOT DISTINCT FROM array_compact(l)) AS same FROM \
                 (VALUES ([1, NULL, 2]), ([NULL]), ([]), (NULL), ([3])) AS t(l)";
    assert_batches_eq!(["+------+", "| same |", "+------+", "| true |", "+------+"], &collect(query).await.unwrap());
}

#[tokio::test]
async fn golden_maps() {
    let query = "SELECT map_normalize(MAP {'b': 1, 'a': NULL}) AS a, \
                 map_get_default(MAP {'a': 1, 'b': NULL}, 'a', 0) AS b, \
                 map_get_default(MAP {'a': 1, 'b': NULL}, 'b', 0) AS c, \
                 map_get_default(MAP {'a': 1}, 'z', 0) AS d, \
                 map_get_default(MAP {'a': 1}, NULL, 0) AS e, \
                 map_get_default(NULL, 'a', 0) AS f, \
                 map_get_default(MAP {'a': 1}, 'z', NULL) AS g, \
                 map_get_default(MAP {1: 'x'}, 1.0, 'y') AS h, \
                 map_get_default(MAP {1: 'x'}, 1.5, 'y') AS i, \
                 map_get_default(MAP {0.0: 'x'}, '-0.0'::DOUBLE, 'y') AS j, \
                 map_normalize(NULL) AS k";
    assert_batches_eq!(
        [
            "+-------------+---+---+---+---+---+---+---+---+---+---+",
            "| a           | b | c | d | e | f | g | h | i | j | k |",
            "+-------------+---+---+---+---+---+---+---+---+---+---+",
            "| {a: , b: 1} | 1 | 0 | 0 | 0 | 0 |   | x | y | x |   |",
            "+-------------+---+---+---+---+---+---+---+---+---+---+",
        ],
        &collect(query).await.unwrap()
    );
}

#[tokio::test]
async fn golden_structs() {
    let query = "SELECT struct_pick({'kind': 'call', 'line': 7, 'name': 'f'}, 'name', 'kind') AS a, \
                 struct_pick(CASE WHEN v > 1 THEN {'x': v, 'y': v} END, 'y') AS b FROM (VALUES (1), (2)) AS t(v) ORDER BY v";
    assert_batches_eq!(
        [
            "+-----------------------+--------+",
            "| a                     | b      |",
            "+-----------------------+--------+",
            "| {name: f, kind: call} |        |",
            "| {name: f, kind: call} | {y: 2} |",
            "+-----------------------+--------+",
        ],
        &collect(query).await.unwrap()
    );
}

#[tokio::test]
async fn wrong_calls_name_function_and_argument() {
    for (query, words) in [
        ("SELECT list_compact(1)", vec!["list_compact", "\"list\"", "Int64"]),
        ("SELECT list_unique_sorted('a')", vec!["list_unique_sorted", "\"list\"", "Utf8"]),
        ("SELECT list_compact([1], [2])", vec!["list_compact", "list: Any"]),
        ("SELECT map_normalize([1])", vec!["map_normalize", "\"map\"", "List"]),
        ("SELECT map_get_default([1], 1, 1)", vec!["map_get_default", "\"map\"", "List"]),
        ("SELECT map_get_default(MAP {'a': 1}, 1, 1)", vec!["map_get_default", "\"key\"", "Int64", "Utf8"]),
        ("SELECT map_get_default(MAP {'a': 1}, 'a', 'b')", vec!["map_get_default", "\"default\"", "Utf8", "Int64"]),
        ("SELECT map_get_default(MAP {'a': 1}, 'a', 1.5)", vec!["map_get_default", "\"default\"", "1.5"]),
        ("SELECT struct_pick(1, 'a')", vec!["struct_pick", "\"struct\"", "Int64"]),
        ("SELECT struct_pick({'a': 1, 'b': 2}, 'c')", vec!["struct_pick", "\"c\"", "\"a\", \"b\""]),
        ("SELECT struct_pick({'a': 1, 'b': 2}, 'A')", vec!["struct_pick", "\"A\"", "\"a\", \"b\""]),
        ("SELECT struct_pick({'a': 1}, 'a', 'a')", vec!["struct_pick", "\"field\"", "twice"]),
        ("SELECT struct_pick({'a': 1})", vec!["struct_pick", "\"field\""]),
        ("SELECT struct_pick({'a': 1}, NULL)", vec!["struct_pick", "\"field\""]),
        ("SELECT struct_pick({'a': 1}, n) FROM (VALUES ('a')) AS t(n)", vec!["struct_pick", "literal"]),
    ] {
        let message = message(query).await;
        assert!(words.iter().all(|word| message.contains(word)), "{query}: {message}");
    }
}

#[tokio::test]
async fn named_arguments() {
    let query = "SELECT map_get_default(key => 'b', map => MAP {'a': 1}, default => 2) AS a, \
                 list_compact(list => [NULL, 1]) AS b";
    assert_batches_eq!(
        ["+---+-----+", "| a | b   |", "+---+-----+", "| 2 | [1] |", "+---+-----+"],
        &collect(query).await.unwrap()
    );
}

async fn optimized(query: &str) -> String {
    let context = context();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    let map = maps(&[Some(vec![(Some(1), Some(1))])], Sample::Utf8, Sample::Int32);
    let of = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1])) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1]))),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![("l", Arc::new(list)), ("m", map), ("s", Arc::new(of))];
    context.register_batch("t", RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    context.sql(query).await.unwrap().into_optimized_plan().unwrap().display_indent().to_string()
}

#[tokio::test]
async fn repeated_calls_are_simplified() {
    for (query, call) in [
        ("SELECT list_compact(list_compact(l)) AS x FROM t", "list_compact(t.l) AS x"),
        ("SELECT list_unique_sorted(list_unique_sorted(l)) AS x FROM t", "list_unique_sorted(t.l) AS x"),
        (
            "SELECT list_compact(list_unique_sorted(list_compact(l))) AS x FROM t",
            "list_unique_sorted(list_compact(t.l)) AS x",
        ),
        ("SELECT map_normalize(map_normalize(m)) AS x FROM t", "map_normalize(t.m) AS x"),
        ("SELECT map_get_default(map_normalize(m), 'a', 1) AS x FROM t", "map_get_default(t.m, "),
        ("SELECT struct_pick(struct_pick(s, 'b', 'a'), 'a') AS x FROM t", "struct_pick(t.s, Utf8(\"a\")) AS x"),
        ("SELECT struct_pick(s, 'b', 'a')['a'] AS x FROM t", "get_field(t.s, Utf8(\"a\")) AS x"),
        ("SELECT struct_pick(s, 'b', 'a')['a'] + 1 AS x FROM t", "CAST(get_field(t.s, Utf8(\"a\"))"),
    ] {
        let plan = optimized(query).await;
        let projection = plan.lines().next().unwrap();
        assert!(projection.contains(&format!("Projection: {call}")), "{query}: {plan}");
    }
    let plan = optimized("SELECT list_unique_sorted(list_compact(l)) AS x FROM t").await;
    assert!(plan.contains("list_unique_sorted(list_compact(t.l))"), "{plan}");
}

#[test]
fn fields_keep_names_nullability_and_metadata() {
    let marked = |name: &str, data_type: DataType, nullable: bool| {
        Field::new(name, data_type, nullable).with_metadata([("of".to_owned(), name.to_owned())].into())
    };
    let element: FieldRef = Arc::new(marked("element", DataType::Int32, false));
    let list: FieldRef = Arc::new(marked("l", DataType::FixedSizeList(Arc::clone(&element), 2), false));
    for name in ["list_compact", "list_unique_sorted"] {
        let arguments = ReturnFieldArgs { arg_fields: &[Arc::clone(&list)], scalar_arguments: &[None] };
        let field = function(name).return_field_from_args(arguments).unwrap();
        assert_eq!(field.data_type(), &DataType::List(Arc::clone(&element)));
        assert_eq!((field.metadata(), field.is_nullable()), (list.metadata(), false));
        assert_eq!(function(name).return_type(&[list.data_type().clone()]).unwrap(), *field.data_type());
    }

    let key = marked("k", DataType::Utf8, false);
    let value = marked("v", DataType::Int32, true);
    let entries = Field::new("entries", DataType::Struct(vec![key, value.clone()].into()), false);
    let map: FieldRef = Arc::new(marked("m", DataType::Map(Arc::new(entries), false), true));
    let arguments = ReturnFieldArgs { arg_fields: &[Arc::clone(&map)], scalar_arguments: &[None] };
    let field = function("map_normalize").return_field_from_args(arguments).unwrap();
    assert_eq!((field.data_type(), field.metadata(), field.is_nullable()), (map.data_type(), map.metadata(), true));
    let others: [FieldRef; 2] =
        [Arc::new(Field::new("k", DataType::Utf8View, true)), Arc::new(Field::new("d", DataType::Int64, false))];
    let arguments = [Arc::clone(&map), Arc::clone(&others[0]), Arc::clone(&others[1])];
    let arguments = ReturnFieldArgs { arg_fields: &arguments, scalar_arguments: &[None, None, None] };
    let field = function("map_get_default").return_field_from_args(arguments).unwrap();
    assert_eq!((field.data_type(), field.metadata(), field.is_nullable()), (&DataType::Int32, value.metadata(), false));

    let part = marked("a", DataType::Int32, false);
    let of = marked("s", DataType::Struct(vec![part.clone(), marked("b", DataType::Utf8, true)].into()), false);
    let arguments = [Arc::new(of.clone()), Arc::new(Field::new("n", DataType::Utf8, false))];
    let name = ScalarValue::from("a");
    let arguments = ReturnFieldArgs { arg_fields: &arguments, scalar_arguments: &[None, Some(&name)] };
    let field = function("struct_pick").return_field_from_args(arguments).unwrap();
    assert_eq!(field.data_type(), &DataType::Struct(vec![part].into()));
    assert_eq!((field.metadata(), field.is_nullable()), (of.metadata(), false));
}

#[test]
fn the_type_of_a_struct_is_known_without_names_where_there_is_one_choice() {
    let one = DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into());
    let function = function("struct_pick");
    assert_eq!(function.return_type(&[one.clone(), DataType::Utf8]).unwrap(), one);
    let two =
        DataType::Struct(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Int32, true)].into());
    assert!(function.return_type(&[two, DataType::Utf8]).unwrap_err().to_string().contains("struct_pick"));
}

#[tokio::test]
async fn kinds_of_lists_plan_in_sql() {
    let query = "SELECT list_compact(arrow_cast([1, NULL], 'FixedSizeList(2, Int64)')) AS a, \
                 list_unique_sorted(arrow_cast([2, 1], 'LargeList(Int64)')) AS b, \
                 list_unique_sorted(arrow_cast([2, 1, 2], 'ListView(Int64)')) AS c, \
                 arrow_typeof(list_compact(arrow_cast([1, NULL], 'LargeList(Int64)'))) LIKE 'LargeList%' AS d";
    assert_batches_eq!(
        [
            "+-----+--------+--------+------+",
            "| a   | b      | c      | d    |",
            "+-----+--------+--------+------+",
            "| [1] | [1, 2] | [1, 2] | true |",
            "+-----+--------+--------+------+",
        ],
        &collect(query).await.unwrap()
    );
}
