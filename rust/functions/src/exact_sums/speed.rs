//! How much processor time exact aggregates take, as ratios to DataFusion's own over the same batches in memory.
//!
//! `cargo test --release -p functions exact_sums::speed -- --ignored --nocapture` prints the table of
//! `docs/decisions/0008-exact-sums.md`.

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

use super::statistic::Statistic;

const ROWS: i64 = 10_000_000;
const BATCH: i64 = 8192;
const RUNS: usize = 2;

/// Ten million rows: prices in cents and a second column of random floats, with keys of few and of many groups.
fn table() -> MemTable {
    let schema = Arc::new(Schema::new(vec![
        Field::new("few", DataType::Int64, false),
        Field::new("many", DataType::Int64, false),
        Field::new("x", DataType::Float64, false),
        Field::new("y", DataType::Float64, false),
    ]));
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state >> 32).unwrap()
    };
    let batches = (0..ROWS / BATCH).map(|_| {
        let keys: Vec<u32> = (0..BATCH).map(|_| random()).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(keys.iter().map(|key| i64::from(key % 1000)).collect::<Int64Array>()),
            Arc::new(keys.iter().map(|key| i64::from(key % 1_000_000)).collect::<Int64Array>()),
            Arc::new((0..BATCH).map(|_| f64::from(random() % 2_000_003) / 100.0 - 5000.0).collect::<Float64Array>()),
            Arc::new((0..BATCH).map(|_| f64::from(random()) / f64::from(u32::MAX)).collect::<Float64Array>()),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    });
    let (left, right): (Vec<_>, Vec<_>) = batches.enumerate().partition(|(number, _)| number % 2 == 0);
    let parts = [left, right].map(|part| part.into_iter().map(|(_, batch)| batch).collect());
    MemTable::try_new(schema, parts.to_vec()).unwrap()
}

/// Processor time of all threads: other work on the machine matters less to it than to the time that passes.
fn processor_ms() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    std::time::Duration::from_nanos(nanoseconds.sum()).as_secs_f64() * 1000.0
}

#[test]
#[ignore = "measures, and needs a quiet machine"]
fn ratios() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    crate::install(&mut context.state_ref().write(), &crate::PlatformOptions::default()).unwrap();
    context.register_table("t", Arc::new(table())).unwrap();
    let least = |sql: &str| {
        let run = || {
            let start = processor_ms();
            runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
            processor_ms() - start
        };
        (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
    };
    println!("| function | groups | built in, ms | exact, ms | ratio |\n|---|---|---|---|---|");
    for statistic in [Statistic::Sum, Statistic::Avg, Statistic::VarSamp, Statistic::CovarSamp, Statistic::Corr] {
        let arguments = statistic.argument_names().join(", ");
        for (groups, key) in [("1", None), ("1,000", Some("few")), ("1,000,000", Some("many"))] {
            // The outer count keeps a million rows of results from being collected.
            let query = |name: &str| match key {
                None => format!("SELECT {name}({arguments}) FROM t"),
                Some(key) => {
                    format!("SELECT count(v) FROM (SELECT {key}, {name}({arguments}) AS v FROM t GROUP BY {key})")
                }
            };
            let (plain, exact) = (least(&query(statistic.counterpart())), least(&query(statistic.name())));
            println!("| {} | {groups} | {plain:.0} | {exact:.0} | {:.2} |", statistic.name(), exact / plain);
        }
    }
}
