//! A list that only grows, and shares its items with the lists that it was cloned from.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use imbl::Vector;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

pub(super) const CHUNK: usize = 64;

/// Items in the order in which they were appended. A clone costs the same at any length, and so does growing a clone: a
/// new item goes into a place that was never filled, which no earlier list looks at.
///
/// In a view that was stored, items are still bytes. When an item is first asked for, the chunk of 64 items that holds
/// it is decoded. The bytes are kept, so such a list takes up to twice as much memory as a list that was folded.
pub struct AppendList<T> {
    /// All chunks but the last are full. The last one may hold items beyond `len`: those of a list that was cloned from
    /// this list and has grown.
    chunks: Vector<Arc<Chunk<T>>>,
    len: usize,
}

enum Chunk<T> {
    Growing(Box<[OnceLock<Arc<T>>; CHUNK]>),
    /// A packed chunk is always full.
    Packed(Packed<T>),
}

pub(super) struct Packed<T> {
    pub(super) bytes: Bytes,
    unpack: Unpack<T>,
    items: OnceLock<Items<T>>,
}

impl<T> Packed<T> {
    /// The items, decoded for this call and not kept. `None` if the chunk keeps its decoded items already.
    fn fresh(&self) -> Option<Items<T>> {
        self.items.get().is_none().then(|| (self.unpack)(&self.bytes))
    }
}

pub(super) type Items<T> = Box<[Arc<T>; CHUNK]>;

/// Decodes the items of a full chunk. It cannot fail, since a list always gives the item that it is asked for.
pub(super) type Unpack<T> = fn(&[u8]) -> Items<T>;

impl<T> Chunk<T> {
    fn new() -> Self {
        Self::Growing(Box::new(std::array::from_fn(|_| OnceLock::new())))
    }

    fn get(&self, place: usize) -> Option<&Arc<T>> {
        match self {
            Self::Growing(slots) => slots.get(place)?.get(),
            Self::Packed(Packed { bytes, unpack, items }) => items.get_or_init(|| unpack(bytes)).get(place),
        }
    }

    /// Fills a place. Gives the item back if the place is taken or cannot be filled.
    fn set(&self, place: usize, item: Arc<T>) -> Result<(), Arc<T>> {
        match self {
            Self::Growing(slots) => match slots.get(place) {
                Some(slot) => slot.set(item),
                None => Err(item),
            },
            Self::Packed(_) => Err(item),
        }
    }

    fn packed(&self) -> Option<&Packed<T>> {
        match self {
            Self::Growing(_) => None,
            Self::Packed(packed) => Some(packed),
        }
    }
}

impl<T> AppendList<T> {
    /// How many items the list has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list has no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Arc<T>> {
        if index >= self.len {
            return None;
        }
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The last item.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<T>> {
        self.get(self.len.checked_sub(1)?)
    }

    /// All items, in order.
    pub fn iter(&self) -> Iter<'_, T> {
        self.range(0..self.len)
    }

    /// The items from a place on.
    pub fn iter_from(&self, start: usize) -> Iter<'_, T> {
        self.range(start.min(self.len)..self.len)
    }

    fn range(&self, range: Range<usize>) -> Iter<'_, T> {
        Iter { list: self, range }
    }

    /// The place of an item in a list that ascends by `key`, or the place where it would be.
    ///
    /// # Errors
    /// The place, when there is no such item.
    pub fn binary_search_by_key<K: Ord>(&self, key: &K, mut of: impl FnMut(&Arc<T>) -> K) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle).map(|item| of(item).cmp(key)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Equal) => return Ok(middle),
                Some(std::cmp::Ordering::Greater) | None => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn push(&mut self, item: Arc<T>) {
        let place = self.len % CHUNK;
        let last = self.chunks.back().filter(|_| place > 0);
        // The place is taken if a clone of this list has grown since.
        let refused = match last {
            Some(chunk) => chunk.set(place, item).err(),
            None => Some(item),
        };
        if let Some(item) = refused {
            let chunk = Chunk::new();
            for (place, item) in self.range(self.len - place..self.len).cloned().chain([item]).enumerate() {
                let _ = chunk.set(place, item);
            }
            if place > 0 {
                self.chunks.pop_back();
            }
            self.chunks.push_back(Arc::new(chunk));
        }
        self.len += 1;
    }

    /// Adds a full chunk behind full ones.
    pub(super) fn push_packed(&mut self, bytes: Bytes, unpack: Unpack<T>) {
        debug_assert!(self.len.is_multiple_of(CHUNK), "a chunk behind one that is not full");
        self.chunks.push_back(Arc::new(Chunk::Packed(Packed { bytes, unpack, items: OnceLock::new() })));
        self.len += CHUNK;
    }

    /// How many chunks are not decoded.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let is_waiting = |chunk: &&Arc<Chunk<T>>| chunk.packed().is_some_and(|packed| packed.items.get().is_none());
        self.chunks.iter().filter(is_waiting).count()
    }

    /// The chunk that begins at a place, if it is packed.
    pub(super) fn packed(&self, start: usize) -> Option<&Packed<T>> {
        self.chunks.get(start / CHUNK)?.packed()
    }

    /// All chunks in order: the items of each, and its packed form if it has one.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (Iter<'_, T>, Option<&Packed<T>>)> {
        self.chunks.iter().enumerate().map(|(number, chunk)| {
            let start = number * CHUNK;
            (self.range(start..self.len.min(start + CHUNK)), chunk.packed())
        })
    }
}

impl<T> Clone for AppendList<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<T> Default for AppendList<T> {
    fn default() -> Self {
        Self { chunks: Vector::new(), len: 0 }
    }
}

impl<T: PartialEq> PartialEq for AppendList<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && equal_chunks(self.chunks(), other.chunks())
    }
}

/// Whether two collections of equal length have equal items. Two packed chunks of equal bytes are equal and are not
/// decoded. Any other packed chunk is decoded for the comparison only and stays packed, so that a comparison keeps no
/// memory.
pub(super) fn equal_chunks<'a, T: PartialEq + 'a, I: Iterator<Item = &'a Arc<T>>>(
    ones: impl Iterator<Item = (I, Option<&'a Packed<T>>)>,
    others: impl Iterator<Item = (I, Option<&'a Packed<T>>)>,
) -> bool {
    ones.zip(others).all(|((items, packed), (others, other_packed))| {
        if let (Some(packed), Some(other)) = (packed, other_packed)
            && packed.bytes == other.bytes
        {
            return true;
        }
        match (packed.and_then(Packed::fresh), other_packed.and_then(Packed::fresh)) {
            (None, None) => equal(items, others),
            (Some(fresh), None) => equal(fresh.iter(), others),
            (None, Some(fresh)) => equal(items, fresh.iter()),
            (Some(fresh), Some(other)) => fresh == other,
        }
    })
}

fn equal<'a, 'b, T: PartialEq + 'a + 'b>(
    ones: impl Iterator<Item = &'a Arc<T>>,
    others: impl Iterator<Item = &'b Arc<T>>,
) -> bool {
    ones.zip(others).all(|(one, other)| Arc::ptr_eq(one, other) || one == other)
}

impl<T: Serialize> Serialize for AppendList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_chunks(self.len, self.chunks(), serializer)
    }
}

/// All items as one list. A packed chunk is decoded for the call only and stays packed, so that serialising a view
/// keeps no memory.
pub(super) fn serialize_chunks<'a, S: Serializer, T: Serialize + 'a>(
    len: usize,
    chunks: impl Iterator<Item = (impl Iterator<Item = &'a Arc<T>>, Option<&'a Packed<T>>)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(len))?;
    for (mut items, packed) in chunks {
        match packed.and_then(Packed::fresh) {
            Some(fresh) => fresh.iter().try_for_each(|item| list.serialize_element(item.as_ref()))?,
            None => items.try_for_each(|item| list.serialize_element(item.as_ref()))?,
        }
    }
    list.end()
}

impl<T: fmt::Debug> fmt::Debug for AppendList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T> Extend<Arc<T>> for AppendList<T> {
    fn extend<I: IntoIterator<Item = Arc<T>>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> FromIterator<Arc<T>> for AppendList<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(items: I) -> Self {
        let mut list = Self::default();
        list.extend(items);
        list
    }
}

impl<T> std::ops::Index<usize> for AppendList<T> {
    type Output = Arc<T>;

    /// # Panics
    /// Beyond the end, as for a slice.
    #[expect(clippy::panic, reason = "what indexing beyond the end does")]
    fn index(&self, index: usize) -> &Arc<T> {
        self.get(index).unwrap_or_else(|| panic!("index {index} of a list of {}", self.len))
    }
}

impl<'a, T> IntoIterator for &'a AppendList<T> {
    type Item = &'a Arc<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Items of an [`AppendList`], from both ends.
pub struct Iter<'a, T> {
    list: &'a AppendList<T>,
    range: Range<usize>,
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.range).finish()
    }
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self { list: self.list, range: self.range.clone() }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<&'a Arc<T>> {
        self.range.next().and_then(|index| self.list.get(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.range.next_back().and_then(|index| self.list.get(index))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(list: &AppendList<u64>) -> Vec<u64> {
        list.iter().map(|item| **item).collect()
    }

    /// Two bytes for each, little-endian.
    fn unpack(bytes: &[u8]) -> Items<u64> {
        let items = bytes.chunks(2).map(|two| Arc::new(u64::from(u16::from_le_bytes(two.try_into().unwrap()))));
        items.collect::<Vec<_>>().into_boxed_slice().try_into().unwrap()
    }

    fn packed(chunks: u16) -> AppendList<u64> {
        let mut list = AppendList::default();
        for first in (0..chunks).map(|number| number * CHUNK as u16) {
            let bytes: Vec<_> = (first..first + CHUNK as u16).flat_map(u16::to_le_bytes).collect();
            list.push_packed(bytes.into(), unpack);
        }
        list
    }

    proptest! {
        /// Lists that are cloned from each other at any point and grow on their own are what plain lists would be.
        #[test]
        fn clones_that_grow_apart_share_and_do_not_mix(
            chunks in 0_u16..4,
            steps in proptest::collection::vec((0_usize..8, 0_usize..90, any::<proptest::sample::Index>()), 1..40),
        ) {
            let mut next = u64::from(chunks) * CHUNK as u64;
            let mut lists = vec![(packed(chunks), (0..next).collect::<Vec<_>>())];
            for (which, grow, look) in steps {
                let which = which % lists.len();
                if grow % 3 == 0 && !lists[which].1.is_empty() {
                    let (list, beside) = &lists[which];
                    let place = look.index(beside.len());
                    prop_assert_eq!(*list[place], beside[place]);
                }
                if lists.len() < 8 && grow % 2 == 0 {
                    let clone = lists[which].clone();
                    lists.push(clone);
                }
                let (list, beside) = &mut lists[which];
                for _ in 0..grow {
                    list.push(Arc::new(next));
                    beside.push(next);
                    next += 1;
                }
            }
            for (list, beside) in &lists {
                prop_assert_eq!(&plain(list), beside);
                prop_assert_eq!(list.len(), beside.len());
                prop_assert_eq!(list.last().map(|item| **item), beside.last().copied());
                prop_assert_eq!(list.iter().rev().map(|item| **item).collect::<Vec<_>>(), beside.iter().rev().copied().collect::<Vec<_>>());
                let middle = beside.len() / 2;
                prop_assert_eq!(list.iter_from(middle).len(), beside.len() - middle);
                for wanted in [0, next / 2, next] {
                    prop_assert_eq!(list.binary_search_by_key(&wanted, |item| **item), beside.binary_search(&wanted));
                }
                prop_assert_eq!(list.get(beside.len()), None);
                prop_assert_eq!(list == &beside.iter().copied().map(Arc::new).collect(), true);
            }
        }
    }

    #[test]
    fn lists_that_differ_in_one_item_are_not_equal_however_they_are_held() {
        let folded = |other: Option<u64>| -> AppendList<u64> {
            (0..192).map(|n| Arc::new(if other == Some(n) { 1000 } else { n })).collect()
        };
        assert_eq!(folded(None), packed(3));
        assert_eq!(packed(3), folded(None));
        assert_eq!(packed(3), packed(3));
        for place in [0, 63, 64, 191] {
            assert_ne!(folded(Some(place)), folded(None), "{place}");
            assert_ne!(folded(Some(place)), packed(3), "{place}");
        }
        let (mut one, mut other) = (packed(2), packed(2));
        one.push(Arc::new(128));
        other.push(Arc::new(129));
        assert_ne!(one, other);
    }

    #[test]
    #[should_panic(expected = "index 2 of a list of 2")]
    fn an_index_beyond_the_end_panics_as_that_of_a_slice() {
        let mut list = AppendList::default();
        list.push(Arc::new(1));
        let shorter = list.clone();
        list.push(Arc::new(2));
        list.push(Arc::new(3));
        let mut other = shorter;
        other.push(Arc::new(9));
        assert_eq!(plain(&other), [1, 9]);
        let _ = &other[2];
    }
}
