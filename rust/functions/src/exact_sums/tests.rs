//! The functions in SQL, over partitions, batches, filters and frames, against exact rational arithmetic.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use num_bigint::{BigInt, Sign as BigSign};
use proptest::prelude::*;

use super::statistic::Statistic;

/// A context with the platform, a number of partitions and a batch size.
fn context(partitions: usize, batch_size: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_size);
    let context = SessionContext::new_with_config(config);
    crate::install(&mut context.state_ref().write(), &crate::PlatformOptions::default()).unwrap();
    context
}

/// Registers rows `(g, y, x)` as table `t`, cut into partitions and batches.
fn register(context: &SessionContext, rows: &[(i64, Option<f64>, Option<f64>)], partitions: usize, batch: usize) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("g", DataType::Int64, false),
        Field::new("y", DataType::Float64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("i", DataType::Int64, false),
    ]));
    let mut parts = vec![Vec::new(); partitions];
    for (number, chunk) in rows.chunks(batch.max(1)).enumerate() {
        let offset = i64::try_from(number * batch).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(chunk.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(chunk.iter().map(|row| row.1).collect::<Float64Array>()),
            Arc::new(chunk.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new((offset..).take(chunk.len()).collect::<Int64Array>()),
        ];
        parts[number % partitions].push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
    }
    context.register_table("t", Arc::new(MemTable::try_new(schema, parts).unwrap())).unwrap();
}

fn rows(context: &SessionContext, sql: &str) -> Vec<Vec<Option<u64>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| {
                let column = arrow::compute::cast(column, &DataType::Float64).unwrap();
                column.is_valid(row).then(|| column.as_primitive::<Float64Type>().value(row).to_bits())
            };
            rows.push(batch.columns().iter().map(value).collect());
        }
    }
    rows
}

/// An exact fraction.
#[derive(Clone)]
struct Fraction {
    above: BigInt,
    below: BigInt,
}

impl Fraction {
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let field = i64::try_from(bits >> 52 & 0x7ff).unwrap();
        let fraction = bits & ((1 << 52) - 1);
        let significand = if field == 0 { fraction } else { fraction | 1 << 52 };
        let exponent = field.max(1) - 1075;
        let signed = if value < 0.0 { -BigInt::from(significand) } else { BigInt::from(significand) };
        let shift = usize::try_from(exponent.abs()).unwrap();
        if exponent < 0 {
            Self { above: signed, below: BigInt::from(1) << shift }
        } else {
            Self { above: signed << shift, below: BigInt::from(1) }
        }
    }

    fn whole(number: usize) -> Self {
        Self { above: BigInt::from(number), below: BigInt::from(1) }
    }

    fn plus(&self, other: &Self) -> Self {
        Self { above: &self.above * &other.below + &other.above * &self.below, below: &self.below * &other.below }
    }

    fn minus(&self, other: &Self) -> Self {
        self.plus(&Self { above: -&other.above, below: other.below.clone() })
    }

    fn times(&self, other: &Self) -> Self {
        Self { above: &self.above * &other.above, below: &self.below * &other.below }
    }

    fn over(&self, other: &Self) -> Self {
        let (above, below) = (&self.above * &other.below, &self.below * &other.above);
        if below.sign() == BigSign::Minus { Self { above: -above, below: -below } } else { Self { above, below } }
    }

    fn sum(values: impl Iterator<Item = Self>) -> Self {
        values.fold(Self::whole(0), |sum, value| sum.plus(&value))
    }

    fn is_zero(&self) -> bool {
        self.above == BigInt::ZERO
    }

    fn less(&self, other: &Self) -> bool {
        self.minus(other).above.sign() == BigSign::Minus
    }

    fn magnitude(&self) -> Self {
        if self.above.sign() == BigSign::Minus {
            Self { above: -&self.above, below: self.below.clone() }
        } else {
            self.clone()
        }
    }
}

/// Whether a float is the nearest to `value`, or to its root with the sign of `root_of`, by looking at the middles.
fn is_nearest(found: f64, value: &Fraction, root_of: Option<&Fraction>) -> bool {
    let power = |number: Fraction| if root_of.is_some() { number.times(&number) } else { number };
    let (found, value) = match root_of {
        Some(sign) if sign.above.sign() == BigSign::Minus => (-found, value.clone()),
        None if value.above.sign() == BigSign::Minus => (-found, value.magnitude()),
        _ => (found, value.clone()),
    };
    if found == f64::INFINITY {
        // Half a unit beyond the greatest float.
        let limit = Fraction::of(f64::MAX).plus(
            &Fraction::of(f64::MAX.next_down()).minus(&Fraction::of(f64::MAX)).over(&Fraction::whole(2)).magnitude(),
        );
        return !value.less(&power(limit));
    }
    if found == 0.0 {
        return !power(Fraction::of(5e-324).over(&Fraction::whole(2))).less(&value);
    }
    let middle = |other: f64| Fraction::of(found).plus(&Fraction::of(other)).over(&Fraction::whole(2));
    let even = found.to_bits() & 1 == 0;
    let below = power(middle(found.next_down()));
    let above = if found >= f64::MAX { None } else { Some(power(middle(found.next_up()))) };
    let fits_below = below.less(&value) || (even && !value.less(&below));
    let fits_above = above.is_none_or(|above| value.less(&above) || (even && !above.less(&value)));
    fits_below && fits_above
}

/// What a statistic is: NULL, a value, or the root of one with a sign.
fn truth(statistic: Statistic, pairs: &[(f64, f64)]) -> Option<(Fraction, Option<Fraction>)> {
    let count = pairs.len();
    let n = Fraction::whole(count);
    let y: Vec<Fraction> = pairs.iter().map(|pair| Fraction::of(pair.0)).collect();
    let x: Vec<Fraction> = pairs.iter().map(|pair| Fraction::of(pair.1)).collect();
    if count == 0 {
        return None;
    }
    let (mean_x, mean_y) = (Fraction::sum(x.iter().cloned()).over(&n), Fraction::sum(y.iter().cloned()).over(&n));
    // From the definitions, by distances from the mean, not by the formulas under test.
    let distances = |values: &[Fraction], mean: &Fraction| -> Vec<Fraction> {
        values.iter().map(|value| value.minus(mean)).collect()
    };
    let (dx, dy) = (distances(&x, &mean_x), distances(&y, &mean_y));
    let products =
        |left: &[Fraction], right: &[Fraction]| Fraction::sum(left.iter().zip(right).map(|(l, r)| l.times(r)));
    let (sxx, syy, sxy) = (products(&dx, &dx), products(&dy, &dy), products(&dx, &dy));
    let less_one = Fraction::whole(count - 1);
    let two = count >= 2;
    match statistic {
        Statistic::Sum => Some((Fraction::sum(x.into_iter()), None)),
        Statistic::Avg | Statistic::AvgX => Some((mean_x, None)),
        Statistic::AvgY => Some((mean_y, None)),
        Statistic::VarPop => Some((sxx.over(&n), None)),
        Statistic::VarSamp => two.then(|| (sxx.over(&less_one), None)),
        Statistic::StddevPop => Some((sxx.over(&n), Some(Fraction::whole(1)))),
        Statistic::StddevSamp => two.then(|| (sxx.over(&less_one), Some(Fraction::whole(1)))),
        Statistic::CovarPop => Some((sxy.over(&n), None)),
        Statistic::CovarSamp => two.then(|| (sxy.over(&less_one), None)),
        Statistic::Sxx => Some((sxx, None)),
        Statistic::Syy => Some((syy, None)),
        Statistic::Sxy => Some((sxy, None)),
        Statistic::Slope => (two && !sxx.is_zero()).then(|| (sxy.over(&sxx), None)),
        Statistic::Intercept => (two && !sxx.is_zero()).then(|| (mean_y.minus(&sxy.over(&sxx).times(&mean_x)), None)),
        Statistic::R2 => {
            (two && !sxx.is_zero() && !syy.is_zero()).then(|| (sxy.times(&sxy).over(&sxx.times(&syy)), None))
        }
        Statistic::Corr => {
            (two && !sxx.is_zero() && !syy.is_zero()).then(|| (sxy.times(&sxy).over(&sxx.times(&syy)), Some(sxy)))
        }
    }
}

/// All functions over table `t`, in the order of the list.
fn all_functions() -> String {
    let call = |statistic: Statistic| format!("{}({})", statistic.name(), statistic.argument_names().join(", "));
    Statistic::ALL.into_iter().map(call).collect::<Vec<_>>().join(", ")
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite()),
        3 => (-100_000_i32..100_000).prop_map(|cents| f64::from(cents) / 100.0),
        2 => (0..1000_u32).prop_map(|step| 1e9 + f64::from(step) / 1024.0),
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, 3.0, f64::MAX, f64::MIN, 5e-324, 1e-160, 1e160, 1e16]),
    ]
}

fn nullable() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![1 => Just(None), 8 => float().prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_function_is_the_nearest_float(data in prop::collection::vec((0..2_i64, nullable(), nullable()), 0..9)) {
        let one = context(1, 8192);
        register(&one, &data, 1, 8192);
        let pairs: Vec<(f64, f64)> = data.iter().filter_map(|(_, y, x)| Some(((*y)?, (*x)?))).collect();
        let alone: Vec<(f64, f64)> = data.iter().filter_map(|(_, _, x)| Some((0.0, (*x)?))).collect();
        let found = rows(&one, &format!("SELECT {} FROM t", all_functions()));
        for (statistic, found) in Statistic::ALL.into_iter().zip(&found[0]) {
            let rows = if statistic.argument_names().len() == 1 { &alone } else { &pairs };
            let about = format!("{} of {rows:?} is {:?}", statistic.name(), found.map(f64::from_bits));
            match (truth(statistic, rows), found) {
                (None, None) => {}
                (Some((value, root)), Some(bits)) => {
                    prop_assert!(is_nearest(f64::from_bits(*bits), &value, root.as_ref()), "{}", about);
                }
                _ => prop_assert!(false, "{}", about),
            }
        }
    }

    #[test]
    fn neither_order_nor_partitions_nor_batches_matter(
        data in prop::collection::vec((0..5_i64, nullable(), nullable()), 1..200),
        keys in prop::collection::vec(any::<u64>(), 200),
    ) {
        let sql = format!("SELECT g, {} FROM t GROUP BY g ORDER BY g", all_functions());
        let filtered = "SELECT g, sum_exact(x) FILTER (WHERE y > 0), avg_exact(DISTINCT x), var_pop_exact(DISTINCT y), \
                        sum_exact(DISTINCT y) FILTER (WHERE x < 1) FROM t GROUP BY g ORDER BY g";
        let first = context(1, 8192);
        register(&first, &data, 1, 8192);
        let expected = (rows(&first, &sql), rows(&first, filtered));
        let mut shuffled: Vec<_> = keys.into_iter().zip(data).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(_, row)| row).collect();
        for (partitions, batch) in [(3, 7), (4, 1), (2, 64)] {
            let other = context(partitions, batch);
            register(&other, &shuffled, partitions, batch);
            prop_assert_eq!(&(rows(&other, &sql), rows(&other, filtered)), &expected);
        }
    }

    #[test]
    fn a_frame_that_moves_is_as_one_that_is_computed(
        data in prop::collection::vec((0..2_i64, nullable(), nullable()), 1..40),
        before in 0..4_usize,
        after in 0..4_usize,
    ) {
        let context = context(1, 8192);
        register(&context, &data, 1, 8192);
        for call in ["sum_exact(x)", "avg_exact(x)", "stddev_pop_exact(x)", "regr_slope_exact(y, x)", "covar_pop_exact(y, x)"] {
            let moved = rows(&context, &format!(
                "SELECT {call} OVER (ORDER BY i ROWS BETWEEN {before} PRECEDING AND {after} FOLLOWING) FROM t ORDER BY i"
            ));
            for (place, found) in moved.iter().enumerate() {
                let (from, to) = (place.saturating_sub(before), place + after);
                let computed = rows(&context, &format!("SELECT {call} FROM t WHERE i BETWEEN {from} AND {to}"));
                prop_assert_eq!(&computed[0], found, "{} at {}", call, place);
            }
        }
    }
}

#[test]
fn nothing_and_what_is_no_finite_number() {
    let context = context(1, 8192);
    register(&context, &[], 1, 8192);
    let empty = rows(&context, &format!("SELECT {} FROM t", all_functions()));
    assert_eq!(empty, [vec![None; 17]]);

    let value = |sql: &str| rows(&context, sql)[0][0].map(f64::from_bits);
    let of = |call: &str, values: &str| value(&format!("SELECT {call} FROM (VALUES {values}) AS v(y, x)"));
    let infinite = "(inf, 1.0), (2.0, inf)".replace("inf", "CAST('inf' AS DOUBLE)");
    assert_eq!(of("sum_exact(x)", &infinite), Some(f64::INFINITY));
    assert_eq!(of("avg_exact(-y)", &infinite), Some(f64::NEG_INFINITY));
    assert!(of("sum_exact(x - y)", "(CAST('inf' AS DOUBLE), 1.0), (1.0, CAST('inf' AS DOUBLE))").unwrap().is_nan());
    for call in ["var_pop_exact(x)", "covar_pop_exact(y, x)", "corr_exact(y, x)", "regr_sxx_exact(y, x)"] {
        assert!(of(call, &infinite).unwrap().is_nan(), "{call}");
    }
    // The x of a pair say nothing about the distances of the y.
    assert_eq!(of("regr_syy_exact(y, x)", "(1.0, CAST('nan' AS DOUBLE)), (3.0, 1.0)"), Some(2.0));
    assert_eq!(of("var_samp_exact(x)", "(1.0, CAST('nan' AS DOUBLE))"), None);
    assert!(of("var_pop_exact(x)", "(1.0, CAST('nan' AS DOUBLE))").unwrap().is_nan());
    assert_eq!(of("sum_exact(x)", "(1.0, -0.0)").unwrap().to_bits(), 0);
    assert_eq!(of("avg_exact(DISTINCT x)", "(1.0, 0.0), (1.0, -0.0), (1.0, 3.0)"), Some(1.5));
    assert_eq!(of("sum_exact(x)", "(1.0, 3), (1.0, 4)"), Some(7.0));
}

#[test]
fn distinct_pairs_are_refused_by_name() {
    let context = context(1, 8192);
    register(&context, &[(1, Some(1.0), Some(2.0))], 1, 8192);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async {
        context.sql("SELECT corr_exact(DISTINCT y, x) FROM t").await.unwrap().collect().await.unwrap_err()
    });
    assert!(error.to_string().contains("corr_exact does not know DISTINCT"), "{error}");
}

#[test]
fn many_groups_skip_partial_aggregation_and_stay_exact() {
    let data: Vec<(i64, Option<f64>, Option<f64>)> = (0..300_000_i64)
        .map(|row| (row % 200_000, Some(0.1), (row % 7 != 0).then_some(if row % 3 == 0 { 1e17 } else { 0.1 })))
        .collect();
    let sql = "SELECT sum_exact(s) FROM (SELECT g, sum_exact(x) FILTER (WHERE y > 0) AS s FROM t GROUP BY g)";
    let mut results = Vec::new();
    for (partitions, batch) in [(1, 8192), (3, 1000)] {
        let context = context(partitions, batch);
        register(&context, &data, partitions, batch);
        results.push(rows(&context, sql));
    }
    assert_eq!(results[0], results[1]);
}

#[test]
fn damaged_states_are_refused() {
    use super::moments::{Moments, Values};
    let mut values = Values::default();
    values.add(0.1, crate::superaccumulator::Sign::Plus);
    let mut bytes = Vec::new();
    values.encode(&mut bytes);
    let mut merged = Values::default();
    assert!(merged.merge(&bytes).is_some());
    assert_eq!(merged.value(Statistic::Sum), Some(0.1));
    for length in 0..bytes.len() {
        assert!(Values::default().merge(&bytes[..length]).is_none(), "{length} of {} bytes", bytes.len());
    }
    bytes.push(0);
    assert!(Values::default().merge(&bytes).is_none());
}
