//! Cells: values as integers or byte strings that compare as the values do in the total order.
//!
//! Invariant: cells of one codec compare as their values do, and writing a cell gives back its canonical value.
//!
//! The bytes are those of strings and binaries themselves, or of Arrow's row format; the integers of floats follow
//! "totalOrder" of IEEE 754 (section 5.10) after the folding of the order.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewArray, BinaryViewBuilder, BooleanArray,
    LargeBinaryArray, LargeBinaryBuilder, PrimitiveArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalUnit, IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::{ASCENDING, canonical, plain_type};

/// A native value that fits an integer of 64 bits which is ordered as the value is.
pub(super) trait Ordered: Copy {
    /// The one representation of the value.
    fn folded(self) -> Self {
        self
    }
    fn to_ordered(self) -> u64;
    fn from_ordered(ordered: u64) -> Self;
}

const SIGN: u64 = 1 << 63;

macro_rules! ordered_integers {
    ($($signed:ty, $unsigned:ty);+) => {
        $(
            impl Ordered for $signed {
                fn to_ordered(self) -> u64 {
                    i64::from(self).cast_unsigned() ^ SIGN
                }
                fn from_ordered(ordered: u64) -> Self {
                    // It was widened from this type, so it fits.
                    Self::try_from((ordered ^ SIGN).cast_signed()).unwrap_or_default()
                }
            }
            impl Ordered for $unsigned {
                fn to_ordered(self) -> u64 {
                    u64::from(self)
                }
                fn from_ordered(ordered: u64) -> Self {
                    Self::try_from(ordered).unwrap_or_default()
                }
            }
        )+
    };
}
ordered_integers!(i8, u8; i16, u16; i32, u32; i64, u64);

macro_rules! ordered_floats {
    ($($float:ty, $bits:ty, $sign:expr, $nan:expr);+) => {
        $(
            impl Ordered for $float {
                fn folded(self) -> Self {
                    let bits = self.to_bits();
                    if bits & !$sign == 0 {
                        Self::from_bits(0)
                    } else if self.is_nan() {
                        Self::from_bits($nan)
                    } else {
                        self
                    }
                }
                fn to_ordered(self) -> u64 {
                    let bits = self.to_bits();
                    u64::from(if bits & $sign == 0 { bits | $sign } else { !bits })
                }
                fn from_ordered(ordered: u64) -> Self {
                    let bits = <$bits>::try_from(ordered).unwrap_or_default();
                    Self::from_bits(if bits & $sign == 0 { !bits } else { bits & !$sign })
                }
            }
        )+
    };
}
ordered_floats!(
    f32, u32, 0x8000_0000, 0x7fc0_0000;
    f64, u64, SIGN, 0x7ff8_0000_0000_0000
);

/// Calls a macro with the primitive type of a fixed layout, or evaluates the other expression.
macro_rules! with_fixed {
    ($data_type:expr, $run:ident, $other:expr) => {
        match $data_type {
            DataType::Int8 => $run!(Int8Type),
            DataType::Int16 => $run!(Int16Type),
            DataType::Int32 => $run!(Int32Type),
            DataType::Int64 => $run!(Int64Type),
            DataType::UInt8 => $run!(UInt8Type),
            DataType::UInt16 => $run!(UInt16Type),
            DataType::UInt32 => $run!(UInt32Type),
            DataType::UInt64 => $run!(UInt64Type),
            DataType::Float32 => $run!(Float32Type),
            DataType::Float64 => $run!(Float64Type),
            DataType::Date32 => $run!(Date32Type),
            DataType::Date64 => $run!(Date64Type),
            DataType::Decimal32(_, _) => $run!(Decimal32Type),
            DataType::Decimal64(_, _) => $run!(Decimal64Type),
            DataType::Interval(IntervalUnit::YearMonth) => $run!(IntervalYearMonthType),
            DataType::Time32(TimeUnit::Second) => $run!(Time32SecondType),
            DataType::Time32(TimeUnit::Millisecond) => $run!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => $run!(Time64MicrosecondType),
            DataType::Time64(TimeUnit::Nanosecond) => $run!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => $run!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => $run!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => $run!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => $run!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => $run!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => $run!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => $run!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => $run!(DurationNanosecondType),
            _ => $other,
        }
    };
}

/// What the cells of a type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Integers of 64 bits.
    Fixed,
    /// Byte strings.
    Bytes,
}

/// Reads arrays of one type as cells, and writes cells as arrays of its plain type.
#[derive(Debug)]
pub(crate) struct Codec {
    plain: DataType,
    layout: Layout,
    /// For types whose bytes are those of the row format.
    converter: Option<RowConverter>,
}

impl Codec {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        macro_rules! fixed {
            ($type:ty) => {
                Layout::Fixed
            };
        }
        let plain = plain_type(data_type);
        let layout = match &plain {
            // Half floats are read and written as single ones, which hold each of them.
            DataType::Boolean | DataType::Float16 => Layout::Fixed,
            other => with_fixed!(other, fixed, Layout::Bytes),
        };
        let raw = layout == Layout::Fixed
            || matches!(
                plain,
                DataType::Utf8
                    | DataType::LargeUtf8
                    | DataType::Utf8View
                    | DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
            );
        let converter = if raw {
            None
        } else {
            Some(RowConverter::new(vec![SortField::new_with_options(plain.clone(), ASCENDING)])?)
        };
        Ok(Self { plain, layout, converter })
    }

    pub(crate) fn plain(&self) -> &DataType {
        &self.plain
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }
}

/// A kind of cells: how they are read, compared, kept and written.
pub(crate) trait Kind: Debug + Send + Sync + 'static {
    /// The cells of an array.
    type Cells;
    /// A cell that outlives its array.
    type Kept: Debug + Default + Send + Sync + 'static;

    /// The cells of an array of the codec's type, in any encoding.
    fn read(codec: &Codec, array: &ArrayRef) -> Result<Self::Cells>;
    /// An array of the codec's plain type.
    fn write<'a>(codec: &Codec, cells: impl Iterator<Item = Option<&'a Self::Kept>>) -> Result<ArrayRef>;
    /// Whether the cell is NULL.
    fn is_null(cells: &Self::Cells, row: usize) -> bool;
    /// Compares a cell that is not NULL.
    fn compare(cells: &Self::Cells, row: usize, kept: &Self::Kept) -> Ordering;
    /// Keeps a cell that is not NULL, and returns by how many bytes the memory behind it grew.
    fn keep(cells: &Self::Cells, row: usize, kept: &mut Self::Kept) -> usize;
    /// The memory behind a kept cell.
    fn heap(kept: &Self::Kept) -> usize;
}

/// Cells of [`Layout::Fixed`].
#[derive(Debug)]
pub(crate) struct Fixed;

/// The cells of an array of a fixed layout.
#[derive(Debug)]
pub(crate) struct FixedCells {
    values: Vec<u64>,
    nulls: Option<NullBuffer>,
}

impl FixedCells {
    /// The cell, or `None` if it is NULL.
    pub(crate) fn get(&self, row: usize) -> Option<u64> {
        if self.is_null(row) { None } else { Some(self.values[row]) }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The cells, arbitrary where they are NULL.
    pub(crate) fn values(&self) -> &[u64] {
        &self.values
    }

    pub(crate) fn has_nulls(&self) -> bool {
        self.nulls.is_some()
    }
}

impl Codec {
    pub(crate) fn read_fixed(array: &ArrayRef) -> Result<FixedCells> {
        let array =
            if plain_type(array.data_type()) == *array.data_type() { Arc::clone(array) } else { canonical(array)? };
        macro_rules! read {
            ($type:ty) => {
                array.as_primitive::<$type>().values().iter().map(|value| value.folded().to_ordered()).collect()
            };
        }
        let values: Vec<u64> = match array.data_type() {
            DataType::Boolean => array.as_boolean().values().iter().map(u64::from).collect(),
            DataType::Float16 => return Self::read_fixed(&cast(&array, &DataType::Float32)?),
            other => with_fixed!(other, read, return exec_err!("{other} has no cells of a fixed size")),
        };
        Ok(FixedCells { values, nulls: some_nulls(array.logical_nulls()) })
    }

    pub(crate) fn write_fixed(&self, values: Vec<u64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        macro_rules! write {
            ($type:ty) => {{
                let values = values.into_iter().map(Ordered::from_ordered).collect::<Vec<_>>().into();
                Arc::new(PrimitiveArray::<$type>::try_new(values, nulls)?.with_data_type(self.plain.clone()))
            }};
        }
        Ok(match &self.plain {
            DataType::Boolean => {
                let values: BooleanBuffer = values.into_iter().map(|value| value != 0).collect();
                Arc::new(BooleanArray::new(values, nulls))
            }
            DataType::Float16 => cast(&Self::new(&DataType::Float32)?.write_fixed(values, nulls)?, &DataType::Float16)?,
            other => with_fixed!(other, write, return exec_err!("{other} has no cells of a fixed size")),
        })
    }
}

fn some_nulls(nulls: Option<NullBuffer>) -> Option<NullBuffer> {
    nulls.filter(|nulls| nulls.null_count() > 0)
}

impl Kind for Fixed {
    type Cells = FixedCells;
    type Kept = u64;

    fn read(_codec: &Codec, array: &ArrayRef) -> Result<FixedCells> {
        Codec::read_fixed(array)
    }

    fn write<'a>(codec: &Codec, cells: impl Iterator<Item = Option<&'a u64>>) -> Result<ArrayRef> {
        let mut valid = Vec::with_capacity(cells.size_hint().0);
        let mut values = Vec::with_capacity(cells.size_hint().0);
        for cell in cells {
            valid.push(cell.is_some());
            values.push(cell.copied().unwrap_or_default());
        }
        codec.write_fixed(values, some_nulls(Some(NullBuffer::from(valid))))
    }

    #[inline]
    fn is_null(cells: &FixedCells, row: usize) -> bool {
        cells.is_null(row)
    }

    #[inline]
    fn compare(cells: &FixedCells, row: usize, kept: &u64) -> Ordering {
        cells.values[row].cmp(kept)
    }

    #[inline]
    fn keep(cells: &FixedCells, row: usize, kept: &mut u64) -> usize {
        *kept = cells.values[row];
        0
    }

    fn heap(_kept: &u64) -> usize {
        0
    }
}

/// Cells of [`Layout::Bytes`].
#[derive(Debug)]
pub(crate) struct Bytes;

/// The cells of an array whose cells are byte strings.
#[derive(Debug)]
pub(crate) struct ByteCells {
    bytes: ByteSource,
    nulls: Option<NullBuffer>,
}

#[derive(Debug)]
enum ByteSource {
    Small(BinaryArray),
    Large(LargeBinaryArray),
    View(BinaryViewArray),
    Rows(Rows),
}

impl ByteCells {
    /// The bytes of a cell, arbitrary if it is NULL.
    #[inline]
    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        match &self.bytes {
            ByteSource::Small(array) => array.value(row),
            ByteSource::Large(array) => array.value(row),
            ByteSource::View(array) => array.value(row),
            ByteSource::Rows(rows) => rows.row(row).data(),
        }
    }

    /// The cell, or `None` if it is NULL.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        if self.is_null(row) { None } else { Some(self.bytes(row)) }
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

impl Codec {
    pub(crate) fn read_bytes(&self, array: &ArrayRef) -> Result<ByteCells> {
        let array = canonical(array)?;
        let bytes = match (&self.converter, array.data_type()) {
            (Some(converter), _) => ByteSource::Rows(converter.convert_columns(&[Arc::clone(&array)])?),
            (None, DataType::Utf8) => ByteSource::Small(array.as_string::<i32>().clone().into()),
            (None, DataType::LargeUtf8) => ByteSource::Large(array.as_string::<i64>().clone().into()),
            (None, DataType::Utf8View) => ByteSource::View(array.as_string_view().clone().to_binary_view()),
            (None, DataType::Binary) => ByteSource::Small(array.as_binary::<i32>().clone()),
            (None, DataType::LargeBinary) => ByteSource::Large(array.as_binary::<i64>().clone()),
            (None, DataType::BinaryView) => ByteSource::View(array.as_binary_view().clone()),
            (None, other) => return exec_err!("{other} has no cells of bytes"),
        };
        Ok(ByteCells { bytes, nulls: some_nulls(array.logical_nulls()) })
    }

    pub(crate) fn write_bytes<'a>(&self, cells: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
        if let Some(converter) = &self.converter {
            let null = converter.convert_columns(&[new_null_array(&self.plain, 1)])?;
            let parser = converter.parser();
            let rows: Vec<_> = cells.collect();
            let rows = rows.into_iter().map(|cell| cell.map_or_else(|| null.row(0), |bytes| parser.parse(bytes)));
            let Some(array) = converter.convert_rows(rows)?.pop() else {
                return exec_err!("the row format gave no column of type {}", self.plain);
            };
            return Ok(array);
        }
        let bytes: ArrayRef = match self.plain {
            DataType::Utf8View | DataType::BinaryView => {
                let mut builder = BinaryViewBuilder::new();
                cells.for_each(|cell| builder.append_option(cell));
                Arc::new(builder.finish())
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let mut builder = LargeBinaryBuilder::new();
                cells.for_each(|cell| builder.append_option(cell));
                Arc::new(builder.finish())
            }
            _ => {
                let mut builder = BinaryBuilder::new();
                let mut room = i32::MAX.unsigned_abs() as usize;
                for cell in cells {
                    match room.checked_sub(cell.map_or(0, <[u8]>::len)) {
                        Some(left) => room = left,
                        None => {
                            return exec_err!(
                                "the values of one batch have more than 2 GiB; cast them to LargeUtf8 or LargeBinary"
                            );
                        }
                    }
                    builder.append_option(cell);
                }
                Arc::new(builder.finish())
            }
        };
        Ok(cast(&bytes, &self.plain)?)
    }
}

impl Kind for Bytes {
    type Cells = ByteCells;
    type Kept = Vec<u8>;

    fn read(codec: &Codec, array: &ArrayRef) -> Result<ByteCells> {
        codec.read_bytes(array)
    }

    fn write<'a>(codec: &Codec, cells: impl Iterator<Item = Option<&'a Vec<u8>>>) -> Result<ArrayRef> {
        codec.write_bytes(cells.map(|cell| cell.map(Vec::as_slice)))
    }

    #[inline]
    fn is_null(cells: &ByteCells, row: usize) -> bool {
        cells.is_null(row)
    }

    #[inline]
    fn compare(cells: &ByteCells, row: usize, kept: &Vec<u8>) -> Ordering {
        cells.bytes(row).cmp(kept.as_slice())
    }

    #[inline]
    fn keep(cells: &ByteCells, row: usize, kept: &mut Vec<u8>) -> usize {
        let before = kept.capacity();
        kept.clear();
        kept.extend_from_slice(cells.bytes(row));
        kept.capacity() - before
    }

    fn heap(kept: &Vec<u8>) -> usize {
        kept.capacity()
    }
}
