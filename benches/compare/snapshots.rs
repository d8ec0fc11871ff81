//! View snapshots, as the configuration has them.

use foldlog::StoreConfig;

/// Whether this build has them. The rows that need them are left out otherwise.
pub(crate) const SUPPORTED: bool = false;

/// No snapshot is written or used: a session is folded in full.
pub(crate) fn off(config: StoreConfig) -> StoreConfig {
    config
}

/// A session that is closed leaves a snapshot.
pub(crate) fn on(config: StoreConfig) -> StoreConfig {
    config
}
