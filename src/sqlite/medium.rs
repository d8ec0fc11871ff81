//! Opening a directory for a store.

use std::any::Any;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::blobs::FileBlobs;
use super::directory::{BLOBS, SNAPSHOTS, StoreDirectory};
use super::files::{Files, GroupFiles, OsFiles, failed};
use super::log::{LogSettings, ReadOnlyDatabase, SqliteMedium};
use super::owner_file::is_forked;
use super::place::{self, was_made};
use crate::error::{Error, ErrorKind};
use crate::port::{
    Create, LogKey, LogReader, Medium, OpenMedium, OpenedMedium, OpenedToRead, Opening, OpeningToRead, Tidy,
};

impl Medium {
    /// Under a directory, which is made when it is absent: `events.db`, `blobs/` and what belongs to them.
    #[must_use]
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::new(Directory::new(path.into()))
    }

    /// As [`Medium::directory`], for a directory that several users share: files of mode 0660 and directories of mode
    /// 2770, so that everything belongs to the group of the directory, whatever the umask. A directory of
    /// [`Medium::directory`] is for one user: 0600 and 0700.
    ///
    /// The users have that group in common, and each opens the directory this way. Its parent must exist with the group
    /// that is wanted: `chgrp agents dir && chmod 2770 dir`. What was made private before stays so, until somebody
    /// changes its mode.
    #[must_use]
    pub fn group_directory(path: impl Into<PathBuf>) -> Self {
        Self::new(Directory { files: Arc::new(GroupFiles), ..Directory::new(path.into()) })
    }

    /// The directory, if it is one.
    #[must_use]
    pub fn as_directory(&self) -> Option<&Path> {
        self.engine::<Directory>().map(|directory| &*directory.path)
    }
}

/// A directory as a medium, and what it is opened through.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// What blob files and the directory go through.
    pub(crate) files: Arc<dyn Files>,
    /// The SQLite VFS that the database goes through; `None` for SQLite's own.
    pub(crate) vfs: Option<&'static str>,
    /// After how many bytes of commits a checkpoint is due; `None` for the default.
    pub(crate) checkpoint_bytes: Option<usize>,
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, files: Arc::new(OsFiles), vfs: None, checkpoint_bytes: None }
    }
}

impl OpenMedium for Directory {
    fn open(&self, opening: &Opening) -> Result<OpenedMedium, Error> {
        if is_forked() {
            return Err(ErrorKind::Forked.into());
        }
        place::check(&*self.files, &self.path, opening.create)?;
        let directory = Arc::new(StoreDirectory::open(Arc::clone(&self.files), &self.path, opening.now)?);
        let settings = LogSettings {
            vfs: self.vfs,
            durability: opening.durability,
            model: opening.model,
            checkpoint_bytes: self.checkpoint_bytes,
        };
        let files = || Arc::clone(&self.files);
        let blobs = FileBlobs::new(files(), directory.blobs(), directory.tmp(), opening.blob_bytes_max);
        let blobs = Arc::new(blobs);
        let log = SqliteMedium::open(Arc::clone(&directory), &settings, Arc::clone(&blobs))?;
        let views = directory.snapshots();
        let views = FileBlobs::of_snapshots(files(), &views, directory.tmp(), opening.snapshot_bytes_max);
        let snapshots = Arc::new(views);
        // A store that came while another one was open could take a view that is about to be named for one left behind.
        let came_alone = directory.opened_at().filter(|_| log.was_alone());
        let tidy = came_alone.map(|at| clear_unnamed_views(Arc::clone(&snapshots), at));
        Ok(OpenedMedium {
            found: log.wal_damage().cloned().map(|damage| Arc::new(damage) as Arc<dyn Any + Send + Sync>),
            log: Arc::new(log),
            blobs,
            snapshots,
            ownership: directory,
            tidy,
        })
    }

    fn open_to_read(&self, opening: &OpeningToRead) -> Result<OpenedToRead, Error> {
        if is_forked() {
            return Err(ErrorKind::Forked.into());
        }
        place::check(&*self.files, &self.path, Create::Never)?;
        // The process may change its working directory later.
        let root = std::path::absolute(&self.path).map_err(failed("cannot find directory", &self.path))?;
        let (blobs, snapshots) = (root.join(BLOBS), root.join(SNAPSHOTS));
        let has_contents = was_made(&*self.files, &root)?;
        let (log, found) = ReadOnlyDatabase::open(root.join(place::DATABASE), self.vfs, opening.model, has_contents)?;
        let blobs_in = |path: &Path, bytes_max| Arc::new(FileBlobs::to_read(Arc::clone(&self.files), path, bytes_max));
        Ok(OpenedToRead {
            model: found.model,
            format: Some(found.format),
            log: Arc::new(log),
            blobs: blobs_in(&blobs, opening.blob_bytes_max),
            snapshots: blobs_in(&snapshots, opening.snapshot_bytes_max),
        })
    }
}

/// Removes the files of stored views that no log names: a crash between a file and its row, or between a row and the
/// file that it replaced, leaves one. Only files from before this store came are removed.
fn clear_unnamed_views(files: Arc<FileBlobs>, came_at: SystemTime) -> Tidy {
    const PAGE: usize = 4096;
    Box::new(move |reader: &mut dyn LogReader| {
        let mut named = HashSet::new();
        let mut after = LogKey::default();
        loop {
            let page = reader.snapshots(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            named.extend(page.iter().map(|(_, digest)| *digest));
        }
        let cleared = files.clear(Some(came_at), |digest| named.contains(digest))?;
        if cleared > 0 {
            log::info!("{cleared} stored views that no session names were removed");
        }
        Ok(())
    })
}
