//! Whether a directory can hold a store, and whether one may be made in it where there is none: a wrong path should not
//! become a store.

use std::io;
use std::path::{Path, PathBuf};

use super::blobs::list::{is_shard, names_in};
use super::directory::{BLOBS, DirectoryError, LOCK, OWNERS, SNAPSHOTS, TMP};
use super::files::{FileError, FileId, Files, failed};
use crate::error::{Error, ErrorKind};
use crate::port::Create;

/// What a store has in its directory. One that died while it was made leaves some of these.
const OWN_NAMES: [&str; 5] = [LOCK, BLOBS, OWNERS, SNAPSHOTS, TMP];
/// How the names of the database and of what belongs to it begin.
pub(super) const DATABASE: &str = "events.db";
/// The file that marks a directory as a copy of a store that is not finished.
pub(super) const UNFINISHED: &str = "UNFINISHED-COPY";
/// The longest path of a database, in bytes. SQLite's own limit on Unix is 512, with the longest of its suffixes.
const DATABASE_PATH_MAX: usize = 512 - "-journal".len();
/// How many bytes the path of a database that is being made has behind that of the store's directory.
const UNNAMED_DATABASE: usize = "/tmp/".len() + 32 + "/events.db".len();

/// Refuses a directory in which a store would have to be made and must not be. Nothing is made or changed.
pub(super) fn check(files: &dyn Files, directory: &Path, create: Create) -> Result<(), Error> {
    check_length(directory)?;
    if is_unfinished(directory) {
        let reason = format!(
            "{} is a copy of a store that was not finished: make the backup into it again (or the restore), or remove it",
            directory.display()
        );
        return Err(ErrorKind::UnsuitablePlace { reason }.into());
    }
    check_database(&directory.join(DATABASE))?;
    let no_store =
        |reason: String| Err(ErrorKind::NoStore { reason: format!("{} {reason}", directory.display()) }.into());
    let database = directory.join(DATABASE).symlink_metadata();
    if create == Create::Never && database.as_ref().is_ok_and(|file| file.len() == 0) && !was_made(files, directory)? {
        return no_store(format!("has an empty {DATABASE}"));
    }
    if create == Create::Anywhere || database.is_ok() {
        return Ok(());
    }
    // Whatever else is wrong with the path is found when it is opened.
    if !directory.is_dir() {
        let what = if directory.exists() { "is no directory" } else { "does not exist" };
        return if create == Create::Never { no_store(what.to_owned()) } else { Ok(()) };
    }
    // Without its database, it is damaged, and called so when it is opened.
    if was_made(files, directory)? {
        return Ok(());
    }
    if create == Create::Never {
        return no_store(format!("has no {DATABASE}"));
    }
    match names_in(files, directory)?.iter().find(|name| !is_expected(name)) {
        Some(name) => no_store(format!(
            "holds {name}, which is not foldlog's: give the store a directory of its own, or set StoreConfig::create to \
             Create::Anywhere"
        )),
        None => Ok(()),
    }
}

/// Whether a directory holds a copy of a store that was begun and is not finished.
pub(super) fn is_unfinished(directory: &Path) -> bool {
    directory.join(UNFINISHED).symlink_metadata().is_ok()
}

/// SQLite opens no database with a longer path, and says only that it cannot.
fn check_length(directory: &Path) -> Result<(), Error> {
    // SQLite counts what symbolic links lead to.
    let resolved = resolved(directory).map_err(failed("cannot find directory", directory))?;
    let is_made = resolved.join(DATABASE).symlink_metadata().is_ok();
    let limit = DATABASE_PATH_MAX - if is_made { "/events.db".len() } else { UNNAMED_DATABASE };
    let bytes = resolved.as_os_str().len();
    if bytes <= limit {
        return Ok(());
    }
    let reason = format!(
        "the path {} is too long: {bytes} bytes without symbolic links, limit is {limit}; give the store a shorter one",
        directory.display()
    );
    Err(ErrorKind::UnsuitablePlace { reason }.into())
}

/// The path without symbolic links, as far as it is there.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for existing in path.ancestors() {
        if let Ok(resolved) = existing.canonicalize() {
            let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
            return Ok(if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) });
        }
    }
    Ok(path)
}

/// A database that is anything but a plain file.
fn check_database(database: &Path) -> Result<(), Error> {
    let Ok(found) = database.symlink_metadata() else { return Ok(()) };
    let wrong = match found.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "is a directory, it must be a file: move it away, or mend the store's path",
        // Its write-ahead log would be beside the file that it leads to, where foldlog does not look.
        kind if kind.is_symlink() => {
            "is a symbolic link, it must be a plain file: give the store the directory of the file that it leads to"
        }
        _ => "is no plain file: move it away, or mend the store's path",
    };
    Err(ErrorKind::UnsuitablePlace { reason: format!("{} {wrong}", database.display()) }.into())
}

/// Refuses directories that are on another file system than the one that holds them: files get their names in them by a
/// rename, which cannot cross file systems, and which would fail at the first large value only.
pub(crate) fn check_file_systems(root: &Path, directories: &[PathBuf]) -> Result<(), DirectoryError> {
    let look = |path: &Path| FileId::look(path).map(|(id, _)| id).map_err(failed("cannot look at", path));
    let of_root = look(root)?;
    for directory in directories {
        if !look(directory)?.is_on_the_file_system_of(of_root) {
            return Err(DirectoryError::Unsuitable(format!(
                "{} is on another file system than {}: keep all of a store's directory on one",
                directory.display(),
                root.display()
            )));
        }
    }
    Ok(())
}

/// A store's own, or what file systems and tools leave in a directory that is otherwise empty.
fn is_expected(name: &str) -> bool {
    let is_database = name.strip_prefix(DATABASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    OWN_NAMES.contains(&name) || is_database || name.starts_with('.') || name == "lost+found"
}

/// What stands in `LOCK` once the database has its name, durably.
pub(super) const MADE: &[u8] = b"made\n";

/// Whether a store was ever complete here: its `LOCK` says so, or it has stored something. If its database is missing
/// then, or empty, it was lost.
pub(super) fn was_made(files: &dyn Files, directory: &Path) -> Result<bool, FileError> {
    let lock = directory.join(LOCK);
    Ok(lock.metadata().is_ok_and(|lock| lock.len() > 0)
        || has_shards(files, &directory.join(BLOBS))?
        || has_shards(files, &directory.join(SNAPSHOTS))?)
}

/// Whether anything was ever stored here: only a database that is complete lets that be.
fn has_shards(files: &dyn Files, directory: &Path) -> Result<bool, FileError> {
    Ok(names_in(files, directory)?.iter().any(|name| is_shard(name)))
}
