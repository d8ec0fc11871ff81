//! Writing past the page cache (`O_DIRECT`).

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// The alignment that a file system may ask for, in memory and in the file.
const ALIGN: usize = 4096;
/// How much goes to the disk in one call. Larger calls are no faster, and several threads write at the same time.
const CHUNK: usize = 256 << 10;

/// Writes whole blocks from the beginning of the bytes for as long as the file system takes them, and gives what is
/// left to be written in the usual way: nothing is written where it takes none, or where the file's position is within
/// a block.
pub(crate) fn write_blocks<'a>(file: &File, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    let Ok(flags) = fcntl_getfl(file) else { return Ok(bytes) };
    if fcntl_setfl(file, flags | OFlags::DIRECT).is_err() {
        return Ok(bytes);
    }
    let rest = copy_blocks(file, bytes);
    // The bytes that are left may not be a whole block.
    fcntl_setfl(file, flags)?;
    rest
}

fn copy_blocks<'a>(mut file: &File, mut rest: &'a [u8]) -> io::Result<&'a [u8]> {
    let mut buffer = vec![0; CHUNK + ALIGN];
    let start = buffer.as_ptr().align_offset(ALIGN);
    let Some(aligned) = buffer.get_mut(start..).and_then(|buffer| buffer.get_mut(..CHUNK)) else { return Ok(rest) };
    loop {
        let len = rest.len().min(CHUNK) / ALIGN * ALIGN;
        let (Some(to), Some(from)) = (aligned.get_mut(..len).filter(|to| !to.is_empty()), rest.get(..len)) else {
            return Ok(rest);
        };
        to.copy_from_slice(from);
        match file.write(to) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // How file systems say that they do not write in this way, or not at this place.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(rest),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: the bytes come to be in the file as with a plain write, whatever their number, place and file system.
    //! Method: numbers around those of blocks and chunks, on the disk that holds the build and on the system's.

    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::sqlite::files::{Files, OsFiles};

    fn directories() -> Vec<tempfile::TempDir> {
        // The first may be in memory, where there may be nothing but the cache.
        vec![tempfile::tempdir().unwrap(), tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()]
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn what_is_written_uncached_is_what_is_read_whatever_its_length() {
        let around = |n: usize| [n - 1, n, n + 1];
        let lens = [[0, 1, 2], around(ALIGN), around(CHUNK), around(CHUNK + ALIGN), around(3 * CHUNK)];
        for directory in directories() {
            for len in lens.into_iter().flatten() {
                let path = directory.path().join(len.to_string());
                let (file, bytes) = (OsFiles.create_file(&path).unwrap(), bytes(len));
                OsFiles.write_uncached(&path, &file, &bytes).unwrap();
                assert!(fs::read(&path).unwrap() == bytes, "{len} bytes");
                assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT), "{len} bytes");
                // What follows need not be a block.
                OsFiles.write(&path, &file, b"more").unwrap();
                assert_eq!(fs::read(&path).unwrap().len(), len + 4);
            }
        }
    }

    #[test]
    fn behind_a_part_of_a_block_it_is_a_plain_write() {
        for directory in directories() {
            let path = directory.path().join("file");
            let mut file = OsFiles.create_file(&path).unwrap();
            file.write_all(b"odd").unwrap();
            let bytes = bytes(2 * CHUNK + 5);
            OsFiles.write_uncached(&path, &file, &bytes).unwrap();
            assert!(fs::read(&path).unwrap() == [b"odd", &bytes[..]].concat());
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_says_so() {
        for directory in directories() {
            let path = directory.path().join("file");
            drop(OsFiles.create_file(&path).unwrap());
            let file = OsFiles.open_file(&path).unwrap();
            assert!(OsFiles.write_uncached(&path, &file, &bytes(CHUNK)).is_err());
            assert!(fs::read(&path).unwrap().is_empty());
        }
    }
}
