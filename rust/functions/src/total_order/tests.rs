use std::cmp::Ordering;

use arrow::array::{DictionaryArray, Float32Array, Float64Array, new_empty_array};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;

use super::samples::{RANKS, SAMPLES, Sample};
use super::*;

fn order(codec: &Codec, array: &ArrayRef, left: usize, right: usize) -> Ordering {
    match codec.layout() {
        Layout::Fixed => {
            let cells = Codec::read_fixed(array).unwrap();
            (cells.is_null(left), cells.get(left)).cmp(&(cells.is_null(right), cells.get(right)))
        }
        Layout::Bytes => {
            let cells = codec.read_bytes(array).unwrap();
            (cells.is_null(left), cells.get(left)).cmp(&(cells.is_null(right), cells.get(right)))
        }
    }
}

fn written(codec: &Codec, array: &ArrayRef) -> ArrayRef {
    match codec.layout() {
        Layout::Fixed => {
            let cells = Codec::read_fixed(array).unwrap();
            let kept: Vec<Option<u64>> = (0..array.len()).map(|row| cells.get(row)).collect();
            Fixed::write(codec, kept.iter().map(Option::as_ref)).unwrap()
        }
        Layout::Bytes => {
            let cells = codec.read_bytes(array).unwrap();
            codec.write_bytes((0..array.len()).map(|row| cells.get(row))).unwrap()
        }
    }
}

#[test]
fn cells_are_ordered_as_ranks_are_and_null_is_last() {
    for sample in SAMPLES {
        let ranks: Vec<Option<u8>> = (0..RANKS).map(|code| Some(sample.rank(code))).chain([None]).collect();
        let array = sample.build(&ranks);
        let codec = Codec::new(array.data_type()).unwrap();
        for (left, left_rank) in ranks.iter().enumerate() {
            for (right, right_rank) in ranks.iter().enumerate() {
                let expected = (left_rank.is_none(), left_rank).cmp(&(right_rank.is_none(), right_rank));
                assert_eq!(order(&codec, &array, left, right), expected, "{sample:?} {left_rank:?} {right_rank:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn writing_cells_gives_the_canonical_values(
        sample in proptest::sample::select(SAMPLES.to_vec()),
        codes in proptest::collection::vec((proptest::option::of(0..RANKS), any::<bool>()), 0..20),
        start in 0_usize..5,
    ) {
        let ranks: Vec<_> = codes.iter().map(|(code, other)| (code.map(|code| sample.rank(code)), *other)).collect();
        let start = start.min(ranks.len());
        let array = sample.build_as(&ranks).slice(start, ranks.len() - start);
        let codec = Codec::new(array.data_type()).unwrap();
        let plain: Vec<Option<u8>> = ranks[start..].iter().map(|rank| rank.0).collect();
        let expected = cast(&sample.build(&plain), codec.plain()).unwrap();
        prop_assert_eq!(written(&codec, &array).to_data(), expected.to_data());
    }
}

#[test]
fn floats_of_every_width_are_ordered_by_value() {
    let values = [f32::NEG_INFINITY, -2.5, -0.0, 0.0, 0.5, 3.0, f32::INFINITY, f32::NAN, -f32::NAN];
    let ranks = [0, 1, 2, 2, 3, 4, 5, 6, 6];
    let single: ArrayRef = Arc::new(Float32Array::from(values.to_vec()));
    let half = cast(&single, &DataType::Float16).unwrap();
    let double: ArrayRef = Arc::new(Float64Array::from(values.map(f64::from).to_vec()));
    for array in [half, single, double] {
        let codec = Codec::new(array.data_type()).unwrap();
        for left in 0..values.len() {
            for right in 0..values.len() {
                let order = order(&codec, &array, left, right);
                assert_eq!(order, ranks[left].cmp(&ranks[right]), "{} {left} {right}", array.data_type());
            }
        }
    }
}

#[test]
fn zero_and_nan_have_one_representation_after_folding() {
    let values: ArrayRef =
        Arc::new(Float64Array::from(vec![-0.0, 0.0, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)]));
    let folded = canonical(&values).unwrap();
    let bits: Vec<u64> = folded.as_primitive::<Float64Type>().values().iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, [0, 0, f64::NAN.to_bits(), f64::NAN.to_bits()]);
    let half = canonical(&cast(&values, &DataType::Float16).unwrap()).unwrap();
    assert_eq!(half.to_data().buffers()[0].typed_data::<u16>(), [0, 0, 0x7e00, 0x7e00]);
}

#[test]
fn encodings_do_not_count() {
    let words: DictionaryArray<Int32Type> = [Some("b"), None, Some("a")].into_iter().collect();
    let words: ArrayRef = Arc::new(words);
    assert_eq!(canonical(&words).unwrap().data_type(), &DataType::Utf8);
    let codec = Codec::new(words.data_type()).unwrap();
    assert_eq!(order(&codec, &words, 0, 2), Ordering::Greater);
    assert_eq!(order(&codec, &words, 0, 1), Ordering::Less);
}

#[test]
fn an_empty_array_is_written_as_one() {
    for sample in SAMPLES {
        let empty = new_empty_array(&sample.data_type());
        let codec = Codec::new(empty.data_type()).unwrap();
        assert_eq!(written(&codec, &empty).len(), 0, "{sample:?}");
    }
}

#[test]
fn a_union_has_no_order_and_the_message_names_function_and_argument() {
    let fields = arrow::datatypes::UnionFields::from_fields(vec![Field::new("a", DataType::Int32, true)]);
    let union = DataType::Union(fields, arrow::datatypes::UnionMode::Sparse);
    let message = require_ordered("arg_max", "by", &union).unwrap_err().to_string();
    assert!(message.contains("arg_max") && message.contains("\"by\""), "{message}");
    assert!(matches!(Sample::Map.data_type(), DataType::Map(..)));
}
