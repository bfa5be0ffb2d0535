//! Partition values: the text of the log as values of the table's types.
//!
//! Follows the Delta protocol, "Partition Value Serialization": an empty text is NULL, dates are `2021-01-31`, timestamps
//! are `2021-01-31 10:20:30.123456` or ISO 8601, both in UTC, booleans are `true` and `false`.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};
use datafusion::scalar::ScalarValue;

use crate::error::{LakeError, Result};
use crate::table::DataFile;

/// The value of one partition column in `data_type`.
///
/// # Errors
/// `corrupt_log` (the caller names table and version) if the text is not a value of the type.
pub(crate) fn partition_value(text: Option<&str>, data_type: &DataType) -> Result<ScalarValue, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return ScalarValue::try_from(data_type).map_err(|error| error.to_string());
    };
    match data_type {
        DataType::Binary => Ok(ScalarValue::Binary(Some(text.as_bytes().to_vec()))),
        DataType::BinaryView => Ok(ScalarValue::BinaryView(Some(text.as_bytes().to_vec()))),
        other => ScalarValue::try_from_string(text.to_owned(), other)
            .map_err(|error| format!("'{text}' is not a {other}: {error}")),
    }
}

/// The partition values of `file` in the order of `columns`, typed as in `schema`.
pub(crate) fn file_partition_values(
    file: &DataFile,
    schema: &Schema,
    columns: &[String],
) -> Result<Vec<ScalarValue>, String> {
    columns
        .iter()
        .map(|name| {
            let field = schema
                .field_with_name(name)
                .map_err(|_| format!("the partition column '{name}' is not in the schema"))?;
            let text = file.partition_values.get(name).and_then(Option::as_deref);
            partition_value(text, field.data_type())
                .map_err(|error| format!("file '{}', partition column '{name}': {error}", file.path))
        })
        .collect()
}

/// One array a partition column, with one entry a file.
pub(crate) fn partition_arrays(
    files: &[DataFile],
    schema: &Schema,
    columns: &[String],
) -> Result<Vec<ArrayRef>, String> {
    let rows = files.iter().map(|file| file_partition_values(file, schema, columns)).collect::<Result<Vec<_>, _>>()?;
    (0..columns.len())
        .map(|column| {
            ScalarValue::iter_to_array(rows.iter().map(|row| row[column].clone())).map_err(|error| error.to_string())
        })
        .collect()
}

/// The error of a log whose partition values do not fit its schema.
pub(crate) fn damaged(uri: &str, version: u64, detail: String) -> LakeError {
    LakeError::CorruptLog { uri: uri.to_owned(), version, line: None, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn texts_become_values_of_the_column() {
        let value = |text, data_type| partition_value(Some(text), &data_type).unwrap();
        assert_eq!(value("2021-01-31", DataType::Date32), ScalarValue::Date32(Some(18658)));
        assert_eq!(value("true", DataType::Boolean), ScalarValue::Boolean(Some(true)));
        assert_eq!(value("1.50", DataType::Decimal128(10, 2)), ScalarValue::Decimal128(Some(150), 10, 2));
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for text in ["2021-01-31 00:00:01.5", "2021-01-31T00:00:01.500000Z"] {
            assert_eq!(
                value(text, utc.clone()),
                ScalarValue::TimestampMicrosecond(Some(1_612_051_201_500_000), Some("UTC".into()))
            );
        }
        assert_eq!(value("x", DataType::Utf8View), ScalarValue::Utf8View(Some("x".into())));
    }

    #[test]
    fn empty_and_missing_are_null_and_nonsense_is_an_error() {
        assert!(partition_value(Some(""), &DataType::Utf8).unwrap().is_null());
        assert!(partition_value(None, &DataType::Int32).unwrap().is_null());
        assert!(partition_value(Some("soon"), &DataType::Date32).is_err());
    }
}
