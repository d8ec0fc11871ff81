//! Which directories this process has open. To open and close a file of a database by itself drops SQLite's locks on
//! it, those of every connection of this process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each directory that is open, with the process that opened it: one that was forked has its parent's, too.
static OPEN: Mutex<Vec<(PathBuf, u32)>> = Mutex::new(Vec::new());

fn lock_open() -> MutexGuard<'static, Vec<(PathBuf, u32)>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says for as long as it lives that this process has connections to the database of a directory.
#[derive(Debug)]
pub(crate) struct OpenHere {
    entry: (PathBuf, u32),
}

impl OpenHere {
    pub(crate) fn note(directory: &Path) -> Self {
        let entry = (resolved(directory), std::process::id());
        lock_open().push(entry.clone());
        Self { entry }
    }
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        let mut open = lock_open();
        // What a parent has open stays noted in the child.
        if self.entry.1 == std::process::id()
            && let Some(place) = open.iter().position(|entry| *entry == self.entry)
        {
            open.swap_remove(place);
        }
    }
}

/// Whether something of this process has the database of a directory open.
pub(crate) fn is_open_here(directory: &Path) -> bool {
    let entry = (resolved(directory), std::process::id());
    lock_open().contains(&entry)
}

/// Whether this process was forked from one that had a directory open. SQLite remembers by process which locks it has
/// on a database, and would take those of the parent for its own.
pub(crate) fn is_forked() -> bool {
    lock_open().iter().any(|(_, process)| *process != std::process::id())
}

fn resolved(directory: &Path) -> PathBuf {
    directory.canonicalize().unwrap_or_else(|_| directory.to_owned())
}
