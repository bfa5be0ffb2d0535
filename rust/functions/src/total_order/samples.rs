//! Values of many types in a known order, for tests: what a test expects follows from ranks alone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int32Array, Int32Builder, Int64Array, LargeStringArray, ListArray, MapBuilder,
    StringArray, StringBuilder, StringViewArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type};

/// How many ranks there are.
pub(crate) const RANKS: u8 = 6;

/// A type with [`RANKS`] values in ascending order, or fewer where the type has fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample {
    Boolean,
    Int8,
    Int32,
    Int64,
    UInt64,
    Float32,
    Float64,
    Date32,
    Timestamp,
    Decimal128,
    Utf8,
    LargeUtf8,
    Utf8View,
    Binary,
    FixedSizeBinary,
    Dictionary,
    FloatDictionary,
    List,
    Struct,
    Map,
}

pub(crate) const SAMPLES: [Sample; 20] = [
    Sample::Boolean,
    Sample::Int8,
    Sample::Int32,
    Sample::Int64,
    Sample::UInt64,
    Sample::Float32,
    Sample::Float64,
    Sample::Date32,
    Sample::Timestamp,
    Sample::Decimal128,
    Sample::Utf8,
    Sample::LargeUtf8,
    Sample::Utf8View,
    Sample::Binary,
    Sample::FixedSizeBinary,
    Sample::Dictionary,
    Sample::FloatDictionary,
    Sample::List,
    Sample::Struct,
    Sample::Map,
];

const TEXTS: [&str; 6] = ["", "a", "a\0", "abcdefgh", "abcdefghi", "é"];

impl Sample {
    /// The rank of a code below [`RANKS`] among the values that the type has.
    pub(crate) fn rank(self, code: u8) -> u8 {
        if self == Self::Boolean { code / 3 } else { code }
    }

    pub(crate) fn data_type(self) -> DataType {
        self.build(&[]).data_type().clone()
    }

    /// The values of these ranks.
    pub(crate) fn build(self, ranks: &[Option<u8>]) -> ArrayRef {
        self.build_as(&ranks.iter().map(|rank| (*rank, false)).collect::<Vec<_>>())
    }

    /// The values of these ranks, in another representation where the flag is set and there is one.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn build_as(self, ranks: &[(Option<u8>, bool)]) -> ArrayRef {
        let from = |rank: &(Option<u8>, bool)| rank.0.map(usize::from);
        let float = |rank: &(Option<u8>, bool)| {
            rank.0.map(|position| match (position, rank.1) {
                (2, true) => -0.0,
                (5, true) => f64::from_bits(0xfff8_0000_0000_1234),
                (position, _) => [f64::NEG_INFINITY, -1.5, 0.0, 1e-30, f64::INFINITY, f64::NAN][usize::from(position)],
            })
        };
        macro_rules! pick {
            ($array:ty, $values:expr) => {
                Arc::new(ranks.iter().map(|rank| from(rank).map(|rank| $values[rank])).collect::<$array>())
            };
        }
        match self {
            Self::Boolean => pick!(BooleanArray, [false, true]),
            Self::Int8 => pick!(Int8Array, [i8::MIN, -5, 0, 3, 100, i8::MAX]),
            Self::Int32 => pick!(Int32Array, [i32::MIN, -5, 0, 3, 70_000, i32::MAX]),
            Self::Int64 => pick!(Int64Array, [i64::MIN, -5, 0, 3, 1 << 40, i64::MAX]),
            Self::UInt64 => pick!(UInt64Array, [0, 1, 2, 1 << 40, 1 << 63, u64::MAX]),
            Self::Float32 => Arc::new(
                ranks
                    .iter()
                    .map(|rank| match (rank, float(rank)) {
                        ((Some(5), true), _) => Some(f32::from_bits(0xffc0_1234)),
                        (_, value) => value.map(|value| value as f32),
                    })
                    .collect::<Float32Array>(),
            ),
            Self::Float64 => Arc::new(ranks.iter().map(float).collect::<Float64Array>()),
            Self::Date32 => pick!(Date32Array, [i32::MIN, -5, 0, 3, 70_000, i32::MAX]),
            Self::Timestamp => {
                let times: TimestampMicrosecondArray =
                    ranks.iter().map(|rank| from(rank).map(|rank| [-9, -5, 0, 3, 1 << 40, 1 << 50][rank])).collect();
                Arc::new(times.with_timezone("+02:00"))
            }
            Self::Decimal128 => {
                let decimals: Decimal128Array = ranks
                    .iter()
                    .map(|rank| from(rank).map(|rank| [-(1_i128 << 100), -5, 0, 3, 7, 1 << 100][rank]))
                    .collect();
                Arc::new(decimals.with_precision_and_scale(38, 2).unwrap())
            }
            Self::Utf8 => pick!(StringArray, TEXTS),
            Self::LargeUtf8 => pick!(LargeStringArray, TEXTS),
            Self::Utf8View => pick!(StringViewArray, TEXTS),
            Self::Binary => pick!(BinaryArray, [&b""[..], b"\0", b"\0\0", b"a", b"b", b"\xff"]),
            Self::FixedSizeBinary => {
                let values = [b"\0\0", b"\0a", b"a\0", b"aa", b"ab", b"\xff\xff"];
                let values = ranks.iter().map(|rank| from(rank).map(|rank| values[rank]));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 2).unwrap())
            }
            Self::Dictionary => {
                let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                cast(&Self::Utf8.build_as(ranks), &dictionary).unwrap()
            }
            Self::FloatDictionary => {
                let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Float64));
                cast(&Self::Float64.build_as(ranks), &dictionary).unwrap()
            }
            Self::List => {
                let lists = ranks.iter().map(|&(rank, other)| {
                    let zero = Some(if other { -0.0 } else { 0.0 });
                    let nan = Some(if other { f64::from_bits(0xfff8_0000_0000_1234) } else { f64::NAN });
                    Some(match rank? {
                        0 => vec![],
                        1 => vec![Some(-1.0)],
                        2 => vec![zero],
                        3 => vec![zero, Some(1.0)],
                        4 => vec![zero, None],
                        _ => vec![nan],
                    })
                });
                Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
            }
            Self::Struct => {
                let parts = [(Some(1), Some("a")), (Some(1), Some("b")), (Some(1), None), (Some(2), Some(""))];
                let parts = [parts.as_slice(), &[(None, Some("a")), (None, None)]].concat();
                let part = |rank: &(Option<u8>, bool)| from(rank).map(|rank| parts[rank]);
                let numbers: Int32Array = ranks.iter().map(|rank| part(rank)?.0).collect();
                let texts: StringArray = ranks.iter().map(|rank| part(rank)?.1).collect();
                let fields = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)];
                let valid: Vec<bool> = ranks.iter().map(|rank| rank.0.is_some()).collect();
                let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
                let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
                Arc::new(StructArray::new(fields.into(), columns, nulls))
            }
            Self::Map => {
                let mut builder = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
                for rank in ranks {
                    let entries: &[(&str, Option<i32>)] = match rank.0 {
                        Some(0) | None => &[],
                        Some(1) => &[("a", Some(1))],
                        Some(2) => &[("a", Some(1)), ("b", Some(2))],
                        Some(3) => &[("a", Some(2))],
                        Some(4) => &[("a", None)],
                        Some(_) => &[("b", Some(1))],
                    };
                    for (key, value) in entries {
                        builder.keys().append_value(key);
                        builder.values().append_option(*value);
                    }
                    builder.append(rank.0.is_some()).unwrap();
                }
                Arc::new(builder.finish())
            }
        }
    }
}
