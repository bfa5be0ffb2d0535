//! Maps, lists and structs: access with a default, canonical forms, parts of a struct.
//!
//! Elements and keys are compared in [the total order](crate::total_order).
//!
//! | function | NULL argument | NULL inside |
//! |---|---|---|
//! | `list_compact(list)` | NULL | NULL elements are removed |
//! | `list_unique_sorted(list)` | NULL | one NULL element is kept, at the end |
//! | `map_normalize(map)` | NULL | NULL values are kept |
//! | `map_get_default(map, key, default)` | the default, for a NULL map and for a NULL key | the default, for a NULL value |
//! | `struct_pick(struct, field…)` | NULL | kept |
//!
//! A map may hold a key more than once; then the last entry counts, for `map_normalize` as for `map_get_default`.
//!
//! Invariant: types stay as they are (names, nullability and metadata of inner fields too), except that a list of fixed
//! size becomes a list, because its size changes.

mod field_access;
mod list;
mod map_lookup;
mod map_normalize;
mod struct_pick;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, DocSection, Expr, ScalarUDFImpl};

pub use field_access::FieldOfPicked;

use crate::PlatformFunction;
use crate::constant::constant_at;

const SECTION: DocSection = DocSection {
    include: true,
    label: "Nested Functions",
    description: Some("Maps, lists and structs: access with a default, canonical forms, parts of a struct."),
};

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    [list::functions(), map_normalize::functions(), map_lookup::functions(), struct_pick::functions()].concat()
}

/// A map of texts to integers, in a typed form of a signature.
fn sample_map() -> DataType {
    let (key, value) = (Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int64, true));
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(vec![key, value].into()), false)), false)
}

/// Applies a function of arrays to a column or to a constant, which stays one.
fn map_column(value: &ColumnarValue, function: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(function(array)?),
        ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(constant_at(&function(&scalar.to_array()?)?, 0)?),
    })
}

/// The function and the arguments of an expression that calls a function of this crate.
fn call_of<T: ScalarUDFImpl>(expression: &Expr) -> Option<(&T, &[Expr])> {
    match expression {
        Expr::ScalarFunction(call) => Some((call.func.inner().downcast_ref::<T>()?, &call.args)),
        _ => None,
    }
}
