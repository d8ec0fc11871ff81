//! A collection that grows at its end, changes in the middle, and shares structure with the collections before it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use serde::{Serialize, Serializer};

use crate::agent::append_list::{AppendList, CHUNK, Packed, equal_chunks, serialize_chunks};

/// Entities in the order in which they came, found by id. Clones share structure; a put costs logarithmic time.
///
/// In a view that was stored, finished entities are still bytes. When one is first asked for, the chunk of 64 entities
/// that holds it is decoded.
pub struct Entities<K, T> {
    /// The entities of a stored view.
    stored: AppendList<T>,
    /// The entities that replace stored ones, by their places: those that were put since, and all that are not
    /// finished.
    aside: OrdMap<usize, Arc<T>>,
    /// The entities behind the stored ones.
    items: Vector<Arc<T>>,
    places: Places,
    id: PhantomData<K>,
}

/// The place of each id. Ids are minted in order, so there is one run as long as no put names an id that was never
/// minted.
#[derive(Debug, Clone, Default)]
struct Places {
    newest: PackedRun,
    /// The runs before the newest, by their first ids.
    earlier: OrdMap<u64, PackedRun>,
}

/// Consecutive ids at consecutive places.
#[derive(Debug, Clone, Copy, Default)]
struct PackedRun {
    first: u64,
    place: usize,
    len: usize,
}

impl PackedRun {
    fn get(&self, id: u64) -> Option<usize> {
        let nth = usize::try_from(id.checked_sub(self.first)?).ok()?;
        (nth < self.len).then(|| self.place + nth)
    }
}

impl Places {
    fn get(&self, id: u64) -> Option<usize> {
        self.newest.get(id).or_else(|| self.earlier.get_prev(&id)?.1.get(id))
    }

    /// Adds new ids, at the places behind all others.
    fn push(&mut self, first: u64, len: usize) {
        let newest = &mut self.newest;
        if newest.len > 0 && newest.first.checked_add(newest.len as u64) == Some(first) {
            newest.len += len;
            return;
        }
        let run = PackedRun { first, place: newest.place + newest.len, len };
        let before = std::mem::replace(newest, run);
        if before.len > 0 {
            self.earlier.insert(before.first, before);
        }
    }

    /// The runs in the order of their places: the first id of each, and its length.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<_> = self.earlier.values().chain([&self.newest]).filter(|run| run.len > 0).collect();
        runs.sort_by_key(|run| run.place);
        runs.into_iter().map(|run| (run.first, run.len as u64)).collect()
    }
}

impl<K: Into<u64>, T> Entities<K, T> {
    /// How many entities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stored.len() + self.items.len()
    }

    /// Whether there is no entity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entity with an id.
    #[must_use]
    pub fn get(&self, id: K) -> Option<&Arc<T>> {
        self.places.get(id.into()).and_then(|place| self.at(place))
    }

    /// Replaces the entity with this id, or adds it at the end.
    pub(super) fn put(&mut self, id: K, entity: T) {
        let (id, entity) = (id.into(), Arc::new(entity));
        let Some(place) = self.places.get(id) else {
            self.places.push(id, 1);
            self.items.push_back(entity);
            return;
        };
        match place.checked_sub(self.stored.len()) {
            None => drop(self.aside.insert(place, entity)),
            Some(place) => {
                if let Some(item) = self.items.get_mut(place) {
                    *item = entity;
                }
            }
        }
    }
}

impl<K, T> Entities<K, T> {
    /// The last entity.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<T>> {
        self.items.last().or_else(|| self.at(self.stored.len().checked_sub(1)?))
    }

    /// All entities, in the order in which they came.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.range(0, usize::MAX)
    }

    fn at(&self, place: usize) -> Option<&Arc<T>> {
        match place.checked_sub(self.stored.len()) {
            None => self.aside.get(&place).or_else(|| self.stored.get(place)),
            Some(place) => self.items.get(place),
        }
    }

    fn range(&self, start: usize, end: usize) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        (start..end.min(self.stored.len() + self.items.len())).filter_map(|place| self.at(place))
    }

    /// The entities for which `is_unfinished` holds, with their places, in order. Of the stored entities it looks only
    /// at those that were not finished when they were stored.
    pub(super) fn unfinished(&self, is_unfinished: impl Fn(&T) -> bool) -> impl Iterator<Item = (usize, &Arc<T>)> {
        let aside = self.aside.iter().map(|(place, entity)| (*place, entity));
        let behind = (self.stored.len()..).zip(&self.items);
        aside.chain(behind).filter(move |(_, entity)| is_unfinished(entity))
    }

    /// The ids in the order of the entities, as runs: the first id of each run, and its length.
    pub(super) fn runs(&self) -> Vec<(u64, u64)> {
        self.places.runs()
    }

    /// All chunks in order, as [`AppendList::chunks`] gives them.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (impl Iterator<Item = &Arc<T>>, Option<&Packed<T>>)> {
        (0..self.stored.len() + self.items.len()).step_by(CHUNK).map(|start| {
            let end = start + CHUNK;
            let is_as_stored = self.aside.range(start..end).next().is_none();
            (self.range(start, end), self.stored.packed(start).filter(|_| is_as_stored))
        })
    }

    /// Makes the collection of a stored view from its parts. `None` if there are not as many ids as entities, or if an
    /// entity that is listed as unfinished is finished.
    pub(super) fn of(
        stored: AppendList<T>,
        runs: &[(u64, u64)],
        unfinished: &[u64],
        is_unfinished: impl Fn(&T) -> bool,
    ) -> Option<Self> {
        let mut places = Places::default();
        let mut left = stored.len();
        for (first, len) in runs {
            let len = usize::try_from(*len).ok().filter(|len| *len > 0)?;
            left = left.checked_sub(len)?;
            places.push(*first, len);
        }
        let aside = unfinished.iter().map(|place| {
            let place = usize::try_from(*place).ok()?;
            Some((place, Arc::clone(stored.get(place).filter(|entity| is_unfinished(entity))?)))
        });
        let aside = aside.collect::<Option<_>>()?;
        (left == 0).then_some(Self { stored, aside, items: Vector::new(), places, id: PhantomData })
    }

    /// The stored entities.
    #[cfg(test)]
    pub(super) fn stored(&self) -> &AppendList<T> {
        &self.stored
    }
}

impl<K, T> Clone for Entities<K, T> {
    fn clone(&self) -> Self {
        let Self { stored, aside, items, places, id } = self;
        Self { stored: stored.clone(), aside: aside.clone(), items: items.clone(), places: places.clone(), id: *id }
    }
}

impl<K, T> Default for Entities<K, T> {
    fn default() -> Self {
        Self {
            stored: AppendList::default(),
            aside: OrdMap::new(),
            items: Vector::new(),
            places: Places::default(),
            id: PhantomData,
        }
    }
}

impl<K, T: PartialEq> PartialEq for Entities<K, T> {
    fn eq(&self, other: &Self) -> bool {
        // The places need no comparison: equal items at equal places have equal ids.
        let len = |entities: &Self| entities.stored.len() + entities.items.len();
        len(self) == len(other) && equal_chunks(self.chunks(), other.chunks())
    }
}

impl<K, T: Serialize> Serialize for Entities<K, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_chunks(self.stored.len() + self.items.len(), self.chunks(), serializer)
    }
}

impl<K, T: fmt::Debug> fmt::Debug for Entities<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
