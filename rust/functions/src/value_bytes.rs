//! One sequence of bytes for each value of every type, whatever Arrow representation holds it.
//!
//! Identifiers are hashes of these bytes, so they are frozen: a change of this table is loss of data.  A value is a
//! class byte and what follows from it; every form says where it ends, so a sequence of values can be read back and
//! two sequences have the same bytes only if they are the same values.
//!
//! | class | values | bytes after the class |
//! |---|---|---|
//! | 0 | NULL of any type | none |
//! | 1 | booleans | 0 or 1 |
//! | 2 | integers and decimals whose value is an integer of 64 bits | 8 bytes, little endian |
//! | 3 | other integers and decimals | length, decimal text without exponent and without needless zeros |
//! | 4 | floats of any width | the 8 bytes of the Float64, little endian |
//! | 5 | strings | length, UTF-8 |
//! | 6 | binary | length, bytes |
//! | 7 | dates | milliseconds since 1970-01-01, 8 bytes |
//! | 8 | timestamps with a time zone | seconds since 1970-01-01 UTC, 8 bytes; nanoseconds, 4 bytes |
//! | 9 | timestamps without one | seconds since 1970-01-01 of the same clock, 8 bytes; nanoseconds, 4 bytes |
//! | 10 | times of day | seconds, 8 bytes; nanoseconds, 4 bytes |
//! | 11 | durations | seconds, 8 bytes; nanoseconds, 4 bytes |
//! | 12 | intervals | months, 4 bytes; days, 4 bytes; nanoseconds, 8 bytes |
//! | 13 | lists | count, the elements |
//! | 14 | maps | count, keys and values, ordered by their bytes |
//! | 15 | structs | count, names (length, UTF-8) and values, ordered by name |
//!
//! Lengths and counts are LEB128; numbers are little endian and two's complement.  What this means:
//!
//! - Width, scale, unit, offsets, views, dictionaries and run ends do not matter: Int32 5, UInt8 5 and Decimal 5.00 are
//!   equal, and so are Utf8 and Utf8View.  Integers and decimals are exact and equal by value; a Float64 5.0 is another
//!   class, because a float stands for a range of numbers.
//! - −0.0 is 0.0, and every NaN is one NaN.  A Float32 is the Float64 that equals it (0.1 as Float32 is not 0.1).
//! - Timestamps are equal as instants, whatever unit and zone; with and without a zone they are different things.
//! - Intervals are equal by their parts: a month is not 30 days, a day is not 24 hours.
//! - Lists keep their order and their NULLs.  Maps have none, structs go by field names: renaming a field changes the
//!   value, moving it does not.
//! - NULL differs from everything, from the empty string, from an empty list and from a struct of NULLs.
//!
//! Unions have no value bytes.

use std::fmt::{Display, Write};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, GenericListArray, GenericListViewArray, OffsetSizeTrait,
};
use arrow::datatypes::{
    ArrowNativeType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, IntervalYearMonthType, RunEndIndexType, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::exec_err;
use datafusion::error::Result;

const NULL: u8 = 0;
const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 3;
const FLOAT: u8 = 4;
const STRING: u8 = 5;
const BINARY: u8 = 6;
const DATE: u8 = 7;
const INSTANT: u8 = 8;
const CLOCK: u8 = 9;
const TIME: u8 = 10;
const DURATION: u8 = 11;
const INTERVAL: u8 = 12;
const LIST: u8 = 13;
const MAP: u8 = 14;
const STRUCT: u8 = 15;

const MILLISECONDS_A_DAY: i64 = 86_400_000;
const NANOSECONDS_A_MILLISECOND: i64 = 1_000_000;

/// Appends the bytes of the value in a row.
pub(crate) type Encoder<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// Whether values of this type have value bytes.
pub(crate) fn has_value_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(_, _) => false,
        DataType::Dictionary(_, values) => has_value_bytes(values),
        DataType::RunEndEncoded(_, field)
        | DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_value_bytes(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| has_value_bytes(field.data_type())),
        _ => true,
    }
}

/// The encoder of an array.
pub(crate) fn encoder(array: &ArrayRef) -> Result<Encoder<'_>> {
    let values = encoder_of_values(array)?;
    Ok(match array.nulls() {
        None => values,
        Some(nulls) => Box::new(move |row, bytes| {
            if nulls.is_null(row) {
                bytes.push(NULL);
            } else {
                values(row, bytes);
            }
        }),
    })
}

/// The bytes of a string by itself.
#[cfg(test)]
pub(crate) fn string_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    sized(STRING, text.as_bytes(), &mut bytes);
    bytes
}

fn encoder_of_values(array: &ArrayRef) -> Result<Encoder<'_>> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, bytes| bytes.push(NULL)),
        DataType::Boolean => booleans(array.as_boolean()),
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::UInt8 => integers::<UInt8Type>(array),
        DataType::UInt16 => integers::<UInt16Type>(array),
        DataType::UInt32 => integers::<UInt32Type>(array),
        DataType::UInt64 => numbers::<UInt64Type>(array, 0),
        DataType::Decimal32(_, scale) => numbers::<Decimal32Type>(array, *scale),
        DataType::Decimal64(_, scale) => numbers::<Decimal64Type>(array, *scale),
        DataType::Decimal128(_, scale) => numbers::<Decimal128Type>(array, *scale),
        DataType::Decimal256(_, scale) => numbers::<Decimal256Type>(array, *scale),
        DataType::Float16 => primitives::<Float16Type>(array, |value, bytes| float(f64::from(value), bytes)),
        DataType::Float32 => primitives::<Float32Type>(array, |value, bytes| float(f64::from(value), bytes)),
        DataType::Float64 => primitives::<Float64Type>(array, float),
        DataType::Utf8 => texts(array.as_string::<i32>().value_offsets(), array.as_string::<i32>().value_data()),
        DataType::LargeUtf8 => texts(array.as_string::<i64>().value_offsets(), array.as_string::<i64>().value_data()),
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(move |row, bytes| sized(STRING, array.value(row).as_bytes(), bytes))
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            Box::new(move |row, bytes| sized(BINARY, array.value(row), bytes))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            Box::new(move |row, bytes| sized(BINARY, array.value(row), bytes))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            Box::new(move |row, bytes| sized(BINARY, array.value(row), bytes))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            Box::new(move |row, bytes| sized(BINARY, array.value(row), bytes))
        }
        DataType::Date32 => primitives::<Date32Type>(array, |days, bytes| {
            bytes.push(DATE);
            bytes.extend_from_slice(&(i64::from(days) * MILLISECONDS_A_DAY).to_le_bytes());
        }),
        DataType::Date64 => primitives::<Date64Type>(array, |milliseconds, bytes| {
            bytes.push(DATE);
            bytes.extend_from_slice(&milliseconds.to_le_bytes());
        }),
        DataType::Timestamp(unit, zone) => {
            let class = if zone.is_some() { INSTANT } else { CLOCK };
            match unit {
                TimeUnit::Second => moments::<TimestampSecondType>(array, class, *unit),
                TimeUnit::Millisecond => moments::<TimestampMillisecondType>(array, class, *unit),
                TimeUnit::Microsecond => moments::<TimestampMicrosecondType>(array, class, *unit),
                TimeUnit::Nanosecond => moments::<TimestampNanosecondType>(array, class, *unit),
            }
        }
        DataType::Time32(unit @ TimeUnit::Second) => moments::<Time32SecondType>(array, TIME, *unit),
        DataType::Time32(unit) => moments::<Time32MillisecondType>(array, TIME, *unit),
        DataType::Time64(unit @ TimeUnit::Microsecond) => moments::<Time64MicrosecondType>(array, TIME, *unit),
        DataType::Time64(unit) => moments::<Time64NanosecondType>(array, TIME, *unit),
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => moments::<DurationSecondType>(array, DURATION, *unit),
            TimeUnit::Millisecond => moments::<DurationMillisecondType>(array, DURATION, *unit),
            TimeUnit::Microsecond => moments::<DurationMicrosecondType>(array, DURATION, *unit),
            TimeUnit::Nanosecond => moments::<DurationNanosecondType>(array, DURATION, *unit),
        },
        DataType::Interval(IntervalUnit::YearMonth) => {
            primitives::<IntervalYearMonthType>(array, |months, bytes| interval(months, 0, 0, bytes))
        }
        DataType::Interval(IntervalUnit::DayTime) => primitives::<IntervalDayTimeType>(array, |value, bytes| {
            interval(0, value.days, i64::from(value.milliseconds) * NANOSECONDS_A_MILLISECOND, bytes);
        }),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            primitives::<IntervalMonthDayNanoType>(array, |value, bytes| {
                interval(value.months, value.days, value.nanoseconds, bytes);
            })
        }
        DataType::List(_) => lists(array.as_list::<i32>())?,
        DataType::LargeList(_) => lists(array.as_list::<i64>())?,
        DataType::ListView(_) => list_views(array.as_list_view::<i32>())?,
        DataType::LargeListView(_) => list_views(array.as_list_view::<i64>())?,
        DataType::FixedSizeList(_, size) => {
            let array = array.as_fixed_size_list();
            let size = usize::try_from(*size).unwrap_or_default();
            let elements = encoder(array.values())?;
            Box::new(move |row, bytes| list(row * size..(row + 1) * size, &elements, bytes))
        }
        DataType::Map(_, _) => maps(array)?,
        DataType::Struct(_) => structs(array)?,
        DataType::Dictionary(_, _) => dictionaries(array)?,
        DataType::RunEndEncoded(run_ends, _) => match run_ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array)?,
            DataType::Int32 => runs::<Int32Type>(array)?,
            _ => runs::<Int64Type>(array)?,
        },
        other @ DataType::Union(_, _) => return exec_err!("values of type {other} have no value bytes"),
    })
}

fn booleans(array: &BooleanArray) -> Encoder<'_> {
    Box::new(move |row, bytes| bytes.extend_from_slice(&[BOOLEAN, u8::from(array.value(row))]))
}

fn primitives<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    encode: impl Fn(T::Native, &mut Vec<u8>) + 'static,
) -> Encoder<'_> {
    let values = array.as_primitive::<T>().values();
    Box::new(move |row, bytes| encode(values[row], bytes))
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Encoder<'_>
where
    i64: From<T::Native>,
{
    primitives::<T>(array, |value, bytes| integer(i64::from(value), bytes))
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, scale: i8) -> Encoder<'_>
where
    T::Native: Display,
{
    primitives::<T>(array, move |value, bytes| number(&value, scale, bytes))
}

fn moments<T: ArrowPrimitiveType>(array: &ArrayRef, class: u8, unit: TimeUnit) -> Encoder<'_>
where
    i64: From<T::Native>,
{
    let (a_second, nanoseconds) = match unit {
        TimeUnit::Second => (1, 1_000_000_000),
        TimeUnit::Millisecond => (1_000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1_000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    };
    primitives::<T>(array, move |value, bytes| {
        let value = i64::from(value);
        // The remainder is below a second, so it fits.
        let rest = u32::try_from(value.rem_euclid(a_second) * nanoseconds).unwrap_or_default();
        bytes.push(class);
        bytes.extend_from_slice(&value.div_euclid(a_second).to_le_bytes());
        bytes.extend_from_slice(&rest.to_le_bytes());
    })
}

fn texts<'a, O: OffsetSizeTrait>(offsets: &'a [O], data: &'a [u8]) -> Encoder<'a> {
    Box::new(move |row, bytes| sized(STRING, &data[offsets[row].as_usize()..offsets[row + 1].as_usize()], bytes))
}

fn lists<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Encoder<'_>> {
    let elements = encoder(array.values())?;
    let offsets = array.value_offsets();
    Ok(Box::new(move |row, bytes| list(offsets[row].as_usize()..offsets[row + 1].as_usize(), &elements, bytes)))
}

fn list_views<O: OffsetSizeTrait>(array: &GenericListViewArray<O>) -> Result<Encoder<'_>> {
    let elements = encoder(array.values())?;
    Ok(Box::new(move |row, bytes| {
        let start = array.value_offset(row).as_usize();
        list(start..start + array.value_size(row).as_usize(), &elements, bytes);
    }))
}

fn list(elements: std::ops::Range<usize>, encode: &Encoder<'_>, bytes: &mut Vec<u8>) {
    bytes.push(LIST);
    length(elements.len(), bytes);
    for element in elements {
        encode(element, bytes);
    }
}

fn maps(array: &ArrayRef) -> Result<Encoder<'_>> {
    let map = array.as_map();
    let (keys, values) = (encoder(map.keys())?, encoder(map.values())?);
    let offsets = map.value_offsets();
    Ok(Box::new(move |row, bytes| {
        let entries = offsets[row].as_usize()..offsets[row + 1].as_usize();
        bytes.push(MAP);
        length(entries.len(), bytes);
        let mut encoded: Vec<Vec<u8>> = entries
            .map(|entry| {
                let mut bytes = Vec::new();
                keys(entry, &mut bytes);
                values(entry, &mut bytes);
                bytes
            })
            .collect();
        encoded.sort_unstable();
        for entry in encoded {
            bytes.extend_from_slice(&entry);
        }
    }))
}

fn structs(array: &ArrayRef) -> Result<Encoder<'_>> {
    let array = array.as_struct();
    let mut fields = array
        .fields()
        .iter()
        .zip(array.columns())
        .map(|(field, column)| {
            let mut name = Vec::new();
            length(field.name().len(), &mut name);
            name.extend_from_slice(field.name().as_bytes());
            Ok((field.name().as_str(), name, encoder(column)?))
        })
        .collect::<Result<Vec<_>>>()?;
    // Stable: fields of one name keep their order.
    fields.sort_by_key(|(name, _, _)| *name);
    Ok(Box::new(move |row, bytes| {
        bytes.push(STRUCT);
        length(fields.len(), bytes);
        for (_, name, encode) in &fields {
            bytes.extend_from_slice(name);
            encode(row, bytes);
        }
    }))
}

fn dictionaries(array: &ArrayRef) -> Result<Encoder<'_>> {
    let dictionary = array.as_any_dictionary();
    if dictionary.values().is_empty() {
        return Ok(Box::new(|_, bytes| bytes.push(NULL)));
    }
    let keys = dictionary.normalized_keys();
    let values = encoder(dictionary.values())?;
    Ok(Box::new(move |row, bytes| values(keys[row], bytes)))
}

fn runs<R: RunEndIndexType>(array: &ArrayRef) -> Result<Encoder<'_>> {
    let runs = array.as_run::<R>();
    let values = encoder(runs.values())?;
    Ok(Box::new(move |row, bytes| values(runs.get_physical_index(row), bytes)))
}

fn integer(value: i64, bytes: &mut Vec<u8>) {
    bytes.push(INTEGER);
    bytes.extend_from_slice(&value.to_le_bytes());
}

/// A number given by its unscaled integer, which `Display` writes in digits, and its scale.
fn number(unscaled: &impl Display, scale: i8, bytes: &mut Vec<u8>) {
    let mut digits = Digits::default();
    // 256 bits have at most 77 digits and a sign; the buffer does not overflow.
    let _ = write!(digits, "{unscaled}");
    let text = digits.text();
    let (sign, mut digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let mut scale = i32::from(scale);
    while scale > 0 && digits.len() > 1 && digits.ends_with('0') {
        digits = &digits[..digits.len() - 1];
        scale -= 1;
    }
    if digits == "0" {
        return integer(0, bytes);
    }
    let places = usize::try_from(scale).unwrap_or_default();
    let zeros = usize::try_from(-scale).unwrap_or_default();
    if places == 0
        && let Ok(value) = text[..sign.len() + digits.len()].parse::<i64>()
        && let Some(value) = u32::try_from(zeros).ok().and_then(|zeros| 10_i64.checked_pow(zeros)?.checked_mul(value))
    {
        return integer(value, bytes);
    }
    bytes.push(NUMBER);
    let whole = digits.len().saturating_sub(places);
    // Without a digit before the point there is a zero, and zeros fill the places up.
    let filling = places.saturating_sub(digits.len());
    let point = usize::from(places > 0);
    length(sign.len() + usize::from(whole == 0) + digits.len() + filling + point + zeros, bytes);
    bytes.extend_from_slice(sign.as_bytes());
    bytes.extend_from_slice(if whole == 0 { b"0" } else { &digits.as_bytes()[..whole] });
    if places > 0 {
        bytes.push(b'.');
        bytes.extend(std::iter::repeat_n(b'0', filling));
        bytes.extend_from_slice(&digits.as_bytes()[whole..]);
    }
    bytes.extend(std::iter::repeat_n(b'0', zeros));
}

/// The digits of an integer, without a string on the heap for each value.
struct Digits {
    bytes: [u8; 80],
    used: usize,
}

impl Default for Digits {
    fn default() -> Self {
        Self { bytes: [0; 80], used: 0 }
    }
}

impl Digits {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.used]).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        self.bytes.get_mut(self.used..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

fn float(value: f64, bytes: &mut Vec<u8>) {
    // NaN has many patterns and zero has two signs; each is one value here.
    let value = if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    };
    bytes.push(FLOAT);
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn interval(months: i32, days: i32, nanoseconds: i64, bytes: &mut Vec<u8>) {
    bytes.push(INTERVAL);
    bytes.extend_from_slice(&months.to_le_bytes());
    bytes.extend_from_slice(&days.to_le_bytes());
    bytes.extend_from_slice(&nanoseconds.to_le_bytes());
}

fn sized(class: u8, value: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(class);
    length(value.len(), bytes);
    bytes.extend_from_slice(value);
}

fn length(length: usize, bytes: &mut Vec<u8>) {
    let mut rest = length;
    while rest >= 0x80 {
        // Seven bits at a time; the mask makes it fit.
        bytes.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap_or_default());
}

#[cfg(test)]
#[path = "value_bytes_tests.rs"]
mod tests;
