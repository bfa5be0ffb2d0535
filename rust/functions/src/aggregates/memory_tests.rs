//! Memory that the accumulators report, and what becomes of queries that need too much of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::tests::{collect, installed};

fn groups_accumulator(name: &str, types: &[DataType]) -> Box<dyn GroupsAccumulator> {
    let function = crate::families()
        .into_iter()
        .find_map(|function| match function.function {
            crate::Function::Aggregate(aggregate) if aggregate.name() == name => Some(aggregate),
            _ => None,
        })
        .unwrap();
    let fields: Vec<FieldRef> =
        types.iter().map(|data_type| Arc::new(Field::new("a", data_type.clone(), true)) as FieldRef).collect();
    let schema = Schema::new(fields.clone());
    let args = datafusion::logical_expr::function::AccumulatorArgs {
        return_field: function.return_field(&fields).unwrap(),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name,
        is_distinct: false,
        exprs: &[],
        expr_fields: &fields,
    };
    function.create_groups_accumulator(args).unwrap()
}

/// So many distinct strings of a hundred bytes.
fn long_strings(count: usize) -> ArrayRef {
    Arc::new((0..count).map(|number| Some(format!("{number:0100}"))).collect::<StringArray>())
}

#[test]
fn memory_is_reported_and_given_back() {
    let strings = long_strings(10_000);
    let groups: Vec<usize> = (0..10_000).collect();
    for (name, arguments) in [("arg_max", 2), ("arg_min", 2), ("any_value_det", 2), ("collect_set", 1)] {
        let mut accumulator = groups_accumulator(name, &vec![DataType::Utf8; arguments]);
        let empty = accumulator.size();
        accumulator.update_batch(&vec![Arc::clone(&strings); arguments], &groups, None, 10_000).unwrap();
        let full = accumulator.size();
        assert!(full > 1_000_000, "{name} reports {full} bytes");
        let first = accumulator.evaluate(EmitTo::First(5_000)).unwrap();
        assert_eq!(first.len(), 5_000);
        let rest = accumulator.evaluate(EmitTo::All).unwrap();
        assert_eq!(rest.len(), 5_000);
        assert!(accumulator.size() <= empty + 1024, "{name} keeps {} bytes", accumulator.size());
    }
    let mut counts = groups_accumulator("count_if", &[DataType::Boolean]);
    let conditions: ArrayRef = Arc::new(BooleanArray::from(vec![true; 10_000]));
    counts.update_batch(&[conditions], &groups, None, 10_000).unwrap();
    assert!(counts.size() >= 80_000);
}

#[test]
fn exact_sums_report_their_memory_and_give_it_back() {
    let groups: Vec<usize> = (0..10_000).map(|row| row / 2).collect();
    // So far apart that a sum of two takes more words than it has at hand.
    let far = (0..10_000).map(|row| if row % 2 == 0 { 1e300 } else { 1e-300 });
    let far: ArrayRef = Arc::new(far.collect::<Float64Array>());
    let weights: ArrayRef = Arc::new(Int64Array::from(vec![1; 10_000]));
    for (name, arguments) in [
        ("sum_exact", vec![&far]),
        ("var_pop_exact", vec![&far]),
        ("exact_sum_state", vec![&far, &weights]),
        ("exact_regr_state", vec![&far, &far, &weights]),
    ] {
        let types: Vec<DataType> = arguments.iter().map(|array| array.data_type().clone()).collect();
        let arguments: Vec<ArrayRef> = arguments.into_iter().cloned().collect();
        let mut accumulator = groups_accumulator(name, &types);
        let empty = accumulator.size();
        accumulator.update_batch(&arguments, &groups, None, 5_000).unwrap();
        let full = accumulator.size();
        assert!(full > 5_000 * 200, "{name} reports {full} bytes");
        assert_eq!(accumulator.evaluate(EmitTo::First(2_500)).unwrap().len(), 2_500);
        assert!(accumulator.size() < full * 3 / 4, "{name} keeps {} of {full} bytes", accumulator.size());
        assert_eq!(accumulator.evaluate(EmitTo::All).unwrap().len(), 2_500);
        assert!(accumulator.size() <= empty + 1024, "{name} keeps {} bytes", accumulator.size());
    }
}

#[test]
fn a_set_gives_up_strings_of_groups_that_are_emitted() {
    let mut accumulator = groups_accumulator("collect_set", &[DataType::Utf8]);
    let strings = long_strings(200_000);
    let groups: Vec<usize> = (0..200_000).collect();
    accumulator.update_batch(&[strings], &groups, None, 200_000).unwrap();
    let full = accumulator.size();
    let first = accumulator.evaluate(EmitTo::First(199_990)).unwrap();
    assert_eq!(first.len(), 199_990);
    assert!(accumulator.size() < full / 10, "{} of {full} bytes are kept", accumulator.size());
    let rest = accumulator.evaluate(EmitTo::All).unwrap();
    let last = rest.as_list::<i32>().value(9);
    assert_eq!(last.as_string::<i32>().value(0), format!("{:0100}", 199_999));
}

/// A session with so much memory, and nowhere to spill.
fn small_context(bytes: usize) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .unwrap();
    installed(SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(2), runtime))
}

#[tokio::test]
async fn a_small_pool_is_exhausted_rather_than_overrun() {
    let rows = "(SELECT value % 5 AS g, concat('a rather long text to remember ', value) AS v FROM range(400000))";
    for query in [
        format!("SELECT g, collect_set(v) FROM {rows} GROUP BY g"),
        format!("SELECT collect_set(v) FROM {rows}"),
        format!("SELECT v, arg_max(v, v) FROM {rows} GROUP BY v"),
    ] {
        let message = collect(&small_context(8 << 20), &query).await.unwrap_err().to_string();
        assert!(message.contains("Resources exhausted"), "{query}: {message}");
    }
    // What needs little memory runs in it.
    let query = format!("SELECT g, arg_max(v, v) AS m FROM {rows} GROUP BY g ORDER BY g LIMIT 1");
    let batches = collect(&small_context(8 << 20), &query).await.unwrap();
    assert_eq!(batches[0].num_rows(), 1);
}

#[test]
fn frames_refuse_rows_that_never_entered() {
    let mut frame = super::frame::FrameAccumulator::new(
        &[(&DataType::Int64, false)],
        super::frame::FrameResult::DistinctRows,
        0,
        DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
    )
    .unwrap();
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let two: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    frame.update_batch(&[Arc::clone(&one)]).unwrap();
    assert!(frame.retract_batch(&[two]).is_err());
    frame.retract_batch(&[one]).unwrap();
    let empty = frame.evaluate().unwrap().to_array().unwrap();
    assert_eq!(empty.as_list::<i32>().value(0).as_primitive::<Int64Type>().len(), 0);
}
