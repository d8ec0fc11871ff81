//! The store, opened to write it beside its hosts, for the commands that change something.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use foldlog::agent::Agent;
use foldlog::{Create, Error, Medium, Store, StoreConfig};
use futures::executor::block_on;

use super::Directory;
use crate::failure::Failure;

/// A store that is opened to write. Its sessions belong to whichever host has them open: those it leaves alone.
pub(crate) struct Writing {
    path: PathBuf,
    pub(crate) store: Store<Agent>,
}

impl Directory {
    /// Refuses what this build must not write: a store of another session model, and one of an older format, since to
    /// open it would lock out the hosts that wrote it. `instead` says what a host of another model can do.
    pub(crate) fn check_writing(&self, command: &str, instead: &str) -> Result<(), Failure> {
        self.agent(command, instead)?;
        match self.untyped.format() {
            Some(format) if format.found < format.supported => Err(Failure::OlderFormat(format!(
                "{path} is of format {}, and to write it this command would make it one of format {}, which hosts of older \
                 releases cannot open\nlet a host of this release open it first",
                format.found,
                format.supported,
                path = self.path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Opens the store to write, has something done, and closes it, also after a failure: so that hosts need not find
    /// out that this store is dead.
    pub(crate) fn write<T>(self, run: impl FnOnce(&Writing) -> Result<T, Failure>) -> Result<T, Failure> {
        let writing = self.into_writing()?;
        let done = run(&writing);
        let closed = writing.close();
        done.and_then(|done| closed.map(|()| done))
    }

    /// Closes the store, and opens it to write. What is committed meanwhile is there.
    fn into_writing(self) -> Result<Writing, Failure> {
        let path = self.path.clone();
        let open = async {
            self.close().await?;
            // Blobs and views are made for whoever has the rest of the directory.
            let medium = if is_of_a_group(&path) { Medium::group_directory } else { Medium::directory };
            let blob_bytes_max = u32::MAX as usize;
            let config = StoreConfig { create: Create::Never, blob_bytes_max, ..StoreConfig::on(medium(path.clone())) };
            Store::open(config).await
        };
        match block_on(open) {
            Ok(store) => Ok(Writing { path, store }),
            Err(error) => Err(Failure::Store { store: path, error }),
        }
    }

    async fn close(self) -> Result<(), Error> {
        if let Some(agent) = &self.agent {
            agent.close().await?;
        }
        self.untyped.close().await
    }
}

/// Whether the database is one that a group may write.
fn is_of_a_group(directory: &Path) -> bool {
    let database = directory.join("events.db").metadata();
    database.is_ok_and(|database| database.permissions().mode() & 0o060 == 0o060)
}

impl Writing {
    /// Waits for a call on the store.
    pub(crate) fn wait<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        block_on(call).map_err(|error| Failure::Store { store: self.path.clone(), error })
    }

    fn close(&self) -> Result<(), Failure> {
        self.wait(self.store.close())
    }
}
