//! A digest of the content of a table that changes keep up: the sum of the hashes of its rows, modulo 2^128.
//!
//! The hash of a row is XXH3's, of 128 bits, of the value bytes of its columns in order (`value_bytes`).
//! A row that is there *n* times counts *n* times, a row that goes is taken off again, so
//!
//! `digest(content) = digest(content before) + digest(rows added) - digest(rows taken)`
//!
//! whatever the order of rows, their batches and files, or the Arrow types that hold them.
//!
//! - What value bytes do not tell apart, digests do not: −0.0 and 0.0, one NaN and another, Int32 5 and Int64 5.
//! - Names of columns do not count, their order does.
//! - Two contents that differ by accident share a digest once in 2^128.  It is no signature: whoever chooses the rows
//!   can choose them so that the sums are equal.
//!
//! Source of the idea: incremental multiset hashes (Clarke, Devadas, van Dijk, Gassend, Suh: "Incremental Multiset Hash
//! Functions and Their Application to Memory Integrity Checking", 2003), with a hash that is quick instead of secure.
//!
//! Invariant: digests are frozen as value bytes are; those of older commits must stay comparable.

use std::fmt::{Display, Formatter};
use std::num::ParseIntError;
use std::ops::{Add, Sub};
use std::str::FromStr;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use xxhash_rust::xxh3::xxh3_128;

use crate::value_bytes::{Encoder, encoder};

/// The digest of a bag of rows; that of no rows is zero.
///
/// As text it has 32 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentDigest(u128);

impl ContentDigest {
    /// The digest of the rows of a batch.
    ///
    /// # Errors
    /// If a column is of a type without value bytes: a union.
    pub fn of(batch: &RecordBatch) -> Result<Self> {
        let columns: Vec<Encoder<'_>> = batch.columns().iter().map(encoder).collect::<Result<_>>()?;
        let mut bytes = Vec::new();
        let mut sum = 0_u128;
        for row in 0..batch.num_rows() {
            bytes.clear();
            for column in &columns {
                column(row, &mut bytes);
            }
            sum = sum.wrapping_add(xxh3_128(&bytes));
        }
        Ok(Self(sum))
    }
}

impl Add for ContentDigest {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl Sub for ContentDigest {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl Display for ContentDigest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl FromStr for ContentDigest {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray};
    use arrow::compute::{concat_batches, take_record_batch};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(numbers: ArrayRef, words: ArrayRef, floats: ArrayRef) -> RecordBatch {
        let columns = [("a", numbers), ("b", words), ("c", floats)];
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
            .unwrap()
    }

    fn of(rows: &[(Option<i64>, Option<&str>, Option<f64>)]) -> RecordBatch {
        batch(
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        )
    }

    #[test]
    fn these_digests_are_frozen() {
        let none = ContentDigest::of(&of(&[])).unwrap();
        assert_eq!((none, none.to_string()), (ContentDigest::default(), "0".repeat(32)));
        let one = ContentDigest::of(&of(&[(Some(5), Some("ab"), Some(0.5))])).unwrap();
        // XXH3-128 of 02 05 00 00 00 00 00 00 00, 05 02 61 62, 04 00 00 00 00 00 00 e0 3f.
        let bytes = [2, 5, 0, 0, 0, 0, 0, 0, 0, 5, 2, b'a', b'b', 4, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f];
        assert_eq!(one.to_string(), format!("{:032x}", xxh3_128(&bytes)));
        assert_eq!(one.to_string(), "fadd8c4431167313832f65c867fd61f6");
        assert_eq!(one.to_string().parse(), Ok(one));
    }

    #[test]
    fn representations_do_not_count_and_values_do() {
        let rows = of(&[(Some(5), Some("ab"), Some(0.0)), (None, None, Some(f64::NAN))]);
        let other = batch(
            Arc::new(Int32Array::from(vec![Some(5), None])),
            Arc::new(StringViewArray::from(vec![Some("ab"), None])),
            Arc::new(Float64Array::from(vec![-0.0, -f64::NAN])),
        );
        assert_eq!(ContentDigest::of(&rows).unwrap(), ContentDigest::of(&other).unwrap());
        let empty_text = of(&[(Some(5), Some("ab"), Some(0.0)), (None, Some(""), Some(f64::NAN))]);
        assert_ne!(ContentDigest::of(&rows).unwrap(), ContentDigest::of(&empty_text).unwrap());
        let twice = concat_batches(&rows.schema(), [&rows, &rows]).unwrap();
        let (once, twice) = (ContentDigest::of(&rows).unwrap(), ContentDigest::of(&twice).unwrap());
        assert_ne!(once, twice);
        assert_eq!(twice - once, once);
    }

    #[test]
    fn a_column_more_makes_other_rows() {
        let rows = of(&[(Some(5), Some("ab"), Some(0.5))]);
        let fewer = rows.project(&[0, 1]).unwrap();
        let turned = rows.project(&[1, 0]).unwrap();
        assert_ne!(ContentDigest::of(&rows).unwrap(), ContentDigest::of(&fewer).unwrap());
        assert_ne!(ContentDigest::of(&turned).unwrap(), ContentDigest::of(&fewer).unwrap());
        assert_eq!(fewer.column(0).data_type(), &DataType::Int64);
    }

    fn row() -> impl Strategy<Value = (Option<i64>, Option<String>, Option<f64>)> {
        (
            prop_oneof![Just(None), (-2_i64..3).prop_map(Some), any::<i64>().prop_map(Some)],
            proptest::option::of("[a-c]{0,3}"),
            proptest::option::of(prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), any::<f64>()]),
        )
    }

    proptest! {
        #[test]
        fn changes_keep_the_digest_of_the_content(
            rows in proptest::collection::vec(row(), 0..40),
            order in any::<u64>(),
            cut in 0_usize..40,
        ) {
            let rows: Vec<_> = rows.iter().map(|(a, b, c)| (*a, b.as_deref(), *c)).collect();
            let all = of(&rows);
            let whole = ContentDigest::of(&all).unwrap();
            let mut shuffled: Vec<u32> = (0..).take(rows.len()).collect();
            shuffled.sort_by_key(|index| u64::from(*index).wrapping_mul(order | 1).rotate_left(17));
            let shuffled = take_record_batch(&all, &arrow::array::UInt32Array::from(shuffled)).unwrap();
            prop_assert_eq!(ContentDigest::of(&shuffled).unwrap(), whole);
            let cut = cut.min(rows.len());
            let (first, rest) = (shuffled.slice(0, cut), shuffled.slice(cut, rows.len() - cut));
            let (first, rest) = (ContentDigest::of(&first).unwrap(), ContentDigest::of(&rest).unwrap());
            prop_assert_eq!(first + rest, whole);
            prop_assert_eq!(whole - rest, first);
        }
    }
}
