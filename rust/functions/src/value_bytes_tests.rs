use std::sync::Arc;

use arrow::array::{
    BinaryArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeListArray, Float16Array, Float32Array,
    Float64Array, GenericListArray, Int32Array, Int64Array, IntervalDayTimeArray, IntervalMonthDayNanoArray,
    IntervalYearMonthArray, LargeListArray, ListArray, MapArray, NullArray, RunArray, StringArray, StructArray,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{Field, Fields, Int32Type, IntervalDayTime, IntervalMonthDayNano, i256};
use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;
use crate::scalar_calls::every_representation;

fn bytes(array: &ArrayRef) -> Vec<Vec<u8>> {
    let encode = encoder(array).unwrap();
    (0..array.len())
        .map(|row| {
            let mut bytes = Vec::new();
            encode(row, &mut bytes);
            bytes
        })
        .collect()
}

fn cast_all(array: &ArrayRef, types: Vec<DataType>) -> Vec<ArrayRef> {
    types.into_iter().map(|data_type| cast(array, &data_type).unwrap()).collect()
}

fn assert_all_equal(arrays: &[ArrayRef]) {
    for array in arrays {
        assert_eq!(bytes(array), bytes(&arrays[0]), "{} and {}", array.data_type(), arrays[0].data_type());
    }
}

fn integers() -> ArrayRef {
    Arc::new(Int64Array::from(vec![Some(0), Some(7), None, Some(100), Some(1)]))
}

fn integer_types() -> Vec<DataType> {
    vec![
        DataType::Int64,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 0),
        DataType::Decimal128(30, 9),
        DataType::Decimal256(60, 40),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int32)),
    ]
}

fn list_field() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Int32, true))
}

/// `[[1, NULL], NULL, [3, 4]]` as a list of either width.
fn list<O: OffsetSizeTrait>() -> GenericListArray<O> {
    let values = Int32Array::from(vec![Some(1), None, Some(3), Some(4)]);
    let nulls = NullBuffer::from(vec![true, false, true]);
    GenericListArray::new(list_field(), OffsetBuffer::from_lengths([2, 0, 2]), Arc::new(values), Some(nulls))
}

fn lists() -> Vec<ArrayRef> {
    let fixed = Int32Array::from(vec![Some(1), None, None, None, Some(3), Some(4)]);
    let nulls = NullBuffer::from(vec![true, false, true]);
    let listed: ArrayRef = Arc::new(ListArray::from(list::<i32>()));
    vec![
        Arc::clone(&listed),
        Arc::new(LargeListArray::from(list::<i64>())),
        Arc::new(FixedSizeListArray::new(list_field(), 2, Arc::new(fixed), Some(nulls))),
        cast(&listed, &DataType::ListView(list_field())).unwrap(),
        cast(&listed, &DataType::LargeListView(list_field())).unwrap(),
    ]
}

fn map(keys: Vec<&str>, values: Vec<i32>, lengths: Vec<usize>) -> ArrayRef {
    let fields = Fields::from(vec![Field::new("k", DataType::Utf8, false), Field::new("v", DataType::Int32, true)]);
    let entries = StructArray::new(
        fields.clone(),
        vec![Arc::new(StringArray::from(keys)), Arc::new(Int32Array::from(values))],
        None,
    );
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    Arc::new(MapArray::new(field, OffsetBuffer::from_lengths(lengths), entries, None, false))
}

fn structure(fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let described: Fields =
        fields.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    Arc::new(StructArray::new(described, fields.into_iter().map(|(_, array)| array).collect(), None))
}

/// Arrays of every class, several rows each.
fn every_class() -> Vec<ArrayRef> {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.0), None, Some(5.0), Some(f64::NAN), Some(-1.5)]));
    let moments: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(1), Some(86_399)]));
    let mut arrays = cast_all(&integers(), integer_types());
    arrays.extend(every_representation(&[Some("ab"), Some(""), None, Some("a"), Some("b"), Some("\u{0}")]));
    arrays.extend(lists());
    arrays.extend(cast_all(&floats, vec![DataType::Float16, DataType::Float32, DataType::Float64]));
    arrays.extend(cast_all(
        &moments,
        vec![
            DataType::Timestamp(TimeUnit::Second, None),
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            DataType::Duration(TimeUnit::Microsecond),
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Boolean,
        ],
    ));
    arrays.push(Arc::new(Date32Array::from(vec![Some(0), None, Some(-1)])));
    arrays.push(Arc::new(BinaryArray::from(vec![Some(b"ab".as_slice()), None, Some(b"")])));
    arrays.push(Arc::new(IntervalYearMonthArray::from(vec![Some(1), None])));
    arrays.push(Arc::new(UInt64Array::from(vec![u64::MAX, 1])));
    arrays.push(Arc::new(NullArray::new(3)));
    arrays.push(map(vec!["b", "a", "c"], vec![2, 1, 3], vec![2, 0, 1]));
    arrays.push(structure(vec![("x", integers()), ("y", integers())]));
    let runs: RunArray<Int32Type> = [Some("a"), Some("a"), None, Some("b")].into_iter().collect();
    arrays.push(Arc::new(runs));
    arrays
}

#[test]
fn integers_and_decimals_are_equal_by_value() {
    assert_all_equal(&cast_all(&integers(), integer_types()));
}

#[test]
fn numbers_beyond_64_bits_are_text_without_needless_zeros() {
    let decimal = |value: i128, scale: i8| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap())
    };
    let text = |array: ArrayRef| {
        let bytes = bytes(&array).remove(0);
        assert_eq!((bytes[0], usize::from(bytes[1])), (NUMBER, bytes.len() - 2));
        String::from_utf8(bytes[2..].to_vec()).unwrap()
    };
    assert_eq!(text(decimal(-1250, 2)), "-12.5");
    assert_eq!(text(decimal(5, 4)), "0.0005");
    assert_eq!(text(decimal(i128::from(i64::MAX) + 1, 0)), "9223372036854775808");
    assert_eq!(text(decimal(i128::from(i64::MAX), -2)), "922337203685477580700");
    assert_eq!(text(Arc::new(UInt64Array::from(vec![u64::MAX]))), "18446744073709551615");
    assert_eq!(bytes(&decimal(i128::from(i64::MIN), 0))[0][0], INTEGER);
    assert_eq!(bytes(&decimal(5, -3)), bytes(&(Arc::new(Int64Array::from(vec![5000])) as ArrayRef)));
}

#[test]
fn floats_of_all_widths_are_equal_with_one_zero_and_one_nan() {
    let odd_nan = f64::from_bits(0xfff8_0000_dead_beef);
    let values = [0.0, 1.5, f64::INFINITY, f64::NAN];
    let plain: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let odd: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, 1.5, f64::INFINITY, odd_nan]));
    #[expect(clippy::cast_possible_truncation, reason = "these values are the same in 32 bits")]
    let narrow: ArrayRef = Arc::new(Float32Array::from_iter_values(values.map(|value| value as f32)));
    let half: ArrayRef =
        Arc::new(Float16Array::from_iter(cast(&plain, &DataType::Float16).unwrap().as_primitive::<Float16Type>()));
    assert_all_equal(&[plain, odd, narrow, half]);
    let float: ArrayRef = Arc::new(Float64Array::from(vec![5.0]));
    let integer: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    assert_ne!(bytes(&float), bytes(&integer));
}

#[test]
fn strings_and_binaries_are_equal_in_every_representation() {
    assert_all_equal(&every_representation(&[
        Some("ab"),
        None,
        Some(""),
        Some("a longer text than a view holds inside"),
    ]));
    let binary: ArrayRef = Arc::new(BinaryArray::from(vec![b"ab".as_slice(), b"cd"]));
    let types = vec![DataType::Binary, DataType::LargeBinary, DataType::BinaryView, DataType::FixedSizeBinary(2)];
    assert_all_equal(&cast_all(&binary, types));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["ab", "cd"]));
    assert_ne!(bytes(&binary), bytes(&text));
    assert_eq!(bytes(&text)[0], string_bytes("ab"));
}

#[test]
fn moments_are_equal_whatever_their_unit_and_zone() {
    let seconds: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None, Some(3600)]));
    let of = |unit, zone: Option<&str>| {
        let seconds = cast(&seconds, &DataType::Timestamp(TimeUnit::Second, zone.map(Into::into))).unwrap();
        cast(&seconds, &DataType::Timestamp(unit, zone.map(Into::into))).unwrap()
    };
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    assert_all_equal(&units.map(|unit| of(unit, None)));
    assert_all_equal(&[of(TimeUnit::Second, Some("UTC")), of(TimeUnit::Nanosecond, Some("+02:00"))]);
    assert_ne!(bytes(&of(TimeUnit::Second, None)), bytes(&of(TimeUnit::Second, Some("UTC"))));
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(-1), None, Some(19_000)]));
    assert_all_equal(&cast_all(&days, vec![DataType::Date32, DataType::Date64]));
    let half: ArrayRef = Arc::new(arrow::array::TimestampMillisecondArray::from(vec![-500]));
    assert_eq!(bytes(&half)[0], [[CLOCK].as_slice(), &(-1_i64).to_le_bytes(), &500_000_000_u32.to_le_bytes()].concat());
}

#[test]
fn intervals_are_equal_by_their_parts() {
    let parts: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
        IntervalMonthDayNano::new(1, 0, 0),
        IntervalMonthDayNano::new(0, 2, 3_000_000),
    ]));
    let months: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1]));
    let days: ArrayRef = Arc::new(IntervalDayTimeArray::from(vec![IntervalDayTime::new(2, 3)]));
    assert_eq!(bytes(&parts), [bytes(&months), bytes(&days)].concat());
}

#[test]
fn lists_are_equal_in_every_representation() {
    assert_all_equal(&lists());
}

#[test]
fn maps_have_no_order_and_structs_go_by_name() {
    assert_eq!(bytes(&map(vec!["b", "a"], vec![2, 1], vec![2])), bytes(&map(vec!["a", "b"], vec![1, 2], vec![2])));
    let (one, two): (ArrayRef, ArrayRef) = (Arc::new(Int32Array::from(vec![1])), Arc::new(Int64Array::from(vec![2])));
    let ordered = structure(vec![("a", Arc::clone(&one)), ("b", Arc::clone(&two))]);
    let moved = structure(vec![("b", Arc::clone(&two)), ("a", Arc::clone(&one))]);
    let renamed = structure(vec![("a", one), ("c", two)]);
    assert_eq!(bytes(&ordered), bytes(&moved));
    assert_ne!(bytes(&ordered), bytes(&renamed));
}

#[test]
fn dictionaries_and_runs_are_their_values() {
    let words = [Some("a"), Some("a"), None, Some("b"), None];
    let plain: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
    let runs: RunArray<Int32Type> = words.into_iter().collect();
    let nulls_in_values: DictionaryArray<Int32Type> = DictionaryArray::new(
        Int32Array::from(vec![Some(0), Some(0), Some(1), Some(2), None]),
        Arc::new(StringArray::from(vec![Some("a"), None, Some("b")])),
    );
    assert_all_equal(&[plain, Arc::new(runs), Arc::new(nulls_in_values)]);
}

#[test]
fn a_slice_has_the_bytes_of_its_rows() {
    for array in every_class() {
        let all = bytes(&array);
        for offset in 0..=array.len() {
            for length in 0..=array.len() - offset {
                let slice = array.slice(offset, length);
                assert_eq!(bytes(&slice), all[offset..offset + length], "{} at {offset}", array.data_type());
            }
        }
    }
}

#[test]
fn no_value_is_the_beginning_of_another_one() {
    let mut values: Vec<Vec<u8>> = every_class().iter().flat_map(bytes).collect();
    values.sort();
    values.dedup();
    assert!(values.len() > 40, "{}", values.len());
    for pair in values.windows(2) {
        // Sorted, a prefix stands right before a value that it begins.
        assert!(!pair[1].starts_with(&pair[0]), "{pair:?}");
    }
}

#[test]
fn unions_have_no_value_bytes_however_deep() {
    let union = DataType::Union(
        [(0, Arc::new(Field::new("a", DataType::Int32, true)))].into_iter().collect(),
        arrow::datatypes::UnionMode::Sparse,
    );
    assert!(!has_value_bytes(&union));
    assert!(!has_value_bytes(&DataType::new_list(union, true)));
    assert!(has_value_bytes(&DataType::new_list(DataType::Utf8, true)));
}

/// A number as the table says it, made with big integers.
fn model(unscaled: &BigInt, scale: i32) -> Vec<u8> {
    let (mut unscaled, mut scale) = (unscaled.clone(), scale);
    while scale < 0 {
        (unscaled, scale) = (unscaled * 10, scale + 1);
    }
    while scale > 0 && &unscaled % 10 == BigInt::ZERO {
        (unscaled, scale) = (unscaled / 10, scale - 1);
    }
    if scale == 0
        && let Ok(value) = i64::try_from(&unscaled)
    {
        return [[INTEGER].as_slice(), &value.to_le_bytes()].concat();
    }
    let places = usize::try_from(scale).unwrap();
    let digits = format!("{:0>width$}", unscaled.magnitude(), width = places + 1);
    let sign = if unscaled < BigInt::ZERO { "-" } else { "" };
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let point = if places > 0 { "." } else { "" };
    let text = format!("{sign}{whole}{point}{fraction}");
    let mut bytes = vec![NUMBER];
    length(text.len(), &mut bytes);
    [bytes, text.into_bytes()].concat()
}

proptest! {
    #[test]
    fn numbers_are_those_of_big_integers(high in any::<i128>(), low in any::<u128>(), bits in any::<u8>(), scale in -76_i8..=76) {
        let wide = i256::from_parts(low, high) >> bits;
        let mut bytes = Vec::new();
        number(&wide, scale, &mut bytes);
        prop_assert_eq!(bytes, model(&wide.to_string().parse().unwrap(), i32::from(scale)));
    }

    #[test]
    fn lengths_can_be_read_back(value in any::<usize>(), bits in 0_u32..64) {
        let value = value >> bits;
        let mut bytes = Vec::new();
        length(value, &mut bytes);
        let read = bytes.iter().enumerate().fold(0_usize, |read, (index, byte)| read | (usize::from(byte & 0x7f) << (7 * index)));
        prop_assert_eq!(read, value);
        prop_assert!(bytes.iter().rev().skip(1).all(|byte| byte & 0x80 != 0) && bytes.last().unwrap() & 0x80 == 0);
        prop_assert!(bytes.len() == 1 || *bytes.last().unwrap() != 0);
    }
}
