//! The bytes of a sum: canonical, so that equal sums have equal bytes on every machine.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags: 1 there is a number, 2 it is negative, 4 there are counts |
//! | count | exponent of the number's lowest bit that is set |
//! | count, then that many | its absolute value from that bit on, lowest byte first, without zero bytes at the end |
//! | three counts | how many NaN, positive and negative infinities |
//!
//! A count is a signed number in groups of seven bits, lowest first, the sign in the lowest bit (zigzag, LEB128).

use super::window::Window;
use super::words::width;
use super::{ExactSum, Form, Sign};

const NUMBER: u8 = 1;
const NEGATIVE: u8 = 2;
const COUNTS: u8 = 4;

impl<W: Window> ExactSum<W> {
    /// Appends the bytes of the sum.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let counts = self.not_finite();
        let flags = if counts == [0; 3] { 0 } else { COUNTS };
        match &self.form {
            Form::Narrow { number, .. } if number.is_zero() => bytes.push(flags),
            Form::Narrow { number, exponent } if W::BITS <= u128::BITS => {
                let magnitude = number.magnitude()[0];
                let zeros = magnitude.trailing_zeros();
                let magnitude = magnitude >> zeros;
                bytes.push(flags | NUMBER | if number.is_negative() { NEGATIVE } else { 0 });
                write_count(bytes, i64::from(*exponent) + i64::from(zeros));
                let length = width(magnitude).div_ceil(8);
                write_count(bytes, i64::from(length));
                bytes.extend_from_slice(&magnitude.to_le_bytes()[..usize::try_from(length).unwrap_or(0)]);
            }
            _ => self.encode_wide(flags, bytes),
        }
        if flags & COUNTS != 0 {
            for count in counts {
                write_count(bytes, count);
            }
        }
    }

    fn encode_wide(&self, flags: u8, bytes: &mut Vec<u8>) {
        let (negative, terms, exponent) = self.terms();
        let Some(place) = terms.iter().position(|term| *term != 0) else {
            bytes.push(flags);
            return;
        };
        let terms = &terms[place..];
        let zeros = terms[0].trailing_zeros();
        let from = i64::from(exponent) + 128 * i64::try_from(place).unwrap_or(0) + i64::from(zeros);
        let mut magnitude: Vec<u8> = Vec::with_capacity(terms.len() * 16);
        for (index, term) in terms.iter().enumerate() {
            let above = terms.get(index + 1).copied().unwrap_or(0);
            let moved = if zeros == 0 { *term } else { (term >> zeros) | (above << (u128::BITS - zeros)) };
            magnitude.extend(moved.to_le_bytes());
        }
        while magnitude.last() == Some(&0) {
            magnitude.pop();
        }
        bytes.push(flags | NUMBER | if negative { NEGATIVE } else { 0 });
        write_count(bytes, from);
        write_count(bytes, i64::try_from(magnitude.len()).unwrap_or(i64::MAX));
        bytes.extend(magnitude);
    }

    /// Reads the bytes of a sum from the front and adds it or takes it away; the bytes by which the heap grew, or none
    /// if these are no bytes of a sum.
    pub fn merge_encoded(&mut self, bytes: &mut &[u8], sign: Sign) -> Option<usize> {
        let (flags, rest) = bytes.split_first()?;
        *bytes = rest;
        if flags & !(NUMBER | NEGATIVE | COUNTS) != 0 {
            return None;
        }
        let mut grown = 0;
        if flags & NUMBER != 0 {
            let exponent = i32::try_from(read_count(bytes)?).ok().filter(|exponent| exponent.abs() < 1 << 20)?;
            let length = usize::try_from(read_count(bytes)?).ok()?;
            let (magnitude, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            let negative = (flags & NEGATIVE != 0) != (sign == Sign::Minus);
            for (part, exponent) in magnitude.chunks(16).zip((exponent..).step_by(128)) {
                let mut term = [0; 16];
                term[..part.len()].copy_from_slice(part);
                let term = u128::from_le_bytes(term);
                grown += self.add_term(term, width(term), exponent, negative);
            }
        }
        if flags & COUNTS != 0 {
            let counts = [read_count(bytes)?, read_count(bytes)?, read_count(bytes)?];
            grown += self.count_all(counts, sign);
        }
        Some(grown)
    }
}

/// Appends a signed number.
#[inline]
pub(crate) fn write_count(bytes: &mut Vec<u8>, count: i64) {
    let mut rest = ((count << 1) ^ (count >> 63)).cast_unsigned();
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
}

/// Reads a signed number from the front; none if there is none.
#[inline]
pub(crate) fn read_count(bytes: &mut &[u8]) -> Option<i64> {
    let mut count = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        count |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((count >> 1).cast_signed() ^ -(count & 1).cast_signed());
        }
    }
    None
}
