//! A list that only grows, and shares everything with its earlier selves.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use imbl::Vector;

const CHUNK: usize = 64;

/// Items in the order in which they came. A clone costs the same at any length, and so does growing a clone: an item goes
/// into a place that was never filled, which no earlier list looks at.
pub struct AppendList<T> {
    /// All but the last are full. A chunk may hold more than this list has: items of a list that was cloned from it.
    chunks: Vector<Arc<Chunk<T>>>,
    len: usize,
}

struct Chunk<T>([OnceLock<Arc<T>>; CHUNK]);

impl<T> Chunk<T> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }

    /// The first `len` items in a chunk of their own.
    fn beginning(&self, len: usize) -> Self {
        let copy = Self::new();
        for (from, to) in self.0.iter().zip(&copy.0).take(len) {
            from.get().map(|item| to.set(Arc::clone(item)));
        }
        copy
    }
}

impl<T> AppendList<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
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
        self.chunks.get(index / CHUNK)?.0.get(index % CHUNK)?.get()
    }

    /// The item that came last.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<T>> {
        self.get(self.len.checked_sub(1)?)
    }

    /// All, in the order in which they came.
    pub fn iter(&self) -> Iter<'_, T> {
        self.range(0..self.len)
    }

    /// Those from a place on.
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
        let mut item = Some(item);
        if place > 0
            && let Some(chunk) = self.chunks.back()
            && let Some(slot) = chunk.0.get(place)
        {
            // Taken, if a list that was cloned from this one has grown since.
            item = item.and_then(|item| slot.set(item).err());
        }
        if let Some(item) = item {
            let chunk = match self.chunks.back().filter(|_| place > 0) {
                Some(shared) => shared.beginning(place),
                None => Chunk::new(),
            };
            if let Some(slot) = chunk.0.get(place) {
                let _ = slot.set(item);
            }
            if place > 0 {
                self.chunks.pop_back();
            }
            self.chunks.push_back(Arc::new(chunk));
        }
        self.len += 1;
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
        self.len == other.len && self.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other) || one == other)
    }
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

    proptest! {
        /// Lists that are cloned from each other at any point and grow on their own are what plain lists would be.
        #[test]
        fn clones_that_grow_apart_share_and_do_not_mix(steps in proptest::collection::vec((0_usize..8, 0_usize..90), 1..40)) {
            let mut lists = vec![(AppendList::default(), Vec::new())];
            let mut next = 0;
            for (which, grow) in steps {
                let which = which % lists.len();
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
