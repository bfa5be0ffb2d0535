//! Random lists and maps against models that work on ranks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, FixedSizeListArray, Float64Array, Int8Array, Int32Array, LargeListArray,
    ListArray, ListViewArray, MapArray, NullArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;
use proptest::prelude::*;

use super::tests::{invoke, of_column};
use crate::total_order::samples::{RANKS, SAMPLES, Sample};

fn assert_equal(actual: &ArrayRef, expected: &ArrayRef) {
    assert_eq!(actual.data_type(), expected.data_type());
    assert_eq!(actual.to_data(), expected.to_data());
}

type Codes = Vec<Option<Vec<(Option<u8>, bool)>>>;

/// Lists of a sample's values, with something before the first list and behind NULL lists.
fn list_of(sample: Sample, lists: &Codes) -> ArrayRef {
    let filler = vec![(Some(0), false), (None, false)];
    let all: Vec<(Option<u8>, bool)> = std::iter::once(&filler)
        .chain(lists.iter().map(|list| list.as_ref().unwrap_or(&filler)))
        .flatten()
        .copied()
        .collect();
    let values = sample.build_as(&all);
    let lengths = std::iter::once(2).chain(lists.iter().map(|list| list.as_ref().map_or(2, Vec::len)));
    let valid: Vec<bool> = std::iter::once(true).chain(lists.iter().map(Option::is_some)).collect();
    let field: FieldRef = Arc::new(Field::new("part", values.data_type().clone(), true));
    let list = ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, Some(NullBuffer::from(valid)));
    Arc::new(list.slice(1, lists.len()))
}

/// Lists that fill their values exactly, as results do.
fn exact_list_of(sample: Sample, lists: &[Option<Vec<Option<u8>>>]) -> ArrayRef {
    let all: Vec<Option<u8>> = lists.iter().flatten().flatten().copied().collect();
    let values = sample.build(&all);
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.as_ref().map_or(0, Vec::len)));
    let valid: Vec<bool> = lists.iter().map(Option::is_some).collect();
    let field: FieldRef = Arc::new(Field::new("part", values.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, values, Some(NullBuffer::from(valid))))
}

fn lists() -> impl Strategy<Value = (Sample, Codes)> {
    let code = (proptest::option::weighted(0.8, 0..RANKS), any::<bool>());
    let list = proptest::option::weighted(0.8, proptest::collection::vec(code, 0..8));
    (proptest::sample::select(SAMPLES.to_vec()), proptest::collection::vec(list, 0..8)).prop_map(|(sample, lists)| {
        let lists = lists
            .into_iter()
            .map(|list| {
                list.map(|list| list.into_iter().map(|(code, other)| (code.map(|c| sample.rank(c)), other)).collect())
            })
            .collect();
        (sample, lists)
    })
}

/// Row by row, as values: what lists hold is compared, not how they lie in memory.
fn assert_same_rows(actual: &ArrayRef, expected: &ArrayRef) {
    assert_eq!(actual.data_type(), expected.data_type());
    assert_eq!(actual.len(), expected.len());
    for row in 0..actual.len() {
        assert_eq!(actual.is_null(row), expected.is_null(row), "row {row}");
        if actual.is_valid(row) {
            let of = |array: &ArrayRef| array.as_list::<i32>().value(row).to_data();
            assert_eq!(of(actual), of(expected), "row {row}");
        }
    }
}

proptest! {
    #[test]
    fn compact_lists_agree_with_the_model((sample, codes) in lists()) {
        let list = list_of(sample, &codes);
        let actual = of_column("list_compact", &list);
        // Representations stay as they are.
        let expected: Codes = codes
            .iter()
            .map(|list| list.as_ref().map(|list| list.iter().filter(|(code, _)| code.is_some()).copied().collect()))
            .collect();
        assert_same_rows(&actual, &list_of(sample, &expected));
    }

    #[test]
    fn unique_sorted_lists_agree_with_the_model((sample, codes) in lists()) {
        let list = list_of(sample, &codes);
        let actual = of_column("list_unique_sorted", &list);
        let expected: Vec<Option<Vec<Option<u8>>>> = codes
            .iter()
            .map(|list| {
                list.as_ref().map(|list| {
                    let mut ranks: Vec<Option<u8>> = list.iter().map(|(rank, _)| *rank).collect();
                    ranks.sort_by_key(|rank| (rank.is_none(), *rank));
                    ranks.dedup();
                    ranks
                })
            })
            .collect();
        assert_same_rows(&actual, &exact_list_of(sample, &expected));
        // Doing it twice changes nothing.
        assert_same_rows(&of_column("list_unique_sorted", &actual), &actual);
    }

    #[test]
    fn large_and_constant_lists_agree_with_plain_ones((sample, codes) in lists()) {
        let list = list_of(sample, &codes);
        for name in ["list_compact", "list_unique_sorted"] {
            let expected = of_column(name, &list);
            let DataType::List(field) = list.data_type() else { panic!("a list") };
            let large = cast(&list, &DataType::LargeList(Arc::clone(field))).unwrap();
            let actual = of_column(name, &large);
            assert_same_rows(&cast(&actual, expected.data_type()).unwrap(), &expected);
            for row in 0..list.len() {
                let constant = ColumnarValue::Scalar(ScalarValue::try_from_array(&list, row).unwrap());
                assert_same_rows(&invoke(name, vec![constant], 1).unwrap(), &expected.slice(row, 1));
            }
        }
    }
}

#[test]
fn lists_of_every_kind() {
    let field: FieldRef = Arc::new(Field::new("part", DataType::Int32, true));
    let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), None, Some(1), Some(1), Some(9), Some(9)]));
    let nulls = Some(NullBuffer::from(vec![true, true, false]));
    let offsets = OffsetBuffer::from_lengths([2, 2, 2]);
    let plain = ListArray::new(Arc::clone(&field), offsets.clone(), Arc::clone(&values), nulls.clone());
    let large = LargeListArray::new(
        Arc::clone(&field),
        OffsetBuffer::from_lengths([2, 2, 2]),
        Arc::clone(&values),
        nulls.clone(),
    );
    let fixed = FixedSizeListArray::new(Arc::clone(&field), 2, Arc::clone(&values), nulls.clone());
    let view = ListViewArray::new(Arc::clone(&field), vec![0, 2, 4].into(), vec![2, 2, 2].into(), values, nulls);
    let arrays: [ArrayRef; 4] = [Arc::new(plain), Arc::new(large), Arc::new(fixed), Arc::new(view)];
    for (name, first, second) in [
        ("list_compact", vec![Some(3)], vec![Some(1), Some(1)]),
        ("list_unique_sorted", vec![Some(3), None], vec![Some(1)]),
    ] {
        for array in &arrays {
            let result = of_column(name, array);
            let result = cast(&result, &DataType::List(Arc::clone(&field))).unwrap();
            let result = result.as_list::<i32>();
            let row = |row: usize| result.value(row).as_primitive::<Int32Type>().iter().collect::<Vec<_>>();
            assert_eq!((row(0), row(1), result.is_null(2)), (first.clone(), second.clone(), true), "{name}");
        }
    }
}

#[test]
fn lists_of_nothing_but_null() {
    let field: FieldRef = Arc::new(Field::new_list_field(DataType::Null, true));
    let list = ListArray::new(field, OffsetBuffer::from_lengths([2, 0]), Arc::new(NullArray::new(2)), None);
    let list: ArrayRef = Arc::new(list);
    let lengths = |name: &str| {
        let result = of_column(name, &list);
        (0..2).map(|row| result.as_list::<i32>().value_length(row)).collect::<Vec<_>>()
    };
    assert_eq!(lengths("list_compact"), [0, 0]);
    assert_eq!(lengths("list_unique_sorted"), [1, 0]);
}

pub(super) type Entries = Vec<(Option<u8>, Option<u8>)>;

/// Maps from one sample to another.
pub(super) fn maps(rows: &[Option<Entries>], keys: Sample, values: Sample) -> ArrayRef {
    let all: Entries = rows.iter().flatten().flatten().copied().collect();
    let key_array = keys.build(&all.iter().map(|(key, _)| *key).collect::<Vec<_>>());
    let value_array = values.build(&all.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    let fields: Fields = vec![
        Field::new("key", key_array.data_type().clone(), false),
        Field::new("value", value_array.data_type().clone(), true),
    ]
    .into();
    let entries = StructArray::new(fields.clone(), vec![key_array, value_array], None);
    let field: FieldRef = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)));
    let valid: Vec<bool> = rows.iter().map(Option::is_some).collect();
    Arc::new(MapArray::new(field, offsets, entries, Some(NullBuffer::from(valid)), false))
}

type MapCase = (Sample, Sample, Vec<Option<Entries>>, Entries, usize);

fn map_case() -> impl Strategy<Value = MapCase> {
    let sample = || proptest::sample::select(SAMPLES.to_vec());
    let entry = (0..RANKS, proptest::option::weighted(0.8, 0..RANKS));
    let map = proptest::option::weighted(0.8, proptest::collection::vec(entry, 0..6));
    let asked = (proptest::option::weighted(0.9, 0..RANKS), proptest::option::weighted(0.8, 0..RANKS));
    (sample(), sample(), proptest::collection::vec((map, asked), 0..8), 0..3_usize).prop_map(
        |(keys, values, rows, start)| {
            let (maps, asked): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let maps = maps
                .into_iter()
                .map(|map: Option<Vec<(u8, Option<u8>)>>| {
                    map.map(|map| {
                        map.into_iter()
                            .map(|(key, value)| (Some(keys.rank(key)), value.map(|value| values.rank(value))))
                            .collect()
                    })
                })
                .collect();
            let asked = asked
                .into_iter()
                .map(|(key, default)| (key.map(|key| keys.rank(key)), default.map(|value| values.rank(value))))
                .collect();
            (keys, values, maps, asked, start)
        },
    )
}

proptest! {
    #[test]
    fn normal_maps_agree_with_the_model((keys, values, rows, _asked, start) in map_case()) {
        let start = start.min(rows.len());
        let array = maps(&rows, keys, values).slice(start, rows.len() - start);
        let expected: Vec<Option<Entries>> = rows[start..]
            .iter()
            .map(|row| row.as_ref().map(|row| row.iter().copied().collect::<BTreeMap<_, _>>().into_iter().collect()))
            .collect();
        let actual = of_column("map_normalize", &array);
        assert_equal(&actual, &maps(&expected, keys, values));
    }

    #[test]
    fn looked_up_values_agree_with_the_model((keys, values, rows, asked, start) in map_case()) {
        let start = start.min(rows.len());
        let (array, rows, asked) = (maps(&rows, keys, values).slice(start, rows.len() - start), &rows[start..], &asked[start..]);
        let look_up = |row: usize, key: Option<u8>, default: Option<u8>| {
            let found = rows[row].iter().flatten().rev().find(|(other, _)| key.is_some() && *other == key);
            found.and_then(|(_, value)| *value).or(default)
        };
        let key_array = keys.build(&asked.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let default_array = values.build(&asked.iter().map(|(_, default)| *default).collect::<Vec<_>>());
        let arguments = vec![
            ColumnarValue::Array(Arc::clone(&array)),
            ColumnarValue::Array(Arc::clone(&key_array)),
            ColumnarValue::Array(Arc::clone(&default_array)),
        ];
        let actual = invoke("map_get_default", arguments.clone(), rows.len()).unwrap();
        let expected: Vec<_> = asked.iter().enumerate().map(|(row, (key, default))| look_up(row, *key, *default)).collect();
        let plain = crate::total_order::plain_type(&values.data_type());
        assert_equal(&cast(&actual, &plain).unwrap(), &cast(&values.build(&expected), &plain).unwrap());

        // A map in normal form gives the same values.
        let normal = of_column("map_normalize", &array);
        let again = invoke(
            "map_get_default",
            vec![ColumnarValue::Array(normal), arguments[1].clone(), arguments[2].clone()],
            rows.len(),
        );
        assert_equal(&cast(&again.unwrap(), &plain).unwrap(), &cast(&actual, &plain).unwrap());

        // Constants are compared with all keys at once, and give the same.
        if let Some((key, default)) = asked.first() {
            let constant = |array: &ArrayRef| ColumnarValue::Scalar(ScalarValue::try_from_array(array, 0).unwrap());
            let arguments = vec![ColumnarValue::Array(Arc::clone(&array)), constant(&key_array), constant(&default_array)];
            let actual = invoke("map_get_default", arguments, rows.len()).unwrap();
            let expected: Vec<_> = (0..rows.len()).map(|row| look_up(row, *key, *default)).collect();
            assert_equal(&cast(&actual, &plain).unwrap(), &cast(&values.build(&expected), &plain).unwrap());
        }
    }
}

#[test]
fn keys_and_defaults_of_other_encodings_and_widths() {
    let map = maps(&[Some(vec![(Some(1), Some(3))]), Some(vec![]), None], Sample::Utf8, Sample::Int8);
    let look_up = |key: ArrayRef, default: ArrayRef| {
        let arguments =
            vec![ColumnarValue::Array(Arc::clone(&map)), ColumnarValue::Array(key), ColumnarValue::Array(default)];
        invoke("map_get_default", arguments, 3)
    };
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "a", "a"]));
    let words: ArrayRef = Arc::new(["a", "a", "a"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let defaults: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, -0.0]));
    for keys in [views, words] {
        let result = look_up(keys, Arc::clone(&defaults)).unwrap();
        assert_equal(&result, &(Arc::new(Int8Array::from(vec![3, 2, 0])) as ArrayRef));
    }
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "a", "a"]));
    for wrong in [300.0, 0.5, f64::NAN] {
        let defaults: ArrayRef = Arc::new(Float64Array::from(vec![1.0, wrong, 0.0]));
        let message = look_up(Arc::clone(&keys), defaults).unwrap_err().to_string();
        assert!(
            message.contains("map_get_default: argument \"default\"") && message.contains("in row 2 of the batch"),
            "{message}"
        );
    }
}
