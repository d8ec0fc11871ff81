//! Opening a store of agent sessions.

use crate::agent::Agent;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::store::Store;
use crate::store::read_only::ReadOnlyStore;

impl Store<Agent> {
    /// Opens a store of agent sessions.
    ///
    /// # Errors
    /// Those of [`Store::open_model`].
    pub async fn open(config: StoreConfig) -> Result<Self, Error> {
        Self::open_model(config).await
    }

    /// Opens a store of agent sessions that is there already: [`StoreConfig::create`] is taken as
    /// [`Create::Never`](crate::Create::Never).
    ///
    /// # Errors
    /// [`ErrorKind::NoStore`](crate::ErrorKind::NoStore) where there is none; nothing is made then. Those of
    /// [`Store::open_model`].
    pub async fn open_existing(config: StoreConfig) -> Result<Self, Error> {
        Self::open_model(StoreConfig { create: crate::Create::Never, ..config }).await
    }

    /// Opens a store of agent sessions to read it: nothing is made or changed.
    ///
    /// # Errors
    /// Those of [`Store::open_model_read_only`].
    pub async fn open_read_only(config: StoreConfig) -> Result<ReadOnlyStore, Error> {
        Self::open_model_read_only(config).await
    }
}
