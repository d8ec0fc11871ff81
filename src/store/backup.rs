//! A second copy of everything: [`Store::backup`], and a new store made of one: [`Store::restore`].

mod copying;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::Agent;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::model::SessionModel;
use crate::sqlite::CopyRole;
use crate::store::Store;
use crate::store::read_only::{ReadOnlyStore, on_a_thread};
pub(super) use copying::Source;
use copying::copy;

/// What a backup or a restore has copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// How many sessions the copy has.
    pub sessions: u64,
    /// How many sessions were taken out of the copy, since they were deleted in the store.
    pub sessions_removed: u64,
    /// What was copied this time.
    pub copied: BackupProgress,
}

/// How much was copied so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Events that were not in the copy before.
    pub events: u64,
    /// The bytes of their records.
    pub record_bytes: u64,
    /// Blobs that were not in the copy before.
    pub blobs: u64,
    /// The bytes of these blobs.
    pub blob_bytes: u64,
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BackupProgress { events, blobs, .. } = self.copied;
        write!(f, "{} sessions; copied now: {events} events, {blobs} blobs", self.sessions)
    }
}

/// How a backup is made: [`Store::backup_with`].
///
/// # Examples
/// ```
/// use foldlog::BackupOptions;
///
/// let options = BackupOptions::default().verify_everything().on_progress(|copied| {
///     println!("{} events, {} blobs", copied.events, copied.blobs);
/// });
/// # drop(options);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    verification: Verifying,
    progress: Option<Arc<dyn Fn(BackupProgress) + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Verifying {
    #[default]
    WhatIsNew,
    Everything,
}

impl BackupOptions {
    /// Reads the whole copy before the answer, as [`Store::verify`] does. Without this, what is new in the copy is read
    /// back and checked: the chain hash of each event, and the digest of each blob.
    #[must_use]
    pub fn verify_everything(self) -> Self {
        Self { verification: Verifying::Everything, ..self }
    }

    /// Has a function called now and then, on the thread that copies: at most once for a page of events, and for a
    /// blob.
    #[must_use]
    pub fn on_progress(self, progress: impl Fn(BackupProgress) + Send + Sync + 'static) -> Self {
        Self { progress: Some(Arc::new(progress)), ..self }
    }
}

impl fmt::Debug for BackupOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupOptions").field("verification", &self.verification).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Store<M> {
    /// Copies everything that is committed by now into a directory, while the store goes on: every session with its
    /// events, title and labels, and the blobs that these events name. Called again with the same directory, it copies
    /// what is new, and takes out of the copy what was deleted or redacted.
    ///
    /// # What the copy is
    /// A directory of a store, as it was at one moment: it has all that was acknowledged before the call, of each
    /// append all or nothing, and of what is appended during the call a beginning. A session that is deleted during the
    /// call is in the copy whole or not at all; one that is created during the call may be there without events. Log
    /// ids, event ids, times, append keys, chain hashes and records are those of the store; nobody owns a session
    /// there. Stored views and blobs that no event names stay behind. Pages are full and in order, so that a copy is
    /// the way to make a store smaller that much was deleted from.
    ///
    /// Look into a backup with [`Store::open_read_only`], and go on from it with [`Store::restore`]. One that is opened
    /// with [`Store::open`] becomes a store of its own, and takes no backup any more.
    ///
    /// # What is promised
    /// When the call answers, the copy is on the disk, and what was added to it was read back and checked. Cut off by a
    /// crash, a full disk or a power cut, a first backup leaves a directory that no store opens, and says so; a later
    /// one leaves the backup that was there before. In both cases the next call with the same directory goes on.
    /// Nothing of a store that is damaged is passed over: the error names what cannot be read, and the backup stays as
    /// it was.
    ///
    /// # What it costs
    /// The events are read a page at a time on reader threads, in the order of the commits, and each blob by itself; no
    /// commit waits, and no read transaction stays open. After a deletion or a redaction the database of the copy
    /// is written anew, and of a session that was redacted all events are read again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a directory that has something else, is a
    /// store or the backup of another store, lies in this store or around it;
    /// [`ErrorKind::WrongModel`](crate::ErrorKind::WrongModel) for the backup of another session model's store;
    /// [`ErrorKind::CorruptEvent`](crate::ErrorKind::CorruptEvent) or
    /// [`ErrorKind::CorruptStore`](crate::ErrorKind::CorruptStore) for what is damaged in the store;
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) for a blob over this store's
    /// [`StoreConfig::blob_bytes_max`], which another store with a higher limit has put;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if another backup is being made there, or files cannot
    /// be read or written; [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull),
    /// [`ErrorKind::Io`](crate::ErrorKind::Io), [`ErrorKind::StoreClosed`](crate::ErrorKind::StoreClosed).
    ///
    /// # Cancellation
    /// Dropping the future cuts the backup off, after the page or blob that is being copied.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{AgentBody, Message};
    /// # use foldlog::{Store, StoreConfig};
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let (sessions, backup) = (directory.path().join("sessions"), directory.path().join("backup"));
    /// let store = Store::open(StoreConfig::directory(&sessions)).await?;
    /// let session = store.open_session("support-4711").await?;
    /// session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
    /// let made = store.backup(&backup).await?;
    /// assert_eq!((made.sessions, made.copied.events), (1, 1));
    /// // Only what is new.
    /// assert_eq!(store.backup(&backup).await?.copied.events, 0);
    /// # store.close().await }) }
    /// ```
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<Backup, Error> {
        self.backup_with(to, BackupOptions::default()).await
    }

    /// As [`Store::backup`], with options.
    ///
    /// # Errors
    /// Those of [`Store::backup`]; [`ErrorKind::CorruptStore`](crate::ErrorKind::CorruptStore) if
    /// [everything](BackupOptions::verify_everything) is to be verified and is not sound.
    ///
    /// # Cancellation
    /// As of [`Store::backup`].
    pub async fn backup_with(&self, to: impl AsRef<Path>, options: BackupOptions) -> Result<Backup, Error> {
        let services = &self.0.services;
        services.check_open()?;
        let source = Source {
            readers: services.readers.clone(),
            blobs: Arc::clone(&services.blobs),
            medium: services.config.medium.clone(),
            now: services.config.clock.now(),
        };
        copy_on_a_thread::<M>(source, to.as_ref().to_owned(), CopyRole::Backup, options).await
    }

    /// Makes a new store of a backup, which stays as it is: copies it into a directory that does not exist or is empty,
    /// and reads all of it back, each event and each blob. [`Store::restore`] is the same for the agent model.
    ///
    /// The new store has what the backup has, as [`Store::backup`] says, and is a store of its own: nobody owns its
    /// sessions, and its backups go into a directory of their own. A client that has seen later events than the backup
    /// has is told so when it goes on from its [`LogPosition`](crate::LogPosition):
    /// [`ErrorKind::BeyondHead`](crate::ErrorKind::BeyondHead) while the session is shorter, and
    /// [`ErrorKind::OtherHistory`](crate::ErrorKind::OtherHistory) once other events have come, if the position carries
    /// the chain of its event. A restore that is cut off leaves a directory that no store opens; call it again with the
    /// same directory.
    ///
    /// Any directory of a store can be restored from, also while a store has it open.
    ///
    /// # Errors
    /// Those of [`Store::open_read_only`] for the backup, and those of [`Store::backup`] for the new directory.
    ///
    /// # Cancellation
    /// As of [`Store::backup`].
    pub async fn restore_model(backup: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Backup, Error> {
        Self::restore_model_with(backup, to, BackupOptions::default()).await
    }

    /// As [`restore_model`](Self::restore_model), and tells how far it is ([`BackupOptions::on_progress`]).
    ///
    /// # Errors
    /// Those of [`restore_model`](Self::restore_model).
    ///
    /// # Cancellation
    /// As of [`Store::backup`].
    pub async fn restore_model_with(
        backup: impl AsRef<Path>,
        to: impl AsRef<Path>,
        options: BackupOptions,
    ) -> Result<Backup, Error> {
        // A blob was within the limit of the store that put it.
        let config = StoreConfig { blob_bytes_max: usize::MAX, ..StoreConfig::directory(backup.as_ref()) };
        let source = Self::open_model_read_only(config).await?;
        let restored = source.copy_to(to.as_ref(), CopyRole::Restore, options).await;
        source.close().await?;
        restored
    }
}

impl Store<Agent> {
    /// Makes a new store of a backup.
    ///
    /// # Errors
    /// Those of [`Store::restore_model`], which says what the new store has.
    ///
    /// # Cancellation
    /// As of [`Store::backup`].
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{AgentBody, Message};
    /// # use foldlog::{Store, StoreConfig};
    /// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let (sessions, backup) = (directory.path().join("sessions"), directory.path().join("backup"));
    /// # let restored = directory.path().join("restored");
    /// # let store = Store::open(StoreConfig::directory(&sessions)).await?;
    /// # let session = store.open_session("support-4711").await?;
    /// # session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
    /// # store.backup(&backup).await?;
    /// # store.close().await?;
    /// Store::restore(&backup, &restored).await?;
    /// let store = Store::open(StoreConfig::directory(&restored)).await?;
    /// assert_eq!(store.resume_session("support-4711").await?.view()?.messages.len(), 1);
    /// # store.close().await }) }
    /// ```
    pub async fn restore(backup: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Backup, Error> {
        Self::restore_model(backup, to).await
    }
}

impl<M: SessionModel> ReadOnlyStore<M> {
    /// Copies everything that is committed by now into a directory, as [`Store::backup`] does.
    ///
    /// # Errors
    /// Those of [`Store::backup`].
    ///
    /// # Cancellation
    /// As of [`Store::backup`].
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<Backup, Error> {
        self.backup_with(to, BackupOptions::default()).await
    }

    /// As [`ReadOnlyStore::backup`], with options.
    ///
    /// # Errors
    /// Those of [`Store::backup_with`].
    ///
    /// # Cancellation
    /// As of [`Store::backup`].
    pub async fn backup_with(&self, to: impl AsRef<Path>, options: BackupOptions) -> Result<Backup, Error> {
        self.copy_to(to.as_ref(), CopyRole::Backup, options).await
    }

    async fn copy_to(&self, to: &Path, role: CopyRole, options: BackupOptions) -> Result<Backup, Error> {
        copy_on_a_thread::<M>(self.source()?, to.to_owned(), role, options).await
    }
}

/// Has the thread that copies stop when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn copy_on_a_thread<M: SessionModel>(
    source: Source,
    to: PathBuf,
    role: CopyRole,
    options: BackupOptions,
) -> Result<Backup, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let _stopping = StopOnDrop(Arc::clone(&stop));
    on_a_thread("foldlog-backup", move || copy::<M>(&source, &to, role, &options, &stop)).await?
}
