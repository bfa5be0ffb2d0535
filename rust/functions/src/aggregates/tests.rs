use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::assert_batches_eq;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use crate::total_order::samples::{RANKS, SAMPLES, Sample};
use crate::{PlatformOptions, install};

pub(super) fn installed(context: SessionContext) -> SessionContext {
    install(&mut context.state_ref().write(), &PlatformOptions::default()).unwrap();
    context
}

fn context() -> SessionContext {
    installed(SessionContext::new_with_config(SessionConfig::new().with_information_schema(true)))
}

pub(super) async fn collect(context: &SessionContext, query: &str) -> datafusion::error::Result<Vec<RecordBatch>> {
    context.sql(query).await?.collect().await
}

async fn message(query: &str) -> String {
    collect(&context(), query).await.unwrap_err().to_string()
}

#[tokio::test]
async fn golden_results() {
    let query = "SELECT g, arg_max(v, k) AS arg_max, arg_min(v, k) AS arg_min, any_value_det(v, k) AS any_value, \
                 collect_set(v) AS set, count_if(k > 1) AS n FROM (VALUES \
                 (1, 'b', 1.0), (1, 'a', 1.0), (1, NULL, 1.0), (1, 'z', NULL), \
                 (2, NULL, 3.0), (2, 'c', 2.0), \
                 (3, NULL, NULL), \
                 (4, 'x', 'NaN'::DOUBLE), (4, 'y', 'inf'::DOUBLE), \
                 (5, 'p', 0.0), (5, 'o', '-0.0'::DOUBLE)) AS t(g, v, k) GROUP BY g ORDER BY g";
    assert_batches_eq!(
        [
            "+---+---------+---------+-----------+-----------+---+",
            "| g | arg_max | arg_min | any_value | set       | n |",
            "+---+---------+---------+-----------+-----------+---+",
            "| 1 | a       | a       | a         | [a, b, z] | 0 |",
            "| 2 |         | c       | c         | [c]       | 2 |",
            "| 3 |         |         |           | []        | 0 |",
            "| 4 | x       | y       | y         | [x, y]    | 2 |",
            "| 5 | o       | o       | o         | [o, p]    | 0 |",
            "+---+---------+---------+-----------+-----------+---+",
        ],
        &collect(&context(), query).await.unwrap()
    );
}

#[tokio::test]
async fn of_no_rows() {
    let query = "SELECT arg_max(v, v) AS a, arg_min(v, v) AS b, any_value_det(v, v) AS c, collect_set(v) AS s, \
                 count_if(v > 1) AS n FROM (VALUES (1)) AS t(v) WHERE v > 1";
    assert_batches_eq!(
        [
            "+---+---+---+----+---+",
            "| a | b | c | s  | n |",
            "+---+---+---+----+---+",
            "|   |   |   | [] | 0 |",
            "+---+---+---+----+---+"
        ],
        &collect(&context(), query).await.unwrap()
    );
}

#[tokio::test]
async fn correlated_sub_queries_keep_the_result_of_no_rows() {
    let query = "SELECT a, (SELECT count_if(b > 1) FROM (VALUES (1, 1), (1, 2)) AS u(k, b) WHERE k = a) AS n \
                 FROM (VALUES (1), (2)) AS t(a) ORDER BY a";
    assert_batches_eq!(
        ["+---+---+", "| a | n |", "+---+---+", "| 1 | 1 |", "| 2 | 0 |", "+---+---+"],
        &collect(&context(), query).await.unwrap()
    );
}

#[tokio::test]
async fn distinct_filters_and_names_of_arguments() {
    let query = "SELECT count_if(DISTINCT v > 1) AS one, count_if(DISTINCT v > 1) FILTER (WHERE v < 2) AS none, \
                 collect_set(DISTINCT v) FILTER (WHERE v > 1) AS set, count(DISTINCT v) AS n, \
                 arg_max(by => -v, value => v) AS least, any_value_det(DISTINCT v, v ORDER BY v DESC) AS any \
                 FROM (VALUES (1), (2), (3), (3)) AS t(v)";
    assert_batches_eq!(
        [
            "+-----+------+--------+---+-------+-----+",
            "| one | none | set    | n | least | any |",
            "+-----+------+--------+---+-------+-----+",
            "| 1   | 0    | [2, 3] | 3 | 1     | 1   |",
            "+-----+------+--------+---+-------+-----+",
        ],
        &collect(&context(), query).await.unwrap()
    );
}

#[tokio::test]
async fn wrong_calls_name_function_and_argument() {
    for (query, words) in [
        ("SELECT count_if(1)", ["count_if", "condition: Boolean"]),
        ("SELECT count_if('true')", ["count_if", "condition: Boolean"]),
        ("SELECT arg_max(1)", ["arg_max", "by: Any"]),
        ("SELECT arg_min(1, 2, 3)", ["arg_min", "value: Any"]),
        ("SELECT any_value_det()", ["any_value_det", "order_by: Any"]),
        ("SELECT collect_set(1, 2)", ["collect_set", "value: Any"]),
        ("SELECT arg_max(1, 2) IGNORE NULLS", ["arg_max", "NULL"]),
    ] {
        let message = message(query).await;
        assert!(words.iter().all(|word| message.contains(word)), "{query}: {message}");
    }
}

#[tokio::test]
async fn fields_keep_type_and_metadata_of_the_value() {
    let metadata = [("unit".to_owned(), "m".to_owned())].into();
    let field = Field::new("v", DataType::Utf8, false).with_metadata(metadata);
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(StringArray::from(vec!["a"]))]).unwrap();
    let context = context();
    context.register_batch("t", batch).unwrap();
    let batches =
        collect(&context, "SELECT arg_max(v, v) AS m, collect_set(v) AS s, count_if(v = 'a') AS n FROM t").await;
    let schema = batches.unwrap()[0].schema();
    assert_eq!(schema.field(0).metadata(), field.metadata());
    assert!(schema.field(0).is_nullable());
    let DataType::List(element) = schema.field(1).data_type() else {
        panic!("a set is a list");
    };
    assert_eq!((element.metadata(), element.data_type()), (field.metadata(), field.data_type()));
    assert!(!schema.field(1).is_nullable() && !schema.field(2).is_nullable());
}

#[derive(Clone, Debug)]
struct Row {
    group: i32,
    value: (Option<u8>, bool),
    key: (Option<u8>, bool),
    condition: Option<bool>,
}

#[derive(Clone, Debug)]
struct Case {
    value: Sample,
    key: Sample,
    rows: Vec<Row>,
    partitions: usize,
    batch_size: usize,
    seed: usize,
    skip_partial: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let sample = || proptest::sample::select(SAMPLES.to_vec());
    let code = || (proptest::option::weighted(0.8, 0..RANKS), any::<bool>());
    let row = (0..4_i32, code(), code(), proptest::option::of(any::<bool>()));
    let rows = proptest::collection::vec(row, 0..40);
    (sample(), sample(), rows, 1..=8_usize, 1..=9_usize, any::<usize>(), any::<bool>()).prop_map(
        |(value, key, rows, partitions, batch_size, seed, skip_partial)| Case {
            value,
            key,
            rows: rows
                .into_iter()
                .map(|(group, (value_code, value_flag), (key_code, key_flag), condition)| Row {
                    group,
                    value: (value_code.map(|code| value.rank(code)), value_flag),
                    key: (key_code.map(|code| key.rank(code)), key_flag),
                    condition,
                })
                .collect(),
            partitions,
            batch_size,
            seed,
            skip_partial,
        },
    )
}

impl Case {
    fn batch(&self, rows: &[(usize, &Row)]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("g", DataType::Int32, false),
            Field::new("n", DataType::Int64, false),
            Field::new("v", self.value.data_type(), true),
            Field::new("k", self.key.data_type(), true),
            Field::new("c", DataType::Boolean, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|(_, row)| Some(row.group)).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|(number, _)| i64::try_from(*number).ok()).collect::<Int64Array>()),
            self.value.build_as(&rows.iter().map(|(_, row)| row.value).collect::<Vec<_>>()),
            self.key.build_as(&rows.iter().map(|(_, row)| row.key).collect::<Vec<_>>()),
            Arc::new(rows.iter().map(|(_, row)| row.condition).collect::<BooleanArray>()),
        ];
        // A slice, so that offsets are not zero.
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let cut = rows.len().min(1);
        arrow::compute::concat_batches(&batch.schema(), [&batch.slice(0, cut), &batch]).unwrap().slice(cut, rows.len())
    }

    /// A session with the rows in an order, in partitions and in batches that the case picks.
    fn context(&self) -> SessionContext {
        let mut config = SessionConfig::new().with_target_partitions(self.partitions).with_batch_size(self.batch_size);
        if self.skip_partial {
            config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = 1;
            config.options_mut().execution.skip_partial_aggregation_probe_ratio_threshold = 0.0;
        }
        let context = installed(SessionContext::new_with_config(config));
        let mut rows: Vec<(usize, &Row)> = self.rows.iter().enumerate().collect();
        let mut state = self.seed;
        for end in (1..rows.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            rows.swap(end, (state >> 33) % (end + 1));
        }
        let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); self.partitions];
        for (position, chunk) in rows.chunks(self.batch_size).enumerate() {
            parts[position % self.partitions].push(self.batch(chunk));
        }
        let schema = self.batch(&[]).schema();
        context.register_table("t", Arc::new(MemTable::try_new(schema, parts).unwrap())).unwrap();
        context
    }

    fn run(&self, query: &str) -> RecordBatch {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let frame = self.context().sql(query).await.unwrap();
            let schema = Arc::new(frame.schema().as_arrow().clone());
            arrow::compute::concat_batches(&schema, &frame.collect().await.unwrap()).unwrap()
        })
    }
}

/// What the documentation says, of ranks.
#[derive(Clone, Debug, Default, PartialEq)]
struct Expected {
    arg_max: Option<u8>,
    arg_min: Option<u8>,
    any_value: Option<u8>,
    set: Vec<Option<u8>>,
    count: i64,
}

fn null_last(rank: Option<u8>) -> (bool, Option<u8>) {
    (rank.is_none(), rank)
}

fn expected(rows: &[&Row]) -> Expected {
    let keyed: Vec<_> = rows.iter().filter(|row| row.key.0.is_some()).collect();
    let of_key = |key: Option<Option<u8>>| {
        key.and_then(|key| {
            keyed.iter().filter(|row| row.key.0 == key).map(|row| row.value.0).min_by_key(|value| null_last(*value))
        })
        .flatten()
    };
    let valued = rows.iter().filter(|row| row.value.0.is_some());
    let set: BTreeSet<u8> = rows.iter().filter_map(|row| row.value.0).collect();
    Expected {
        arg_max: of_key(keyed.iter().map(|row| row.key.0).max()),
        arg_min: of_key(keyed.iter().map(|row| row.key.0).min()),
        any_value: valued.min_by_key(|row| (null_last(row.key.0), row.value.0)).and_then(|row| row.value.0),
        set: set.into_iter().map(Some).collect(),
        count: i64::try_from(rows.iter().filter(|row| row.condition == Some(true)).count()).unwrap(),
    }
}

fn sets(sample: Sample, of: &[Expected]) -> ArrayRef {
    let members: Vec<Option<u8>> = of.iter().flat_map(|expected| expected.set.clone()).collect();
    let values = sample.build(&members);
    let field: FieldRef = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(of.iter().map(|expected| expected.set.len()));
    Arc::new(ListArray::new(field, offsets, values, None))
}

fn assert_equal(actual: &ArrayRef, expected: &ArrayRef) {
    assert_eq!(actual.data_type(), expected.data_type());
    assert_eq!(actual.to_data(), expected.to_data());
}

fn assert_columns(case: &Case, batch: &RecordBatch, first: usize, of: &[Expected]) {
    let value = |pick: fn(&Expected) -> Option<u8>| case.value.build(&of.iter().map(pick).collect::<Vec<_>>());
    assert_equal(batch.column(first), &value(|expected| expected.arg_max));
    assert_equal(batch.column(first + 1), &value(|expected| expected.arg_min));
    assert_equal(batch.column(first + 2), &value(|expected| expected.any_value));
    assert_equal(batch.column(first + 3), &sets(case.value, of));
    let counts: ArrayRef = Arc::new(of.iter().map(|expected| Some(expected.count)).collect::<Int64Array>());
    assert_equal(batch.column(first + 4), &counts);
}

/// The five functions, each followed by what is put behind it.
fn calls(suffix: &str) -> String {
    ["arg_max(v, k)", "arg_min(v, k)", "any_value_det(v, k)", "collect_set(v)", "count_if(c)"]
        .map(|call| format!("{call} {suffix}"))
        .join(", ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn groups_agree_with_the_documentation(case in case()) {
        let mut groups: BTreeMap<i32, Vec<&Row>> = BTreeMap::new();
        case.rows.iter().for_each(|row| groups.entry(row.group).or_default().push(row));
        let all: Vec<Expected> = groups.values().map(|rows| expected(rows)).collect();
        let filtered: Vec<Expected> = groups
            .values()
            .map(|rows| expected(&rows.iter().copied().filter(|row| row.condition == Some(true)).collect::<Vec<_>>()))
            .collect();
        let batch = case.run(&format!(
            "SELECT g, {}, {} FROM t GROUP BY g ORDER BY g", calls(""), calls("FILTER (WHERE c)")
        ));
        prop_assert_eq!(batch.num_rows(), groups.len());
        assert_columns(&case, &batch, 1, &all);
        assert_columns(&case, &batch, 6, &filtered);
    }

    #[test]
    fn the_whole_agrees_with_the_documentation(case in case()) {
        let rows: Vec<&Row> = case.rows.iter().collect();
        let batch = case.run(&format!("SELECT {} FROM t", calls("")));
        assert_columns(&case, &batch, 0, &[expected(&rows)]);
    }

    #[test]
    fn sorted_groups_agree_with_the_documentation(case in case()) {
        // Groups that come one after another are emitted while others are still open.
        let mut groups: BTreeMap<i32, Vec<&Row>> = BTreeMap::new();
        case.rows.iter().for_each(|row| groups.entry(row.group).or_default().push(row));
        let all: Vec<Expected> = groups.values().map(|rows| expected(rows)).collect();
        let batch = case.run(&format!(
            "SELECT g, {} FROM (SELECT * FROM t ORDER BY g LIMIT 1000) GROUP BY g ORDER BY g", calls("")
        ));
        assert_columns(&case, &batch, 1, &all);
    }

    #[test]
    fn frames_agree_with_the_documentation(case in case(), preceding in 0..4_usize, following in 0..3_usize) {
        let frame = format!(
            "OVER (PARTITION BY g ORDER BY n ROWS BETWEEN {preceding} PRECEDING AND {following} FOLLOWING)"
        );
        let mut all = Vec::new();
        for (number, row) in case.rows.iter().enumerate() {
            let group: Vec<(usize, &Row)> = case.rows.iter().enumerate().filter(|(_, other)| other.group == row.group).collect();
            let here = group.iter().position(|(other, _)| *other == number).unwrap();
            let rows: Vec<&Row> = group[here.saturating_sub(preceding)..(here + following + 1).min(group.len())]
                .iter()
                .map(|(_, row)| *row)
                .collect();
            all.push(expected(&rows));
        }
        let batch = case.run(&format!("SELECT n, {} FROM t ORDER BY n", calls(&frame)));
        assert_columns(&case, &batch, 1, &all);
    }

    #[test]
    fn running_windows_agree_with_the_documentation(case in case()) {
        let mut all = Vec::new();
        for number in 0..case.rows.len() {
            all.push(expected(&case.rows[..=number].iter().collect::<Vec<_>>()));
        }
        let batch = case.run(&format!("SELECT n, {} FROM t ORDER BY n", calls("OVER (ORDER BY n)")));
        assert_columns(&case, &batch, 1, &all);
    }
}

#[tokio::test]
async fn frames_with_filters_and_gaps() {
    let query = "SELECT n, arg_max(v, v) FILTER (WHERE v <> 3) OVER w AS m, collect_set(v) OVER w AS s, \
                 count_if(v > 1) OVER w AS c FROM (VALUES (1, 1), (2, 3), (10, 2)) AS t(n, v) \
                 WINDOW w AS (ORDER BY n RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING) ORDER BY n";
    assert_batches_eq!(
        [
            "+----+---+-----+---+",
            "| n  | m | s   | c |",
            "+----+---+-----+---+",
            "| 1  |   | []  | 0 |",
            "| 2  | 1 | [1] | 0 |",
            "| 10 |   | []  | 0 |",
            "+----+---+-----+---+",
        ],
        &collect(&context(), query).await.unwrap()
    );
}
