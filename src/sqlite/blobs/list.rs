//! Which blobs a directory holds, by their names.

use std::fs;
use std::io;
use std::path::Path;

use crate::id::Digest;
use crate::port::BlobListing;
use crate::sqlite::files::{FileError, failed};

/// Lists the directory of the digests that begin with a byte.
pub(crate) fn list(blobs: &Path, first: u8) -> Result<BlobListing, FileError> {
    let mut shelf = BlobListing::default();
    if first == 0 {
        let is_ours = |name: &str| name.len() == 2 && u8::from_str_radix(name, 16).is_ok_and(|byte| hex(byte) == name);
        let names = names_in(blobs)?;
        shelf.strays += names.iter().filter(|name| !is_ours(name)).count() as u64;
    }
    for name in names_in(&blobs.join(hex(first)))? {
        match name.parse::<Digest>() {
            Ok(digest) if digest.as_bytes().first() == Some(&first) => shelf.digests.push(digest),
            _ => shelf.strays += 1,
        }
    }
    shelf.digests.sort_unstable_by_key(|digest| *digest.as_bytes());
    Ok(shelf)
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}")
}

/// The names in a directory. None for a directory that does not exist, since it is made with its first blob.
fn names_in(path: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let names: io::Result<Vec<_>> = entries.and_then(|entries| entries.map(name).collect());
    names.map_err(failed("cannot read directory", path))
}
