//! `collect_set`: the distinct values of a group, ascending.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, new_empty_array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
    TypeSignature,
};

use super::frame::{FrameAccumulator, FrameResult};
use super::single_group::{Peek, SingleGroup};
use super::{SECTION, kept};
use crate::arguments::{integer, listed_of_any, string};
use crate::distinct_bytes::DistinctBytes;
use crate::tags::{AGGREGATE, DETERMINISTIC};
use crate::total_order::{self, Codec, Layout};
use crate::{Function, NullBehaviour, PlatformFunction};

const NAME: &str = "collect_set";

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    vec![PlatformFunction {
        function: Function::Aggregate(Arc::new(AggregateUDF::new_from_impl(CollectSet::new()))),
        tags: &[AGGREGATE, DETERMINISTIC],
        null_behaviour: NullBehaviour::Skips,
        return_rule: "a List of the type and metadata of \"value\", never NULL itself",
        version: 1,
    }]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CollectSet {
    signature: Signature,
    documentation: Documentation,
}

impl CollectSet {
    fn new() -> Self {
        let samples = vec![TypeSignature::Coercible(vec![integer()]), TypeSignature::Coercible(vec![string()])];
        let signature = listed_of_any(samples, TypeSignature::Any(1), &["value"]);
        let documentation = Documentation::builder(
            SECTION,
            "The distinct values, ascending, as a list. NULLs are left out; an empty list if nothing is left. NaN is \
             the greatest number and occurs once; -0.0 equals 0.0 and comes out as 0.0.",
            "collect_set(value)",
        )
        .with_sql_example(
            "```sql\n> SELECT collect_set(v) AS s FROM (VALUES ('b'), ('a'), (NULL), ('b')) AS t(v);\n+--------+\n\
             | s      |\n+--------+\n| [a, b] |\n+--------+\n```",
        )
        .with_argument("value", "What is collected, of any type.")
        .build();
        Self { signature, documentation }
    }

    fn groups(args: &AccumulatorArgs) -> Result<Sets> {
        let Some(value) = args.expr_fields.first() else {
            return plan_err!("{NAME}: argument \"value\" is missing");
        };
        let DataType::List(field) = args.return_field.data_type() else {
            return exec_err!("{NAME} returns a list, not {}", args.return_field.data_type());
        };
        Sets::new(value.data_type(), Arc::clone(field))
    }
}

impl AggregateUDFImpl for CollectSet {
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
        let [value] = take_function_args(NAME, arg_types)?;
        total_order::require_ordered(NAME, "value", value)?;
        Ok(DataType::List(total_order::element_field(&Field::new("value", value.clone(), true))))
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let [value] = take_function_args(NAME, arg_fields)?;
        total_order::require_ordered(NAME, "value", value.data_type())?;
        Ok(Arc::new(Field::new(NAME, DataType::List(total_order::element_field(value)), false)))
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        let DataType::List(field) = data_type else {
            return exec_err!("{NAME} returns a list, not {data_type}");
        };
        let empty = new_empty_array(field.data_type());
        let offsets = OffsetBuffer::from_lengths([0]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(Arc::clone(field), offsets, empty, None)?)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let [value] = take_function_args(NAME, args.input_fields)?;
        let data_type = DataType::List(state_field(&total_order::plain_type(value.data_type())));
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "set"), data_type, false))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SingleGroup::new(Self::groups(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Self::groups(&args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let [value] = take_function_args(NAME, args.expr_fields)?;
        let declared = args.return_field.data_type().clone();
        let columns = [(value.data_type(), false)];
        Ok(Box::new(FrameAccumulator::new(&columns, FrameResult::DistinctRows, 0, declared)?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

fn state_field(plain: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(plain.clone(), true))
}

/// How many members are taken in before members that occur twice are looked for.
const SLACK: usize = 1 << 16;

/// A power of two; so many members are remembered, to drop the most frequent repetitions at once.
const REMEMBERED: usize = 1 << 12;

/// The members of each group's set, as (group, cell) with the group in the upper half.
///
/// Members are appended, and sorted and made distinct whenever there are twice as many as there were distinct ones, so a
/// member costs a sort of its share of the rows and memory stays within twice of what is needed.
#[derive(Debug, Default)]
struct Members {
    all: Vec<u128>,
    /// How many of them are known to be sorted and distinct.
    sorted: usize,
    remembered: Vec<u128>,
}

impl Members {
    #[inline]
    fn add(&mut self, group: usize, cell: u64) {
        let member = member(group, cell);
        match self.remembered.get_mut(place(group, cell)) {
            Some(remembered) if *remembered == member => {}
            Some(remembered) => {
                *remembered = member;
                self.all.push(member);
            }
            None => self.all.push(member),
        }
    }

    /// Makes room to remember members, unless there are too few rows for that to pay.
    fn open(&mut self, rows: usize) {
        if self.remembered.is_empty() && rows >= REMEMBERED {
            // No member has this group, which would be the last of all possible ones.
            self.remembered.resize(REMEMBERED, u128::MAX);
        }
    }

    fn settle_if_large(&mut self) {
        if self.all.len() > 2 * self.sorted + SLACK {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if self.sorted < self.all.len() {
            self.sort();
            self.all.dedup();
            self.sorted = self.all.len();
        }
    }

    #[expect(clippy::stable_sort_primitive, reason = "the stable sort makes use of the part that is sorted already")]
    fn sort(&mut self) {
        self.all.sort();
    }

    fn forget(&mut self) {
        self.remembered = Vec::new();
    }

    fn size(&self) -> usize {
        (self.all.capacity() + self.remembered.capacity()) * size_of::<u128>()
    }
}

fn member(group: usize, cell: u64) -> u128 {
    ((group as u128) << 64) | u128::from(cell)
}

fn group_of(member: u128) -> usize {
    // The upper half came from a usize.
    usize::try_from(member >> 64).unwrap_or(usize::MAX)
}

fn cell_of(member: u128) -> u64 {
    // The lower half fits by the mask.
    u64::try_from(member & u128::from(u64::MAX)).unwrap_or_default()
}

/// A place among the remembered members, by multiplication with the golden ratio (Knuth, TAOCP 3, section 6.4).
fn place(group: usize, cell: u64) -> usize {
    let mixed = (cell ^ (group as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 52).unwrap_or_default() & (REMEMBERED - 1)
}

/// The set of each group.
#[derive(Debug)]
struct Sets {
    codec: Codec,
    /// The element of the result.
    field: FieldRef,
    groups: usize,
    members: Members,
    /// The byte strings that the cells of members name, unless cells are values themselves.
    bytes: DistinctBytes,
}

impl Sets {
    fn new(value: &DataType, field: FieldRef) -> Result<Self> {
        Ok(Self {
            codec: Codec::new(value)?,
            field,
            groups: 0,
            members: Members::default(),
            bytes: DistinctBytes::default(),
        })
    }

    fn add(&mut self, values: &ArrayRef, rows: impl Iterator<Item = (usize, usize)>) -> Result<()> {
        self.members.open(values.len());
        match self.codec.layout() {
            Layout::Fixed => {
                let cells = Codec::read_fixed(values)?;
                for (row, group) in rows {
                    if let Some(cell) = cells.get(row) {
                        self.members.add(group, cell);
                    }
                }
            }
            Layout::Bytes => {
                let cells = self.codec.read_bytes(values)?;
                for (row, group) in rows {
                    if let Some(bytes) = cells.get(row) {
                        self.members.add(group, self.bytes.name(bytes));
                    }
                }
            }
        }
        self.members.settle_if_large();
        Ok(())
    }

    /// The members of groups that are emitted, and how many groups those are.
    fn take(&mut self, emit_to: EmitTo) -> (Vec<u128>, usize) {
        self.members.settle();
        match emit_to {
            EmitTo::All => (std::mem::take(&mut self.members).all, std::mem::take(&mut self.groups)),
            EmitTo::First(count) => {
                let end = self.members.all.partition_point(|&member| group_of(member) < count);
                let rest = self.members.all.split_off(end);
                let taken = std::mem::replace(&mut self.members.all, rest);
                let shift = (count as u128) << 64;
                for member in &mut self.members.all {
                    *member -= shift;
                }
                self.members.sorted = self.members.all.len();
                self.members.forget();
                self.groups -= count;
                (taken, count)
            }
        }
    }

    /// Gives up the byte strings that no member names any more, once they are half of all.
    fn release_bytes(&mut self) {
        if self.members.all.is_empty() {
            self.bytes = DistinctBytes::default();
        } else if self.codec.layout() == Layout::Bytes && self.bytes.len() > 2 * self.members.all.len() + SLACK {
            let mut fewer = DistinctBytes::default();
            for member in &mut self.members.all {
                let cell = fewer.name(self.bytes.get(cell_of(*member)));
                *member = self::member(group_of(*member), cell);
            }
            self.bytes = fewer;
            self.members.all.sort_unstable();
        }
    }

    /// The lists of the members of so many groups, in the codec's plain type.
    fn lists(&self, mut members: Vec<u128>, groups: usize, ordered: bool) -> Result<(OffsetBuffer<i32>, ArrayRef)> {
        if i32::try_from(members.len()).is_err() {
            return exec_err!("{NAME}: the sets of one batch have more than 2^31 members");
        }
        let mut lengths = vec![0; groups];
        for &member in &members {
            lengths[group_of(member)] += 1;
        }
        let values = match self.codec.layout() {
            Layout::Fixed => self.codec.write_fixed(members.into_iter().map(cell_of).collect(), None)?,
            Layout::Bytes if ordered => {
                let order = self.bytes.order(|_| true);
                let mut ranks = vec![0; order.len()];
                for (rank, &name) in (0..).zip(&order) {
                    ranks[index(name)] = rank;
                }
                for member in &mut members {
                    *member = self::member(group_of(*member), ranks[index(cell_of(*member))]);
                }
                members.sort_unstable();
                let bytes = members.iter().map(|&member| Some(self.bytes.get(order[index(cell_of(member))])));
                self.codec.write_bytes(bytes)?
            }
            Layout::Bytes => {
                self.codec.write_bytes(members.iter().map(|&member| Some(self.bytes.get(cell_of(member)))))?
            }
        };
        Ok((OffsetBuffer::from_lengths(lengths), values))
    }

    fn result(&self, members: Vec<u128>, groups: usize) -> Result<ArrayRef> {
        let (offsets, values) = self.lists(members, groups, true)?;
        let values = cast(&values, self.field.data_type())?;
        Ok(Arc::new(ListArray::try_new(Arc::clone(&self.field), offsets, values, None)?))
    }

    fn partial(&self, members: Vec<u128>, groups: usize) -> Result<Vec<ArrayRef>> {
        let (offsets, values) = self.lists(members, groups, false)?;
        Ok(vec![Arc::new(ListArray::try_new(state_field(self.codec.plain()), offsets, values, None)?)])
    }

    fn first(&mut self) -> Vec<u128> {
        self.members.settle();
        let end = self.members.all.partition_point(|&member| group_of(member) == 0);
        self.members.all[..end].to_vec()
    }
}

fn index(name: u64) -> usize {
    // Names count byte strings in memory.
    usize::try_from(name).unwrap_or(usize::MAX)
}

impl GroupsAccumulator for Sets {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let [value] = take_function_args(NAME, values)?;
        self.groups = self.groups.max(total_num_groups);
        match opt_filter.map(kept) {
            Some(filter) => self.add(value, filter.set_indices().map(|row| (row, group_indices[row]))),
            None => self.add(value, group_indices.iter().copied().enumerate()),
        }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (members, groups) = self.take(emit_to);
        let result = self.result(members, groups);
        self.release_bytes();
        result
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (members, groups) = self.take(emit_to);
        let state = self.partial(members, groups);
        self.release_bytes();
        state
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let [sets] = take_function_args(NAME, values)?;
        let Some(sets) = sets.as_list_opt::<i32>() else {
            return exec_err!("{NAME}: the state is a list, not {}", sets.data_type());
        };
        self.groups = self.groups.max(total_num_groups);
        let bounds = sets.value_offsets();
        let (Some(&start), Some(&end)) = (bounds.first(), bounds.last()) else {
            return Ok(());
        };
        // Offsets are not negative.
        let position = |offset: i32| offset.unsigned_abs() as usize;
        let values = sets.values().slice(position(start), position(end - start));
        let rows = bounds.windows(2).zip(group_indices).enumerate().filter(|(row, _)| sets.is_valid(*row)).flat_map(
            |(_, (bounds, &group))| (bounds[0] - start..bounds[1] - start).map(move |row| (position(row), group)),
        );
        self.add(&values, rows)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let [value] = take_function_args(NAME, values)?;
        let value = total_order::canonical(value)?;
        let valid = value.logical_nulls().map_or_else(|| BooleanBuffer::new_set(value.len()), NullBuffer::into_inner);
        let counted = match opt_filter {
            Some(filter) => &valid & &kept(filter),
            None => valid,
        };
        let offsets = OffsetBuffer::from_lengths(counted.iter().map(usize::from));
        let values = filter(&value, &BooleanArray::new(counted, None))?;
        Ok(vec![Arc::new(ListArray::try_new(state_field(self.codec.plain()), offsets, values, None)?)])
    }

    fn size(&self) -> usize {
        self.members.size() + self.bytes.size()
    }
}

impl Peek for Sets {
    fn peek(&mut self) -> Result<ArrayRef> {
        let members = self.first();
        self.result(members, 1)
    }

    fn peek_state(&mut self) -> Result<Vec<ArrayRef>> {
        let members = self.first();
        self.partial(members, 1)
    }
}
