//! Calls of scalar functions, for tests: direct, and in sessions with and without an optimizer.
//!
//! Every direct call checks what all functions promise: the field that was announced while planning, of return type and
//! nullability, describes what comes back, and it has as many rows as the batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::{Function, PlatformOptions, families, install};

/// The scalar function of a name.
pub(crate) fn function(name: &str) -> Arc<ScalarUDF> {
    families()
        .into_iter()
        .find_map(|function| match function.function {
            Function::Scalar(scalar) if scalar.name() == name => Some(scalar),
            _ => None,
        })
        .unwrap()
}

/// The field that a call of a function announces.
pub(crate) fn return_field(name: &str, fields: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Result<FieldRef> {
    let function = function(name);
    let field = function.return_field_from_args(ReturnFieldArgs { arg_fields: fields, scalar_arguments: scalars })?;
    let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(
        &function.return_type(&types).unwrap(),
        field.data_type(),
        "{name}: return_type and return_field differ"
    );
    Ok(field)
}

/// Calls a function with these arguments, of which the arrays have so many rows.
pub(crate) fn call(name: &str, args: &[ColumnarValue], rows: usize) -> Result<ColumnarValue> {
    let arg_fields: Vec<FieldRef> = args
        .iter()
        .enumerate()
        .map(|(index, argument)| {
            let nullable = match argument {
                ColumnarValue::Array(array) => array.logical_null_count() > 0,
                ColumnarValue::Scalar(value) => value.is_null(),
            };
            Arc::new(Field::new(format!("c{index}"), argument.data_type(), nullable)) as FieldRef
        })
        .collect();
    let scalars: Vec<Option<&ScalarValue>> = args
        .iter()
        .map(|argument| match argument {
            ColumnarValue::Scalar(value) => Some(value),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    let return_field = return_field(name, &arg_fields, &scalars)?;
    let result = function(name).invoke_with_args(ScalarFunctionArgs {
        args: args.to_vec(),
        arg_fields,
        number_rows: rows,
        return_field: Arc::clone(&return_field),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    assert_eq!(&result.data_type(), return_field.data_type(), "{name} gives another type than it announces");
    if let ColumnarValue::Array(array) = &result {
        assert_eq!(array.len(), rows, "{name} gives another number of rows");
        array.to_data().validate_full().unwrap();
    }
    if !return_field.is_nullable() {
        assert_eq!(result.to_array(rows)?.logical_null_count(), 0, "{name} gives NULL where it announces none");
    }
    Ok(result)
}

/// The rows of a call, as text; NULL is None.
pub(crate) fn rows(name: &str, args: &[ColumnarValue], rows: usize) -> Result<Vec<Option<String>>> {
    let array = call(name, args, rows)?.to_array(rows)?;
    Ok((0..rows)
        .map(|row| {
            let array = array.slice(row, 1);
            (array.logical_null_count() == 0).then(|| array_value_to_string(&array, 0).unwrap())
        })
        .collect())
}

/// A scalar string.
pub(crate) fn text(text: &str) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::from(text))
}

/// Strings in every representation, dictionaries included.
pub(crate) fn every_representation(texts: &[Option<&str>]) -> Vec<ArrayRef> {
    let plain: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let mut arrays: Vec<ArrayRef> = vec![DataType::LargeUtf8, DataType::Utf8View]
        .into_iter()
        .map(|data_type| cast(&plain, &data_type).unwrap())
        .collect();
    for values in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
        arrays.push(cast(&plain, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(values))).unwrap());
    }
    arrays.insert(0, plain);
    arrays
}

/// A session with the platform; without an optimizer it runs plans as they were written.
pub(crate) fn session(optimized: bool) -> SessionContext {
    let config = SessionConfig::new().with_information_schema(true).with_target_partitions(2);
    let builder = SessionStateBuilder::new().with_default_features().with_config(config);
    let mut state = if optimized { builder } else { builder.with_optimizer_rules(Vec::new()) }.build();
    install(&mut state, &PlatformOptions::default()).unwrap();
    SessionContext::new_with_state(state)
}

/// The rows of a query in order, their columns as text; NULL is None.
pub(crate) async fn query(session: &SessionContext, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let batches = session.sql(sql).await?.collect().await?;
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let columns = batch
                .columns()
                .iter()
                .map(|column| column.is_valid(row).then(|| array_value_to_string(column, row).unwrap()));
            rows.push(columns.collect());
        }
    }
    Ok(rows)
}

/// The optimized plan of a query, as text.
pub(crate) async fn plan(session: &SessionContext, sql: &str) -> String {
    session.sql(sql).await.unwrap().into_optimized_plan().unwrap().display_indent().to_string()
}

/// The texts of an array of strings of any representation.
pub(crate) fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    cast(array, &DataType::Utf8).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn the_families_carry_their_tags() {
    use crate::tags::{HASH, ID, POSITION_ENCODING, SPAN, STRING_NORM, SYMBOL, rewrite_tag_index};

    let mut state = SessionStateBuilder::new().with_default_features().build();
    let snapshot = install(&mut state, &PlatformOptions::default()).unwrap();
    let index = rewrite_tag_index(&snapshot.functions.functions);
    let identifiers = ["prefixed_hash_parts64", "span_id", "stable_hash_any", "stable_id_parts"];
    let spans = ["span_contains", "span_id", "span_len", "span_make", "span_overlaps"];
    for (tag, names) in [
        (ID, identifiers.as_slice()),
        (HASH, &identifiers),
        (SPAN, &spans),
        (POSITION_ENCODING, &spans),
        (STRING_NORM, &["qname_normalize", "utf8_normalize", "utf8_null_if_blank"]),
        (SYMBOL, &["qname_normalize"]),
    ] {
        assert!(names.iter().all(|name| index[tag].iter().any(|tagged| tagged == name)), "{tag}: {:?}", index[tag]);
    }
}
