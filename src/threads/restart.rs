//! The one message that all three actors take.

use actix::prelude::*;

/// Tells an actor to restart: the actor stops, and its supervisor starts it again.
///
/// A [`SessionActor`](crate::SessionActor) recovers from the log and answers what was in flight by what the log holds;
/// a [`PersistActor`](crate::PersistActor) opens its connection again and goes on with what waits; a
/// [`BlobActor`](crate::BlobActor) looks again at its directory, if it has one. No acknowledged event is lost, and no
/// address changes.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Restart;
