//! Fixed-point numbers of two or four words in two's complement: the form of a sum whose bits lie close together.

use std::fmt::Debug;

use super::words::{double, high, low, width};

/// A two's complement number of a fixed number of bits, held as words, lowest first.
///
/// Held as words rather than as an `i128` because that would be aligned to 16 bytes, and a group would need more room.
pub trait Window: Copy + Debug + Default + Send + Sync + 'static {
    /// Number of bits, the sign included.
    const BITS: u32;

    /// Adds or subtracts `significand * 2^shift`, which must have less bits than this; false, and nothing done, if the
    /// result does not fit.
    fn add(&mut self, significand: u128, shift: u32, negative: bool) -> bool;

    /// Whether the number is below zero.
    fn is_negative(&self) -> bool;

    /// The absolute value, in double words, lowest first.
    fn magnitude(&self) -> [u128; 2];

    /// The number times two to the power of `bits`; no bit may be lost.
    #[must_use]
    fn shifted_left(self, bits: u32) -> Self;

    /// The number divided by two to the power of `bits`; no bit may be lost.
    #[must_use]
    fn shifted_right(self, bits: u32) -> Self;

    /// Whether the number is zero.
    fn is_zero(&self) -> bool {
        self.magnitude() == [0, 0]
    }

    /// The place of the lowest bit and the place after the highest bit of the absolute value, which is not zero.
    fn extent(&self) -> (u32, u32) {
        let [lower, upper] = self.magnitude();
        let first = if lower == 0 { u128::BITS + upper.trailing_zeros() } else { lower.trailing_zeros() };
        let end = if upper == 0 { width(lower) } else { u128::BITS + width(upper) };
        (first, end)
    }
}

impl Window for [u64; 2] {
    const BITS: u32 = 128;

    #[inline]
    fn add(&mut self, significand: u128, shift: u32, negative: bool) -> bool {
        // Without a branch: signs are often random.
        let sign = -i128::from(negative);
        let term = ((significand << shift).cast_signed() ^ sign) - sign;
        let (sum, overflow) = double(self[0], self[1]).cast_signed().overflowing_add(term);
        if overflow {
            return false;
        }
        *self = [low(sum.cast_unsigned()), high(sum.cast_unsigned())];
        true
    }

    fn is_negative(&self) -> bool {
        self[1].cast_signed() < 0
    }

    fn magnitude(&self) -> [u128; 2] {
        [double(self[0], self[1]).cast_signed().unsigned_abs(), 0]
    }

    fn shifted_left(self, bits: u32) -> Self {
        let number = double(self[0], self[1]) << bits;
        [low(number), high(number)]
    }

    fn shifted_right(self, bits: u32) -> Self {
        let number = (double(self[0], self[1]).cast_signed() >> bits).cast_unsigned();
        [low(number), high(number)]
    }
}

impl Window for [u64; 4] {
    const BITS: u32 = 256;

    #[inline]
    fn add(&mut self, significand: u128, shift: u32, negative: bool) -> bool {
        let (term, above) = if shift >= u128::BITS {
            (0, significand << (shift - u128::BITS))
        } else if shift == 0 {
            (significand, 0)
        } else {
            (significand << shift, significand >> (u128::BITS - shift))
        };
        let lower = double(self[0], self[1]);
        let upper = double(self[2], self[3]).cast_signed();
        let above = above.cast_signed();
        let (lower, upper, overflow) = if negative {
            let (lower, borrow) = lower.overflowing_sub(term);
            let (upper, first) = upper.overflowing_sub(above);
            let (upper, second) = upper.overflowing_sub(i128::from(borrow));
            (lower, upper, first != second)
        } else {
            let (lower, carry) = lower.overflowing_add(term);
            let (upper, first) = upper.overflowing_add(above);
            let (upper, second) = upper.overflowing_add(i128::from(carry));
            (lower, upper, first != second)
        };
        if overflow {
            return false;
        }
        let upper = upper.cast_unsigned();
        *self = [low(lower), high(lower), low(upper), high(upper)];
        true
    }

    fn is_negative(&self) -> bool {
        self[3].cast_signed() < 0
    }

    fn magnitude(&self) -> [u128; 2] {
        let (lower, upper) = (double(self[0], self[1]), double(self[2], self[3]));
        if self.is_negative() {
            let (lower, borrow) = 0_u128.overflowing_sub(lower);
            [lower, 0_u128.wrapping_sub(upper).wrapping_sub(u128::from(borrow))]
        } else {
            [lower, upper]
        }
    }

    fn shifted_left(self, bits: u32) -> Self {
        shifted(self, i64::from(bits))
    }

    fn shifted_right(self, bits: u32) -> Self {
        shifted(self, -i64::from(bits))
    }
}

/// The four words moved up by a number of bits, or down below zero, with the sign drawn in from above.
fn shifted(words: [u64; 4], up: i64) -> [u64; 4] {
    let sign = if words.is_negative() { u64::MAX } else { 0 };
    let at = |place: i64| match usize::try_from(place) {
        Err(_) => 0,
        Ok(place) => words.get(place).copied().unwrap_or(sign),
    };
    let (skip, bits) = (up.div_euclid(64), up.rem_euclid(64));
    let mut moved = [0; 4];
    for (place, word) in (0..).zip(&mut moved) {
        *word = high(double(at(place - skip - 1), at(place - skip)) << bits);
    }
    moved
}
