//! One session.

pub(crate) mod actor;
pub(crate) mod append;
pub(crate) mod entry;
pub(crate) mod in_flight;
pub(crate) mod messages;
pub(crate) mod published;
pub(crate) mod residency;
pub(crate) mod services;
pub(crate) mod stamper;
pub(crate) mod state;
pub(crate) mod subscription;
pub(crate) mod waking;
