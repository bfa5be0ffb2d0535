//! Strings of every representation of Arrow: read row by row, written, and mapped value by value.
//!
//! A text is Utf8, LargeUtf8 or Utf8View, plain or behind a dictionary.
//! Invariant: [`map_values`] gives an array of the type and length that it got, whose rows are the mapped rows.

use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayRef, AsArray, BooleanArray, LargeStringArray, LargeStringBuilder, StringArray,
    StringBuilder, StringViewArray, StringViewBuilder,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::compute::kernels::nullif::nullif;
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

/// Strings of any representation; NULL too.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The type of a text that is made of a text: the same, and Utf8 for a NULL without a type.
pub(crate) fn text_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::Dictionary(keys, values) => DataType::Dictionary(keys.clone(), Box::new(text_type(values))),
        other => other.clone(),
    }
}

/// The texts of an argument, row by row.
pub(crate) enum Texts<'a> {
    /// One for all rows.
    Constant(Option<&'a str>),
    /// 32 bit offsets.
    Utf8(&'a StringArray),
    /// 64 bit offsets.
    LargeUtf8(&'a LargeStringArray),
    /// Views.
    Utf8View(&'a StringViewArray),
    /// A text for each key, with the keys of the rows and those that are NULL.
    Dictionary(Vec<usize>, Option<&'a NullBuffer>, Box<Texts<'a>>),
}

impl<'a> Texts<'a> {
    /// Reads an argument; the name of the function and of the argument are for the error.
    pub(crate) fn new(function: &str, argument: &str, value: &'a ColumnarValue) -> Result<Self> {
        match value {
            ColumnarValue::Array(array) => Self::from_array(function, argument, array),
            ColumnarValue::Scalar(value) => Ok(Self::Constant(constant(function, argument, value)?)),
        }
    }

    fn from_array(function: &str, argument: &str, array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view()),
            DataType::Null => Self::Constant(None),
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_any_dictionary();
                if dictionary.values().is_empty() {
                    // Its rows can only be NULL.
                    return Ok(Self::Constant(None));
                }
                let texts = Self::from_array(function, argument, dictionary.values())?;
                Self::Dictionary(dictionary.normalized_keys(), dictionary.keys().nulls(), Box::new(texts))
            }
            other => return exec_err!("{function}: argument \"{argument}\" is a string, not {other}"),
        })
    }

    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Constant(text) => *text,
            Self::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            Self::LargeUtf8(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Utf8View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Dictionary(keys, nulls, texts) => {
                if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                    return None;
                }
                texts.get(keys[row])
            }
        }
    }
}

fn constant<'a>(function: &str, argument: &str, value: &'a ScalarValue) -> Result<Option<&'a str>> {
    match value {
        ScalarValue::Dictionary(_, value) => constant(function, argument, value),
        value if value.data_type().is_null() => Ok(None),
        value => value.try_as_str().ok_or_else(|| {
            exec_datafusion_err!("{function}: argument \"{argument}\" is a string, not {}", value.data_type())
        }),
    }
}

/// Writes texts in one of the three plain representations.
pub(crate) enum TextBuilder {
    /// 32 bit offsets.
    Utf8(StringBuilder),
    /// 64 bit offsets.
    LargeUtf8(LargeStringBuilder),
    /// Views.
    Utf8View(StringViewBuilder),
}

impl TextBuilder {
    /// For so many rows; behind a dictionary the representation is that of its values.
    pub(crate) fn new(data_type: &DataType, rows: usize) -> Self {
        match data_type {
            DataType::Dictionary(_, values) => Self::new(values, rows),
            DataType::LargeUtf8 => Self::LargeUtf8(LargeStringBuilder::with_capacity(rows, 0)),
            DataType::Utf8View => Self::Utf8View(StringViewBuilder::with_capacity(rows)),
            _ => Self::Utf8(StringBuilder::with_capacity(rows, 0)),
        }
    }

    /// Adds a row.
    pub(crate) fn append(&mut self, text: Option<&str>) {
        match self {
            Self::Utf8(builder) => builder.append_option(text),
            Self::LargeUtf8(builder) => builder.append_option(text),
            Self::Utf8View(builder) => builder.append_option(text),
        }
    }

    /// The rows, cast to a dictionary if the type is one.
    pub(crate) fn finish(self, data_type: &DataType) -> Result<ArrayRef> {
        let array: ArrayRef = match self {
            Self::Utf8(mut builder) => Arc::new(builder.finish()),
            Self::LargeUtf8(mut builder) => Arc::new(builder.finish()),
            Self::Utf8View(mut builder) => Arc::new(builder.finish()),
        };
        if array.data_type() == data_type { Ok(array) } else { Ok(cast(&array, data_type)?) }
    }
}

/// Maps the texts of an array: each row of a plain one, each value of a dictionary once.
///
/// The map gets plain arrays and gives one of the same type and length.
pub(crate) fn map_values(array: &ArrayRef, map: &dyn Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ArrayRef> {
    let DataType::Dictionary(_, value_type) = array.data_type() else {
        return map(array);
    };
    let dictionary = array.as_any_dictionary();
    if dictionary.values().len() > array.len() {
        // A slice of a large dictionary: there are fewer rows than values.
        let rows = map_values(&cast(array, value_type)?, map)?;
        return Ok(cast(&rows, array.data_type())?);
    }
    let values = map_values(dictionary.values(), map)?;
    let mapped = dictionary.with_values(Arc::clone(&values));
    if values.null_count() <= dictionary.values().null_count() || array.is_empty() {
        return Ok(mapped);
    }
    // A value that became NULL makes its rows NULL, where every reader sees it.
    Ok(nullif(&mapped, &rows_of_null_values(dictionary, &values))?)
}

fn rows_of_null_values(dictionary: &dyn AnyDictionaryArray, values: &ArrayRef) -> BooleanArray {
    let keys = dictionary.normalized_keys();
    BooleanArray::new(BooleanBuffer::collect_bool(keys.len(), |row| values.is_null(keys[row])), None)
}

#[cfg(test)]
mod tests {
    use arrow::array::DictionaryArray;
    use arrow::datatypes::{Int8Type, Int32Type};

    use super::*;

    fn upper(array: &ArrayRef) -> Result<ArrayRef> {
        let mut builder = TextBuilder::new(array.data_type(), array.len());
        let value = ColumnarValue::Array(Arc::clone(array));
        let texts = Texts::new("upper", "value", &value)?;
        for row in 0..array.len() {
            builder.append(texts.get(row).filter(|text| *text != "gone").map(str::to_uppercase).as_deref());
        }
        builder.finish(array.data_type())
    }

    fn texts(array: &ArrayRef) -> Vec<Option<String>> {
        let value = ColumnarValue::Array(Arc::clone(array));
        let texts = Texts::new("test", "value", &value).unwrap();
        (0..array.len()).map(|row| texts.get(row).map(str::to_owned)).collect()
    }

    #[test]
    fn every_representation_is_mapped_row_by_row() {
        let words = [Some("a"), None, Some("gone"), Some("b"), Some("a")];
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(words.to_vec())),
            Arc::new(LargeStringArray::from(words.to_vec())),
            Arc::new(StringViewArray::from(words.to_vec())),
            Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()),
            Arc::new(words.into_iter().collect::<DictionaryArray<Int8Type>>()),
        ];
        for array in arrays {
            let mapped = map_values(&array, &upper).unwrap();
            assert_eq!(mapped.data_type(), array.data_type());
            assert_eq!(texts(&mapped), [Some("A"), None, None, Some("B"), Some("A")].map(|t| t.map(str::to_owned)));
            assert_eq!(mapped.null_count(), 2, "NULL is in the rows, not in the values only: {mapped:?}");

            let slice = map_values(&array.slice(2, 2), &upper).unwrap();
            assert_eq!(slice.data_type(), array.data_type());
            assert_eq!(texts(&slice), [None, Some("B".to_owned())]);
            assert!(map_values(&array.slice(0, 0), &upper).unwrap().is_empty());
        }
    }

    #[test]
    fn a_dictionary_without_values_reads_as_null() {
        let array: ArrayRef = Arc::new([None, None::<&str>].into_iter().collect::<DictionaryArray<Int32Type>>());
        assert_eq!(texts(&array), [None, None]);
        assert_eq!(map_values(&array, &upper).unwrap().null_count(), 2);
    }
}
