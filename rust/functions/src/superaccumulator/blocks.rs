//! Many terms of one sum at once.
//!
//! Significands of one sign and exponent are added up as whole numbers, without a look at carries, in a word that belongs
//! to that sign and exponent: Neal's large superaccumulator.  A block has so few terms that no word can overflow; after it
//! the words are moved into the sum.  Two rows of words take turns, because an addition to a word in memory waits for the
//! one before.

use super::{BIAS, FRACTION, FloatSum, NOT_FINITE, ProductSum, Sign};

/// Signs and exponents that a float can have: its upper twelve bits.
const PLACES: usize = 1 << 12;
/// Where the negative ones begin.
const NEGATIVE: usize = 1 << 11;
/// Rows that take turns.
const ROWS: usize = 4;
/// Terms of a block: a row gets a quarter of them, and 2^11 significands of 53 bits are less than 2^64.
const BLOCK: usize = 1 << 12;
/// Fewer terms than this are added one by one.
const WORTH: usize = 64;

/// Room for blocks of floats, made when it is first needed.
#[derive(Debug, Default)]
pub struct Blocks {
    words: Vec<u64>,
    squares: Vec<u128>,
}

impl Blocks {
    /// Adds floats to a sum or takes them away; the bytes by which its heap grew.
    pub fn add(&mut self, sum: &mut FloatSum, values: &[f64], sign: Sign) -> usize {
        if values.len() < WORTH {
            return values.iter().map(|value| sum.add(*value, sign)).sum();
        }
        self.words.resize(ROWS * PLACES, 0);
        values.chunks(BLOCK).map(|block| self.add_block(sum, block, sign)).sum()
    }

    fn add_block(&mut self, sum: &mut FloatSum, block: &[f64], sign: Sign) -> usize {
        let range = Range::of(block);
        let ([first, second, third, fourth], false) = (self.words.as_chunks_mut::<PLACES>().0, range.is_unbounded())
        else {
            return block.iter().map(|value| sum.add(*value, sign)).sum();
        };
        let (turns, rest) = block.as_chunks::<ROWS>();
        for turn in turns {
            collect(first, turn[0]);
            collect(second, turn[1]);
            collect(third, turn[2]);
            collect(fourth, turn[3]);
        }
        for value in rest {
            collect(first, *value);
        }
        let mut grown = 0;
        let rows = [first, second, third, fourth];
        for exponent in range.exponents() {
            let place = index(exponent);
            let mut words = 0_i128;
            for row in rows.each_ref() {
                words += i128::from(row[place]) - i128::from(row[place | NEGATIVE]);
            }
            if words != 0 {
                let negative = (words < 0) != (sign == Sign::Minus);
                grown += sum.add_term(words.unsigned_abs(), u64::BITS + 2, scale(exponent), negative);
            }
        }
        for row in rows {
            // Zeros went to the first places.
            for exponent in range.exponents().chain([0]) {
                row[index(exponent)] = 0;
                row[index(exponent) | NEGATIVE] = 0;
            }
        }
        grown + range.tiny(block).map(|value| sum.add(value, sign)).sum::<usize>()
    }

    /// Adds the squares of floats to a sum or takes them away; the bytes by which its heap grew.
    pub fn add_squares(&mut self, sum: &mut ProductSum, values: &[f64], sign: Sign) -> usize {
        if values.len() < WORTH {
            return values.iter().map(|value| sum.add_product(*value, *value, sign)).sum();
        }
        self.squares.resize(NEGATIVE, 0);
        values.chunks(BLOCK).map(|block| self.add_squares_block(sum, block, sign)).sum()
    }

    fn add_squares_block(&mut self, sum: &mut ProductSum, block: &[f64], sign: Sign) -> usize {
        let range = Range::of(block);
        let (Ok(squares), false) =
            (<&mut [u128; NEGATIVE]>::try_from(self.squares.as_mut_slice()), range.is_unbounded())
        else {
            return block.iter().map(|value| sum.add_product(*value, *value, sign)).sum();
        };
        for value in block {
            let (place, significand) = split(*value);
            // At most 2^12 squares of 106 bits.
            squares[place % NEGATIVE] += u128::from(significand) * u128::from(significand);
        }
        squares[0] = 0;
        let mut grown = 0;
        for exponent in range.exponents() {
            let words = std::mem::take(&mut squares[index(exponent)]);
            if words != 0 {
                grown += sum.add_term(words, u128::BITS, 2 * scale(exponent), sign == Sign::Minus);
            }
        }
        grown + range.tiny(block).map(|value| sum.add_product(value, value, sign)).sum::<usize>()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.squares.capacity() * size_of::<u128>()
    }
}

/// The least and the greatest exponent field of the floats that are not zero; a least one may be one too small.
#[derive(Clone, Copy, Debug)]
struct Range {
    least: u64,
    greatest: u64,
}

impl Range {
    fn of(block: &[f64]) -> Self {
        const LANES: usize = 4;
        let (mut least, mut greatest) = ([u64::MAX; LANES], [0; LANES]);
        let mut see = |lane: usize, value: f64| {
            let magnitude = value.to_bits() << 1;
            // Zeros are frequent: they become the largest number and count for nothing.
            least[lane] = least[lane].min(magnitude.wrapping_sub(1));
            greatest[lane] = greatest[lane].max(magnitude);
        };
        let (turns, rest) = block.as_chunks::<LANES>();
        for turn in turns {
            for (lane, value) in turn.iter().enumerate() {
                see(lane, *value);
            }
        }
        for value in rest {
            see(0, *value);
        }
        let field = |magnitude: u64| magnitude >> (FRACTION + 1);
        Self {
            least: least.into_iter().fold(u64::MAX, |least, magnitude| least.min(field(magnitude))),
            greatest: greatest.into_iter().fold(0, |greatest, magnitude| greatest.max(field(magnitude))),
        }
    }

    /// Whether there is a NaN or an infinity.
    fn is_unbounded(self) -> bool {
        self.greatest == NOT_FINITE
    }

    /// The fields of floats that have the implicit bit.
    fn exponents(self) -> std::ops::RangeInclusive<u64> {
        self.least.max(1)..=self.greatest
    }

    /// The floats that lack the implicit bit, which was added for all, and are not zero.
    fn tiny(self, block: &[f64]) -> impl Iterator<Item = f64> + '_ {
        let block = if self.least == 0 { block } else { &[] };
        block.iter().copied().filter(|value| value.is_subnormal())
    }
}

/// Adds the significand of a float to the word of its place.
#[inline]
fn collect(row: &mut [u64; PLACES], value: f64) {
    let (place, significand) = split(value);
    row[place] += significand;
}

/// Sign and exponent of a float as a place, and its significand as if it had the implicit bit.
#[inline]
fn split(value: f64) -> (usize, u64) {
    let bits = value.to_bits();
    (index(bits >> FRACTION), bits & ((1 << FRACTION) - 1) | 1 << FRACTION)
}

/// A field as an index; it has twelve bits at most.
#[inline]
fn index(field: u64) -> usize {
    usize::try_from(field).unwrap_or(0) % PLACES
}

/// The exponent of the last bit of the significand, for a field.
fn scale(field: u64) -> i32 {
    i32::try_from(field).unwrap_or(0) - BIAS
}
