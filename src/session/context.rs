//! The host's own objects for a session, such as an interpreter: one of each type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::threads::lock;

#[derive(Default)]
pub(crate) struct HostContext(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl HostContext {
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let object = lock(&self.0).get(&TypeId::of::<T>()).cloned();
        object.and_then(|object| object.downcast().ok())
    }

    pub(crate) fn get_or_insert_with<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(object) = self.get() {
            return object;
        }
        // `make` is the host's code, so it runs without the lock. Of two objects that are made at once, one is kept.
        let made: Arc<dyn Any + Send + Sync> = Arc::new(make());
        let object = Arc::clone(lock(&self.0).entry(TypeId::of::<T>()).or_insert(made));
        match object.downcast() {
            Ok(object) => object,
            // This function alone puts objects into the map, each under its own type.
            Err(_) => unreachable!("the map is keyed by the type of its values"),
        }
    }

    /// Drops all objects.
    pub(super) fn clear(&self) {
        // Dropped without the lock: the drop of an object is the host's code, and may use a handle of this session.
        let objects = std::mem::take(&mut *lock(&self.0));
        drop(objects);
    }
}
