//! Rounding of exact values to the nearest `f64`, ties to even, once.

use super::natural::Leading;
use super::words::width;

/// Bits of the significand of an `f64`.
const PRECISION: i64 = 53;
/// Exponent of the last bit of the smallest `f64`.
const LEAST_EXPONENT: i64 = -1074;
/// Exponent of the first bit of the largest `f64`.
const GREATEST_EXPONENT: i64 = 1023;

/// The `f64` nearest to a value, ties to even; zero is `0.0`, and what is too large is infinite.
///
/// Where the value is inexact, its bits must be more than an `f64` has: at least 55.
pub(crate) fn nearest(negative: bool, value: Leading) -> f64 {
    let Leading { bits, exponent, inexact } = value;
    if bits == 0 {
        return 0.0;
    }
    let first = exponent + i64::from(width(bits)) - 1;
    let magnitude = if first > GREATEST_EXPONENT {
        f64::INFINITY
    } else {
        let last = (first - PRECISION + 1).max(LEAST_EXPONENT);
        let kept = rounded_shift(bits, last - exponent, inexact);
        // The implicit bit counts one up in the field of the exponent; rounding up may carry into it, up to infinity.
        let field = u64::try_from(last - LEAST_EXPONENT).unwrap_or(0) << (PRECISION - 1);
        f64::from_bits(field + kept)
    };
    if negative { -magnitude } else { magnitude }
}

/// The `f64` nearest to the square root of a value whose exponent is even and that has at least 126 bits.
pub(crate) fn nearest_root(negative: bool, value: Leading) -> f64 {
    let root = value.bits.isqrt();
    let inexact = value.inexact || root * root != value.bits;
    nearest(negative, Leading { bits: root, exponent: value.exponent / 2, inexact })
}

/// The bits divided by two to the power of `dropped`, to the nearest whole number, ties to even.
fn rounded_shift(bits: u128, dropped: i64, inexact: bool) -> u64 {
    let narrow = |bits: u128| u64::try_from(bits).unwrap_or(u64::MAX);
    let Ok(dropped) = u32::try_from(dropped) else {
        return narrow(bits << dropped.unsigned_abs());
    };
    if dropped == 0 {
        return narrow(bits);
    }
    if dropped > u128::BITS {
        return 0;
    }
    let kept = bits.checked_shr(dropped).unwrap_or(0);
    let rest = bits & (u128::MAX >> (u128::BITS - dropped));
    let half = 1_u128 << (dropped - 1);
    let up = rest > half || (rest == half && (inexact || kept & 1 == 1));
    narrow(kept + u128::from(up))
}
