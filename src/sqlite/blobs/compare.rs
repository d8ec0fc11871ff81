//! Reading a file against its digest, and against bytes.

use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;

use crate::codec;
use crate::id::Digest;

/// Fills `bytes` and hashes them. From `BESIDE` bytes on, a second thread hashes while this one reads.
pub(super) fn read_and_hash(mut from: impl Read, bytes: &mut [u8]) -> io::Result<Digest> {
    /// Fewer bytes than this are hashed before a second thread has begun.
    const BESIDE: usize = 4 << 20;
    if bytes.len() >= BESIDE
        && let Some(digest) = read_and_hash_beside(&mut from, bytes)
    {
        return digest;
    }
    from.read_exact(bytes)?;
    Ok(codec::digest(bytes))
}

/// `None` if no second thread can be started: then nothing is read.
fn read_and_hash_beside(from: &mut impl Read, bytes: &mut [u8]) -> Option<io::Result<Digest>> {
    const PART: usize = 256 << 10;
    thread::scope(|scope| {
        let (read, to_hash) = mpsc::channel::<&[u8]>();
        let hashing = thread::Builder::new().name("foldlog-hash".to_owned()).spawn_scoped(scope, move || {
            let mut digester = codec::Digester::default();
            for part in to_hash {
                digester.update(part);
            }
            digester.finish()
        });
        let hashing = hashing.ok()?;
        let all_read = bytes.chunks_mut(PART).try_for_each(|part| {
            from.read_exact(part)?;
            // Nobody hears it only if that thread panics, which joining it says.
            let _ = read.send(part);
            Ok(())
        });
        drop(read);
        let digest = hashing.join().map_err(|_| io::Error::other("the thread that hashes panicked"));
        Some(all_read.and(digest))
    })
}

/// Whether a file holds exactly these bytes. A file that cannot be read counts as one that does not: the caller has the
/// bytes and writes them again.
pub(super) fn holds(mut file: impl Read, bytes: &[u8]) -> bool {
    const CHUNK: usize = 64 << 10;
    let mut buffer = vec![0_u8; CHUNK.min(bytes.len())];
    for chunk in bytes.chunks(CHUNK) {
        let (read, _) = buffer.split_at_mut(chunk.len());
        if file.read_exact(read).is_err() || read != chunk {
            return false;
        }
    }
    true
}
