//! Rows that two sides have in common, found without keeping any of them: what is left is the difference of two bags.
//!
//! A row is known by its hash, XXH3's of 128 bits with a random seed, and by the place that it came from.
//! A row meets an equal one of the other side that nothing has met before, and both are forgotten; which of several
//! equal rows meet does not matter, because bags only count them.
//! So memory holds the rows that have met nothing yet: few, where both sides come in about the same order.
//!
//! Two different rows of *n* meet by accident once in 2^129 / n² times: for a billion rows, once in 10^21.
//! The seed keeps whoever writes the rows from choosing such rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, RandomState};
use std::sync::{Mutex, PoisonError};

use arrow::row::Rows;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::distinct_bytes::Identity;

/// Parts of the table, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// No place comes before this one in a chain.
const END: u32 = u32::MAX;

/// Which bag a row is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BagSide {
    /// The one that is taken off.
    Before,
    /// The one that is there.
    Now,
}

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    /// The number of its file, on its side.
    pub file: u32,
    /// The number of the row in its file.
    pub row: u64,
}

/// The rows of two sides that have met no equal one of the other.  Shared by the threads that read either side.
#[derive(Debug)]
pub struct CommonRows {
    shards: Vec<Mutex<Shard>>,
    seed: u64,
}

/// 128 bits of a hash, halves apart so that entries of the table are not aligned to 16 bytes.
type RowHash = (u64, u64);

#[derive(Debug, Default)]
struct Shard {
    /// For each row that met nothing: its side, and the last of the places with this row.
    rows: HashMap<RowHash, (BagSide, u32), BuildHasherDefault<Identity>>,
    places: Vec<Link>,
    free: Vec<u32>,
    /// The bytes that were told of.
    told: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    row: u64,
    file: u32,
    /// Another place with the same row.
    next: u32,
}

/// The hashes of a batch, to be used again for the next one.
#[derive(Debug)]
pub struct HashedRows {
    by_shard: Vec<Vec<(RowHash, RowPlace)>>,
}

impl Default for HashedRows {
    fn default() -> Self {
        Self { by_shard: vec![Vec::new(); SHARDS] }
    }
}

impl Default for CommonRows {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { shards, seed: RandomState::new().hash_one(SHARDS) }
    }
}

impl CommonRows {
    /// Take in encoded rows of one side; the result is how many bytes of memory that took.
    pub fn take(
        &self,
        side: BagSide,
        rows: &Rows,
        scratch: &mut HashedRows,
        place: impl Fn(usize) -> RowPlace,
    ) -> usize {
        for (index, row) in rows.iter().enumerate() {
            let hash = xxh3_128_with_seed(row.data(), self.seed);
            let [shard, ..] = hash.to_be_bytes();
            scratch.by_shard[usize::from(shard) % SHARDS].push((halves(hash), place(index)));
        }
        let mut grown = 0;
        for (shard, hashed) in self.shards.iter().zip(&mut scratch.by_shard) {
            if !hashed.is_empty() {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                for (hash, place) in hashed.drain(..) {
                    shard.meet(side, hash, place);
                }
                grown += shard.grown();
            }
        }
        grown
    }

    /// The places of the rows that met nothing, in order.
    pub fn left(self) -> Vec<(BagSide, RowPlace)> {
        let mut left = Vec::new();
        for shard in self.shards {
            let shard = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            for (side, last) in shard.rows.values() {
                let mut link = *last;
                while let Some(Link { row, file, next }) = shard.places.get(index(link)) {
                    left.push((*side, RowPlace { file: *file, row: *row }));
                    link = *next;
                }
            }
        }
        left.sort_unstable();
        left
    }
}

impl Shard {
    fn meet(&mut self, side: BagSide, hash: RowHash, place: RowPlace) {
        let RowPlace { file, row } = place;
        match self.rows.entry(hash) {
            Entry::Vacant(vacant) => {
                vacant.insert((side, keep(&mut self.places, &mut self.free, Link { row, file, next: END })));
            }
            Entry::Occupied(mut found) if found.get().0 == side => {
                let next = found.get().1;
                found.get_mut().1 = keep(&mut self.places, &mut self.free, Link { row, file, next });
            }
            Entry::Occupied(mut found) => {
                let last = found.get().1;
                match self.places[index(last)].next {
                    END => {
                        found.remove();
                    }
                    next => found.get_mut().1 = next,
                }
                self.free.push(last);
            }
        }
    }

    /// How many bytes more it takes than ever before.
    fn grown(&mut self) -> usize {
        // A hash table keeps a byte of control beside each entry.
        let size = self.rows.capacity() * (size_of::<(RowHash, (BagSide, u32))>() + 1)
            + self.places.capacity() * size_of::<Link>()
            + self.free.capacity() * size_of::<u32>();
        let more = size.saturating_sub(self.told);
        self.told += more;
        more
    }
}

fn keep(places: &mut Vec<Link>, free: &mut Vec<u32>, link: Link) -> u32 {
    if let Some(number) = free.pop() {
        places[index(number)] = link;
        return number;
    }
    places.push(link);
    // Four billion places in one shard are beyond any budget.
    u32::try_from(places.len() - 1).unwrap_or(END)
}

/// The halves of a hash, the lower one last: the table goes by that one.
fn halves(hash: u128) -> RowHash {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    (half(hash >> 64), half(hash))
}

fn index(link: u32) -> usize {
    usize::try_from(link).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array};
    use arrow::datatypes::DataType;
    use arrow::row::{RowConverter, SortField};
    use proptest::prelude::*;

    use super::*;

    fn encoded(values: &[Option<f64>]) -> Rows {
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        RowConverter::new(vec![SortField::new(DataType::Float64)]).unwrap().convert_columns(&[column]).unwrap()
    }

    fn left(sides: &[(BagSide, Vec<Option<f64>>)]) -> Vec<(BagSide, u32, u64)> {
        let common = CommonRows::default();
        let mut scratch = HashedRows::default();
        for (file, (side, values)) in (0..).zip(sides) {
            let place = |row| RowPlace { file, row: row as u64 };
            common.take(*side, &encoded(values), &mut scratch, place);
        }
        common.left().into_iter().map(|(side, place)| (side, place.file, place.row)).collect()
    }

    #[test]
    fn what_is_on_both_sides_goes_as_often_as_it_is_on_both() {
        let before = vec![Some(1.0), None, Some(2.0), Some(2.0), Some(2.0)];
        let now = vec![Some(2.0), None, Some(3.0)];
        let found = left(&[(BagSide::Before, before), (BagSide::Now, now)]);
        assert_eq!(
            found,
            [(BagSide::Before, 0, 0), (BagSide::Before, 0, 2), (BagSide::Before, 0, 3), (BagSide::Now, 1, 2)]
        );
    }

    #[test]
    fn a_zero_that_gets_a_sign_is_another_row() {
        let found = left(&[(BagSide::Before, vec![Some(0.0)]), (BagSide::Now, vec![Some(-0.0)])]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn memory_grows_with_rows_that_meet_nothing_and_not_with_those_that_do() {
        let values: Vec<Option<f64>> = (0..20_000_u32).map(|value| Some(f64::from(value))).collect();
        let rows = encoded(&values);
        let common = CommonRows::default();
        let mut scratch = HashedRows::default();
        let place = |row| RowPlace { file: 0, row: row as u64 };
        let first = common.take(BagSide::Before, &rows, &mut scratch, place);
        assert!(first >= 20_000 * (size_of::<RowHash>() + size_of::<Link>()), "{first}");
        // The places that became free are listed, and taken again.
        let met = common.take(BagSide::Now, &rows, &mut scratch, place);
        let again = common.take(BagSide::Before, &rows, &mut scratch, place);
        assert!(met < first / 4 && again < first / 4, "{met} and {again} after {first}");
    }

    proptest! {
        /// Against counting.
        #[test]
        fn what_is_left_is_the_difference_of_the_bags(
            files in prop::collection::vec((any::<bool>(), prop::collection::vec(0_u8..6, 0..20)), 0..6)
        ) {
            let sides: Vec<(BagSide, Vec<Option<f64>>)> = files
                .iter()
                .map(|(now, values)| {
                    let side = if *now { BagSide::Now } else { BagSide::Before };
                    (side, values.iter().map(|value| (*value > 0).then_some(f64::from(*value))).collect())
                })
                .collect();
            let value = |file: u32, row: u64| sides[file as usize].1[usize::try_from(row).unwrap()].map(f64::to_bits);
            let mut counts: HashMap<Option<u64>, i64> = HashMap::new();
            for (side, values) in &sides {
                for value in values {
                    *counts.entry(value.map(f64::to_bits)).or_default() += if *side == BagSide::Now { 1 } else { -1 };
                }
            }
            let places = left(&sides);
            prop_assert!(places.is_sorted_by(|one, next| one < next), "a row is left twice");
            for (side, file, row) in places {
                prop_assert_eq!(side, sides[file as usize].0);
                let count = counts.get_mut(&value(file, row)).unwrap();
                prop_assert_eq!(*count > 0, side == BagSide::Now);
                *count -= count.signum();
            }
            prop_assert!(counts.values().all(|count| *count == 0));
        }
    }
}
