//! States against the exact functions over the same rows, and what is no state.

use proptest::prelude::*;

use super::*;
use crate::superaccumulator::Sign;

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => any::<i32>().prop_map(|number| f64::from(number) / 128.0),
        2 => any::<f64>(),
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ]
}

fn state_of<M: Moments>(needs: Needs, values: &[ArrayRef]) -> Vec<u8> {
    let mut groups = StateGroups::<M>::new(needs);
    groups.groups.push(M::default());
    groups.update_batch(values, &vec![0; values[0].len()], None, 1).unwrap();
    groups.evaluate(EmitTo::All).unwrap().as_binary::<i32>().value(0).to_vec()
}

fn state(needs: Needs, rows: &[(f64, f64, i64)]) -> Vec<u8> {
    let column =
        |of: fn(&(f64, f64, i64)) -> f64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Float64Array>()) };
    let weights: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<arrow::array::Int64Array>());
    let values = match needs {
        Needs::Values | Needs::Squares => vec![column(|row| row.0), weights],
        Needs::Products | Needs::Everything => vec![column(|row| row.0), column(|row| row.1), weights],
    };
    match needs {
        Needs::Values => state_of::<Values>(needs, &values),
        Needs::Squares => state_of::<Squares>(needs, &values),
        Needs::Products => state_of::<Products>(needs, &values),
        Needs::Everything => state_of::<Everything>(needs, &values),
    }
}

fn merged(states: &[Vec<u8>]) -> Vec<u8> {
    let mut groups = MergeGroups { groups: vec![None], heap: 0 };
    for state in states {
        groups.add(0, state).unwrap();
    }
    assert_eq!(groups.heap, groups.groups[0].as_ref().map_or(0, Kept::heap_bytes));
    groups.evaluate(EmitTo::All).unwrap().as_binary::<i32>().value(0).to_vec()
}

proptest! {
    #[test]
    fn changes_added_to_a_state_give_the_state_of_the_rows(
        rows in proptest::collection::vec((floats(), floats(), 1_i64..4), 0..12),
        more in proptest::collection::vec((floats(), floats(), 1_i64..1000), 0..6),
        taken in 0_usize..12,
    ) {
        for needs in Needs::ALL {
            let taken = taken.min(rows.len());
            let mut changes: Vec<_> = more.clone();
            changes.extend(rows[..taken].iter().map(|(y, x, weight)| (*y, *x, -weight)));
            let mut after = rows[taken..].to_vec();
            after.extend(&more);
            // Rows of a weight are as many rows.
            let single: Vec<_> =
                after.iter().flat_map(|(y, x, weight)| vec![(*y, *x, 1); usize::try_from(*weight).unwrap()]).collect();
            let kept = merged(&[state(needs, &rows), state(needs, &changes)]);
            prop_assert_eq!(&kept, &state(needs, &single));
            let none: Vec<_> = single.iter().map(|(y, x, _)| (*y, *x, -1)).collect();
            prop_assert_eq!(merged(&[state(needs, &none), kept]), state(needs, &[]));
        }
    }
}

#[test]
fn a_state_gives_what_the_function_gives() {
    let rows = [(3.0, 1.0, 1), (5.5, 2.25, 1), (7.0, 3.5, 1)];
    for statistic in Statistic::ALL {
        let (kept, found) = asked(&state(statistic.needs(), &rows), statistic.word()).unwrap();
        assert_eq!(found, statistic);
        let mut accumulator = Kept::new(statistic.needs());
        let (y, x): (Vec<f64>, Vec<f64>) = rows.iter().map(|row| (row.0, row.1)).unzip();
        let mut blocks = crate::superaccumulator::blocks::Blocks::default();
        let columns: &[&[f64]] = if statistic.argument_names().len() == 1 { &[&y] } else { &[&y, &x] };
        of_each!(&mut accumulator, moments => moments.add_all(columns, &mut blocks, Sign::Plus));
        assert_eq!(kept.value(statistic), accumulator.value(statistic), "{}", statistic.name());
    }
}

#[test]
fn what_is_no_state_is_told() {
    let sums = state(Needs::Values, &[(1.0, 0.0, 1)]);
    let squares = state(Needs::Squares, &[(1.0, 0.0, 1)]);
    assert!(Kept::read(&[]).is_none());
    assert!(Kept::read(&[9, 1, 0, 0]).is_none());
    assert!(Kept::read(&sums[..sums.len() - 1]).is_none());
    let message = asked(&sums, "var_pop").unwrap_err();
    assert_eq!(message, "argument \"statistic\" is one of sum, avg for states of exact_sum_state, not 'var_pop'");
    let mut groups = MergeGroups { groups: vec![None], heap: 0 };
    groups.add(0, &sums).unwrap();
    let message = groups.add(0, &squares).unwrap_err().to_string();
    assert!(message.contains("exact_sum_state") && message.contains("exact_var_state"), "{message}");
    assert!(groups.add(0, b"x").is_err());
}

#[test]
fn these_bytes_are_frozen() {
    // Kind, format, two rows, the number 3 = 3 * 2^0 in one byte.
    assert_eq!(state(Needs::Values, &[(1.0, 0.0, 1), (2.0, 0.0, 1)]), [1, 1, 4, 1, 0, 2, 3]);
    assert_eq!(state(Needs::Values, &[]), [1, 1, 0, 0]);
    assert_eq!(state(Needs::Squares, &[(-2.0, 0.0, 1)]), [2, 1, 2, 3, 2, 2, 1, 1, 4, 2, 1]);
    assert_eq!(state(Needs::Everything, &[]), [4, 1, 0, 0, 0, 0, 0, 0]);
}
