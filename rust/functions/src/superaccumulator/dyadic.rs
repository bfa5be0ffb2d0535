//! Exact values of the form `± n * 2^exponent`, and the operations that the formulas of statistics need.

use std::cmp::Ordering;

use super::natural::{Leading, Natural};
use super::rounding::{nearest, nearest_root};

/// An exact value; zero is never negative.
#[derive(Clone, Debug)]
pub(crate) struct Dyadic {
    negative: bool,
    magnitude: Natural,
    exponent: i64,
}

impl Dyadic {
    pub fn new(negative: bool, magnitude: Natural, exponent: i64) -> Self {
        Self { negative: negative && !magnitude.is_zero(), magnitude, exponent }
    }

    pub fn whole(number: u64) -> Self {
        Self::new(false, Natural::from(number), 0)
    }

    pub fn is_zero(&self) -> bool {
        self.magnitude.is_zero()
    }

    pub fn times(&self, other: &Self) -> Self {
        let negative = self.negative != other.negative;
        Self::new(negative, self.magnitude.times(&other.magnitude), self.exponent + other.exponent)
    }

    pub fn minus(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let left = self.aligned(exponent);
        let right = other.aligned(exponent);
        if self.negative != other.negative {
            return Self::new(self.negative, left.plus(&right), exponent);
        }
        match left.cmp(&right) {
            Ordering::Less => Self::new(!self.negative, right.minus(&left), exponent),
            Ordering::Equal | Ordering::Greater => Self::new(self.negative, left.minus(&right), exponent),
        }
    }

    /// The magnitude in units of a smaller power of two.
    fn aligned(&self, exponent: i64) -> Natural {
        self.magnitude.shifted_left(usize::try_from(self.exponent - exponent).unwrap_or(0))
    }

    /// The nearest `f64`.
    pub fn rounded(&self) -> f64 {
        let leading = self.magnitude.leading();
        nearest(self.negative, Leading { exponent: leading.exponent + self.exponent, ..leading })
    }

    /// The `f64` nearest to the quotient by a value that is not zero.
    pub fn over(&self, divisor: &Self) -> f64 {
        let quotient = self.magnitude.quotient(&divisor.magnitude, None);
        let exponent = quotient.exponent + self.exponent - divisor.exponent;
        nearest(self.negative != divisor.negative, Leading { exponent, ..quotient })
    }

    /// The `f64` nearest to the square root of the quotient by a positive value; with the sign of `sign`.
    pub fn root_over(&self, divisor: &Self, sign: &Self) -> f64 {
        let own = self.exponent - divisor.exponent;
        let quotient = self.magnitude.quotient(&divisor.magnitude, Some(own.rem_euclid(2) == 1));
        nearest_root(sign.negative, Leading { exponent: quotient.exponent + own, ..quotient })
    }
}
