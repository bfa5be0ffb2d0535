//! `map_get_default`: the value of a key in a map, or what stands in for it.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, MapArray, Scalar, make_comparator};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{CastOptions, cast, cast_with_options, interleave, nullif};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature,
};

use super::map_normalize::MapNormalize;
use super::{SECTION, call_of, sample_map};
use crate::arguments::{listed_of_any, place};
use crate::constant::constant_at;
use crate::tags::{MAP, NESTED};
use crate::total_order::{self, ASCENDING};
use crate::{Function, NullBehaviour, PlatformFunction};

const NAME: &str = "map_get_default";

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    vec![PlatformFunction {
        function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(MapGetDefault::new()))),
        tags: &[NESTED, MAP],
        null_behaviour: NullBehaviour::Handles,
        return_rule: "the type and metadata of the map's values, nullable if \"default\" is",
        version: 1,
    }]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MapGetDefault {
    signature: Signature,
    documentation: Documentation,
}

impl MapGetDefault {
    fn new() -> Self {
        let sample = TypeSignature::Exact(vec![sample_map(), DataType::Utf8, DataType::Int64]);
        let signature = listed_of_any(vec![sample], TypeSignature::Any(3), &["map", "key", "default"]);
        let documentation = Documentation::builder(
            SECTION,
            "The value of a key in a map; the default if the map has no such key, if its value is NULL, or if the map \
             or the key is NULL. So the result is NULL only where the default is. Of several entries with the key the \
             last one counts. A key of another numeric type is compared by value; a default that the type of the \
             values cannot hold unchanged is an error.",
            "map_get_default(map, key, default)",
        )
        .with_sql_example(
            "```sql\n> SELECT map_get_default(MAP {'a': 1}, 'a', 0) AS a, map_get_default(MAP {'a': 1}, 'b', 0) AS b;\n\
             +---+---+\n| a | b |\n+---+---+\n| 1 | 0 |\n+---+---+\n```",
        )
        .with_argument("map", "A map with keys and values of any type.")
        .with_argument("key", "The key to look up; its type must be comparable with that of the map's keys.")
        .with_argument("default", "What stands in for a value that is not there.")
        .build();
        Self { signature, documentation }
    }
}

/// The fields of keys and values.
fn entry_fields(map: &DataType) -> Result<(&FieldRef, &FieldRef)> {
    if let DataType::Map(entries, _) = map
        && let DataType::Struct(fields) = entries.data_type()
        && let [key, value] = fields.as_ref()
    {
        return Ok((key, value));
    }
    plan_err!("{NAME}: argument \"map\" must be a map, not {map}")
}

fn result_type(map: &DataType, key: &DataType, default: &DataType) -> Result<DataType> {
    if map.is_null() {
        return Ok(default.clone());
    }
    let (key_field, value_field) = entry_fields(map)?;
    total_order::require_ordered(NAME, "map", key_field.data_type())?;
    if !comparable(key, key_field.data_type()) {
        return plan_err!(
            "{NAME}: argument \"key\" is of type {key}, but the map has keys of type {}; cast it",
            key_field.data_type()
        );
    }
    if !comparable(default, value_field.data_type()) {
        return plan_err!(
            "{NAME}: argument \"default\" is of type {default}, but the map has values of type {}; cast it",
            value_field.data_type()
        );
    }
    Ok(value_field.data_type().clone())
}

/// Whether values of one type can be values of the other: the same kind of value, in another encoding or width.
fn comparable(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Date64, FixedSizeList, LargeList, LargeListView, List, ListView, Map, Null, Struct, Time32, Time64,
        Timestamp,
    };
    let (from, to) = (total_order::plain_type(from), total_order::plain_type(to));
    match (&from, &to) {
        (Null, _) => true,
        (from, to) if same_encoding_family(from, to) || (from.is_numeric() && to.is_numeric()) => true,
        (Date32 | Date64, Date32 | Date64) | (Time32(_) | Time64(_), Time32(_) | Time64(_)) => true,
        (Timestamp(_, from), Timestamp(_, to)) => from == to,
        (
            List(from) | LargeList(from) | ListView(from) | LargeListView(from) | FixedSizeList(from, _),
            List(to) | LargeList(to) | ListView(to) | LargeListView(to),
        )
        | (Map(from, _), Map(to, _)) => comparable(from.data_type(), to.data_type()),
        (FixedSizeList(from, some), FixedSizeList(to, other)) => {
            some == other && comparable(from.data_type(), to.data_type())
        }
        (Struct(from), Struct(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|(from, to)| from.name() == to.name() && comparable(from.data_type(), to.data_type()))
        }
        (from, to) => from.equals_datatype(to),
    }
}

fn same_encoding_family(from: &DataType, to: &DataType) -> bool {
    let binary =
        |data_type: &DataType| matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    (from.is_string() && to.is_string()) || (binary(from) && binary(to))
}

impl ScalarUDFImpl for MapGetDefault {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [map, key, default] = take_function_args(NAME, arg_types)?;
        result_type(map, key, default)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [map, key, default] = take_function_args(NAME, args.arg_fields)?;
        let data_type = result_type(map.data_type(), key.data_type(), default.data_type())?;
        if let Some(Some(literal)) = args.scalar_arguments.get(2) {
            convert_default(&literal.to_array()?, &data_type, true)?;
        }
        let metadata = entry_fields(map.data_type())
            .map_or_else(|_| default.metadata().clone(), |(_, value)| value.metadata().clone());
        Ok(Arc::new(Field::new(NAME, data_type, default.is_nullable()).with_metadata(metadata)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let return_type = args.return_type().clone();
        let [map, key, default] = take_function_args(NAME, args.args)?;
        let map = map.to_array(rows)?;
        let is_constant = matches!(default, ColumnarValue::Scalar(_));
        let default = Column::new(&default, |array| convert_default(array, &return_type, is_constant))?;
        let result = if map.data_type().is_null() {
            interleave(&[default.array.as_ref()], &(0..rows).map(|row| (0, default.at(row))).collect::<Vec<_>>())?
        } else {
            let (key_field, _) = entry_fields(map.data_type())?;
            let key = Column::new(&key, |array| convert_key(array, key_field.data_type()))?;
            look_up(map.as_map(), &key, &default)?
        };
        Ok(if constant { ColumnarValue::Scalar(constant_at(&result, 0)?) } else { ColumnarValue::Array(result) })
    }

    fn simplify(&self, mut args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // Both go by the last entry of a key, and neither changes a value.
        let inner =
            args.first().and_then(call_of::<MapNormalize>).and_then(|(_, arguments)| arguments.first()).cloned();
        Ok(match inner {
            Some(map) => {
                args[0] = map;
                ExprSimplifyResult::Simplified(ScalarUDF::new_from_impl(Self::new()).call(args))
            }
            None => ExprSimplifyResult::Original(args),
        })
    }
}

/// A value for each row, or one for all of them.
struct Column {
    array: ArrayRef,
    constant: bool,
}

impl Column {
    fn new(value: &ColumnarValue, convert: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self { array: convert(array)?, constant: false },
            ColumnarValue::Scalar(scalar) => Self { array: convert(&scalar.to_array()?)?, constant: true },
        })
    }

    fn at(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }
}

/// The value in another type, NULL where that cannot hold it; with the rows where it was changed by that.
fn convert(array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Option<BooleanArray>)> {
    if array.data_type() == to {
        return Ok((Arc::clone(array), None));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let converted = cast_with_options(array, to, &options)?;
    let from = total_order::canonical(array)?;
    if array.data_type().is_null() || same_encoding_family(from.data_type(), &total_order::plain_type(to)) {
        return Ok((converted, None));
    }
    let back = total_order::canonical(&cast_with_options(&converted, from.data_type(), &options)?)?;
    let compare = make_comparator(from.as_ref(), back.as_ref(), ASCENDING)?;
    let changed: BooleanArray = (0..from.len()).map(|row| Some(compare(row, row) != Ordering::Equal)).collect();
    Ok((converted, Some(changed).filter(|changed| changed.true_count() > 0)))
}

fn convert_default(array: &ArrayRef, to: &DataType, constant: bool) -> Result<ArrayRef> {
    let (converted, changed) = convert(array, to)?;
    if let Some(row) = changed.and_then(|changed| changed.values().set_indices().next()) {
        let value = ScalarValue::try_from_array(array, row)?;
        let place = place(row, constant);
        return exec_err!(
            "{NAME}: argument \"default\" is {value}{place}, which the map's values of type {to} cannot hold unchanged"
        );
    }
    Ok(converted)
}

/// The key in the type of the map's keys and without other representations; NULL if no key can be equal to it.
fn convert_key(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let (converted, changed) = convert(array, to)?;
    let converted = total_order::canonical(&converted)?;
    Ok(match changed {
        Some(changed) => nullif(converted.as_ref(), &changed)?,
        None => converted,
    })
}

fn look_up(map: &MapArray, key: &Column, default: &Column) -> Result<ArrayRef> {
    let offsets = map.value_offsets();
    let bounds: Vec<usize> = offsets.iter().map(|offset| offset.unsigned_abs() as usize).collect();
    let (start, end) = (bounds.first().copied().unwrap_or(0), bounds.last().copied().unwrap_or(0));
    let keys = total_order::canonical(&map.keys().slice(start, end - start))?;
    let values = map.values().slice(start, end - start);
    let value_nulls = values.logical_nulls();
    let key_nulls = key.array.logical_nulls();

    let entries = |row: usize| {
        let there = map.is_valid(row) && key_nulls.as_ref().is_none_or(|nulls| nulls.is_valid(key.at(row)));
        if there { bounds[row] - start..bounds[row + 1] - start } else { 0..0 }
    };
    let pick = |row: usize, found: Option<usize>| match found {
        Some(entry) if value_nulls.as_ref().is_none_or(|nulls| nulls.is_valid(entry)) => (0, entry),
        _ => (1, default.at(row)),
    };
    let rows = 0..map.len();
    let picked: Vec<(usize, usize)> = if key.constant && !keys.data_type().is_nested() {
        // One comparison of all keys with the constant, without a look at rows.
        let equal = eq(&keys, &Scalar::new(&key.array))?;
        let equal = equal.values();
        rows.map(|row| pick(row, entries(row).rev().find(|&entry| equal.value(entry)))).collect()
    } else {
        let compare = make_comparator(keys.as_ref(), key.array.as_ref(), ASCENDING)?;
        rows.map(|row| pick(row, entries(row).rev().find(|&entry| compare(entry, key.at(row)).is_eq()))).collect()
    };
    let default = if default.array.data_type() == values.data_type() {
        Arc::clone(&default.array)
    } else {
        cast(&default.array, values.data_type())?
    };
    interleave(&[values.as_ref(), default.as_ref()], &picked)
        .map_err(|error| exec_datafusion_err!("{NAME}: values and defaults cannot be put together: {error}"))
}
