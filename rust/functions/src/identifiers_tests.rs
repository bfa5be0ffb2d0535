use arrow::array::{Array, AsArray, Int32Array, UnionArray};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::scalar_calls::{call, every_representation, plan, query, return_field, rows, session, text};

const GOLDEN: &str = include_str!("../golden/identifiers.json");

fn column(array: impl Array + 'static) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(array))
}

fn one(name: &str, args: &[ColumnarValue]) -> Option<String> {
    rows(name, args, 1).unwrap().remove(0)
}

#[tokio::test]
async fn the_golden_samples_never_change() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let samples = golden["samples"].as_array().unwrap();
    assert!(samples.len() > 40);
    for optimized in [true, false] {
        let session = session(optimized);
        for sample in samples {
            let call = sample["call"].as_str().unwrap();
            if !optimized && call.contains("arrow_cast") {
                // The optimizer alone knows what that means.
                continue;
            }
            let result = query(&session, &format!("SELECT {call}")).await.unwrap();
            assert_eq!(result, [[Some(sample["result"].as_str().unwrap().to_owned())]], "{call}");
        }
    }
}

#[test]
fn parts_do_not_run_together_and_null_is_a_value() {
    let null = || ColumnarValue::Scalar(ScalarValue::Utf8(None));
    let untyped = || ColumnarValue::Scalar(ScalarValue::Null);
    let ids: Vec<_> = [
        vec![text("p"), text("ab"), text("c")],
        vec![text("p"), text("a"), text("bc")],
        vec![text("p"), text("abc")],
        vec![text("p"), text("abc"), text("")],
        vec![text("p"), text("abc"), null()],
        vec![text("p"), null(), text("abc")],
        vec![text("pa"), text("bc")],
        vec![text("p"), text("abc"), null(), null()],
    ]
    .iter()
    .map(|args| one("stable_id_parts", args).unwrap())
    .collect();
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(id), "{ids:?}");
    }
    assert_eq!(
        one("stable_id_parts", &[text("p"), untyped()]),
        one("stable_id_parts", &[text("p"), ColumnarValue::Scalar(ScalarValue::Int32(None))])
    );
}

#[test]
fn the_hash_of_parts_is_the_beginning_of_their_id() {
    let args = [text("user"), text("ab"), ColumnarValue::Scalar(ScalarValue::Int8(Some(-3)))];
    let id = one("stable_id_parts", &args).unwrap();
    let hash: i64 = one("prefixed_hash_parts64", &args).unwrap().parse().unwrap();
    assert_eq!(id.strip_prefix("user:").unwrap()[..16], format!("{hash:016x}"));
}

#[test]
fn a_null_prefix_gives_null_and_an_empty_one_does_not() {
    let prefixes = column(StringArray::from(vec![Some("p"), None, Some("")]));
    for name in ["stable_id_parts", "prefixed_hash_parts64"] {
        let ids = rows(name, &[prefixes.clone(), text("x")], 3).unwrap();
        assert_eq!(ids.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(one(name, &[ColumnarValue::Scalar(ScalarValue::Null), text("x")]), None);
    }
    let unprefixed = rows("stable_hash_any", &[prefixes], 3).unwrap();
    assert!(unprefixed.iter().all(Option::is_some));
}

#[test]
fn nullability_is_that_of_the_prefix() {
    let field = |nullable| Arc::new(Field::new("c", DataType::Utf8, nullable)) as FieldRef;
    let nullable =
        |name, prefix, part| return_field(name, &[field(prefix), field(part)], &[None, None]).unwrap().is_nullable();
    for name in ["stable_id_parts", "prefixed_hash_parts64"] {
        assert!(!nullable(name, false, true));
        assert!(nullable(name, true, false));
    }
    assert!(!nullable("stable_hash_any", true, true));
}

#[test]
fn wrong_calls_are_refused_with_function_and_argument() {
    let refusal = |name: &str, types: &[DataType]| {
        let fields: Vec<FieldRef> =
            types.iter().map(|data_type| Arc::new(Field::new("c", data_type.clone(), true)) as FieldRef).collect();
        return_field(name, &fields, &vec![None; types.len()]).unwrap_err().to_string()
    };
    let message = refusal("stable_id_parts", &[DataType::Utf8]);
    assert!(message.contains("stable_id_parts takes at least 2 arguments, not 1"), "{message}");
    let message = refusal("prefixed_hash_parts64", &[DataType::Int64, DataType::Int64]);
    assert!(message.contains("prefixed_hash_parts64: argument \"prefix\" is a string, not Int64"), "{message}");
    let fields = [(0, Arc::new(Field::new("a", DataType::Int32, true)))].into_iter().collect();
    let union = DataType::Union(fields, arrow::datatypes::UnionMode::Sparse);
    let message = refusal("stable_hash_any", &[DataType::Utf8, union.clone()]);
    assert!(message.contains("stable_hash_any: argument \"value2\""), "{message}");

    let DataType::Union(fields, _) = union else { unreachable!() };
    let members: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1]))];
    let array = UnionArray::try_new(fields, vec![0_i8].into(), None, members).unwrap();
    let function = crate::scalar_calls::function("stable_hash_any");
    let args = ScalarFunctionArgs {
        args: vec![column(array)],
        arg_fields: Vec::new(),
        number_rows: 1,
        return_field: Arc::new(Field::new("r", DataType::Int64, false)),
        config_options: Arc::default(),
    };
    assert!(function.invoke_with_args(args).is_err());
}

#[tokio::test]
async fn they_are_listed_named_and_folded_in_sql() {
    let session = session(true);
    let sql = "SELECT stable_id_parts(prefix => 'user', part1 => 5) = stable_id_parts('user', arrow_cast(5, 'UInt16'))";
    assert_eq!(query(&session, sql).await.unwrap(), [[Some("true".to_owned())]]);
    assert!(!plan(&session, "SELECT stable_id_parts('user', 5) AS id").await.contains("stable_id_parts"));
    for name in ["stable_id_parts", "prefixed_hash_parts64", "stable_hash_any"] {
        let routines = query(
            &session,
            &format!(
                "SELECT data_type, is_deterministic, syntax_example FROM information_schema.routines \
                 WHERE routine_name = '{name}'"
            ),
        )
        .await
        .unwrap();
        let [routine] = routines.as_slice() else { panic!("{routines:?}") };
        assert_eq!(routine[1].as_deref(), Some("true"));
        assert!(routine[0].is_some() && routine[2].as_ref().unwrap().starts_with(name), "{routine:?}");
        let parameters = query(
            &session,
            &format!(
                "SELECT DISTINCT ordinal_position, parameter_name FROM information_schema.parameters \
                 WHERE specific_name = '{name}' AND parameter_mode = 'IN' ORDER BY 1"
            ),
        )
        .await
        .unwrap();
        let names: Vec<_> = parameters.into_iter().map(|row| row[1].clone().unwrap()).collect();
        let expected: &[&str] = if name == "stable_hash_any" { &["value1"] } else { &["prefix", "part1"] };
        assert_eq!(names, expected);
    }
    let error = query(&session, "SELECT stable_id_parts('user')").await.unwrap_err().to_string();
    assert!(error.contains("stable_id_parts takes at least 2 arguments"), "{error}");
}

fn optional_text() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.8, "[ab\u{e9}]{0,20}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn neither_batches_nor_representations_nor_literals_matter(
        table in prop::collection::vec((optional_text(), optional_text(), prop::option::of(any::<i32>())), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let prefixes: Vec<Option<&str>> = table.iter().map(|row| row.0.as_deref()).collect();
        let texts: Vec<Option<&str>> = table.iter().map(|row| row.1.as_deref()).collect();
        let numbers: Int32Array = table.iter().map(|row| row.2).collect();
        let length = table.len();
        let cut = cut.index(length);
        for name in ["stable_id_parts", "prefixed_hash_parts64", "stable_hash_any"] {
            let expected =
                rows(name, &[column(StringArray::from(prefixes.clone())), column(StringArray::from(texts.clone())), column(numbers.clone())], length).unwrap();
            let wide = arrow::compute::cast(&numbers, &DataType::Int64).unwrap();
            for (prefix, part) in every_representation(&prefixes).into_iter().zip(every_representation(&texts)) {
                let args = [ColumnarValue::Array(prefix), ColumnarValue::Array(part), ColumnarValue::Array(Arc::clone(&wide))];
                prop_assert_eq!(&rows(name, &args, length).unwrap(), &expected);
                let of = |offset: usize, length: usize| {
                    let args: Vec<_> = args
                        .iter()
                        .map(|argument| ColumnarValue::Array(argument.to_array(0).unwrap().slice(offset, length)))
                        .collect();
                    rows(name, &args, length).unwrap()
                };
                prop_assert_eq!(&[of(0, cut), of(cut, length - cut)].concat(), &expected);
                for (row, id) in expected.iter().enumerate() {
                    let scalars: Vec<_> = args
                        .iter()
                        .map(|argument| {
                            ScalarValue::try_from_array(&argument.to_array(0).unwrap(), row).map(ColumnarValue::Scalar).unwrap()
                        })
                        .collect();
                    prop_assert_eq!(&one(name, &scalars), id);
                    let mixed = [args[0].clone(), scalars[1].clone(), args[2].clone()];
                    prop_assert_eq!(&rows(name, &mixed, length).unwrap()[row], id);
                }
            }
        }
    }
}

#[test]
fn a_scalar_call_gives_a_scalar() {
    let ColumnarValue::Scalar(value) = call("stable_hash_any", &[text("a")], 7).unwrap() else {
        panic!("scalars give a scalar");
    };
    let ColumnarValue::Array(array) = call("stable_hash_any", &[column(StringArray::from(vec!["a"]))], 1).unwrap()
    else {
        panic!("an array gives an array");
    };
    assert_eq!(value, ScalarValue::Int64(Some(array.as_primitive::<Int64Type>().value(0))));
}
