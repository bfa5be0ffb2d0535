//! `count_if`: how many rows have a condition that is true.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::sum;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::types::logical_boolean;
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, TypeSignatureClass, Volatility,
};

use super::{SECTION, kept};
use crate::tags::{AGGREGATE, DETERMINISTIC};
use crate::{Function, NullBehaviour, PlatformFunction};

const NAME: &str = "count_if";

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    vec![PlatformFunction {
        function: Function::Aggregate(Arc::new(AggregateUDF::new_from_impl(CountIf::new()))),
        tags: &[AGGREGATE, DETERMINISTIC],
        null_behaviour: NullBehaviour::Skips,
        return_rule: "Int64, never NULL",
        version: 1,
    }]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CountIf {
    signature: Signature,
    documentation: Documentation,
}

impl CountIf {
    fn new() -> Self {
        let mut signature = Signature::coercible(
            vec![Coercion::new_exact(TypeSignatureClass::Native(logical_boolean()))],
            Volatility::Immutable,
        );
        signature.parameter_names = Some(vec!["condition".to_owned()]);
        let documentation = Documentation::builder(
            SECTION,
            "How many rows have a condition that is true. NULL is not true. 0 if there are no rows. With DISTINCT it \
             is 1 if any row has a true condition, else 0.",
            "count_if(condition)",
        )
        .with_sql_example(
            "```sql\n> SELECT count_if(v > 1) AS n FROM (VALUES (1), (2), (3), (NULL)) AS t(v);\n+---+\n| n |\n+---+\n\
             | 2 |\n+---+\n```",
        )
        .with_argument("condition", "A boolean.")
        .build();
        Self { signature, documentation }
    }
}

impl AggregateUDFImpl for CountIf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "count"), DataType::Int64, false))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Count { count: 0, distinct: args.is_distinct }))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Counts { counts: Vec::new(), distinct: args.is_distinct }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, _data_type: &DataType) -> SetMonotonicity {
        SetMonotonicity::Increasing
    }
}

/// The result: of distinct conditions there is at most one that is true.
fn result(count: i64, distinct: bool) -> i64 {
    if distinct { count.min(1) } else { count }
}

fn condition(values: &[ArrayRef]) -> Result<&BooleanArray> {
    let [condition] = take_function_args(NAME, values)?;
    let Some(booleans) = condition.as_boolean_opt() else {
        return exec_err!("{NAME}: argument \"condition\" must be a boolean, not {}", condition.data_type());
    };
    Ok(booleans)
}

fn state(values: &[ArrayRef]) -> Result<&Int64Array> {
    let [counts] = take_function_args(NAME, values)?;
    let Some(numbers) = counts.as_primitive_opt::<Int64Type>() else {
        return exec_err!("{NAME}: the state is Int64, not {}", counts.data_type());
    };
    Ok(numbers)
}

fn rows(count: usize) -> Result<i64> {
    i64::try_from(count).or_else(|_| exec_err!("{NAME}: more than 2^63 rows"))
}

/// The count of one group.
#[derive(Debug)]
struct Count {
    count: i64,
    distinct: bool,
}

impl Accumulator for Count {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += rows(condition(values)?.true_count())?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count -= rows(condition(values)?.true_count())?;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.count += sum(state(states)?).unwrap_or(0);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(result(self.count, self.distinct))))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.count))])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The count of each group.
#[derive(Debug)]
struct Counts {
    counts: Vec<i64>,
    distinct: bool,
}

impl GroupsAccumulator for Counts {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let mut counted = kept(condition(values)?);
        if let Some(filter) = opt_filter {
            counted = &counted & &kept(filter);
        }
        if self.counts.len() < total_num_groups {
            self.counts.resize(total_num_groups, 0);
        }
        for (&group, counted) in group_indices.iter().zip(&counted) {
            self.counts[group] += i64::from(counted);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let counts = emit_to.take_needed(&mut self.counts);
        Ok(Arc::new(Int64Array::from_iter_values(counts.into_iter().map(|count| result(count, self.distinct)))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Int64Array::from(emit_to.take_needed(&mut self.counts)))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let counts = state(values)?;
        if self.counts.len() < total_num_groups {
            self.counts.resize(total_num_groups, 0);
        }
        for (&group, count) in group_indices.iter().zip(counts.values()) {
            self.counts[group] += count;
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut counted = kept(condition(values)?);
        if let Some(filter) = opt_filter {
            counted = &counted & &kept(filter);
        }
        Ok(vec![Arc::new(Int64Array::from_iter_values(counted.iter().map(i64::from)))])
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
