//! Output types: what a result may be called and typed, so that a Delta table can hold it.
//!
//! The rule, applied once at the root of the plan, so that recomputing, maintaining and verifying see the same values:
//!
//! | type of the expression | column of the target |
//! |---|---|
//! | `UInt8`, `UInt16`, `UInt32` | `short`, `integer`, `long`: the next wider signed type |
//! | `UInt64` | `long`; a value above 2^63 - 1 fails the refresh |
//! | `Float16` | `float` |
//! | `Decimal32`, `Decimal64`, `Decimal256` up to 38 digits | `decimal` of the same digits |
//! | timestamps in seconds, milliseconds, nanoseconds | microseconds; nanoseconds are cut off |
//! | timestamps with any time zone | `timestamp`, the same moment in UTC; without a zone: `timestamp_ntz` |
//! | `Date64` | `date` |
//! | dictionary and run-end encodings | the type of their values |
//! | fixed-size and large lists, list views | `array` |
//!
//! Views and large encodings of strings and binary values are not cast: they are encodings of the same type, and the
//! writer stores them as it stores any other.  What has no counterpart is refused, naming the column and a cast.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use crate::bundle::ColumnType;
use crate::error::{EngineError, Result};

/// Characters that a Delta table without column mapping cannot have in a column's name.
const REFUSED_CHARACTERS: [char; 9] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t'];
/// Names that the change data feed and the engine use themselves.
const RESERVED: [&str; 6] =
    ["_change_type", "_commit_version", "_commit_timestamp", "__weight", "__file", "__position"];

/// The plan with a projection on top that gives every column a name and a type that its target can have.
///
/// Columns come out without qualifiers.
///
/// # Errors
/// `invalid_query` for names that are missing, repeated or impossible, `unsupported_type` for types.
pub fn storable(subject: &str, plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let fields: Vec<(Option<TableReference>, FieldRef)> =
        schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    check_names(subject, &fields)?;
    let mut cast_needed = false;
    let mut expressions = Vec::with_capacity(fields.len());
    for (qualifier, field) in fields {
        let name = field.name().clone();
        let stored = storable_type(field.data_type()).map_err(|message| EngineError::UnsupportedType {
            subject: subject.to_owned(),
            column: name.clone(),
            message,
        })?;
        let column = Expr::Column(Column::new(qualifier, name.clone()));
        if stored == *field.data_type() {
            expressions.push(column);
        } else {
            cast_needed = true;
            expressions.push(cast(column, stored).alias(name));
        }
    }
    if !cast_needed {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan)
        .project(expressions)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| EngineError::planning(subject, error))
}

/// The columns of the target of a plan: plain types, all nullable.
///
/// Every column is nullable because whether a plan can give NULL is an inference that may differ between engine
/// versions, and a target must not change its schema for that.
pub fn target_schema(subject: &str, plan: &LogicalPlan) -> Result<SchemaRef> {
    let fields: Vec<Field> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), nullable(field.data_type()), true))
        .collect();
    Ok(lake::storable_schema(subject, &Schema::new(fields))?)
}

/// Columns with Delta's names for their types.
pub fn column_types(subject: &str, schema: &Schema) -> Result<Vec<ColumnType>> {
    let text = lake::delta_schema_json(subject, schema)?;
    let read: DeltaSchema = serde_json::from_str(&text)
        .map_err(|error| EngineError::defect(subject, format!("a schema in JSON cannot be read: {error}")))?;
    Ok(read.fields)
}

#[derive(serde::Deserialize)]
struct DeltaSchema {
    fields: Vec<ColumnType>,
}

fn check_names(subject: &str, fields: &[(Option<TableReference>, FieldRef)]) -> Result<()> {
    if fields.is_empty() {
        return Err(EngineError::invalid_query(subject, "the result has no columns"));
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (_, field) in fields {
        let name = field.name().as_str();
        if let Some(first) = seen.insert(name.to_lowercase(), name) {
            let message = if first == name {
                format!("column \"{name}\" occurs twice in the result; name one of them with AS")
            } else {
                format!(
                    "columns \"{first}\" and \"{name}\" differ only in case, which a Delta table does not tell apart; \
                     name one of them with AS"
                )
            };
            return Err(EngineError::invalid_query(subject, message));
        }
        if RESERVED.contains(&name.to_lowercase().as_str()) {
            return Err(EngineError::invalid_query(
                subject,
                format!("column \"{name}\" has a name that change feeds use; name it otherwise with AS"),
            ));
        }
        if name.is_empty() || name.contains(REFUSED_CHARACTERS) || name.contains('=') {
            return Err(EngineError::invalid_query(
                subject,
                format!("column \"{name}\" has a name that a Delta table cannot have; name it with AS"),
            ));
        }
    }
    Ok(())
}

/// Whether a target has values of a type as they are.
pub fn is_storable(data_type: &DataType) -> bool {
    storable_type(data_type).is_ok_and(|stored| stored == *data_type)
}

/// The type under which values of a type are stored, or why they cannot be.
fn storable_type(data_type: &DataType) -> std::result::Result<DataType, String> {
    let refused =
        |cast: &str| Err(format!("has type {data_type}, which a Delta table cannot hold; write CAST(… AS {cast})"));
    Ok(match data_type {
        DataType::Null => {
            return Err(
                "is always NULL and has no type; write CAST(NULL AS …) with the type that it should have".to_owned()
            );
        }
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 && scale.unsigned_abs() <= *precision =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale)
            if *precision <= 38 && *scale >= 0 && scale.unsigned_abs() <= *precision =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            return refused("DECIMAL(38, …)");
        }
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) | DataType::Interval(_) | DataType::Union(..) => {
            return refused("VARCHAR");
        }
        DataType::Duration(_) => return refused("BIGINT"),
        DataType::Dictionary(_, values) => storable_type(values)?,
        DataType::RunEndEncoded(_, values) => storable_type(values.data_type())?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(storable_field(item)?),
        DataType::Struct(fields) => DataType::Struct(storable_fields(fields)?),
        DataType::Map(entries, sorted) => DataType::Map(storable_field(entries)?, *sorted),
        DataType::FixedSizeBinary(_) => DataType::Binary,
        other => other.clone(),
    })
}

fn storable_field(field: &FieldRef) -> std::result::Result<FieldRef, String> {
    let data_type = storable_type(field.data_type())?;
    if data_type == *field.data_type() {
        return Ok(Arc::clone(field));
    }
    Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable())))
}

fn storable_fields(fields: &Fields) -> std::result::Result<Fields, String> {
    fields.iter().map(storable_field).collect()
}

/// The type with every nested value nullable, except where the format forbids it: entries and keys of maps.
fn nullable(data_type: &DataType) -> DataType {
    let open = |field: &FieldRef| Arc::new(Field::new(field.name(), nullable(field.data_type()), true));
    match data_type {
        DataType::List(item) => DataType::List(open(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(open).collect()),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return data_type.clone();
            };
            let fields: Fields = fields
                .iter()
                .enumerate()
                .map(|(position, field)| Arc::new(Field::new(field.name(), nullable(field.data_type()), position > 0)))
                .collect();
            DataType::Map(Arc::new(Field::new(entries.name(), DataType::Struct(fields), false)), *sorted)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_types_widen_and_times_are_refused() {
        assert_eq!(storable_type(&DataType::UInt32), Ok(DataType::Int64));
        assert_eq!(
            storable_type(&DataType::List(Arc::new(Field::new("item", DataType::UInt8, true)))),
            Ok(DataType::List(Arc::new(Field::new("item", DataType::Int16, true))))
        );
        let message = storable_type(&DataType::Time64(TimeUnit::Microsecond)).unwrap_err();
        assert!(message.contains("CAST"), "{message}");
        assert!(storable_type(&DataType::Decimal256(50, 2)).is_err());
        assert_eq!(storable_type(&DataType::Decimal256(20, 2)), Ok(DataType::Decimal128(20, 2)));
    }

    #[test]
    fn strings_of_every_encoding_stay() {
        for data_type in [DataType::Utf8, DataType::Utf8View, DataType::LargeUtf8, DataType::BinaryView] {
            assert_eq!(storable_type(&data_type), Ok(data_type.clone()));
        }
    }
}
