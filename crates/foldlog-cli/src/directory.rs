//! The store that a command reads. It is opened read-only, so a host that writes it waits for nothing. What changes
//! something opens it once more, to write.

mod writing;

use std::path::{Path, PathBuf};

use foldlog::agent::Agent;
use foldlog::{Error, ReadOnlyStore, Store, StoreConfig, UntypedStore};
use futures::executor::block_on;

use crate::arguments::Shared;
use crate::failure::Failure;
pub(crate) use writing::Writing;

/// How many sessions or events are read at once.
pub(crate) const PAGE: usize = 1024;

/// A store, opened to be read. Calls block.
#[derive(Clone)]
pub(crate) struct Directory {
    path: PathBuf,
    /// What can be read whatever the session model.
    pub(crate) untyped: UntypedStore,
    /// The whole store, if it is of the agent model.
    pub(crate) agent: Option<ReadOnlyStore<Agent>>,
}

/// The directory that was named.
pub(crate) fn path(shared: &Shared) -> Result<PathBuf, Failure> {
    shared.dir.clone().ok_or_else(|| {
        Failure::Usage("no directory: name that of the store with --dir DIR, or in FOLDLOG_DIR".to_owned())
    })
}

impl Directory {
    pub(crate) fn open(shared: &Shared) -> Result<Self, Failure> {
        Self::open_at(path(shared)?)
    }

    pub(crate) fn open_at(path: PathBuf) -> Result<Self, Failure> {
        let open = || {
            // Blobs are read whatever limit the host has.
            let config = || StoreConfig { blob_bytes_max: u32::MAX as usize, ..StoreConfig::directory(&path) };
            let untyped = block_on(UntypedStore::open(config()))?;
            let agent = match untyped.model() {
                "agent" => Some(block_on(Store::open_read_only(config()))?),
                _ => None,
            };
            Ok((untyped, agent))
        };
        match open() {
            Ok((untyped, agent)) => Ok(Self { path, untyped, agent }),
            Err(error) => Err(Failure::Store { store: path, error }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole store, for a command that needs bodies or views.
    pub(crate) fn agent(&self, command: &str, instead: &str) -> Result<&ReadOnlyStore<Agent>, Failure> {
        self.agent.as_ref().ok_or_else(|| {
            let (path, model) = (self.path.display(), self.untyped.model());
            Failure::OtherModel(format!(
                "{path} is a store of the session model {model:?}, and `foldlog {command}` reads the model \"agent\" only: {instead}"
            ))
        })
    }

    /// Waits for a call on the store.
    pub(crate) fn read<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        block_on(call).map_err(|error| self.failed(error))
    }

    pub(crate) fn failed(&self, error: Error) -> Failure {
        Failure::Store { store: self.path.clone(), error }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::ColorChoice;
    use foldlog::agent::{AgentBody, Message};

    use super::*;

    /// A directory of sessions that have one event each, `hello`, opened to be read.
    pub(crate) fn with_sessions(names: &[&str]) -> (tempfile::TempDir, Directory) {
        let path = tempfile::tempdir().unwrap();
        block_on(async {
            let store = Store::open(StoreConfig::directory(path.path())).await.unwrap();
            for name in names {
                let session = store.open_session(name).await.unwrap();
                session.append(AgentBody::MessageAppended(Message::user("hello"))).unwrap().await.unwrap();
            }
            store.close().await.unwrap();
        });
        let shared = Shared { dir: Some(path.path().to_owned()), json: false, color: ColorChoice::Never };
        let directory = Directory::open(&shared).unwrap();
        (path, directory)
    }

    /// Deletes a session, as a host does beside the command.
    pub(crate) fn delete(path: &Path, session: &str) {
        let path = path.to_owned();
        let session = session.to_owned();
        let deleting = std::thread::spawn(move || {
            block_on(async {
                let store = Store::open(StoreConfig::directory(path)).await.unwrap();
                store.delete_session(session).await.unwrap();
                store.close().await.unwrap();
            });
        });
        deleting.join().unwrap();
    }
}
