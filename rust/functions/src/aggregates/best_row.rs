//! `arg_max`, `arg_min` and `any_value_det`: the value of one row, which an order over keys and values picks.
//!
//! A group keeps the least (key, value) that it has seen, in an order that differs by function.  The state of a group is
//! that pair itself, so merging is updating, and converting rows to states is passing them on.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::common::{exec_err, plan_err};
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
use crate::tags::{AGGREGATE, DETERMINISTIC};
use crate::total_order::{self, Bytes, Codec, Fixed, Kind, Layout};
use crate::{Function, NullBehaviour, PlatformFunction};

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    [Choice::GreatestKey, Choice::SmallestKey, Choice::AnyValue]
        .into_iter()
        .map(|choice| PlatformFunction {
            function: Function::Aggregate(Arc::new(AggregateUDF::new_from_impl(BestRowFunction::new(choice)))),
            tags: &[AGGREGATE, DETERMINISTIC],
            null_behaviour: NullBehaviour::Skips,
            return_rule: "the type and metadata of \"value\", nullable",
            version: 1,
        })
        .collect()
}

/// Which row a function picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Choice {
    GreatestKey,
    SmallestKey,
    AnyValue,
}

impl Choice {
    fn name(self) -> &'static str {
        match self {
            Self::GreatestKey => "arg_max",
            Self::SmallestKey => "arg_min",
            Self::AnyValue => "any_value_det",
        }
    }

    fn key_name(self) -> &'static str {
        match self {
            Self::GreatestKey | Self::SmallestKey => "by",
            Self::AnyValue => "order_by",
        }
    }

    /// Which of the arguments (0 the value, 1 the key) makes a row not count when it is NULL.
    pub(super) fn required(self) -> usize {
        match self {
            Self::GreatestKey | Self::SmallestKey => 1,
            Self::AnyValue => 0,
        }
    }

    pub(super) fn descending(self) -> bool {
        self == Self::GreatestKey
    }

    fn documentation(self) -> Documentation {
        let name = self.name();
        let key = self.key_name();
        let (description, key_description, results) = match self {
            Self::GreatestKey => (
                "The value of the row with the greatest \"by\"; of several such rows the smallest value. Rows whose \
                 \"by\" is NULL do not count. NULL values do, and are returned only if all of the chosen rows have \
                 one. NULL if no row counts. NaN is the greatest number; -0.0 equals 0.0 and comes out as 0.0.",
                "What the row is chosen by, of any type.",
                ["b", "c"],
            ),
            Self::SmallestKey => (
                "The value of the row with the smallest \"by\"; of several such rows the smallest value. Rows whose \
                 \"by\" is NULL do not count. NULL values do, and are returned only if all of the chosen rows have \
                 one. NULL if no row counts. NaN is the greatest number; -0.0 equals 0.0 and comes out as 0.0.",
                "What the row is chosen by, of any type.",
                ["a", "c"],
            ),
            Self::AnyValue => (
                "The same value whenever the rows are the same: that of the row with the smallest \"order_by\", NULL \
                 last; of several such rows the smallest value. Rows whose value is NULL do not count. NULL if no \
                 row counts. NaN is the greatest number; -0.0 equals 0.0 and comes out as 0.0.",
                "What the row is chosen by, of any type.",
                ["a", "c"],
            ),
        };
        let example = format!(
            "```sql\n> SELECT k, {name}(v, o) AS v FROM (VALUES (1, 'a', 1), (1, 'b', 2), (2, 'c', 1), (2, 'd', 1)) \
             AS t(k, v, o) GROUP BY k ORDER BY k;\n+---+---+\n| k | v |\n+---+---+\n| 1 | {} |\n| 2 | {} |\n\
             +---+---+\n```",
            results[0], results[1]
        );
        Documentation::builder(SECTION, description, format!("{name}(value, {key})"))
            .with_sql_example(example)
            .with_argument("value", "What is returned, of any type.")
            .with_argument(key, key_description)
            .build()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BestRowFunction {
    choice: Choice,
    signature: Signature,
    documentation: Documentation,
}

impl BestRowFunction {
    fn new(choice: Choice) -> Self {
        let samples = vec![
            TypeSignature::Coercible(vec![integer(), integer()]),
            TypeSignature::Coercible(vec![string(), integer()]),
            TypeSignature::Coercible(vec![string(), string()]),
        ];
        let signature = listed_of_any(samples, TypeSignature::Any(2), &["value", choice.key_name()]);
        Self { choice, signature, documentation: choice.documentation() }
    }

    fn types<'a>(&self, fields: &'a [FieldRef]) -> Result<[&'a DataType; 2]> {
        take_function_args(self.name(), fields.iter().map(|field| field.data_type()))
    }
}

impl AggregateUDFImpl for BestRowFunction {
    fn name(&self) -> &str {
        self.choice.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [value, key] = take_function_args(self.name(), arg_types)?;
        total_order::require_ordered(self.name(), "value", value)?;
        total_order::require_ordered(self.name(), self.choice.key_name(), key)?;
        Ok(value.clone())
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let Some(value) = arg_fields.first() else {
            return plan_err!("{}: argument \"value\" is missing", self.name());
        };
        let types: Vec<DataType> = arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true).with_metadata(value.metadata().clone())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let [value, key] = self.types(args.input_fields)?;
        let field = |part: &str, data_type: &DataType| {
            Arc::new(Field::new(format_state_name(args.name, part), total_order::plain_type(data_type), true))
        };
        Ok(vec![field("value", value), field("key", key)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let [value, key] = self.types(args.expr_fields)?;
        let (value, key) = (Codec::new(value)?, Codec::new(key)?);
        let declared = args.return_field.data_type().clone();
        Ok(match (key.layout(), value.layout()) {
            (Layout::Fixed, Layout::Fixed) => single::<Fixed, Fixed>(self.choice, key, value, declared),
            (Layout::Fixed, Layout::Bytes) => single::<Fixed, Bytes>(self.choice, key, value, declared),
            (Layout::Bytes, Layout::Fixed) => single::<Bytes, Fixed>(self.choice, key, value, declared),
            (Layout::Bytes, Layout::Bytes) => single::<Bytes, Bytes>(self.choice, key, value, declared),
        })
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let [value, key] = self.types(args.expr_fields)?;
        let (value, key) = (Codec::new(value)?, Codec::new(key)?);
        let declared = args.return_field.data_type().clone();
        Ok(match (key.layout(), value.layout()) {
            (Layout::Fixed, Layout::Fixed) => groups::<Fixed, Fixed>(self.choice, key, value, declared),
            (Layout::Fixed, Layout::Bytes) => groups::<Fixed, Bytes>(self.choice, key, value, declared),
            (Layout::Bytes, Layout::Fixed) => groups::<Bytes, Fixed>(self.choice, key, value, declared),
            (Layout::Bytes, Layout::Bytes) => groups::<Bytes, Bytes>(self.choice, key, value, declared),
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let [value, key] = self.types(args.expr_fields)?;
        let declared = args.return_field.data_type().clone();
        Ok(Box::new(FrameAccumulator::new(
            &[(key, self.choice.descending()), (value, false)],
            FrameResult::LastColumnOfFirstRow,
            self.choice.required(),
            declared,
        )?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

fn groups<K: Kind, V: Kind>(
    choice: Choice,
    key: Codec,
    value: Codec,
    declared: DataType,
) -> Box<dyn GroupsAccumulator> {
    Box::new(BestRows::<K, V>::new(choice, key, value, declared))
}

fn single<K: Kind, V: Kind>(choice: Choice, key: Codec, value: Codec, declared: DataType) -> Box<dyn Accumulator> {
    Box::new(SingleGroup::new(BestRows::<K, V>::new(choice, key, value, declared)))
}

/// How far back a key is: less is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is there.
    Key,
    /// It is NULL.
    NullKey,
    /// The group has no row yet.
    #[default]
    Empty,
}

/// The best row of a group so far.
#[derive(Debug, Default)]
struct Best<K, V> {
    key: K,
    value: V,
    rank: Rank,
    value_is_null: bool,
}

impl<K, V> Best<K, V> {
    fn value(&self) -> Option<&V> {
        if self.rank == Rank::Empty || self.value_is_null { None } else { Some(&self.value) }
    }

    fn key(&self) -> Option<&K> {
        if self.rank == Rank::Key { Some(&self.key) } else { None }
    }
}

/// The best row of each group.
#[derive(Debug)]
struct BestRows<K: Kind, V: Kind> {
    choice: Choice,
    key_codec: Codec,
    value_codec: Codec,
    declared: DataType,
    best: Vec<Best<K::Kept, V::Kept>>,
    /// The bytes behind keys and values.
    heap: usize,
}

impl<K: Kind, V: Kind> BestRows<K, V> {
    fn new(choice: Choice, key_codec: Codec, value_codec: Codec, declared: DataType) -> Self {
        Self { choice, key_codec, value_codec, declared, best: Vec::new(), heap: 0 }
    }

    fn offer(&mut self, keys: &K::Cells, values: &V::Cells, row: usize, group: usize) {
        let key_is_null = K::is_null(keys, row);
        let value_is_null = V::is_null(values, row);
        let (rank, skipped) = match (self.choice, key_is_null) {
            (Choice::AnyValue, true) => (Rank::NullKey, value_is_null),
            (Choice::AnyValue, false) => (Rank::Key, value_is_null),
            (_, is_null) => (Rank::Key, is_null),
        };
        if skipped {
            return;
        }
        let best = &mut self.best[group];
        let key_order = rank.cmp(&best.rank).then_with(|| match (rank, self.choice) {
            (Rank::Key, Choice::GreatestKey) => K::compare(keys, row, &best.key).reverse(),
            (Rank::Key, _) => K::compare(keys, row, &best.key),
            _ => Ordering::Equal,
        });
        let better = match key_order {
            Ordering::Less => {
                if rank == Rank::Key {
                    self.heap += K::keep(keys, row, &mut best.key);
                }
                best.rank = rank;
                true
            }
            Ordering::Equal => match (value_is_null, best.value_is_null) {
                (true, _) => false,
                (false, true) => true,
                (false, false) => V::compare(values, row, &best.value).is_lt(),
            },
            Ordering::Greater => false,
        };
        if better {
            best.value_is_null = value_is_null;
            if !value_is_null {
                self.heap += V::keep(values, row, &mut best.value);
            }
        }
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Best<K::Kept, V::Kept>> {
        let taken = emit_to.take_needed(&mut self.best);
        self.heap -= taken.iter().map(|best| K::heap(&best.key) + V::heap(&best.value)).sum::<usize>();
        taken
    }

    fn values(&self, best: &[Best<K::Kept, V::Kept>]) -> Result<ArrayRef> {
        V::write(&self.value_codec, best.iter().map(Best::value))
    }

    fn keys(&self, best: &[Best<K::Kept, V::Kept>]) -> Result<ArrayRef> {
        K::write(&self.key_codec, best.iter().map(Best::key))
    }

    fn first(&self) -> &[Best<K::Kept, V::Kept>] {
        &self.best[..self.best.len().min(1)]
    }
}

impl<K: Kind, V: Kind> GroupsAccumulator for BestRows<K, V> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let [value, key] = take_function_args(self.choice.name(), values)?;
        let keys = K::read(&self.key_codec, key)?;
        let values = V::read(&self.value_codec, value)?;
        if self.best.len() < total_num_groups {
            self.best.resize_with(total_num_groups, Best::default);
        }
        match opt_filter.map(kept) {
            Some(filter) => {
                for row in filter.set_indices() {
                    self.offer(&keys, &values, row, group_indices[row]);
                }
            }
            None => {
                for (row, &group) in group_indices.iter().enumerate() {
                    self.offer(&keys, &values, row, group);
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let taken = self.take(emit_to);
        Ok(cast(&self.values(&taken)?, &self.declared)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let taken = self.take(emit_to);
        Ok(vec![self.values(&taken)?, self.keys(&taken)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut state = values.iter().map(total_order::canonical).collect::<Result<Vec<_>>>()?;
        if let Some(filter) = opt_filter {
            // A row that does not count is one whose required argument is NULL.
            let dropped = BooleanArray::new(!&kept(filter), None);
            let required = self.choice.required();
            let Some(argument) = state.get(required) else {
                return exec_err!("{} got {} arguments", self.choice.name(), values.len());
            };
            state[required] = nullif(argument.as_ref(), &dropped)?;
        }
        Ok(state)
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Best<K::Kept, V::Kept>>() + self.heap
    }
}

impl<K: Kind, V: Kind> Peek for BestRows<K, V> {
    fn peek(&mut self) -> Result<ArrayRef> {
        if self.best.is_empty() {
            self.best.push(Best::default());
        }
        Ok(cast(&self.values(self.first())?, &self.declared)?)
    }

    fn peek_state(&mut self) -> Result<Vec<ArrayRef>> {
        if self.best.is_empty() {
            self.best.push(Best::default());
        }
        Ok(vec![self.values(self.first())?, self.keys(self.first())?])
    }
}
