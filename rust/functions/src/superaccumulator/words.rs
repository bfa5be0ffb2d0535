//! Words of 64 bits and how wider integers are cut into them.

/// The low word of a double word.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is what `high` gives")]
pub(super) const fn low(double: u128) -> u64 {
    double as u64
}

/// The high word of a double word.
pub(super) const fn high(double: u128) -> u64 {
    low(double >> u64::BITS)
}

/// A double word of two words.
pub(super) const fn double(low: u64, high: u64) -> u128 {
    low as u128 | (high as u128) << u64::BITS
}

/// Number of bits of a double word without leading zeros.
pub(super) const fn width(double: u128) -> u32 {
    u128::BITS - double.leading_zeros()
}
