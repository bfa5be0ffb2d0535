//! One group: a whole table, or the frame of a window, which also takes rows away.

use std::collections::HashMap;
use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{ScalarValue, exec_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Accumulator;

use super::moments::Moments;
use super::statistic::Statistic;
use crate::superaccumulator::Sign;
use crate::superaccumulator::blocks::Blocks;

/// The moments of one group.
///
/// A state is the bytes of moments, or else one row as it is: see [`ExactGroups`](super::groups::ExactGroups).
#[derive(Debug)]
pub(super) struct ExactAccumulator<M> {
    statistic: Statistic,
    moments: M,
    blocks: Blocks,
}

impl<M: Moments> ExactAccumulator<M> {
    pub fn new(statistic: Statistic) -> Self {
        Self { statistic, moments: M::default(), blocks: Blocks::default() }
    }

    fn add(&mut self, values: &[ArrayRef], sign: Sign) {
        let columns: Vec<&Float64Array> = values.iter().map(AsArray::as_primitive::<Float64Type>).collect();
        let Some(valid) = valid_rows(&columns) else {
            let columns: Vec<&[f64]> = columns.iter().map(|column| column.values().as_ref()).collect();
            return self.moments.add_all(&columns, &mut self.blocks, sign);
        };
        let kept: Vec<Vec<f64>> =
            columns.iter().map(|column| valid.valid_indices().map(|row| column.value(row)).collect()).collect();
        let columns: Vec<&[f64]> = kept.iter().map(Vec::as_slice).collect();
        self.moments.add_all(&columns, &mut self.blocks, sign);
    }
}

/// The rows without NULL; none if that are all.
pub(super) fn valid_rows(columns: &[&Float64Array]) -> Option<NullBuffer> {
    columns
        .iter()
        .fold(None, |valid: Option<NullBuffer>, column| NullBuffer::union(valid.as_ref(), column.nulls()))
        .filter(|valid| valid.null_count() > 0)
}

pub(super) fn damaged(statistic: Statistic) -> DataFusionError {
    exec_datafusion_err!("{}: the bytes are no state of this function", statistic.name())
}

impl<M: Moments> Accumulator for ExactAccumulator<M> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, Sign::Plus);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, Sign::Minus);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.moments.value(self.statistic)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.moments.encode(&mut bytes);
        let no_row = self.statistic.argument_names().iter().map(|_| ScalarValue::Float64(None));
        Ok([ScalarValue::LargeBinary(Some(bytes))].into_iter().chain(no_row).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_binary::<i64>().iter().flatten() {
            self.moments.merge(state).ok_or_else(|| damaged(self.statistic))?;
        }
        self.add(&states[1..], Sign::Plus);
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.moments.heap_bytes() + self.blocks.heap_bytes()
    }
}

/// The distinct values of one group: zeros of both signs are one value, as in `GROUP BY`, and so are all NaN.
#[derive(Debug)]
pub(super) struct DistinctAccumulator<M> {
    statistic: Statistic,
    /// How often each value was added, by its bits.
    counts: HashMap<u64, i64>,
    moments: M,
}

impl<M: Moments<Row = f64>> DistinctAccumulator<M> {
    pub fn new(statistic: Statistic) -> Self {
        Self { statistic, counts: HashMap::new(), moments: M::default() }
    }

    fn add(&mut self, values: &ArrayRef, sign: Sign) {
        for value in values.as_primitive::<Float64Type>().iter().flatten() {
            let value = canonical(value);
            let count = self.counts.entry(value.to_bits()).or_insert(0);
            match sign {
                Sign::Plus => {
                    *count += 1;
                    if *count == 1 {
                        self.moments.add(value, Sign::Plus);
                    }
                }
                Sign::Minus => {
                    *count -= 1;
                    if *count == 0 {
                        self.counts.remove(&value.to_bits());
                        self.moments.add(value, Sign::Minus);
                    }
                }
            }
        }
    }
}

fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

impl<M: Moments<Row = f64>> Accumulator for DistinctAccumulator<M> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], Sign::Plus);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], Sign::Minus);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.moments.value(self.statistic)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut values: Vec<f64> = self.counts.keys().map(|bits| f64::from_bits(*bits)).collect();
        values.sort_by(f64::total_cmp);
        let values: Vec<ScalarValue> = values.into_iter().map(ScalarValue::from).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.add(&values, Sign::Plus);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * (size_of::<(u64, i64)>() + 1) + self.moments.heap_bytes()
    }
}
