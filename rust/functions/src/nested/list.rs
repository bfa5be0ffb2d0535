//! `list_compact` and `list_unique_sorted`: lists without NULL elements, and lists as sorted sets.
//!
//! Both work on all elements of a batch at once: one filter or one take, whatever the type of the elements is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, GenericListArray, OffsetSizeTrait, UInt64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, filter, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature,
};

use super::{SECTION, call_of, map_column};
use crate::arguments::listed_of_any;
use crate::tags::{LIST, NESTED};
use crate::total_order::{self, ByteCells, Codec, Layout};
use crate::{Function, NullBehaviour, PlatformFunction};

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    [Operation::Compact, Operation::UniqueSorted]
        .into_iter()
        .map(|operation| PlatformFunction {
            function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(ListFunction::new(operation)))),
            tags: &[NESTED, LIST],
            null_behaviour: NullBehaviour::Propagates,
            return_rule: "the type, nullability and metadata of \"list\"; a list if it has a fixed size",
            version: 1,
        })
        .collect()
}

/// What is done to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Compact,
    UniqueSorted,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Compact => "list_compact",
            Self::UniqueSorted => "list_unique_sorted",
        }
    }

    fn documentation(self) -> Documentation {
        let (description, example) = match self {
            Self::Compact => (
                "The list without its NULL elements, in the same order. A NULL list gives NULL; a list of NULLs only \
                 gives an empty list. Lists inside of the list are left as they are.",
                "```sql\n> SELECT list_compact([3, NULL, 1, NULL]) AS a, list_compact([NULL]) AS b;\n+--------+----+\n\
                 | a      | b  |\n+--------+----+\n| [3, 1] | [] |\n+--------+----+\n```",
            ),
            Self::UniqueSorted => (
                "The distinct elements of the list, ascending, with one NULL at the end if there was any. NaN is the \
                 greatest number and occurs once; -0.0 equals 0.0 and comes out as 0.0. Strings are ordered by their \
                 bytes. A NULL list gives NULL.",
                "```sql\n> SELECT list_unique_sorted([3, NULL, 1, 3]) AS a, list_unique_sorted(['b', 'a', 'b']) AS \
                 b;\n+----------+--------+\n| a        | b      |\n+----------+--------+\n| [1, 3, ] | [a, b] \
                 |\n+----------+--------+\n```",
            ),
        };
        Documentation::builder(SECTION, description, format!("{}(list)", self.name()))
            .with_sql_example(example)
            .with_argument("list", "A list of any kind, with elements of any type.")
            .build()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListFunction {
    operation: Operation,
    signature: Signature,
    documentation: Documentation,
}

impl ListFunction {
    fn new(operation: Operation) -> Self {
        let of = |element| TypeSignature::Exact(vec![DataType::new_list(element, true)]);
        let samples = vec![of(DataType::Int64), of(DataType::Utf8)];
        let signature = listed_of_any(samples, TypeSignature::Any(1), &["list"]);
        Self { operation, signature, documentation: operation.documentation() }
    }

    fn apply(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match array.data_type() {
            DataType::Null => Ok(Arc::clone(array)),
            DataType::List(field) => self.apply_to(field, array.as_list::<i32>()),
            DataType::LargeList(field) => self.apply_to(field, array.as_list::<i64>()),
            other => self.apply(&cast(array, &self.list_type(other)?)?),
        }
    }

    fn apply_to<O: OffsetSizeTrait>(&self, field: &FieldRef, list: &GenericListArray<O>) -> Result<ArrayRef> {
        Ok(Arc::new(match self.operation {
            Operation::Compact => compact(field, list)?,
            Operation::UniqueSorted => unique_sorted(field, list)?,
        }))
    }

    /// The type of the result, which keeps the field of the elements.
    fn list_type(&self, data_type: &DataType) -> Result<DataType> {
        let list = match data_type {
            DataType::Null => return Ok(DataType::Null),
            DataType::List(field) | DataType::FixedSizeList(field, _) | DataType::ListView(field) => {
                DataType::List(Arc::clone(field))
            }
            DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(Arc::clone(field)),
            other => return plan_err!("{}: argument \"list\" must be a list, not {other}", self.name()),
        };
        if let (Operation::UniqueSorted, DataType::List(field) | DataType::LargeList(field)) = (self.operation, &list) {
            total_order::require_ordered(self.name(), "list", field.data_type())?;
        }
        Ok(list)
    }

    /// Whether the expression gives lists that this function does not change.
    fn keeps(&self, expression: &Expr) -> bool {
        let Some((inner, arguments)) = call_of::<Self>(expression) else {
            return false;
        };
        // Neither operation undoes the other.
        inner.operation == self.operation || arguments.first().is_some_and(|argument| self.keeps(argument))
    }
}

impl ScalarUDFImpl for ListFunction {
    fn name(&self) -> &str {
        self.operation.name()
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
        let [list] = take_function_args(self.name(), arg_types)?;
        self.list_type(list)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [list] = take_function_args(self.name(), args.arg_fields)?;
        let data_type = self.list_type(list.data_type())?;
        Ok(Arc::new(Field::new(self.name(), data_type, list.is_nullable()).with_metadata(list.metadata().clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list] = take_function_args(self.name(), args.args)?;
        map_column(&list, |array| self.apply(array))
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match <[Expr; 1]>::try_from(args) {
            Ok([list]) if self.keeps(&list) => Ok(ExprSimplifyResult::Simplified(list)),
            Ok(list) => Ok(ExprSimplifyResult::Original(list.into())),
            Err(args) => Ok(ExprSimplifyResult::Original(args)),
        }
    }
}

/// The part of the elements that the lists use, and the bounds of the lists in it.
fn used<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> (ArrayRef, Vec<usize>) {
    let offsets = list.value_offsets();
    let start = offsets.first().map_or(0, |offset| offset.as_usize());
    let end = offsets.last().map_or(0, |offset| offset.as_usize());
    (list.values().slice(start, end - start), offsets.iter().map(|offset| offset.as_usize() - start).collect())
}

fn lists<O: OffsetSizeTrait>(
    field: &FieldRef,
    ends: Vec<O>,
    values: ArrayRef,
    nulls: Option<&NullBuffer>,
) -> Result<GenericListArray<O>> {
    Ok(GenericListArray::try_new(Arc::clone(field), OffsetBuffer::new(ends.into()), values, nulls.cloned())?)
}

fn offset<O: OffsetSizeTrait>(position: usize) -> Result<O> {
    O::from_usize(position).ok_or_else(|| exec_datafusion_err!("the lists of one batch have more than 2^31 elements"))
}

fn compact<O: OffsetSizeTrait>(field: &FieldRef, list: &GenericListArray<O>) -> Result<GenericListArray<O>> {
    let (values, bounds) = used(list);
    let Some(valid) = values.logical_nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok(list.clone());
    };
    let valid = valid.into_inner();
    let mut ends = Vec::with_capacity(bounds.len());
    let mut end = 0;
    ends.push(offset(end)?);
    for bounds in bounds.windows(2) {
        end += valid.slice(bounds[0], bounds[1] - bounds[0]).count_set_bits();
        ends.push(offset(end)?);
    }
    lists(field, ends, filter(&values, &BooleanArray::new(valid, None))?, list.nulls())
}

fn unique_sorted<O: OffsetSizeTrait>(field: &FieldRef, list: &GenericListArray<O>) -> Result<GenericListArray<O>> {
    let (values, bounds) = used(list);
    let codec = Codec::new(values.data_type())?;
    let (ends, values) = match codec.layout() {
        Layout::Fixed => unique_fixed(&codec, &values, &bounds, list.nulls())?,
        Layout::Bytes => unique_bytes(&codec, &values, &bounds, list.nulls())?,
    };
    let ends = ends.into_iter().map(offset).collect::<Result<Vec<O>>>()?;
    lists(field, ends, values, list.nulls())
}

/// Lists of fixed cells are sorted in place of their values.
fn unique_fixed(
    codec: &Codec,
    values: &ArrayRef,
    bounds: &[usize],
    nulls: Option<&NullBuffer>,
) -> Result<(Vec<usize>, ArrayRef)> {
    let cells = Codec::read_fixed(values)?;
    let mut sorted: Vec<u64> = Vec::with_capacity(values.len());
    let mut null_at = Vec::new();
    let mut ends = vec![0];
    for (row, bounds) in bounds.windows(2).enumerate() {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            let start = sorted.len();
            let mut has_null = false;
            if cells.has_nulls() {
                for element in bounds[0]..bounds[1] {
                    match cells.get(element) {
                        Some(cell) => sorted.push(cell),
                        None => has_null = true,
                    }
                }
            } else {
                sorted.extend_from_slice(&cells.values()[bounds[0]..bounds[1]]);
            }
            sorted[start..].sort_unstable();
            let length = distinct(&mut sorted[start..]);
            sorted.truncate(start + length);
            if has_null {
                null_at.push(sorted.len());
                sorted.push(0);
            }
        }
        ends.push(sorted.len());
    }
    let nulls = if null_at.is_empty() {
        None
    } else {
        let mut valid = vec![true; sorted.len()];
        for position in null_at {
            valid[position] = false;
        }
        Some(NullBuffer::from(valid))
    };
    let unique = codec.write_fixed(sorted, nulls)?;
    Ok((ends, cast(&unique, values.data_type())?))
}

/// Moves the distinct values of a sorted slice to its front, and returns how many they are.
fn distinct(sorted: &mut [u64]) -> usize {
    let mut length = sorted.len().min(1);
    for position in 1..sorted.len() {
        if sorted[position] != sorted[length - 1] {
            sorted[length] = sorted[position];
            length += 1;
        }
    }
    length
}

/// Lists of byte strings are sorted as positions of elements, which are then taken.
fn unique_bytes(
    codec: &Codec,
    values: &ArrayRef,
    bounds: &[usize],
    nulls: Option<&NullBuffer>,
) -> Result<(Vec<usize>, ArrayRef)> {
    let cells = codec.read_bytes(values)?;
    let mut taken: Vec<u64> = Vec::with_capacity(values.len());
    let mut positions: Vec<(u64, usize)> = Vec::new();
    let mut ends = vec![0];
    for (row, bounds) in bounds.windows(2).enumerate() {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            positions.clear();
            positions.extend((bounds[0]..bounds[1]).map(|element| (prefix(&cells, element), element)));
            positions
                .sort_unstable_by(|&left, &right| left.0.cmp(&right.0).then_with(|| compare(&cells, left.1, right.1)));
            positions.dedup_by(|next, last| next.0 == last.0 && compare(&cells, next.1, last.1).is_eq());
            taken.extend(positions.iter().map(|&(_, element)| element as u64));
        }
        ends.push(taken.len());
    }
    let unfolded = if total_order::holds_floats(values.data_type()) {
        cast(&total_order::canonical(values)?, values.data_type())?
    } else {
        Arc::clone(values)
    };
    Ok((ends, take(&unfolded, &UInt64Array::from(taken), None)?))
}

/// The first eight bytes of an element as a number, which decides most comparisons; the greatest for NULL.
fn prefix(cells: &ByteCells, element: usize) -> u64 {
    cells.get(element).map_or(u64::MAX, |bytes| {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        u64::from_be_bytes(first)
    })
}

fn compare(cells: &ByteCells, left: usize, right: usize) -> std::cmp::Ordering {
    match (cells.get(left), cells.get(right)) {
        (Some(left), Some(right)) => left.cmp(right),
        (left, right) => left.is_none().cmp(&right.is_none()),
    }
}
