//! Arrow schemas and Delta schemas, either way.
//!
//! Delta's types come out as one Arrow type each; Arrow has more types than Delta, so that a schema is first made
//! storable, with the loss of nothing but the encoding, or refused with the column's name.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use delta_kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use delta_kernel::schema::StructType;

use crate::error::{LakeError, Result};

/// The Arrow schema of a Delta schema in JSON, without metadata of fields.
///
/// # Errors
/// `schema_mismatch` if the text is not a Delta schema of known types.
pub fn schema_from_delta_json(uri: &str, json: &str) -> Result<SchemaRef> {
    let bad = |error: &dyn std::fmt::Display| LakeError::SchemaMismatch {
        uri: uri.to_owned(),
        detail: format!("its schema cannot be read: {error}; check the writer of the table"),
    };
    let delta: StructType = serde_json::from_str(json).map_err(|error| bad(&error))?;
    let arrow: Schema = (&delta).try_into_arrow().map_err(|error| bad(&error))?;
    Ok(Arc::new(Schema::new(arrow.fields().iter().map(|field| plain_field(field)).collect::<Fields>())))
}

/// The Delta schema, in JSON, of an Arrow schema.
///
/// # Errors
/// `schema_mismatch` with the column, for types that Delta does not have.
pub fn delta_schema_json(uri: &str, schema: &Schema) -> Result<String> {
    let storable = storable_schema(uri, schema)?;
    let bad = |error: &dyn std::fmt::Display| LakeError::SchemaMismatch {
        uri: uri.to_owned(),
        detail: format!("the schema has no counterpart in Delta: {error}; cast the column"),
    };
    let delta: StructType = storable.as_ref().try_into_kernel().map_err(|error| bad(&error))?;
    serde_json::to_string(&delta).map_err(|error| bad(&error))
}

/// The schema in which rows of `schema` are stored: views, large and dictionary encodings become plain, and
/// timestamps count microseconds.
///
/// # Errors
/// `schema_mismatch` with the column, for types that Delta does not have and for names that differ only in case.
pub fn storable_schema(uri: &str, schema: &Schema) -> Result<SchemaRef> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            return Err(LakeError::SchemaMismatch {
                uri: uri.to_owned(),
                detail: format!(
                    "columns '{other}' and '{}' have one name for Delta, which ignores case; rename one",
                    field.name()
                ),
            });
        }
        fields.push(storable_field(uri, field.name(), field)?);
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Whether a timestamp without a zone is anywhere in the schema, which is a table feature.
pub(crate) fn has_timestamp_ntz(schema: &Schema) -> bool {
    fn found(data_type: &DataType) -> bool {
        match data_type {
            DataType::Timestamp(_, None) => true,
            DataType::Struct(fields) => fields.iter().any(|field| found(field.data_type())),
            DataType::List(field) | DataType::Map(field, _) => found(field.data_type()),
            _ => false,
        }
    }
    schema.fields().iter().any(|field| found(field.data_type()))
}

fn storable_field(uri: &str, column: &str, field: &Field) -> Result<Field> {
    Ok(Field::new(field.name(), storable_type(uri, column, field.data_type())?, field.is_nullable()))
}

fn storable_type(uri: &str, column: &str, data_type: &DataType) -> Result<DataType> {
    let refuse = |hint: &str| {
        Err(LakeError::SchemaMismatch {
            uri: uri.to_owned(),
            detail: format!("column '{column}' has the type {data_type}, which Delta does not have; {hint}"),
        })
    };
    let nested = |field: &FieldRef| storable_field(uri, column, field).map(Arc::new);
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32 => data_type.clone(),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        // An instant: the zone only says how to show it, and Delta shows UTC.
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) if *precision <= 38 && *scale >= 0 => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, value) => storable_type(uri, column, value)?,
        DataType::RunEndEncoded(_, values) => storable_type(uri, column, values.data_type())?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(storable_field(uri, column, item)?.with_name("element")))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nested).collect::<Result<Fields>>()?),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let key = storable_field(uri, column, &pair[0])?.with_name("key");
                let value = storable_field(uri, column, &pair[1])?.with_name("value");
                let pair = Fields::from(vec![key.with_nullable(false), value]);
                let entries = Field::new("key_value", DataType::Struct(pair), false);
                DataType::Map(Arc::new(entries), false)
            }
            _ => return refuse("cast it to a map of keys and values"),
        },
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            return refuse("cast it to a signed integer or to DECIMAL(20, 0)");
        }
        DataType::Null => return refuse("cast the NULL to the type that is meant"),
        DataType::Duration(_) | DataType::Interval(_) => {
            return refuse("store it as a number with a unit, such as seconds");
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            return refuse("store it as a string or as a number of seconds");
        }
        _ => return refuse("cast it to a type that Delta has"),
    })
}

/// A field without metadata, also inside: metadata of a writer must not make equal types different.
fn plain_field(field: &Field) -> Field {
    let plain = |field: &FieldRef| Arc::new(plain_field(field));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::List(item) => DataType::List(plain(item)),
        DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
        other => other.clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("c", data_type, true)])
    }

    #[test]
    fn encodings_become_plain_and_survive_delta() {
        let stored = |data_type| {
            let schema = storable_schema("t", &schema(data_type)).unwrap();
            let json = delta_schema_json("t", &schema).unwrap();
            let back = schema_from_delta_json("t", &json).unwrap();
            assert_eq!(back.field(0).data_type(), schema.field(0).data_type());
            schema.field(0).data_type().clone()
        };
        assert_eq!(stored(DataType::Utf8View), DataType::Utf8);
        assert_eq!(stored(DataType::BinaryView), DataType::Binary);
        assert_eq!(
            stored(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8))),
            DataType::Utf8
        );
        assert_eq!(
            stored(DataType::Timestamp(TimeUnit::Nanosecond, None)),
            DataType::Timestamp(TimeUnit::Microsecond, None)
        );
        assert_eq!(
            stored(DataType::Timestamp(TimeUnit::Second, Some("+02:00".into()))),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        );
        stored(DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))));
    }

    #[test]
    fn types_without_a_counterpart_are_refused_with_their_column() {
        for data_type in [
            DataType::UInt64,
            DataType::Null,
            DataType::Duration(TimeUnit::Second),
            DataType::Time64(TimeUnit::Nanosecond),
        ] {
            let error = storable_schema("t", &schema(data_type)).unwrap_err();
            assert_eq!(error.code(), "schema_mismatch");
            assert!(error.to_string().contains("column 'c'"), "{error}");
        }
        let twice = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("A", DataType::Int64, true)]);
        assert!(storable_schema("t", &twice).is_err());
    }
}
