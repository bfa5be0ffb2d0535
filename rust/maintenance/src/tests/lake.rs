//! A small lake in memory: random tables and random changes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::InputShape;

pub(super) type Row = Vec<ScalarValue>;

/// The relations of the tests: every type class, every column nullable.
pub(super) fn schema_of(relation: &str) -> SchemaRef {
    let fields = match relation {
        "r" => vec![("a", DataType::Int64), ("b", DataType::Int64), ("s", DataType::Utf8), ("x", DataType::Float64)],
        "t" => vec![("a", DataType::Int64), ("c", DataType::Int64), ("s", DataType::Utf8View)],
        "u" => vec![("c", DataType::Int64), ("d", DataType::Date32), ("m", DataType::Decimal128(10, 2))],
        other => panic!("no relation \"{other}\""),
    };
    let fields: Vec<_> = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect();
    Arc::new(Schema::new(fields))
}

pub(super) const RELATIONS: [&str; 3] = ["r", "t", "u"];

fn value_of(data_type: &DataType) -> BoxedStrategy<ScalarValue> {
    let number = || prop_oneof![1 => Just(None), 5 => (0_i64..4).prop_map(Some)];
    let text = || select(vec![None, Some(String::new()), Some("p".to_owned()), Some("q".to_owned())]);
    match data_type {
        DataType::Int64 => number().prop_map(ScalarValue::Int64).boxed(),
        DataType::Utf8 => text().prop_map(ScalarValue::Utf8).boxed(),
        DataType::Utf8View => text().prop_map(ScalarValue::Utf8View).boxed(),
        DataType::Date32 => {
            number().prop_map(|day| ScalarValue::Date32(day.map(|day| 19_000 + i32::try_from(day).unwrap()))).boxed()
        }
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            number()
                .prop_map(move |cents| {
                    ScalarValue::Decimal128(cents.map(|cents| i128::from(cents) * 25), precision, scale)
                })
                .boxed()
        }
        // Sums of these are exact in any order.
        DataType::Float64 => select(vec![None, Some(f64::NAN), Some(-0.0), Some(0.0), Some(1.5), Some(-2.0)])
            .prop_map(ScalarValue::Float64)
            .boxed(),
        other => panic!("no values of type {other}"),
    }
}

fn row_of(relation: &str) -> BoxedStrategy<Row> {
    let columns: Vec<_> = schema_of(relation).fields().iter().map(|field| value_of(field.data_type())).collect();
    columns.boxed()
}

/// One table before and now, and the signed rows that lead from one to the other, not consolidated.
#[derive(Clone, Debug)]
pub(super) struct TableHistory {
    pub before: Vec<Row>,
    pub now: Vec<Row>,
    pub changes: Vec<(Row, i64)>,
    pub shape: InputShape,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unchanged,
    InsertOnly,
    Mixed,
}

fn history_of(relation: &'static str) -> BoxedStrategy<TableHistory> {
    let kind = prop_oneof![
        2 => Just(Kind::Unchanged),
        2 => Just(Kind::InsertOnly),
        5 => Just(Kind::Mixed)
    ];
    let before = vec((row_of(relation), prop_oneof![4 => Just(0_u8), 1 => Just(1), 1 => Just(2)]), 0..9);
    (kind, before, vec(row_of(relation), 0..4))
        .prop_map(|(kind, before, inserts)| {
            let inserts = if matches!(kind, Kind::Unchanged) { Vec::new() } else { inserts };
            let mut now = Vec::new();
            let mut changes = Vec::new();
            for (row, fate) in &before {
                let fate = if matches!(kind, Kind::Mixed) { *fate } else { 0 };
                if fate > 0 {
                    changes.push((row.clone(), -1));
                }
                // An update that changes nothing removes the row and brings it back.
                if fate == 2 {
                    changes.push((row.clone(), 1));
                }
                if fate != 1 {
                    now.push(row.clone());
                }
            }
            now.extend(inserts.iter().cloned());
            changes.extend(inserts.into_iter().map(|row| (row, 1)));
            let shape =
                InputShape { changed: !matches!(kind, Kind::Unchanged), insert_only: matches!(kind, Kind::InsertOnly) };
            TableHistory { before: before.into_iter().map(|(row, _)| row).collect(), now, changes, shape }
        })
        .boxed()
}

pub(super) type History = BTreeMap<&'static str, TableHistory>;

/// All relations over one random range of changes.
pub(super) fn histories() -> impl Strategy<Value = History> {
    RELATIONS.map(history_of).prop_map(|histories| RELATIONS.into_iter().zip(histories).collect())
}
