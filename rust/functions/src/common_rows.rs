//! Rows that two sides have in common, found without keeping any of them: what is left is the difference of two bags.
//!
//! A row is known by its hash, XXH3's of 128 bits with a random seed, and by the place that it came from.
//! Equal hashes of both sides cancel each other, one by one; which of several equal rows do does not matter, because
//! bags only count them.
//! Hashes are kept in the order in which they come, and sorted when they have become twice as many as were left the last
//! time: looking each of them up in a table would wait for memory at every row.
//! So memory holds 32 bytes for each row, and fewer where both sides come in about the same order.
//!
//! Two different rows of *n* have the same hash by accident once in 2^129 / n² times: for a billion rows, once in 10^21.
//! The seed makes it hard to choose such rows for whoever does not know it.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use arrow::row::Rows;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Parts by the first bits of the hash, each with a lock of its own.
const SHARDS: usize = 64;

/// The hashes of a part below which cancelling is not worth it.
const FEW: usize = 1 << 14;

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

/// The rows of two sides without those that both have.  Shared by the threads that read either side.
#[derive(Debug)]
pub struct CommonRows {
    shards: Vec<Mutex<Shard>>,
    seed: u64,
}

#[derive(Debug, Default)]
struct Shard {
    rows: Vec<HashedRow>,
    /// How many were left when equal ones were cancelled the last time.
    left: usize,
    /// The bytes that callers were told of.
    claimed: usize,
}

/// Ordered by its hash, then by its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HashedRow {
    hash: [u64; 2],
    side: BagSide,
    file: u32,
    row: u64,
}

const _: () = assert!(size_of::<HashedRow>() == 32, "what the memory of a refresh is planned with");

/// The hashes of a batch, to be used again for the next one.
#[derive(Debug)]
pub struct HashedRows {
    by_shard: Vec<Vec<HashedRow>>,
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
            let RowPlace { file, row } = place(index);
            let row = HashedRow { hash: halves(hash), side, file, row };
            scratch.by_shard[usize::from(shard) % SHARDS].push(row);
        }
        let mut grown = 0;
        for (shard, hashed) in self.shards.iter().zip(&mut scratch.by_shard) {
            if !hashed.is_empty() {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.rows.append(hashed);
                if shard.rows.len() > 2 * shard.left + FEW {
                    shard.cancel();
                }
                grown += shard.grown();
            }
        }
        grown
    }

    /// How many parts there are; work on them can be shared.
    pub fn parts(&self) -> usize {
        self.shards.len()
    }

    /// The places of the rows of a part that the other side does not have.  To be asked when all rows were taken in.
    pub fn left(&self, part: usize) -> Vec<(BagSide, RowPlace)> {
        let mut shard = self.shards[part].lock().unwrap_or_else(PoisonError::into_inner);
        shard.cancel();
        shard.rows.iter().map(|row| (row.side, RowPlace { file: row.file, row: row.row })).collect()
    }
}

impl Shard {
    /// Takes away as many equal hashes of one side as there are of the other.
    fn cancel(&mut self) {
        // By half of the hash first, which is quick to compare and seldom leaves anything to decide.
        self.rows.sort_unstable_by_key(|row| row.hash[0]);
        for alike in self.rows.chunk_by_mut(|one, next| one.hash[0] == next.hash[0]) {
            alike.sort_unstable();
        }
        let mut kept = 0;
        let mut start = 0;
        while let Some(first) = self.rows.get(start) {
            let (hash, rest) = (first.hash, &self.rows[start..]);
            let equal = rest.iter().take_while(|row| row.hash == hash).count();
            let before = rest[..equal].iter().take_while(|row| row.side == BagSide::Before).count();
            let both = before.min(equal - before);
            for range in [start + both..start + before, start + before + both..start + equal] {
                let length = range.len();
                self.rows.copy_within(range, kept);
                kept += length;
            }
            start += equal;
        }
        self.rows.truncate(kept);
        self.left = kept;
    }

    /// How many bytes more it takes than ever before.
    fn grown(&mut self) -> usize {
        let more = (self.rows.capacity() * size_of::<HashedRow>()).saturating_sub(self.claimed);
        self.claimed += more;
        more
    }
}

/// The halves of a hash, the higher one first.
fn halves(hash: u128) -> [u64; 2] {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    [half(hash >> 64), half(hash)]
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

    fn all_left(common: &CommonRows) -> Vec<(BagSide, u32, u64)> {
        let left = (0..common.parts()).flat_map(|part| common.left(part));
        let mut places: Vec<_> = left.map(|(side, place)| (side, place.file, place.row)).collect();
        places.sort_unstable();
        places
    }

    fn left(sides: &[(BagSide, Vec<Option<f64>>)]) -> Vec<(BagSide, u32, u64)> {
        let common = CommonRows::default();
        let mut scratch = HashedRows::default();
        for (file, (side, values)) in (0..).zip(sides) {
            let place = |row| RowPlace { file, row: row as u64 };
            common.take(*side, &encoded(values), &mut scratch, place);
        }
        all_left(&common)
    }

    #[test]
    fn what_is_on_both_sides_goes_as_often_as_it_is_on_both() {
        let before = vec![Some(1.0), None, Some(2.0), Some(2.0), Some(2.0)];
        let now = vec![Some(2.0), None, Some(3.0)];
        let found = left(&[(BagSide::Before, before), (BagSide::Now, now)]);
        assert_eq!(
            found,
            [(BagSide::Before, 0, 0), (BagSide::Before, 0, 3), (BagSide::Before, 0, 4), (BagSide::Now, 1, 2)]
        );
    }

    #[test]
    fn a_zero_that_gets_a_sign_is_another_row() {
        let found = left(&[(BagSide::Before, vec![Some(0.0)]), (BagSide::Now, vec![Some(-0.0)])]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn rows_of_both_sides_in_turns_take_no_more_memory_than_a_few() {
        let values: Vec<Option<f64>> = (0..8_192_u32).map(|value| Some(f64::from(value))).collect();
        let common = CommonRows::default();
        let mut scratch = HashedRows::default();
        let mut grown = 0;
        let most = SHARDS * (FEW + 8_192) * size_of::<HashedRow>() * 2;
        for number in 0..400 {
            let values: Vec<Option<f64>> =
                values.iter().map(|value| value.map(|one| one + 8_192.0 * f64::from(number))).collect();
            let rows = encoded(&values);
            let place = |row| RowPlace { file: number, row: row as u64 };
            grown += common.take(BagSide::Before, &rows, &mut scratch, place);
            grown += common.take(BagSide::Now, &rows, &mut scratch, place);
        }
        assert!(grown < most, "{grown}");
        assert_eq!(all_left(&common), []);
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
            let mut counts: std::collections::HashMap<Option<u64>, i64> = std::collections::HashMap::new();
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
