//! Distinct byte strings, each with a number: what it takes to compare many of them once.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use datafusion::common::hash_utils::RandomState;

/// No string comes after this one in a chain.
const END: u64 = u64::MAX;

/// Byte strings that are kept once, one behind another; the number of each is its position among them.
#[derive(Debug, Default)]
pub struct DistinctBytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The last string with a hash; those before it follow in `previous`.
    last: HashMap<u64, u64, BuildHasherDefault<Identity>>,
    previous: Vec<u64>,
    state: RandomState,
}

impl DistinctBytes {
    /// The number of a string, which is taken in if it is new.
    pub fn name(&mut self, bytes: &[u8]) -> u64 {
        let hash = self.state.hash_one(bytes);
        let last = self.last.get(&hash).copied().unwrap_or(END);
        if let Some(found) = self.among(last, bytes) {
            return found;
        }
        let name = self.ends.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.previous.push(last);
        self.last.insert(hash, name);
        name
    }

    /// The number of a string that was taken in.
    pub fn find(&self, bytes: &[u8]) -> Option<u64> {
        self.among(*self.last.get(&self.state.hash_one(bytes))?, bytes)
    }

    /// The number of a string among those of one hash, the last of which is given.
    fn among(&self, last: u64, bytes: &[u8]) -> Option<u64> {
        let mut found = last;
        while found != END {
            if self.get(found) == bytes {
                return Some(found);
            }
            found = self.previous[index(found)];
        }
        None
    }

    /// The string with a number.
    pub fn get(&self, name: u64) -> &[u8] {
        let name = index(name);
        let start = if name == 0 { 0 } else { self.ends[name - 1] };
        &self.bytes[start..self.ends[name]]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The numbers that are asked for, in the order of their strings.
    pub fn order(&self, asked: impl Fn(u64) -> bool) -> Vec<u64> {
        // Most strings differ in their first bytes, which are compared without looking them up.
        let mut order: Vec<(u64, u64)> = (0..self.ends.len() as u64)
            .filter(|name| asked(*name))
            .map(|name| (prefix(self.get(name)), name))
            .collect();
        order
            .sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| self.get(left.1).cmp(self.get(right.1))));
        order.into_iter().map(|(_, name)| name).collect()
    }

    /// The bytes of memory that they take.
    pub fn size(&self) -> usize {
        // A hash table keeps a byte of control beside each entry.
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.previous.capacity() * size_of::<u64>()
            + self.last.capacity() * (size_of::<(u64, u64)>() + 1)
    }
}

/// The first eight bytes as a number; shorter strings are filled up with zeros, which keeps the order.
fn prefix(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

fn index(name: u64) -> usize {
    // Names count strings in memory.
    usize::try_from(name).unwrap_or(usize::MAX)
}

/// Keys that are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only used for other keys than hashes, of which there are none.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
