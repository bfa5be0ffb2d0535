//! A row of an array as a constant whose type is exactly that of the array.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;

/// The value in a row; lists keep the metadata of their elements, which `ScalarValue::try_from_array` drops.
pub(crate) fn constant_at(array: &ArrayRef, row: usize) -> Result<ScalarValue> {
    Ok(match array.data_type() {
        DataType::List(_) => ScalarValue::List(Arc::new(array.as_list::<i32>().slice(row, 1))),
        DataType::LargeList(_) => ScalarValue::LargeList(Arc::new(array.as_list::<i64>().slice(row, 1))),
        DataType::FixedSizeList(_, _) => ScalarValue::FixedSizeList(Arc::new(array.as_fixed_size_list().slice(row, 1))),
        _ => ScalarValue::try_from_array(array, row)?,
    })
}
