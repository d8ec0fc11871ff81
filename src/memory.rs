//! Every port in memory: for tests, and for hosts that need no durability. A disk in memory behaves as a directory
//! does, several stores on one disk included, and lasts as long as the last clone of its [`MemoryDisk`].
//!
//! Invariant: this room touches the ports and the vocabulary, nothing else.

mod blobs;
mod disk;
mod log;
mod medium;
mod swept;

#[cfg(test)]
pub(crate) use blobs::{MemoryBlobMap, MemoryBlobs};
pub use disk::MemoryDisk;
#[cfg(test)]
pub(crate) use medium::MemoryEnd;
