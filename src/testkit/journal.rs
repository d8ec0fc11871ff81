//! What was done to a disk, and what a power cut may leave of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::testkit::dice::Dice;

/// The unit in which a disk writes.
const SECTOR: u64 = 512;

/// One operation, or a note that came between two. Paths are relative to the directory of the store.
#[derive(Debug, Clone)]
pub(super) enum JournalEntry {
    Made {
        path: PathBuf,
    },
    MadeDirectory {
        path: PathBuf,
    },
    Wrote {
        path: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncated {
        path: PathBuf,
        len: u64,
    },
    Synced {
        path: PathBuf,
    },
    SyncedDirectory {
        path: PathBuf,
    },
    /// Of a file or a directory.
    SyncFailed {
        path: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        path: PathBuf,
    },
    RemovedDirectory {
        path: PathBuf,
    },
    /// The number of a note.
    Note(usize),
}

impl std::fmt::Display for JournalEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Made { path } => write!(f, "make {}", path.display()),
            Self::MadeDirectory { path } => write!(f, "make directory {}", path.display()),
            Self::Wrote { path, offset, bytes } => {
                write!(f, "write {} bytes at {offset} of {}", bytes.len(), path.display())
            }
            Self::Truncated { path, len } => write!(f, "truncate {} to {len} bytes", path.display()),
            Self::Synced { path } => write!(f, "sync {}", path.display()),
            Self::SyncedDirectory { path } => write!(f, "sync directory {}/", path.display()),
            Self::SyncFailed { path } => write!(f, "sync {}, which fails", path.display()),
            Self::Renamed { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Removed { path } | Self::RemovedDirectory { path } => write!(f, "remove {}", path.display()),
            Self::Note(_) => write!(f, "a note"),
        }
    }
}

/// What a sync is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOf {
    /// The database file, which is synced at checkpoints.
    Database,
    /// The write-ahead log, which is synced at each commit.
    WriteAheadLog,
    /// The journal that SQLite needs while a database is created.
    RollbackJournal,
    /// The temporary that becomes a blob.
    BlobFile,
    /// The directories of blobs.
    BlobDirectory,
    /// The store's own directory.
    StoreDirectory,
}

impl SyncOf {
    /// By the path, the store's directory being the empty one.
    pub(super) fn of_path(path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "events.db" {
            Self::Database
        } else if name.ends_with("-wal") {
            Self::WriteAheadLog
        } else if name.ends_with("-journal") {
            Self::RollbackJournal
        } else if path.starts_with("tmp") || path.starts_with("blobs") && name.len() == 64 {
            Self::BlobFile
        } else if path.starts_with("blobs") {
            Self::BlobDirectory
        } else {
            Self::StoreDirectory
        }
    }
}

/// What a power cut leaves of the changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsynced {
    /// All of it is lost.
    Lost,
    /// All of it is there, as after the death of the process alone.
    Kept,
    /// The seed decides for each sector, name and length whether it is kept.
    Mixed(u64),
}

impl Unsynced {
    fn coin(self) -> impl FnMut() -> bool {
        let mut dice = match self {
            Self::Mixed(seed) => Some(Dice::new(seed)),
            _ => None,
        };
        move || match &mut dice {
            Some(dice) => dice.one_in(2),
            None => self == Self::Kept,
        }
    }
}

/// A disk that forgets what is not synced.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordedDisk {
    files: Vec<FileState>,
    /// All names, as the running store sees them.
    names: BTreeMap<PathBuf, JournalNode>,
    durable_names: BTreeMap<PathBuf, JournalNode>,
    /// What happened to names since their directories were synced.
    unsynced_names: Vec<NameChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JournalNode {
    Directory,
    /// A file, by its place in `files`.
    File(usize),
}

#[derive(Debug, Clone, Default)]
struct FileState {
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Truncate { len: u64 },
}

#[derive(Debug, Clone)]
enum NameChange {
    Made { path: PathBuf, node: JournalNode },
    Renamed { from: PathBuf, to: PathBuf, node: JournalNode },
    Removed { path: PathBuf },
}

impl NameChange {
    /// The directory whose sync makes it durable: for a rename that of the new name.
    fn directory(&self) -> &Path {
        let (Self::Made { path, .. } | Self::Renamed { to: path, .. } | Self::Removed { path }) = self;
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, JournalNode>) {
        match self {
            Self::Made { path, node } => drop(names.insert(path.clone(), *node)),
            Self::Renamed { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
            Self::Removed { path } => names.retain(|name, _| !name.starts_with(path)),
        }
    }
}

impl RecordedDisk {
    /// Applies one operation. `unsynced` decides what a sync that fails leaves: the kernel may have dropped the pages
    /// that it could not write, and holds the rest for clean.
    pub(super) fn step(&mut self, entry: &JournalEntry, unsynced: Unsynced) {
        match entry {
            JournalEntry::Made { path } => {
                self.files.push(FileState::default());
                self.change(NameChange::Made { path: path.clone(), node: JournalNode::File(self.files.len() - 1) });
            }
            JournalEntry::MadeDirectory { path } => {
                self.change(NameChange::Made { path: path.clone(), node: JournalNode::Directory });
            }
            JournalEntry::Wrote { path, offset, bytes } => {
                let change = Change::Write { offset: *offset, bytes: bytes.clone() };
                self.file(path, |file| file.unsynced.push(change));
            }
            JournalEntry::Truncated { path, len } => {
                self.file(path, |file| file.unsynced.push(Change::Truncate { len: *len }))
            }
            JournalEntry::Synced { path } => self.file(path, |file| {
                for change in std::mem::take(&mut file.unsynced) {
                    change.apply(&mut file.durable, || true);
                }
            }),
            JournalEntry::SyncFailed { path } => {
                let mut coin = unsynced.coin();
                self.file(path, |file| {
                    for change in std::mem::take(&mut file.unsynced) {
                        change.apply(&mut file.durable, &mut coin);
                    }
                });
            }
            JournalEntry::SyncedDirectory { path } => {
                let (synced, rest) = self.unsynced_names.drain(..).partition(|change| change.directory() == path);
                self.unsynced_names = rest;
                let synced: Vec<NameChange> = synced;
                for change in synced {
                    change.apply(&mut self.durable_names);
                }
            }
            JournalEntry::Renamed { from, to } => {
                if let Some(node) = self.names.get(from).copied() {
                    self.change(NameChange::Renamed { from: from.clone(), to: to.clone(), node });
                }
            }
            JournalEntry::Removed { path } | JournalEntry::RemovedDirectory { path } => {
                self.change(NameChange::Removed { path: path.clone() });
            }
            JournalEntry::Note(_) => {}
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// One that lost its name is written to by those who have it open, and nobody sees it again.
    fn file(&mut self, path: &Path, change: impl FnOnce(&mut FileState)) {
        if let Some(JournalNode::File(at)) = self.names.get(path)
            && let Some(file) = self.files.get_mut(*at)
        {
            change(file);
        }
    }

    /// The files and directories that are there when the power comes back.
    pub(super) fn after_a_cut(&self, unsynced: Unsynced) -> Image {
        let mut coin = unsynced.coin();
        let mut names = self.durable_names.clone();
        for change in &self.unsynced_names {
            if coin() {
                change.apply(&mut names);
            }
        }
        let mut image = Image::default();
        for (path, node) in &names {
            // A file whose directory is not there cannot be found.
            let reachable = path.parent().is_none_or(|parent| {
                parent.as_os_str().is_empty() || image.0.get(parent).is_some_and(|node| node.is_none())
            });
            // `-shm` is a mapping of shared memory, which does not outlive the machine.
            if !reachable || path.to_string_lossy().ends_with("-shm") {
                continue;
            }
            let bytes = match node {
                JournalNode::Directory => None,
                JournalNode::File(at) => self.files.get(*at).map(|file| {
                    let mut bytes = file.durable.clone();
                    for change in &file.unsynced {
                        change.apply(&mut bytes, &mut coin);
                    }
                    bytes
                }),
            };
            image.0.insert(path.clone(), bytes);
        }
        image
    }
}

impl Change {
    /// Does to the bytes what the coin says, sector by sector. A sector that is skipped and lies beyond the end is a
    /// hole.
    fn apply(&self, bytes: &mut Vec<u8>, mut coin: impl FnMut() -> bool) {
        match self {
            Self::Truncate { len } => {
                if coin() {
                    bytes.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0);
                }
            }
            Self::Write { offset, bytes: written } => {
                let (mut at, mut rest) = (*offset, written.as_slice());
                while !rest.is_empty() {
                    let in_sector = usize::try_from(SECTOR - at % SECTOR).unwrap_or(usize::MAX).min(rest.len());
                    let (sector, after) = rest.split_at(in_sector);
                    let start = usize::try_from(at).unwrap_or(usize::MAX);
                    if coin() {
                        if bytes.len() < start + in_sector {
                            bytes.resize(start + in_sector, 0);
                        }
                        if let Some(place) = bytes.get_mut(start..start + in_sector) {
                            place.copy_from_slice(sector);
                        }
                    }
                    at += in_sector as u64;
                    rest = after;
                }
                // The length is kept apart from the bytes.
                let end = usize::try_from(at).unwrap_or(usize::MAX);
                if bytes.len() < end && coin() {
                    bytes.resize(end, 0);
                }
            }
        }
    }
}

/// A directory tree: a file's bytes, or `None` for a directory.
#[derive(Debug, Default, Hash)]
pub(super) struct Image(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Image {
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn write_to(&self, root: &Path) -> io::Result<()> {
        // In the order of the paths, so that a directory comes before what is in it.
        for (path, bytes) in &self.0 {
            match bytes {
                None => fs::create_dir(root.join(path))?,
                Some(bytes) => fs::write(root.join(path), bytes)?,
            }
        }
        Ok(())
    }
}
