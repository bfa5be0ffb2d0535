//! The wide form of a sum: a row of words that grows to wherever bits are needed, and what is no finite number.

use std::mem::size_of;

use super::words::{double, high, low};

/// Bits of a word.
const BITS: i32 = 64;
/// Above this the highest word makes room for another one: it is there to collect carries.
const FULL: i64 = 1 << 62;

/// A number in two's complement, lowest word first, and counts of NaN and infinities.
#[derive(Clone, Debug, Default)]
pub(super) struct Limbs {
    /// The number is `words * 2^(64 * place)`.
    place: i32,
    words: Vec<u64>,
    /// How many NaN, positive and negative infinities were added.
    pub not_finite: [i64; 3],
}

impl Limbs {
    /// Adds or subtracts `significand * 2^exponent`.
    pub fn add(&mut self, significand: u128, exponent: i32, negative: bool) {
        if significand == 0 {
            return;
        }
        let place = exponent.div_euclid(BITS);
        self.reach(place);
        let shift = exponent.rem_euclid(BITS);
        let bottom = u128::from(low(significand)) << shift;
        let above = u128::from(high(significand)) << shift;
        let middle = above | u128::from(high(bottom));
        let term = [low(bottom), low(middle), high(middle)];
        let start = usize::try_from(place - self.place).unwrap_or(0);
        let mut carry = false;
        for (index, word) in self.words[start..].iter_mut().enumerate() {
            let part = term.get(index).copied().unwrap_or(0);
            if index >= term.len() && !carry {
                break;
            }
            (*word, carry) = if negative { word.borrowing_sub(part, carry) } else { word.carrying_add(part, carry) };
        }
    }

    /// Makes room for a term of three words at a place, with a word for carries above it.
    fn reach(&mut self, place: i32) {
        const ABOVE: i32 = 4;
        if self.words.is_empty() {
            self.place = place;
        }
        let missing = usize::try_from(self.place - place).unwrap_or(0);
        if missing > 0 {
            self.words.splice(0..0, std::iter::repeat_n(0, missing));
            self.place = place;
        }
        let top = self.words.last().map_or(0, |word| word.cast_signed());
        let sign = if top < 0 { u64::MAX } else { 0 };
        let full = usize::from(!(-FULL..FULL).contains(&top));
        let needed = usize::try_from(place + ABOVE - self.place).unwrap_or(0).max(self.words.len() + full);
        if needed > self.words.len() {
            self.words.reserve_exact(needed - self.words.len());
            self.words.resize(needed, sign);
        }
    }

    /// Whether the number is below zero.
    pub fn is_negative(&self) -> bool {
        self.words.last().is_some_and(|word| word.cast_signed() < 0)
    }

    /// The absolute value, lowest word first.
    pub fn magnitude(&self) -> Vec<u64> {
        if !self.is_negative() {
            return self.words.clone();
        }
        let mut borrow = false;
        self.words
            .iter()
            .map(|word| {
                let (negated, next) = 0_u64.borrowing_sub(*word, borrow);
                borrow = next;
                negated
            })
            .collect()
    }

    /// The exponent of the lowest bit of the lowest word.
    pub fn exponent(&self) -> i32 {
        self.place * BITS
    }

    /// Bytes on the heap, this value included.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.words.capacity() * size_of::<u64>()
    }
}

/// The double words of a row of words.
pub(super) fn doubles(words: &[u64]) -> impl Iterator<Item = u128> + '_ {
    words.chunks(2).map(|pair| double(pair[0], pair.get(1).copied().unwrap_or(0)))
}
