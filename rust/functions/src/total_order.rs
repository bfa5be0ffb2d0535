//! The one order over all types: ties of aggregates, the order of sets and the equality of map keys go by it.
//!
//! - NULL is greater than every value, in each place of a nested value.
//! - Numbers, dates, times, intervals and booleans are ordered by value, strings and binaries by their bytes.
//! - Floats are ordered by value; NaN is greater than all other floats.  −0.0 equals 0.0, and every NaN equals every
//!   other; wherever this order decides what a result holds, they come out as 0.0 and as the one NaN.
//! - Structs are ordered field by field, lists element by element and then by length, maps as the list of their
//!   entries.
//! - Encodings do not count: dictionary and run-end encoded values are ordered as the values that they stand for.
//!
//! Equality is that of DataFusion's `GROUP BY` and `=`, but for NaN: there each bit pattern of it is a value of its own.
//!
//! Invariant: values that are equal in the order are the same bits once they are canonical.

mod cells;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray,
    OffsetSizeTrait, PrimitiveArray, StructArray,
};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::plan_err;
use datafusion::error::Result;

use cells::Ordered;
pub(crate) use cells::{ByteCells, Bytes, Codec, Fixed, Kind, Layout};

/// How the order sorts: NULL last, at each level.
pub(crate) const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// Fails for a type that has no order, which only unions do not have.
pub(crate) fn require_ordered(function: &str, argument: &str, data_type: &DataType) -> Result<()> {
    let plain = plain_type(data_type);
    if holds(&plain, &|part| matches!(part, DataType::Union(..)))
        || !RowConverter::supports_fields(&[SortField::new(plain)])
    {
        return plan_err!(
            "{function}: argument \"{argument}\" holds values of type {data_type}, which have no order; extract the \
             member that counts"
        );
    }
    Ok(())
}

/// The type without dictionaries and run ends, at every level.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    let plain = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(field) => DataType::List(plain(field)),
        DataType::LargeList(field) => DataType::LargeList(plain(field)),
        DataType::ListView(field) => DataType::ListView(plain(field)),
        DataType::LargeListView(field) => DataType::LargeListView(plain(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::Map(field, sorted) => DataType::Map(plain(field), *sorted),
        other => other.clone(),
    }
}

/// Whether a type or a part of it is a float, whose values have more than one representation.
pub(crate) fn holds_floats(data_type: &DataType) -> bool {
    holds(data_type, &DataType::is_floating)
}

fn holds(data_type: &DataType, found: &dyn Fn(&DataType) -> bool) -> bool {
    found(data_type)
        || match data_type {
            DataType::Dictionary(_, values) => holds(values, found),
            DataType::RunEndEncoded(_, field)
            | DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => holds(field.data_type(), found),
            DataType::Struct(fields) => fields.iter().any(|field| holds(field.data_type(), found)),
            _ => false,
        }
}

/// The array in its plain type, with one representation for each value.
pub(crate) fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    let plain = plain_type(array.data_type());
    if plain == *array.data_type() { fold_floats(array) } else { fold_floats(&cast(array, &plain)?) }
}

fn fold_floats(array: &ArrayRef) -> Result<ArrayRef> {
    if !holds_floats(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        // Half floats are folded as single ones, which hold each of them.
        DataType::Float16 => cast(&fold_floats(&cast(array, &DataType::Float32)?)?, &DataType::Float16)?,
        DataType::Float32 => Arc::new(fold::<Float32Type>(array)),
        DataType::Float64 => Arc::new(fold::<Float64Type>(array)),
        DataType::List(field) => Arc::new(fold_list::<i32>(field, array)?),
        DataType::LargeList(field) => Arc::new(fold_list::<i64>(field, array)?),
        DataType::ListView(field) => Arc::new(fold_list_view::<i32>(field, array)?),
        DataType::LargeListView(field) => Arc::new(fold_list_view::<i64>(field, array)?),
        DataType::FixedSizeList(field, size) => {
            let list = array.as_fixed_size_list();
            let values = fold_floats(list.values())?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(field), *size, values, list.nulls().cloned())?)
        }
        DataType::Struct(_) => Arc::new(fold_struct(array.as_struct())?),
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let entries = fold_struct(map.entries())?;
            let offsets = map.offsets().clone();
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, map.nulls().cloned(), *sorted)?)
        }
        _ => Arc::clone(array),
    })
}

fn fold<T: ArrowPrimitiveType<Native: Ordered>>(array: &ArrayRef) -> PrimitiveArray<T> {
    array.as_primitive::<T>().unary(Ordered::folded)
}

fn fold_list<O: OffsetSizeTrait>(field: &FieldRef, array: &ArrayRef) -> Result<GenericListArray<O>> {
    let list = array.as_list::<O>();
    let values = fold_floats(list.values())?;
    Ok(GenericListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())?)
}

fn fold_list_view<O: OffsetSizeTrait>(field: &FieldRef, array: &ArrayRef) -> Result<GenericListViewArray<O>> {
    let list = array.as_list_view::<O>();
    let values = fold_floats(list.values())?;
    let (offsets, sizes) = (list.offsets().clone(), list.sizes().clone());
    Ok(GenericListViewArray::try_new(Arc::clone(field), offsets, sizes, values, list.nulls().cloned())?)
}

fn fold_struct(array: &StructArray) -> Result<StructArray> {
    let columns = array.columns().iter().map(fold_floats).collect::<Result<Vec<_>>>()?;
    Ok(StructArray::try_new(array.fields().clone(), columns, array.nulls().cloned())?)
}

/// A list field of a type, with the metadata of another field.
pub(crate) fn element_field(of: &Field) -> FieldRef {
    Arc::new(Field::new_list_field(of.data_type().clone(), true).with_metadata(of.metadata().clone()))
}
