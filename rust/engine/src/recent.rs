//! A bounded map: what was used least recently goes first.
//!
//! Invariant: it never holds more than its capacity, and what it lost is never needed, only made again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by key, for several threads.
pub(crate) struct Recent<K, V> {
    capacity: usize,
    kept: Mutex<Kept<K, V>>,
}

struct Kept<K, V> {
    clock: u64,
    values: HashMap<K, (u64, V)>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// An empty map for `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::new(Kept { clock: 0, values: HashMap::new() }) }
    }

    /// Keep a value, in place of what had its key.
    pub fn put(&self, key: K, value: V) {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        kept.values.insert(key, (now, value));
        while kept.values.len() > self.capacity {
            let oldest = kept.values.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            match oldest {
                Some(key) => kept.values.remove(&key),
                None => break,
            };
        }
    }

    /// Take a value out: nobody else gets it.
    pub fn take(&self, key: &K) -> Option<V> {
        self.lock().values.remove(key).map(|(_, value)| value)
    }

    /// The values hold whole entries only, so that a panic elsewhere cannot have left half of one.
    fn lock(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// A copy of a value, which counts as used.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        kept.values.get_mut(key).map(|(used, value)| {
            *used = now;
            value.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_value_goes_first() {
        let recent = Recent::new(2);
        recent.put("a", 1);
        recent.put("b", 2);
        assert_eq!(recent.get(&"a"), Some(1));
        recent.put("c", 3);
        assert_eq!(recent.get(&"b"), None);
        assert_eq!((recent.get(&"a"), recent.get(&"c")), (Some(1), Some(3)));
    }

    #[test]
    fn what_was_taken_is_gone() {
        let recent = Recent::new(2);
        recent.put("a", 1);
        recent.put("a", 2);
        assert_eq!(recent.take(&"a"), Some(2));
        assert_eq!(recent.take(&"a"), None);
    }
}
