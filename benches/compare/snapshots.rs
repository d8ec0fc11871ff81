//! View snapshots, as the configuration has them.

use foldlog::{SnapshotPolicy, StoreConfig};

/// No snapshot is written, so that there is none to use: a session is folded in full.
pub(crate) fn off(config: StoreConfig) -> StoreConfig {
    StoreConfig { snapshots: SnapshotPolicy::OFF, ..config }
}

/// A session that is closed leaves its first snapshot, so that there is nothing behind it to be folded.
pub(crate) fn on(config: StoreConfig) -> StoreConfig {
    StoreConfig { snapshots: SnapshotPolicy { closing_events: 1, ..SnapshotPolicy::OFF }, ..config }
}
