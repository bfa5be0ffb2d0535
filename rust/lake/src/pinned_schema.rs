//! The schema under which a pinned scan presents a table.
//!
//! Names and order are the table's.  Strings and binary columns are view typed, which is how Parquet is read fastest.
//! Everything below a list, map or struct keeps its type, because the reader casts what is nested, and may be NULL,
//! because many writers do not record otherwise.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

/// The schema of a scan of a table with `schema`: `Utf8View` for strings, `BinaryView` for binary, no field metadata.
pub fn view_typed(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = match field.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
                other => nested(other),
            };
            Field::new(field.name(), data_type, field.is_nullable())
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn nested(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(nullable(item)),
        DataType::LargeList(item) => DataType::LargeList(nullable(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect()),
        DataType::Map(entries, sorted) => {
            // Keys are never NULL, and neither is an entry.
            let DataType::Struct(fields) = entries.data_type() else {
                return data_type.clone();
            };
            let fields: Fields = fields
                .iter()
                .enumerate()
                .map(|(position, field)| {
                    if position == 0 {
                        let key = nested(field.data_type());
                        Arc::new(Field::new(field.name(), key, false))
                    } else {
                        nullable(field)
                    }
                })
                .collect();
            let entries = Field::new(entries.name(), DataType::Struct(fields), false);
            DataType::Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    }
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), nested(field.data_type()), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_become_views_at_the_top_and_nested_fields_nullable() {
        let inner = Field::new("name", DataType::Utf8, false);
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("raw", DataType::Binary, true),
            Field::new("who", DataType::Struct(vec![inner].into()), false),
        ]);
        let typed = view_typed(&schema);
        assert_eq!(typed.field(0), schema.field(0));
        assert_eq!(typed.field(1).data_type(), &DataType::Utf8View);
        assert_eq!(typed.field(2).data_type(), &DataType::BinaryView);
        let DataType::Struct(fields) = typed.field(3).data_type() else {
            unreachable!("a struct stays a struct");
        };
        assert_eq!(fields[0].data_type(), &DataType::Utf8);
        assert!(fields[0].is_nullable() && !typed.field(3).is_nullable());
        assert_eq!(view_typed(&typed), typed);
    }
}
