//! Sums of floats that are exact, so that they depend on what is added and not on the order.
//!
//! An [`ExactSum`] is a fixed-point number that is wide enough for every bit of every term, so that addition loses
//! nothing, terms can be taken away again, and sums of parts can be merged in any order.  It is rounded once, when it
//! is asked for its value: to the nearest `f64`, ties to even, as IEEE 754 has it for one addition.  A sum that leaves
//! the range of `f64` on the way and comes back is as good as any other.
//!
//! The idea is the superaccumulator of Radford M. Neal, "Fast Exact Summation Using Small and Large Superaccumulators"
//! (2015, arXiv:1505.05571), which goes back to Kulisch.  Neal's small one has 67 chunks of 64 bits, 536 bytes, for
//! every sum; that is too much for a million groups, and the bits of most sums lie close together.  So a sum starts as a
//! fixed-point number of two words with an exponent of its own, which moves as long as all bits fit, and becomes a row
//! of words that grows only where they do not.  Neal's large one, a word for each exponent that collects significands
//! without looking at carries, is what [`blocks`] do for many terms of one sum.
//!
//! Products need no splitting in floating arithmetic (Dekker 1971; Ogita, Rump and Oishi 2005), whose lower part is lost
//! where it underflows: the product of two significands has 106 bits and is added as a whole number.
//!
//! What is no finite number is counted: a NaN, or infinities of both signs, make the sum NaN, and infinities of one sign
//! make it that infinity, for as long as they are not taken away again.  A sum of nothing, of zeros of any sign, or of
//! terms that cancel is `0.0`, as if every sum started with it.  NaN is always the same NaN.
//!
//! Equation: `value(state)` is the sum of the added terms minus the sum of the retracted ones, rounded once; equal sums
//! have equal [bytes](ExactSum::encode), whatever the order was.

pub mod blocks;
mod dyadic;
mod encoding;
mod limbs;
mod natural;
mod rounding;
mod window;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use dyadic::Dyadic;
pub(crate) use encoding::{read_count, write_count};
use limbs::{Limbs, doubles};
use natural::{Leading, Natural};
use rounding::nearest;
pub use window::Window;
use words::width;

/// A sum of `f64`; 24 bytes.
pub type FloatSum = ExactSum<[u64; 2]>;
/// A sum of products of two `f64`; 40 bytes.
pub type ProductSum = ExactSum<[u64; 4]>;

/// Bits of a significand.
const SIGNIFICAND: u32 = 53;
/// Bits of a product of significands.
const PRODUCT: u32 = 2 * SIGNIFICAND;
/// Bits of a stored significand.
const FRACTION: u32 = SIGNIFICAND - 1;
/// The exponent field of NaN and infinities.
const NOT_FINITE: u64 = 0x7ff;
/// What the exponent field of one is more than its exponent, for significands that are whole numbers.
const BIAS: i32 = 1075;
/// The exponent of a sum without terms: it fits no term, so that the first one chooses.
const UNSET: i32 = i32::MAX / 2;

/// Whether a term is added or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Added.
    Plus,
    /// Taken away: the term must have been added before, or will be.
    Minus,
}

/// An exact sum; see the module.
#[derive(Clone)]
pub struct ExactSum<W> {
    form: Form<W>,
}

#[derive(Clone)]
enum Form<W> {
    /// The sum is `number * 2^exponent`.
    Narrow { number: W, exponent: i32 },
    /// Its bits lie too far apart for that, or it holds what is no finite number.
    Wide(Box<Limbs>),
}

/// The parts of a float: `± significand * 2^exponent`.
#[derive(Clone, Copy, Debug)]
struct Parts {
    significand: u64,
    exponent: i32,
    negative: bool,
    finite: bool,
}

impl Parts {
    #[inline]
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let field = bits >> FRACTION & NOT_FINITE;
        let fraction = bits & ((1 << FRACTION) - 1);
        Self {
            significand: fraction | u64::from(field != 0) << FRACTION,
            // The field has eleven bits.
            exponent: i32::try_from(field.max(1)).unwrap_or(0) - BIAS,
            negative: value.is_sign_negative(),
            finite: field != NOT_FINITE,
        }
    }
}

impl<W: Window> Default for ExactSum<W> {
    fn default() -> Self {
        Self { form: Form::Narrow { number: W::default(), exponent: UNSET } }
    }
}

impl<W: Window> fmt::Debug for ExactSum<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExactSum({:?})", self.value())
    }
}

impl<W: Window> ExactSum<W> {
    /// Adds a float or takes it away; the bytes by which the heap grew.
    #[inline]
    pub fn add(&mut self, value: f64, sign: Sign) -> usize {
        let parts = Parts::of(value);
        if !parts.finite {
            return self.count(value, sign);
        }
        if parts.significand == 0 {
            return 0;
        }
        let negative = parts.negative != (sign == Sign::Minus);
        self.add_term(u128::from(parts.significand), SIGNIFICAND, parts.exponent, negative)
    }

    /// Adds the product of two floats or takes it away; the bytes by which the heap grew.
    ///
    /// A product with what is no finite number is left out: whoever sums products sums the factors too, and those tell.
    #[inline]
    pub fn add_product(&mut self, left: f64, right: f64, sign: Sign) -> usize {
        let (left, right) = (Parts::of(left), Parts::of(right));
        if !left.finite || !right.finite {
            return 0;
        }
        let significand = u128::from(left.significand) * u128::from(right.significand);
        let negative = (left.negative != right.negative) != (sign == Sign::Minus);
        self.add_term(significand, PRODUCT, left.exponent + right.exponent, negative)
    }

    /// Adds another sum or takes it away; the bytes by which the heap grew.
    pub fn merge(&mut self, other: &Self, sign: Sign) -> usize {
        let (negative, terms, exponent) = other.terms();
        let negative = negative != (sign == Sign::Minus);
        let mut grown = 0;
        for (term, exponent) in terms.into_iter().zip((exponent..).step_by(128)) {
            grown += self.add_term(term, width(term), exponent, negative);
        }
        grown + self.count_all(other.not_finite(), sign)
    }

    /// The sum, rounded once; NaN and infinities as the module says.
    pub fn value(&self) -> f64 {
        if let Some(value) = self.not_finite_value() {
            return value;
        }
        match &self.form {
            Form::Narrow { number, exponent } if W::BITS <= u128::BITS => {
                let leading = Leading { bits: number.magnitude()[0], exponent: i64::from(*exponent), inexact: false };
                nearest(number.is_negative(), leading)
            }
            _ => self.exact().rounded(),
        }
    }

    /// The sum divided by a count, rounded once.
    pub fn mean(&self, count: u64) -> f64 {
        if let Some(value) = self.not_finite_value() {
            return value;
        }
        if let Form::Narrow { number, exponent } = &self.form
            && W::BITS <= u128::BITS
            && let bits = number.magnitude()[0]
            && bits != 0
            // The quotient then has 64 bits at least, more than are needed.
            && count.leading_zeros() > 0
        {
            let shift = bits.leading_zeros();
            let (bits, divisor) = (bits << shift, u128::from(count));
            let exponent = i64::from(*exponent) - i64::from(shift);
            let leading = Leading { bits: bits / divisor, exponent, inexact: bits % divisor != 0 };
            return nearest(number.is_negative(), leading);
        }
        self.exact().over(&Dyadic::whole(count))
    }

    /// Whether every term that is left is a finite number.
    pub fn is_finite(&self) -> bool {
        self.not_finite() == [0; 3]
    }

    /// The finite terms as an exact value.
    pub(crate) fn exact(&self) -> Dyadic {
        match &self.form {
            Form::Narrow { number, exponent } => {
                let [lower, upper] = number.magnitude();
                let words = [lower, upper].map(|double| [words::low(double), words::high(double)]).concat();
                Dyadic::new(number.is_negative(), Natural::from_words(words), i64::from(*exponent))
            }
            Form::Wide(limbs) => {
                let magnitude = Natural::from_words(limbs.magnitude());
                Dyadic::new(limbs.is_negative(), magnitude, i64::from(limbs.exponent()))
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Narrow { .. } => 0,
            Form::Wide(limbs) => limbs.heap_bytes(),
        }
    }

    /// Adds `significand * 2^exponent` or takes it away; `most` is a bound of the significand's bits.
    #[inline]
    fn add_term(&mut self, significand: u128, most: u32, exponent: i32, negative: bool) -> usize {
        if let Form::Narrow { number, exponent: base } = &mut self.form
            && let Ok(shift) = u32::try_from(exponent - *base)
            && shift + most < W::BITS
            && number.add(significand, shift, negative)
        {
            return 0;
        }
        self.add_anywhere(significand, exponent, negative)
    }

    /// As [`Self::add_term`] for a term that does not fit where the number lies now.
    #[cold]
    fn add_anywhere(&mut self, significand: u128, exponent: i32, negative: bool) -> usize {
        if significand == 0 {
            return 0;
        }
        let before = self.heap_bytes();
        if let Form::Narrow { number, exponent: base } = &mut self.form {
            if add_moved(number, base, significand, exponent, negative) {
                return 0;
            }
            self.widen();
        }
        if let Form::Wide(limbs) = &mut self.form {
            limbs.add(significand, exponent, negative);
        }
        self.heap_bytes() - before
    }

    fn widen(&mut self) {
        if let Form::Narrow { number, exponent } = &self.form {
            let mut limbs = Limbs::default();
            for (term, exponent) in number.magnitude().into_iter().zip((*exponent..).step_by(128)) {
                limbs.add(term, exponent, number.is_negative());
            }
            self.form = Form::Wide(Box::new(limbs));
        }
    }

    /// Counts a NaN or an infinity.
    #[cold]
    fn count(&mut self, value: f64, sign: Sign) -> usize {
        let counts = if value.is_nan() {
            [1, 0, 0]
        } else if value > 0.0 {
            [0, 1, 0]
        } else {
            [0, 0, 1]
        };
        self.count_all(counts, sign)
    }

    fn count_all(&mut self, counts: [i64; 3], sign: Sign) -> usize {
        if counts == [0; 3] {
            return 0;
        }
        let before = self.heap_bytes();
        self.widen();
        if let Form::Wide(limbs) = &mut self.form {
            for (count, more) in limbs.not_finite.iter_mut().zip(counts) {
                *count += if sign == Sign::Minus { -more } else { more };
            }
        }
        self.heap_bytes() - before
    }

    /// How many NaN, positive and negative infinities there are.
    fn not_finite(&self) -> [i64; 3] {
        match &self.form {
            Form::Narrow { .. } => [0; 3],
            Form::Wide(limbs) => limbs.not_finite,
        }
    }

    fn not_finite_value(&self) -> Option<f64> {
        match self.not_finite() {
            [0, 0, 0] => None,
            [0, _, 0] => Some(f64::INFINITY),
            [0, 0, _] => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// Sign, absolute value in double words, and exponent of its lowest bit.
    fn terms(&self) -> (bool, Vec<u128>, i32) {
        match &self.form {
            Form::Narrow { number, exponent } => (number.is_negative(), number.magnitude().to_vec(), *exponent),
            Form::Wide(limbs) => (limbs.is_negative(), doubles(&limbs.magnitude()).collect(), limbs.exponent()),
        }
    }
}

/// Adds a term to a number whose exponent may move for it; false, and nothing done, if their bits do not fit together.
fn add_moved<W: Window>(number: &mut W, base: &mut i32, significand: u128, exponent: i32, negative: bool) -> bool {
    let bits = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let room = bits(W::BITS) - 1;
    // What is left over goes below by two parts in five: above it is needed for magnitude and for many terms.
    let below = |used: i32| (room - used) * 2 / 5;
    if number.is_zero() {
        let used = bits(width(significand));
        if used > room {
            return false;
        }
        *base = exponent - below(used);
        return number.add(significand, below(used).unsigned_abs(), negative);
    }
    let zeros = significand.trailing_zeros();
    let (significand, exponent) = (significand >> zeros, exponent + bits(zeros));
    let (first, end) = number.extent();
    let lowest = exponent.min(*base + bits(first));
    let highest = (exponent + bits(width(significand))).max(*base + bits(end));
    // One bit more for the carry.
    let used = highest - lowest + 1;
    if used > room {
        return false;
    }
    let moved = lowest - below(used);
    *number = match u32::try_from(*base - moved) {
        Ok(up) => number.shifted_left(up),
        Err(_) => number.shifted_right((moved - *base).unsigned_abs()),
    };
    *base = moved;
    number.add(significand, (exponent - moved).unsigned_abs(), negative)
}
