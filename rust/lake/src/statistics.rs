//! Statistics of one file: the JSON of the log, parsed at the first look into values of the table's types.
//!
//! Minimum and maximum are bounds: no live row is below the one or above the other, but none needs to be equal.
//! What does not parse is unknown.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use datafusion::scalar::ScalarValue;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Statistics of one column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnStatistics {
    /// A value that no live row is below.
    pub min: Option<ScalarValue>,
    /// A value that no live row is above.
    pub max: Option<ScalarValue>,
    /// Number of NULLs among the physical rows.
    pub null_count: Option<u64>,
}

/// Statistics of a file by column name.  Cheap to clone; all clones share what was parsed.
#[derive(Clone)]
pub struct FileStatistics(Arc<Lazy>);

struct Lazy {
    json: Option<Arc<str>>,
    schema: SchemaRef,
    columns: OnceLock<BTreeMap<String, ColumnStatistics>>,
}

/// What is needed of every file at once, and cheap to take from the JSON.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileCounts {
    #[serde(default)]
    pub num_records: Option<u64>,
    #[serde(default)]
    pub tight_bounds: Option<bool>,
}

impl FileCounts {
    /// Reads the counts, or none of them where the text is not what Delta prescribes.
    pub fn parse(json: Option<&str>) -> Self {
        json.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StatisticsJson {
    min_values: Map<String, Value>,
    max_values: Map<String, Value>,
    null_count: Map<String, Value>,
}

impl FileStatistics {
    /// Statistics in `json`, for the columns of `schema`.
    pub fn new(json: Option<Arc<str>>, schema: SchemaRef) -> Self {
        Self(Arc::new(Lazy { json, schema, columns: OnceLock::new() }))
    }
}

impl Deref for FileStatistics {
    type Target = BTreeMap<String, ColumnStatistics>;

    fn deref(&self) -> &Self::Target {
        self.0.columns.get_or_init(|| {
            self.0
                .json
                .as_deref()
                .and_then(|json| serde_json::from_str::<StatisticsJson>(json).ok())
                .map(|statistics| columns(&statistics, &self.0.schema))
                .unwrap_or_default()
        })
    }
}

impl std::fmt::Debug for FileStatistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.deref().fmt(f)
    }
}

fn columns(statistics: &StatisticsJson, schema: &SchemaRef) -> BTreeMap<String, ColumnStatistics> {
    let mut columns = BTreeMap::new();
    for field in schema.fields() {
        let name = field.name();
        let min = statistics.min_values.get(name);
        let max = statistics.max_values.get(name);
        let nulls = statistics.null_count.get(name);
        if min.is_none() && max.is_none() && nulls.is_none() {
            continue;
        }
        let found = ColumnStatistics {
            min: min.and_then(|value| bound(value, field.data_type(), Side::Min)),
            max: max.and_then(|value| bound(value, field.data_type(), Side::Max)),
            null_count: nulls.and_then(Value::as_u64),
        };
        if found != ColumnStatistics::default() {
            columns.insert(name.clone(), found);
        }
    }
    columns
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Min,
    Max,
}

/// One value of the JSON as a value of `data_type` that holds as a bound on its side.
fn bound(value: &Value, data_type: &DataType, side: Side) -> Option<ScalarValue> {
    match data_type {
        DataType::Boolean => value.as_bool().map(|v| ScalarValue::Boolean(Some(v))),
        DataType::Int8 => integer(value).map(|v| ScalarValue::Int8(Some(v))),
        DataType::Int16 => integer(value).map(|v| ScalarValue::Int16(Some(v))),
        DataType::Int32 => integer(value).map(|v| ScalarValue::Int32(Some(v))),
        DataType::Int64 => integer(value).map(|v| ScalarValue::Int64(Some(v))),
        DataType::Float32 => float(value).map(|v| ScalarValue::Float32(Some(narrow(v, side)))),
        DataType::Float64 => float(value).map(|v| ScalarValue::Float64(Some(v))),
        DataType::Utf8 => value.as_str().map(|v| ScalarValue::Utf8(Some(v.to_owned()))),
        DataType::Date32 => value.as_str().and_then(date),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = widen_milliseconds(timestamp_micros(value.as_str()?)?, side)?;
            Some(ScalarValue::TimestampMicrosecond(Some(micros), zone.clone()))
        }
        DataType::Decimal128(precision, scale) => decimal(value, *precision, *scale, side),
        _ => None,
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    value.as_i64().and_then(|v| T::try_from(v).ok())
}

/// Numbers, and the spellings of the infinities that writers use; NaN bounds nothing.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "Infinity" | "inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
    .filter(|v| !v.is_nan())
}

/// The nearest 32-bit float on the outer side of `value`.
#[expect(clippy::cast_possible_truncation, reason = "the loss is what this corrects")]
fn narrow(value: f64, side: Side) -> f32 {
    let near = value as f32;
    match side {
        Side::Min if f64::from(near) > value => near.next_down(),
        Side::Max if f64::from(near) < value => near.next_up(),
        _ => near,
    }
}

fn date(text: &str) -> Option<ScalarValue> {
    let day = NaiveDate::parse_from_str(text.get(..10)?, "%Y-%m-%d").ok()?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(day.signed_duration_since(epoch).num_days()).ok().map(|days| ScalarValue::Date32(Some(days)))
}

fn timestamp_micros(text: &str) -> Option<i64> {
    if let Ok(zoned) = DateTime::parse_from_rfc3339(text) {
        return Some(zoned.with_timezone(&Utc).timestamp_micros());
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), format).ok())
        .map(|naive| naive.and_utc().timestamp_micros())
}

/// Spark cuts timestamps to milliseconds; a whole millisecond may stand for any moment in it.
fn widen_milliseconds(micros: i64, side: Side) -> Option<i64> {
    match side {
        _ if micros % 1_000 != 0 => Some(micros),
        Side::Max => micros.checked_add(999),
        Side::Min if micros < 0 => micros.checked_sub(999),
        Side::Min => Some(micros),
    }
}

/// Writers put decimals into JSON through a 64-bit float, which is exact for 15 digits; beyond, the bound is widened.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the result is checked against the precision, and widened where digits are lost"
)]
fn decimal(value: &Value, precision: u8, scale: i8, side: Side) -> Option<ScalarValue> {
    const EXACT: f64 = 1e15;
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    let unscaled = if let (0, Some(whole)) = (scale, value.as_i64()) {
        i128::from(whole)
    } else {
        let text;
        let number = match value {
            Value::Number(number) => number.as_f64()?,
            Value::String(string) => {
                text = string;
                text.parse::<f64>().ok()?
            }
            _ => return None,
        };
        let scaled = number * 10_f64.powi(i32::from(scale));
        if !scaled.is_finite() || scaled.abs() > limit as f64 {
            return None;
        }
        if scaled.abs() < EXACT {
            scaled.round() as i128
        } else {
            let slack = (scaled.abs() * 4.0 * f64::EPSILON).ceil() as i128 + 1;
            match side {
                Side::Min => scaled.floor() as i128 - slack,
                Side::Max => scaled.ceil() as i128 + slack,
            }
        }
    };
    // A bound outside of the type holds as well as its largest value.
    let clamped = unscaled.clamp(1 - limit, limit - 1);
    Some(ScalarValue::Decimal128(Some(clamped), precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, Schema};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("day", DataType::Date32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("price", DataType::Decimal128(10, 2), true),
            Field::new("big", DataType::Decimal128(38, 0), true),
            Field::new("name", DataType::Utf8, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("ratio", DataType::Float32, true),
        ]))
    }

    #[test]
    fn values_take_the_types_of_the_table() {
        let json = r#"{"numRecords":3,"tightBounds":false,
            "minValues":{"id":1,"day":"2013-01-01","at":"2013-01-01T05:00:00.000Z","price":1.5,"big":12345678901234567,
                         "name":"AA","ok":false,"ratio":0.1},
            "maxValues":{"id":"x","day":"2013-01-31","at":"2013-01-01T05:00:00.000Z","price":2.25,"ok":true},
            "nullCount":{"id":0,"name":2,"gone":1}}"#;
        let counts = FileCounts::parse(Some(json));
        assert_eq!(counts.num_records, Some(3));
        assert_eq!(counts.tight_bounds, Some(false));
        let columns = FileStatistics::new(Some(json.into()), schema());
        assert_eq!(columns["id"].min, Some(ScalarValue::Int64(Some(1))));
        assert_eq!(columns["id"].max, None);
        assert_eq!(columns["id"].null_count, Some(0));
        assert_eq!(columns["day"].min, Some(ScalarValue::Date32(Some(15706))));
        let zone = Some(Arc::from("UTC"));
        assert_eq!(
            columns["at"].min,
            Some(ScalarValue::TimestampMicrosecond(Some(1_357_016_400_000_000), zone.clone()))
        );
        assert_eq!(columns["at"].max, Some(ScalarValue::TimestampMicrosecond(Some(1_357_016_400_000_999), zone)));
        assert_eq!(columns["price"].max, Some(ScalarValue::Decimal128(Some(225), 10, 2)));
        assert_eq!(columns["big"].min, Some(ScalarValue::Decimal128(Some(12_345_678_901_234_567), 38, 0)));
        assert_eq!(columns["name"].null_count, Some(2));
        assert!(!columns.contains_key("gone"));
        let ScalarValue::Float32(Some(ratio)) = columns["ratio"].min.clone().unwrap() else {
            unreachable!("the column is a 32-bit float");
        };
        assert!(f64::from(ratio) <= 0.1);
    }

    #[test]
    fn large_decimals_are_widened_and_nonsense_is_unknown() {
        let value = serde_json::json!(9_999_999_999_999_999.9_f64);
        let max = decimal(&value, 38, 1, Side::Max).unwrap();
        assert!(max > ScalarValue::Decimal128(Some(99_999_999_999_999_999), 38, 1));
        assert_eq!(decimal(&serde_json::json!(true), 10, 2, Side::Max), None);
        assert!(FileStatistics::new(Some("{".into()), schema()).is_empty());
        assert!(FileStatistics::new(None, schema()).is_empty());
    }

    #[test]
    fn infinities_bound_and_nan_does_not() {
        assert_eq!(float(&serde_json::json!("Infinity")), Some(f64::INFINITY));
        assert_eq!(float(&serde_json::json!("NaN")), None);
    }
}
