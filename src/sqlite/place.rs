//! Whether a store may be made in a directory that has none: a wrong path should not become a store.

use std::path::Path;

use super::blobs::list::{is_shard, names_in};
use super::files::{FileError, Files};
use crate::error::{Error, ErrorKind};
use crate::port::Create;

/// What a store has in its directory. One that died while it was made leaves some of these.
const OWN_NAMES: [&str; 5] = ["LOCK", "blobs", "owners", "snapshots", "tmp"];
/// How the names of the database and of what belongs to it begin.
pub(super) const DATABASE: &str = "events.db";

/// Refuses a directory in which a store would have to be made and must not be. Nothing is made or changed.
pub(super) fn check(files: &dyn Files, directory: &Path, create: Create) -> Result<(), Error> {
    let no_store =
        |reason: String| Err(ErrorKind::NoStore { reason: format!("{} {reason}", directory.display()) }.into());
    if create == Create::Anywhere || directory.join(DATABASE).symlink_metadata().is_ok() {
        return Ok(());
    }
    // Whatever else is wrong with the path is found when it is opened.
    if !directory.is_dir() {
        let what = if directory.exists() { "is no directory" } else { "does not exist" };
        return if create == Create::Never { no_store(what.to_owned()) } else { Ok(()) };
    }
    // Without its database, it is damaged, and called so when it is opened.
    if has_shards(files, &directory.join("blobs"))? || has_shards(files, &directory.join("snapshots"))? {
        return Ok(());
    }
    if create == Create::Never {
        return no_store(format!("has no {DATABASE}"));
    }
    match names_in(files, directory)?.iter().find(|name| !is_expected(name)) {
        Some(name) => no_store(format!(
            "holds {name}, which is no store's: give the store a directory of its own, or set `create` to `Create::Anywhere`"
        )),
        None => Ok(()),
    }
}

/// A store's own, or what file systems and tools leave in a directory that is otherwise empty.
fn is_expected(name: &str) -> bool {
    let is_database = name.strip_prefix(DATABASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    OWN_NAMES.contains(&name) || is_database || name.starts_with('.') || name == "lost+found"
}

/// Whether anything was ever stored here: only a database that is complete lets that be.
pub(crate) fn has_shards(files: &dyn Files, directory: &Path) -> Result<bool, FileError> {
    Ok(names_in(files, directory)?.iter().any(|name| is_shard(name)))
}
