//! Random choices that a seed repeats.

use std::hash::{BuildHasher, Hasher};

/// A small random number generator: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    /// Of a seed that is printed: `FOLDLOG_SEED`, or a new one.
    pub(crate) fn seeded() -> Self {
        let seed = match std::env::var("FOLDLOG_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => std::collections::hash_map::RandomState::new().build_hasher().finish(),
        };
        println!("FOLDLOG_SEED={seed}");
        Self::new(seed)
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    pub(crate) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}
