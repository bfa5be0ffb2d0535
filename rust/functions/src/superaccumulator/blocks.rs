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
/// Terms of a block: a row gets half of them, and 2^11 significands of 53 bits are less than 2^64.
const BLOCK: usize = 1 << 11;
/// Fewer terms than this are added one by one.
const WORTH: usize = 64;

/// Room for blocks of floats, made when it is first needed.
#[derive(Debug, Default)]
pub struct Blocks {
    first: Vec<u64>,
    second: Vec<u64>,
    squares: Vec<u128>,
}

impl Blocks {
    /// Adds floats to a sum or takes them away; the bytes by which its heap grew.
    pub fn add(&mut self, sum: &mut FloatSum, values: &[f64], sign: Sign) -> usize {
        if values.len() < WORTH {
            return values.iter().map(|value| sum.add(*value, sign)).sum();
        }
        self.first.resize(PLACES, 0);
        self.second.resize(PLACES, 0);
        values.chunks(BLOCK).map(|block| self.add_block(sum, block, sign)).sum()
    }

    fn add_block(&mut self, sum: &mut FloatSum, block: &[f64], sign: Sign) -> usize {
        let (least, greatest) = exponents(block);
        let (Ok(first), Ok(second), false) = (
            <&mut [u64; PLACES]>::try_from(self.first.as_mut_slice()),
            <&mut [u64; PLACES]>::try_from(self.second.as_mut_slice()),
            greatest == NOT_FINITE,
        ) else {
            return block.iter().map(|value| sum.add(*value, sign)).sum();
        };
        let pairs = block.chunks_exact(2);
        for value in pairs.remainder() {
            collect(first, *value);
        }
        for pair in pairs {
            collect(first, pair[0]);
            collect(second, pair[1]);
        }
        let mut grown = 0;
        for exponent in least.max(1)..=greatest {
            let place = index(exponent);
            let mut words = 0_i128;
            for row in [&mut *first, &mut *second] {
                words += i128::from(row[place]) - i128::from(row[place | NEGATIVE]);
                row[place] = 0;
                row[place | NEGATIVE] = 0;
            }
            if words != 0 {
                let negative = (words < 0) != (sign == Sign::Minus);
                grown += sum.add_term(words.unsigned_abs(), u64::BITS, scale(exponent), negative);
            }
        }
        if least == 0 {
            // Zeros, and floats that lack the implicit bit, which was added for all.
            for row in [first, second] {
                row[0] = 0;
                row[NEGATIVE] = 0;
            }
            grown += tiny(block).map(|value| sum.add(value, sign)).sum::<usize>();
        }
        grown
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
        let (least, greatest) = exponents(block);
        let (Ok(squares), false) =
            (<&mut [u128; NEGATIVE]>::try_from(self.squares.as_mut_slice()), greatest == NOT_FINITE)
        else {
            return block.iter().map(|value| sum.add_product(*value, *value, sign)).sum();
        };
        for value in block {
            let (place, significand) = split(*value);
            // At most 2^11 squares of 106 bits.
            squares[place % NEGATIVE] += u128::from(significand) * u128::from(significand);
        }
        let mut grown = 0;
        for exponent in least.max(1)..=greatest {
            let words = std::mem::take(&mut squares[index(exponent)]);
            if words != 0 {
                grown += sum.add_term(words, u128::BITS, 2 * scale(exponent), sign == Sign::Minus);
            }
        }
        if least == 0 {
            squares[0] = 0;
            grown += tiny(block).map(|value| sum.add_product(value, value, sign)).sum::<usize>();
        }
        grown
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.first.capacity() + self.second.capacity()) * size_of::<u64>()
            + self.squares.capacity() * size_of::<u128>()
    }
}

/// The least and the greatest exponent field of the floats.
fn exponents(block: &[f64]) -> (u64, u64) {
    let (mut least, mut greatest) = (u64::MAX, 0);
    for value in block {
        let magnitude = value.to_bits() << 1;
        least = least.min(magnitude);
        greatest = greatest.max(magnitude);
    }
    (least >> (FRACTION + 1), greatest >> (FRACTION + 1))
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

/// The floats without the implicit bit that are not zero.
fn tiny(block: &[f64]) -> impl Iterator<Item = f64> + '_ {
    let is_tiny = |value: f64| (value.to_bits() << 1).wrapping_sub(1) < (1 << (FRACTION + 1)) - 1;
    // Zeros are frequent and these are not: one look at all of them, without a branch for each.
    let any = block.iter().fold(false, |any, value| any | is_tiny(*value));
    let block = if any { block } else { &[] };
    block.iter().copied().filter(move |value| is_tiny(*value))
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
