//! Which append keys a session's log has: the last ones with their events, the others by a filter.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{AppendKey, EventId};

/// The append keys of one log: the last `max` with the first event of their appends, and a filter of all.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    first: HashMap<AppendKey, EventId>,
    order: VecDeque<AppendKey>,
    max: usize,
    /// Every key of the log; `None` if they are not known, so that the log is searched for each key not in `first`.
    filter: Option<KeyFilter>,
}

impl KeyIndex {
    /// The index of a log without keys.
    pub(crate) fn new(max: usize) -> Self {
        Self { first: HashMap::new(), order: VecDeque::new(), max, filter: Some(KeyFilter::default()) }
    }

    /// The index of a log of which only the filter is known; `None` if not even that.
    pub(crate) fn with_filter(max: usize, filter: Option<KeyFilter>) -> Self {
        Self { filter, ..Self::new(max) }
    }

    pub(crate) fn filter(&self) -> Option<&KeyFilter> {
        self.filter.as_ref()
    }

    pub(crate) fn get(&self, key: &AppendKey) -> Option<EventId> {
        self.first.get(key).copied()
    }

    /// Whether a key that [`KeyIndex::get`] does not find may be in the log all the same.
    pub(crate) fn may_be_in_log(&self, key: &AppendKey) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_have(key))
    }

    /// Drops the filter, since the log has a key that the filter did not know.
    pub(crate) fn distrust(&mut self) {
        self.filter = None;
    }

    /// Removes a key whose append was refused. The filter still has it, which costs no more than a search of the log.
    pub(crate) fn remove(&mut self, key: &AppendKey) {
        if self.first.remove(key).is_some() {
            self.order.retain(|kept| kept != key);
        }
    }

    pub(crate) fn insert(&mut self, key: AppendKey, first: EventId) {
        if let Some(filter) = &mut self.filter {
            filter.insert(&key);
        }
        if self.first.insert(key.clone(), first).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.first.remove(&oldest);
            }
        }
    }
}

/// A Bloom filter that grows with the keys, two and a half bytes for each. One new key in some thousands looks like an
/// old one, which costs a search of the log and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyFilter {
    /// Each twice as large as the one before. The last one takes new keys.
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layer {
    /// Their number is a power of two.
    words: Vec<u64>,
    keys: u64,
}

const BITS_PER_KEY: u64 = 20;
const PROBES: u64 = 10;
/// 1 KiB, for 410 keys: most sessions need no more.
const FIRST_WORDS: usize = 128;

impl KeyFilter {
    fn insert(&mut self, key: &AppendKey) {
        let hash = FilterBits::of(key);
        let room = self.layers.last_mut().filter(|layer| layer.keys * BITS_PER_KEY < layer.bits());
        let layer = match room {
            Some(layer) => layer,
            None => {
                let words = self.layers.last().map_or(FIRST_WORDS, |last| last.words.len() * 2);
                self.layers.push(Layer { words: vec![0; words], keys: 0 });
                return self.insert(key);
            }
        };
        layer.keys += 1;
        for bit in layer.probes(hash) {
            if let Some(word) = layer.words.get_mut((bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// Whether the sizes of the layers are such as this code makes them. The filter may come from a file.
    pub(crate) fn is_sound(&self) -> bool {
        self.layers.iter().all(|layer| layer.words.len().is_power_of_two())
    }

    /// Whether the filter may have a key. A no is never wrong, a yes may be.
    fn may_have(&self, key: &AppendKey) -> bool {
        let hash = FilterBits::of(key);
        self.layers.iter().any(|layer| {
            layer
                .probes(hash)
                .all(|bit| layer.words.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1))
        })
    }
}

impl Layer {
    fn bits(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    fn probes(&self, FilterBits { first, step }: FilterBits) -> impl Iterator<Item = u64> + use<> {
        let mask = self.bits() - 1;
        (0..PROBES).map(move |probe| first.wrapping_add(probe.wrapping_mul(step)) & mask)
    }
}

/// Where the bits of a key are in a layer of any size.
#[derive(Clone, Copy)]
struct FilterBits {
    first: u64,
    /// Odd, so that the probes can come to every bit.
    step: u64,
}

impl FilterBits {
    fn of(key: &AppendKey) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = codec::key_hash(key);
        let [first, step] = [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]].map(u64::from_le_bytes);
        Self { first, step: step | 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> AppendKey {
        AppendKey::new(format!("key-{n}")).unwrap()
    }

    #[test]
    fn every_key_is_known_however_many_there_are_and_few_others_seem_to_be() {
        let mut index = KeyIndex::new(10);
        assert!(!index.may_be_in_log(&key(1)));
        for n in 0..20_000 {
            index.insert(key(n), EventId::new(n + 1));
        }
        assert!((0..20_000).all(|n| index.may_be_in_log(&key(n))));
        let wrong = (20_000..120_000).filter(|n| index.may_be_in_log(&key(*n))).count();
        assert!(wrong < 200, "{wrong} of 100,000 new keys look old");
        assert_eq!((index.get(&key(19_990)), index.get(&key(19_989))), (Some(EventId::new(19_991)), None));
        let bytes: usize =
            index.filter.iter().flat_map(|filter| &filter.layers).map(|layer| layer.words.len() * 8).sum();
        assert!(bytes < 20_000 * 8, "{bytes} bytes");
    }

    #[test]
    fn a_refused_key_is_looked_up_again_and_an_index_that_was_wrong_trusts_nothing() {
        let mut index = KeyIndex::new(10);
        index.insert(key(1), EventId::new(1));
        index.remove(&key(1));
        assert_eq!(index.get(&key(1)), None);
        assert!(index.may_be_in_log(&key(1)));
        index.distrust();
        assert!(index.may_be_in_log(&key(2)));
    }
}
