//! Natural numbers of any size: just what exact formulas over sums need.
//!
//! Invariant: the highest word is not zero, so zero has no words and equal numbers have equal words.
//! Schoolbook algorithms are used throughout; the numbers have four words mostly, and some hundred at the very most.
//! Division is algorithm D of Knuth, "The Art of Computer Programming", volume 2, section 4.3.1.

use std::cmp::Ordering;

use super::words::{double, high, low};

/// A natural number, lowest word first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Natural {
    words: Vec<u64>,
}

/// The upper bits of a quotient: `(bits + r) * 2^exponent` with `0 <= r < 1`, and `r = 0` exactly if it is not inexact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leading {
    pub bits: u128,
    pub exponent: i64,
    pub inexact: bool,
}

impl Natural {
    /// The number with these words, lowest first.
    pub fn from_words(words: impl Into<Vec<u64>>) -> Self {
        let mut words = words.into();
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words }
    }

    /// The words, lowest first; none for zero.
    #[cfg(test)]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    pub fn is_zero(&self) -> bool {
        self.words.is_empty()
    }

    /// Number of bits without leading zeros.
    pub fn width(&self) -> usize {
        self.words.last().map_or(0, |top| self.words.len() * 64 - top.leading_zeros() as usize)
    }

    /// The sum of two numbers.
    pub fn plus(&self, other: &Self) -> Self {
        let (long, short) = if self.words.len() < other.words.len() {
            (&other.words, &self.words)
        } else {
            (&self.words, &other.words)
        };
        let mut words = Vec::with_capacity(long.len() + 1);
        let mut carry = false;
        for (index, word) in long.iter().enumerate() {
            let (sum, next) = word.carrying_add(short.get(index).copied().unwrap_or(0), carry);
            words.push(sum);
            carry = next;
        }
        words.push(u64::from(carry));
        Self::from_words(words)
    }

    /// The difference to a number that is not larger.
    pub fn minus(&self, smaller: &Self) -> Self {
        let mut borrow = false;
        let words: Vec<u64> = self
            .words
            .iter()
            .enumerate()
            .map(|(index, word)| {
                let (difference, next) = word.borrowing_sub(smaller.words.get(index).copied().unwrap_or(0), borrow);
                borrow = next;
                difference
            })
            .collect();
        debug_assert!(!borrow, "the number to subtract is larger");
        Self::from_words(words)
    }

    /// The product of two numbers.
    pub fn times(&self, other: &Self) -> Self {
        let mut words = vec![0; self.words.len() + other.words.len()];
        for (index, left) in self.words.iter().enumerate() {
            let mut carry = 0;
            for (right, word) in other.words.iter().zip(&mut words[index..]) {
                // At most (2^64 - 1)^2 + 2 (2^64 - 1) = 2^128 - 1.
                let sum = u128::from(*left) * u128::from(*right) + u128::from(*word) + u128::from(carry);
                *word = low(sum);
                carry = high(sum);
            }
            words[index + other.words.len()] = carry;
        }
        Self::from_words(words)
    }

    /// The number times two to the power of `bits`.
    pub fn shifted_left(&self, bits: usize) -> Self {
        if self.is_zero() {
            return Self::default();
        }
        let mut words = vec![0; bits / 64];
        words.reserve_exact(self.words.len() + 1);
        let shift = bits % 64;
        let mut carry = 0;
        for word in &self.words {
            let shifted = u128::from(*word) << shift;
            words.push(low(shifted) | carry);
            carry = high(shifted);
        }
        words.push(carry);
        Self::from_words(words)
    }

    /// The highest 128 bits, and whether there is anything below them.
    pub fn leading(&self) -> Leading {
        let dropped = self.width().saturating_sub(128);
        let (word, shift) = (dropped / 64, dropped % 64);
        let at = |index: usize| self.words.get(word + index).copied().unwrap_or(0);
        let (bottom, middle, top) = (at(0), at(1), at(2));
        let bits = if shift == 0 {
            double(bottom, middle)
        } else {
            double((bottom >> shift) | (middle << (64 - shift)), (middle >> shift) | (top << (64 - shift)))
        };
        let below = self.words.iter().take(word).any(|word| *word != 0) || (shift != 0 && bottom << (64 - shift) != 0);
        Leading { bits, exponent: i64::try_from(dropped).unwrap_or(i64::MAX), inexact: below }
    }

    /// The leading bits of this number divided by another one that is not zero: at least 126 bits, unless it is zero.
    ///
    /// Its exponent is odd or even as `odd_exponent` asks, so that a square root of the whole can have a whole one.
    pub fn quotient(&self, divisor: &Self, odd_exponent: Option<bool>) -> Leading {
        if self.is_zero() {
            return Leading { bits: 0, exponent: 0, inexact: false };
        }
        // With a dividend that is 127 bits wider the quotient has 127 or 128 bits, with 126 bits more one bit less.
        let wanted = divisor.width() + 127;
        let mut shift = i64::try_from(wanted).unwrap_or(i64::MAX) - i64::try_from(self.width()).unwrap_or(0);
        if odd_exponent.is_some_and(|odd| (shift.rem_euclid(2) == 1) != odd) {
            shift -= 1;
        }
        let (dividend, mut dropped) = match usize::try_from(shift) {
            Ok(shift) => (self.shifted_left(shift), false),
            Err(_) => self.shifted_right(usize::try_from(-shift).unwrap_or(0)),
        };
        let (bits, rest) = dividend.divide(divisor);
        dropped |= rest;
        Leading { bits, exponent: -shift, inexact: dropped }
    }

    /// The number divided by two to the power of `bits`, and whether bits were lost.
    fn shifted_right(&self, bits: usize) -> (Self, bool) {
        let (skip, shift) = (bits / 64, bits % 64);
        let lost = self.words.iter().take(skip).any(|word| *word != 0)
            || self.words.get(skip).is_some_and(|word| word & ((1 << shift) - 1) != 0);
        let words: Vec<u64> = (skip..self.words.len())
            .map(|index| low(double(self.words[index], self.words.get(index + 1).copied().unwrap_or(0)) >> shift))
            .collect();
        (Self::from_words(words), lost)
    }

    /// The quotient, which must have at most 128 bits, and whether there is a remainder.
    fn divide(&self, divisor: &Self) -> (u128, bool) {
        if let [word] = divisor.words[..] {
            let (mut quotient, mut rest) = (0_u128, 0_u64);
            for next in self.words.iter().rev() {
                let part = double(*next, rest);
                quotient = (quotient << 64) | (part / u128::from(word));
                rest = low(part % u128::from(word));
            }
            return (quotient, rest != 0);
        }
        // Normalized: the highest bit of the divisor is set, so that an estimated digit is at most two too large.
        let normal = divisor.words.last().map_or(0, |top| top.leading_zeros() as usize);
        let divisor = divisor.shifted_left(normal).words;
        let mut rest = self.shifted_left(normal).words;
        let length = divisor.len();
        if rest.len() < length {
            return (0, !self.is_zero());
        }
        rest.push(0);
        let (top, next) = (divisor[length - 1], divisor[length - 2]);
        let mut quotient = 0_u128;
        for position in (0..rest.len() - length).rev() {
            let upper = double(rest[position + length - 1], rest[position + length]);
            let mut digit = upper / u128::from(top);
            let mut left = upper % u128::from(top);
            while high(digit) != 0 || low_product_exceeds(digit, next, left, rest[position + length - 2]) {
                digit -= 1;
                left += u128::from(top);
                if high(left) != 0 {
                    break;
                }
            }
            if subtract_multiple(&mut rest[position..=position + length], &divisor, low(digit)) {
                digit -= 1;
                add_back(&mut rest[position..=position + length], &divisor);
            }
            quotient = (quotient << 64) | digit;
        }
        (quotient, rest.iter().any(|word| *word != 0))
    }
}

/// Whether `digit * next > left * 2^64 + below`, for a digit of one word and a `left` of one word.
fn low_product_exceeds(digit: u128, next: u64, left: u128, below: u64) -> bool {
    digit * u128::from(next) > ((left << 64) | u128::from(below))
}

/// Subtracts `digit * divisor`; whether the result fell below zero.
fn subtract_multiple(rest: &mut [u64], divisor: &[u64], digit: u64) -> bool {
    let (mut carry, mut borrow) = (0_u64, false);
    for (index, word) in rest.iter_mut().enumerate() {
        let product = u128::from(digit) * u128::from(divisor.get(index).copied().unwrap_or(0)) + u128::from(carry);
        carry = high(product);
        (*word, borrow) = word.borrowing_sub(low(product), borrow);
    }
    borrow
}

fn add_back(rest: &mut [u64], divisor: &[u64]) {
    let mut carry = false;
    for (index, word) in rest.iter_mut().enumerate() {
        (*word, carry) = word.carrying_add(divisor.get(index).copied().unwrap_or(0), carry);
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        self.words.len().cmp(&other.words.len()).then_with(|| self.words.iter().rev().cmp(other.words.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<u64> for Natural {
    fn from(word: u64) -> Self {
        Self::from_words([word])
    }
}
