//! `map_normalize`: one form for all maps that hold the same entries.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature,
};

use super::{SECTION, call_of, map_column, sample_map};
use crate::arguments::listed_of_any;
use crate::tags::{MAP, NESTED};
use crate::total_order::{self, Codec, Layout};
use crate::{Function, NullBehaviour, PlatformFunction};

const NAME: &str = "map_normalize";

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    vec![PlatformFunction {
        function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(MapNormalize::new()))),
        tags: &[NESTED, MAP],
        null_behaviour: NullBehaviour::Propagates,
        return_rule: "the type, nullability and metadata of \"map\"",
        version: 1,
    }]
}

/// The function, which others simplify away.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MapNormalize {
    signature: Signature,
    documentation: Documentation,
}

impl MapNormalize {
    fn new() -> Self {
        let sample = TypeSignature::Exact(vec![sample_map()]);
        let signature = listed_of_any(vec![sample], TypeSignature::Any(1), &["map"]);
        let documentation = Documentation::builder(
            SECTION,
            "The map with its entries ascending by key. Of entries with the same key the last one is kept; NULL values \
             are kept. Keys that are floats: NaN is the greatest and occurs once, -0.0 equals 0.0 and comes out as \
             0.0. A NULL map gives NULL.",
            "map_normalize(map)",
        )
        .with_sql_example(
            "```sql\n> SELECT map_normalize(MAP {'b': 1, 'a': NULL}) AS m;\n+-------------+\n| m           |\n\
             +-------------+\n| {a: , b: 1} |\n+-------------+\n```",
        )
        .with_argument("map", "A map with keys and values of any type.")
        .build();
        Self { signature, documentation }
    }
}

fn require_map(data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Null => Ok(()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                total_order::require_ordered(NAME, "map", fields[0].data_type())
            }
            other => plan_err!("{NAME}: argument \"map\" has entries of type {other}, not of a key and a value"),
        },
        other => plan_err!("{NAME}: argument \"map\" must be a map, not {other}"),
    }
}

impl ScalarUDFImpl for MapNormalize {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [map] = take_function_args(NAME, arg_types)?;
        require_map(map)?;
        Ok(map.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [map] = take_function_args(NAME, args.arg_fields)?;
        require_map(map.data_type())?;
        let field = Field::new(NAME, map.data_type().clone(), map.is_nullable());
        Ok(Arc::new(field.with_metadata(map.metadata().clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [map] = take_function_args(NAME, args.args)?;
        map_column(&map, |array| match array.data_type() {
            DataType::Null => Ok(Arc::clone(array)),
            _ => normalize(array.as_map()),
        })
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match <[Expr; 1]>::try_from(args) {
            Ok([map]) if call_of::<Self>(&map).is_some() => Ok(ExprSimplifyResult::Simplified(map)),
            Ok(map) => Ok(ExprSimplifyResult::Original(map.into())),
            Err(args) => Ok(ExprSimplifyResult::Original(args)),
        }
    }
}

fn normalize(map: &MapArray) -> Result<ArrayRef> {
    let offsets = map.value_offsets();
    let bounds: Vec<usize> = offsets.iter().map(|offset| offset.unsigned_abs() as usize).collect();
    let (start, end) = (bounds.first().copied().unwrap_or(0), bounds.last().copied().unwrap_or(0));
    let entries = map.entries().slice(start, end - start);
    let keys = entries.column(0);
    let codec = Codec::new(keys.data_type())?;
    let lists: Vec<(usize, usize)> = bounds
        .windows(2)
        .enumerate()
        .map(|(row, bounds)| if map.is_null(row) { (0, 0) } else { (bounds[0] - start, bounds[1] - start) })
        .collect();
    let (ends, taken) = match codec.layout() {
        Layout::Fixed => {
            let cells = Codec::read_fixed(keys)?;
            last_of_each(&lists, |entry| (cells.is_null(entry), cells.values()[entry]))
        }
        Layout::Bytes => {
            let cells = codec.read_bytes(keys)?;
            last_of_each(&lists, |entry| (cells.is_null(entry), cells.bytes(entry)))
        }
    };
    let ends = ends
        .into_iter()
        .map(|end| i32::try_from(end).map_err(|_| exec_datafusion_err!("{NAME}: one batch has more than 2^31 entries")))
        .collect::<Result<Vec<i32>>>()?;
    let unfolded = if total_order::holds_floats(keys.data_type()) {
        cast(&total_order::canonical(keys)?, keys.data_type())?
    } else {
        Arc::clone(keys)
    };
    let taken = UInt64Array::from(taken);
    let columns = vec![take(&unfolded, &taken, None)?, take(entries.column(1), &taken, None)?];
    let entries = StructArray::try_new(entries.fields().clone(), columns, None)?;
    let DataType::Map(field, sorted) = map.data_type() else {
        return plan_err!("{NAME}: argument \"map\" must be a map, not {}", map.data_type());
    };
    let offsets = OffsetBuffer::new(ends.into());
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, map.nulls().cloned(), *sorted)?))
}

/// The entries in the order of their keys, of equal ones the last; with the bounds of the maps in them.
fn last_of_each<K: Ord>(lists: &[(usize, usize)], key: impl Fn(usize) -> K) -> (Vec<usize>, Vec<u64>) {
    let mut taken = Vec::new();
    let mut ends = vec![0];
    let mut entries: Vec<usize> = Vec::new();
    for &(start, end) in lists {
        entries.clear();
        // From last to first: a stable sort then puts the last of equal keys in front, and the others are dropped.
        entries.extend((start..end).rev());
        entries.sort_by_key(|&entry| key(entry));
        entries.dedup_by(|next, kept| key(*next) == key(*kept));
        taken.extend(entries.iter().map(|&entry| entry as u64));
        ends.push(taken.len());
    }
    (ends, taken)
}
