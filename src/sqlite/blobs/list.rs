//! Which blobs a directory holds, by their names.

use std::io;
use std::path::Path;

use crate::id::Digest;
use crate::port::BlobListing;
use crate::sqlite::files::{FileError, Files, failed};

/// Lists the directory of the digests that begin with a byte.
pub(crate) fn list(files: &dyn Files, blobs: &Path, first: u8) -> Result<BlobListing, FileError> {
    let mut shelf = BlobListing::default();
    if first == 0 {
        let names = names_in(files, blobs)?;
        shelf.strays += names.iter().filter(|name| !is_shard(name)).count() as u64;
    }
    for name in names_in(files, &blobs.join(hex(first)))? {
        match name.parse::<Digest>() {
            Ok(digest) if digest.as_bytes().first() == Some(&first) => shelf.digests.push(digest),
            _ => shelf.strays += 1,
        }
    }
    shelf.digests.sort_unstable_by_key(|digest| *digest.as_bytes());
    Ok(shelf)
}

/// Whether a directory of this name holds blobs.
pub(crate) fn is_shard(name: &str) -> bool {
    name.len() == 2 && u8::from_str_radix(name, 16).is_ok_and(|byte| hex(byte) == name)
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}")
}

/// The names in a directory. None for a directory that does not exist, since it is made with its first blob.
pub(crate) fn names_in(files: &dyn Files, path: &Path) -> Result<Vec<String>, FileError> {
    match files.list_directory(path) {
        Ok(names) => Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("cannot read directory", path)(error)),
    }
}
