//! The claim of a new owner's name.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::DirectoryError;
use crate::error::OwnerInfo;
use crate::id::Timestamp;
use crate::port::OwnerId;
use crate::sqlite::files::{Files, failed, unless};
use crate::sqlite::owner_file::{came, host_name, owner_file_text};

/// How many names a store tries. A try fails only if another store clears the directory in the same few microseconds.
const CLAIMS_MAX: usize = 100;

/// Makes and locks an owner file of a new name.
///
/// Between the making and the locking a store that clears may have taken the file for a dead owner's: then it has the
/// lock, or the file has lost its name, and the next name is tried.
pub(super) fn claim(
    files: &dyn Files,
    owners: &Path,
    since: Timestamp,
) -> Result<(OwnerInfo, OwnerId, File), DirectoryError> {
    for _ in 0..CLAIMS_MAX {
        let me = OwnerId::random().map_err(DirectoryError::Random)?;
        let path = owners.join(me.as_str());
        let file = files.create_file(&path).map_err(failed("cannot create", &path))?;
        match file.try_lock() {
            Ok(()) if has_name(&file, &path) => {
                let info = OwnerInfo {
                    id: me.to_string(),
                    process: std::process::id(),
                    host: host_name(),
                    since,
                    in_this_process: true,
                };
                let written = files.write(&path, &file, owner_file_text(&info).as_bytes());
                return match written.map_err(failed("cannot write", &path)) {
                    Ok(()) => {
                        came(&info);
                        Ok((info, me, file))
                    }
                    Err(error) => {
                        remove_failed_claim(files, &path);
                        Err(error.into())
                    }
                };
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => remove_failed_claim(files, &path),
            Err(TryLockError::Error(error)) => {
                remove_failed_claim(files, &path);
                return Err(failed("cannot lock", &path)(error).into());
            }
        }
    }
    Err(DirectoryError::Busy { what: "each name tried in", path: owners.to_owned() })
}

/// Removes the file of a failed claim. If that fails, the next store that opens the directory removes the file.
fn remove_failed_claim(files: &dyn Files, path: &Path) {
    if let Err(error) = unless(io::ErrorKind::NotFound, files.remove_file(path)) {
        log::debug!("cannot remove {}: {error}", path.display());
    }
}

pub(super) fn has_name(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(path)) => (file.dev(), file.ino()) == (path.dev(), path.ino()),
        _ => false,
    }
}
