//! A collection that grows at its end, changes in the middle, and shares structure with its earlier self.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, Vector};

/// Entities in the order in which they came, found by id. Clones share structure; a put costs logarithmic time.
#[derive(Clone)]
pub struct Entities<K, T> {
    items: Vector<Arc<T>>,
    places: Places<K>,
}

/// Where each id is in the items.
#[derive(Clone)]
enum Places<K> {
    /// The ids of the items. They ascend, as long as no put names one that was never given.
    Ascending(Vector<K>),
    Any(OrdMap<K, usize>),
}

impl<K: Ord + Clone> Places<K> {
    fn get(&self, id: &K) -> Option<usize> {
        match self {
            // Most puts are of the last one, or of a new one.
            Self::Ascending(ids) => match id.cmp(ids.last()?) {
                Ordering::Less => ids.binary_search(id).ok(),
                Ordering::Equal => ids.len().checked_sub(1),
                Ordering::Greater => None,
            },
            Self::Any(places) => places.get(id).copied(),
        }
    }

    /// A new id, at the place behind all others.
    fn push(&mut self, id: K, place: usize) {
        match self {
            Self::Ascending(ids) if ids.last().is_none_or(|last| *last < id) => ids.push_back(id),
            Self::Ascending(ids) => *self = Self::Any(ids.iter().cloned().zip(0..).chain([(id, place)]).collect()),
            Self::Any(places) => drop(places.insert(id, place)),
        }
    }
}

impl<K: Ord + Clone, T> Entities<K, T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The entity with an id.
    #[must_use]
    pub fn get(&self, id: K) -> Option<&Arc<T>> {
        self.places.get(&id).and_then(|place| self.items.get(place))
    }

    /// The entity that came last.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<T>> {
        self.items.last()
    }

    /// All, in the order in which they came.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> + ExactSizeIterator {
        self.items.iter()
    }

    /// The same entities in the same order as they were.
    pub(super) fn of(items: Vector<Arc<T>>, id: impl Fn(&T) -> K) -> Self {
        let mut places = Places::Ascending(Vector::new());
        items.iter().enumerate().for_each(|(place, entity)| places.push(id(entity), place));
        Self { items, places }
    }

    pub(super) fn into_items(self) -> Vector<Arc<T>> {
        self.items
    }

    /// Replaces the entity with this id, or adds it at the end.
    pub(super) fn put(&mut self, id: K, entity: T) {
        let entity = Arc::new(entity);
        match self.places.get(&id).and_then(|place| self.items.get_mut(place)) {
            Some(item) => *item = entity,
            None => {
                self.places.push(id, self.items.len());
                self.items.push_back(entity);
            }
        }
    }
}

impl<K, T> Default for Entities<K, T> {
    fn default() -> Self {
        Self { items: Vector::new(), places: Places::Ascending(Vector::new()) }
    }
}

impl<K, T: PartialEq> PartialEq for Entities<K, T> {
    fn eq(&self, other: &Self) -> bool {
        // The places follow from the items.
        self.items == other.items
    }
}

impl<K, T: fmt::Debug> fmt::Debug for Entities<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}
