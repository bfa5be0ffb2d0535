//! The spans of arguments, in every representation, read row by row and checked.
//!
//! A span comes as a struct or, where it is about to be made, as two or three arguments.  Reading checks nothing, so that
//! a function can first find the rows that are NULL for another reason; [`Spans::check`] refuses what is malformed in
//! the rows that are left.
//!
//! Invariant: in a row that was checked, `0 <= start <= end`, and the unit is one of [`UNITS`].

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StructArray, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, UInt64Type};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

use crate::arguments::{is_integer, place};
use crate::text_arrays::is_text;

/// What positions count.
pub(crate) const UNITS: [&str; 3] = ["byte", "utf16", "codepoint"];
/// A span, for errors.
pub(crate) const A_SPAN: &str = "a span (a struct with the fields start, end and unit)";

/// The type of spans.
pub fn span_type() -> DataType {
    DataType::Struct(span_fields())
}

fn span_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", DataType::Int64, true),
        Field::new("end", DataType::Int64, true),
        Field::new("unit", DataType::Utf8, true),
    ])
}

/// Whether values of this type are spans: structs with the three fields; NULL too.
pub(crate) fn is_span(data_type: &DataType) -> bool {
    let of = |fields: &Fields, name: &str, is: fn(&DataType) -> bool| {
        fields.find(name).is_some_and(|(_, field)| is(field.data_type()))
    };
    match data_type {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_span(values),
        DataType::Struct(fields) => {
            of(fields, "start", is_integer) && of(fields, "end", is_integer) && of(fields, "unit", is_text)
        }
        _ => false,
    }
}

/// Where a span starts and ends.
pub(crate) type Span = (i64, i64);

/// The spans of an argument, or of arguments, row by row; one row for all if they are scalars.
pub(crate) struct Spans<'a> {
    names: Names<'a>,
    start: Int64Array,
    end: Int64Array,
    /// None is [`UNITS`]' first, which nobody had to name.
    unit: Option<StringArray>,
    nulls: Option<NullBuffer>,
    /// One span for all rows.
    pub(crate) constant: bool,
    /// One unit for all rows.
    pub(crate) one_unit: bool,
}

/// How errors speak of the parts of a span: as arguments of a function, or as fields of one argument.
#[derive(Clone, Copy)]
struct Names<'a> {
    function: &'a str,
    argument: Option<&'a str>,
}

impl Names<'_> {
    fn part(&self, part: &str) -> String {
        if let Some(argument) = self.argument {
            return format!("{}: the {part} of argument \"{argument}\"", self.function);
        }
        let argument = if part == "unit" { "col_unit" } else { part };
        format!("{}: argument \"{argument}\"", self.function)
    }
}

impl<'a> Spans<'a> {
    /// The spans of two or three arguments.
    pub(crate) fn of_arguments(
        function: &'a str,
        start: &ColumnarValue,
        end: &ColumnarValue,
        unit: Option<&ColumnarValue>,
        rows: usize,
    ) -> Result<Self> {
        let names = Names { function, argument: None };
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let one_unit = unit.is_none_or(is_scalar);
        let constant = is_scalar(start) && is_scalar(end) && one_unit;
        let rows = if constant { 1 } else { rows };
        let unit = match unit {
            None => None,
            Some(unit) => Some(strings(&unit.to_array(if one_unit { 1 } else { rows })?)?),
        };
        let (start, end) = (positions(&start.to_array(rows)?)?, positions(&end.to_array(rows)?)?);
        let of_unit = match unit.as_ref().and_then(StringArray::nulls) {
            Some(nulls) if one_unit => nulls.is_null(0).then(|| NullBuffer::new_null(rows)),
            nulls => nulls.cloned(),
        };
        let nulls = NullBuffer::union(NullBuffer::union(start.nulls(), end.nulls()).as_ref(), of_unit.as_ref());
        Ok(Self { names, start, end, unit, nulls, constant, one_unit })
    }

    /// The spans of one argument.
    pub(crate) fn of_structs(function: &'a str, argument: &'a str, value: &ColumnarValue) -> Result<Self> {
        let names = Names { function, argument: Some(argument) };
        let (array, constant) = match value {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        let array = match array.data_type() {
            DataType::Dictionary(_, values) => cast(&array, values)?,
            DataType::Null => new_null_array(&span_type(), array.len()),
            _ => array,
        };
        let Some(spans) = array.as_struct_opt() else {
            return exec_err!("{function}: argument \"{argument}\" is {A_SPAN}, not {}", array.data_type());
        };
        let field = |name: &str| {
            spans.column_by_name(name).ok_or_else(|| {
                exec_datafusion_err!("{function}: argument \"{argument}\" is {A_SPAN}, without a field {name}")
            })
        };
        let (start, end, unit) = (positions(field("start")?)?, positions(field("end")?)?, strings(field("unit")?)?);
        let nulls = [start.nulls(), end.nulls(), unit.nulls()]
            .into_iter()
            .fold(spans.nulls().cloned(), |nulls, field| NullBuffer::union(nulls.as_ref(), field));
        Ok(Self { names, start, end, unit: Some(unit), nulls, constant, one_unit: constant })
    }

    pub(crate) fn at(&self, row: usize) -> Span {
        let row = if self.constant { 0 } else { row };
        (self.start.value(row), self.end.value(row))
    }

    pub(crate) fn unit(&self, row: usize) -> &str {
        self.unit.as_ref().map_or(UNITS[0], |unit| unit.value(if self.one_unit { 0 } else { row }))
    }

    /// The NULLs of so many rows.
    pub(crate) fn nulls(&self, rows: usize) -> Option<NullBuffer> {
        match &self.nulls {
            Some(nulls) if self.constant => nulls.is_null(0).then(|| NullBuffer::new_null(rows)),
            nulls => nulls.clone(),
        }
    }

    /// Refuses a malformed span in a row that is not NULL.
    pub(crate) fn check(&self, rows: usize, nulls: Option<&NullBuffer>) -> Result<()> {
        self.check_positions(rows, nulls)?;
        self.check_units(rows, nulls)
    }

    /// The part of [`Self::check`] about positions.
    pub(crate) fn check_positions(&self, rows: usize, nulls: Option<&NullBuffer>) -> Result<()> {
        // Rows that are NULL may hold anything, so they are told apart only if something is wrong.
        let spans = self.start.values().iter().zip(self.end.values());
        if spans.fold(0, |any, (start, end)| any | malformation(*start, *end)) >= 0 {
            return Ok(());
        }
        let is_wrong = |row: &usize| {
            let (start, end) = self.at(*row);
            is_used(nulls, *row) && malformation(start, end) < 0
        };
        (0..rows).find(is_wrong).map_or(Ok(()), |row| self.malformed(row))
    }

    /// The part of [`Self::check`] about units.
    pub(crate) fn check_units(&self, rows: usize, nulls: Option<&NullBuffer>) -> Result<()> {
        if self.unit.is_none() {
            return Ok(());
        }
        let is_unknown = |row: &usize| !UNITS.contains(&self.unit(*row));
        let unknown = if self.one_unit {
            (0..rows).find(|row| is_used(nulls, *row)).filter(is_unknown)
        } else if self.known_unit().is_some() {
            None
        } else {
            (0..rows).find(|row| is_used(nulls, *row) && is_unknown(row))
        };
        match unknown {
            None => Ok(()),
            Some(row) => exec_err!(
                "{} is \"{}\"{}; the units are {}",
                self.names.part("unit"),
                self.unit(row),
                place(row, self.one_unit),
                UNITS.join(", ")
            ),
        }
    }

    /// The unit that all spans have, if it is one that there is; most columns have only one.
    pub(crate) fn known_unit(&self) -> Option<&str> {
        let Some(units) = &self.unit else { return Some(UNITS[0]) };
        let first = UNITS.iter().copied().find(|unit| !units.is_empty() && units.value(0) == *unit)?;
        // Strings of one length that follow each other are equal if the bytes of all repeat those of the first.
        let length = i32::try_from(first.len()).ok()?;
        let offsets = units.offsets();
        let different = offsets.windows(2).fold(0, |any, ends| any | ((ends[1] - ends[0]) ^ length));
        if different != 0 {
            return None;
        }
        let place = |offset: i32| usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = units.values().get(place(*offsets.first()?)..place(*offsets.last()?))?;
        (bytes[first.len()..] == bytes[..bytes.len() - first.len()]).then_some(first)
    }

    /// The first row that is not NULL and in which the other span has another unit; of structs, of which a constant one
    /// has one unit.
    pub(crate) fn unit_differs(&self, other: &Self, rows: usize, nulls: Option<&NullBuffer>) -> Option<usize> {
        let compared = if self.one_unit && other.one_unit { rows.min(1) } else { rows };
        (0..compared).find(|row| self.unit(*row) != other.unit(*row) && is_used(nulls, *row))
    }

    fn malformed<T>(&self, row: usize) -> Result<T> {
        let (start, end) = self.at(row);
        let place = place(row, self.constant);
        match (start, end) {
            (TOO_LARGE, _) => exec_err!("{} is beyond Int64{place}; positions are Int64", self.names.part("start")),
            (_, TOO_LARGE) => exec_err!("{} is beyond Int64{place}; positions are Int64", self.names.part("end")),
            (..0, _) => exec_err!("{} is {start}{place}; positions count from 0", self.names.part("start")),
            (_, ..0) => exec_err!("{} is {end}{place}; positions count from 0", self.names.part("end")),
            _ => exec_err!(
                "{} is {end}{place}, before the start {start}; a span ends at its start or behind it",
                self.names.part("end")
            ),
        }
    }

    /// Whether the number that is made of the spans of two columns is below 0, row by row.
    ///
    /// Signs of integers instead of comparisons, 64 rows to a word: the loop has no branch and no look at what is
    /// constant.
    pub(crate) fn signs(&self, other: &Self, rows: usize, number: impl Fn(Span, Span) -> i64) -> BooleanBuffer {
        let (starts, ends) = (self.all(&self.start, rows), self.all(&self.end, rows));
        let (other_starts, other_ends) = (other.all(&other.start, rows), other.all(&other.end, rows));
        let word = |from: usize| {
            let part = from..rows.min(from + 64);
            let these = starts[part.clone()].iter().zip(&ends[part.clone()]);
            let others = other_starts[part.clone()].iter().zip(&other_ends[part]);
            these.zip(others).enumerate().fold(0_u64, |word, (bit, ((start, end), (other_start, other_end)))| {
                let number = number((*start, *end), (*other_start, *other_end));
                word | (number.cast_unsigned() >> 63) << bit
            })
        };
        BooleanBuffer::new((0..rows).step_by(64).map(word).collect::<Vec<u64>>().into(), 0, rows)
    }

    /// The lengths of the spans, which were checked where they are not NULL.
    pub(crate) fn lengths(&self, rows: usize) -> Vec<i64> {
        let (starts, ends) = (self.all(&self.start, rows), self.all(&self.end, rows));
        // Only where the row is NULL can the positions be anything.
        starts.iter().zip(ends.iter()).map(|(start, end)| end.wrapping_sub(*start)).collect()
    }

    /// The positions of so many rows.
    fn all<'p>(&self, positions: &'p Int64Array, rows: usize) -> Cow<'p, [i64]> {
        if self.constant { vec![positions.value(0); rows].into() } else { positions.values().as_ref().into() }
    }

    pub(crate) fn into_structs(self, rows: usize) -> Result<ArrayRef> {
        let nulls = self.nulls(rows);
        self.check(rows, nulls.as_ref())?;
        let unit = match &self.unit {
            Some(units) if !self.one_unit => {
                StringArray::try_new(units.offsets().clone(), units.values().clone(), nulls.clone())?
            }
            unit => {
                let is_null = unit.as_ref().is_some_and(|unit| unit.is_null(0));
                let unit = if is_null { "" } else { self.unit(0) };
                let offsets = OffsetBuffer::from_repeated_length(unit.len(), rows);
                StringArray::try_new(offsets, Buffer::from_vec(unit.as_bytes().repeat(rows)), nulls.clone())?
            }
        };
        let (start, end) = (self.start.values().clone(), self.end.values().clone());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::try_new(start, nulls.clone())?),
            Arc::new(Int64Array::try_new(end, nulls.clone())?),
            Arc::new(unit),
        ];
        Ok(Arc::new(StructArray::try_new(span_fields(), columns, nulls)?))
    }
}

/// Below 0 exactly if `0 <= start <= end` does not hold.
///
/// Without a branch, so that many are told at once: where neither is below 0, their difference does not wrap.
fn malformation(start: i64, end: i64) -> i64 {
    start | end | end.wrapping_sub(start)
}

fn is_used(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(row))
}

/// Stands for a position that Int64 does not hold; it is malformed like all below 0.
const TOO_LARGE: i64 = i64::MIN;

/// Integers of any representation as Int64.
fn positions(array: &ArrayRef) -> Result<Int64Array> {
    let array = match array.data_type() {
        DataType::Int64 => return Ok(array.as_primitive::<Int64Type>().clone()),
        DataType::Dictionary(_, values) => cast(array, values)?,
        _ => Arc::clone(array),
    };
    if let Some(large) = array.as_primitive_opt::<UInt64Type>() {
        return Ok(large.unary(|value| i64::try_from(value).unwrap_or(TOO_LARGE)));
    }
    Ok(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Strings of any representation as Utf8.
fn strings(array: &ArrayRef) -> Result<StringArray> {
    Ok(cast(array, &DataType::Utf8)?.as_string().clone())
}
