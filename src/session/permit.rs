//! Counts what is in flight: appends that are not answered yet, and transients that are not delivered yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind};
use crate::stats::Metrics;

/// About how many bytes an event takes in memory beside those of its body, while it is in flight: its record's header,
/// the hash, times and ids, and the body's own structure.
pub(crate) const EVENT_BYTES: u64 = 256;

/// How much of one session is in flight. The metrics of its store count the same for all sessions.
pub(crate) struct InFlightCount {
    session: AtomicU64,
    session_bytes: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The most that may be in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlightLimits {
    /// Appends and transients of a session.
    session_max: u64,
    session_bytes_max: u64,
    /// Bytes of all sessions of the store.
    bytes_max: u64,
}

impl InFlightLimits {
    pub(crate) fn of(config: &StoreConfig) -> Self {
        Self {
            session_max: config.session_in_flight_max as u64,
            session_bytes_max: config.session_in_flight_bytes_max as u64,
            bytes_max: config.in_flight_bytes_max as u64,
        }
    }

    /// The largest append that may ever be in flight, in bytes.
    pub(crate) fn append_bytes_max(&self) -> u64 {
        self.session_bytes_max.min(self.bytes_max)
    }
}

impl InFlightCount {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { session: AtomicU64::new(0), session_bytes: AtomicU64::new(0), metrics }
    }
}

/// The permission for one append or transient to be in flight. Dropping the permit gives the permission back.
pub(crate) struct Permit {
    count: Arc<InFlightCount>,
    bytes: u64,
}

impl Permit {
    /// Takes a permit for so many bytes; [`ErrorKind::Busy`] at a limit.
    pub(crate) fn take(count: &Arc<InFlightCount>, bytes: u64, limits: InFlightLimits) -> Result<Self, Error> {
        let InFlightLimits { session_max, session_bytes_max, bytes_max } = limits;
        // Counted first and looked at afterwards, so that no two callers get the same room. A refusal drops the permit.
        let permit = Self { count: Arc::clone(count), bytes };
        let in_store = count.metrics.flight_began(bytes);
        let in_session = count.session.fetch_add(1, Ordering::AcqRel) + 1;
        let session_bytes = count.session_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        // What has no bytes needs no room for them, though another caller may be counted and not refused yet.
        let needs_room = bytes > 0;
        let (what, limit) = if in_session > session_max {
            ("as many appends of the session are in flight as StoreConfig::session_in_flight_max allows", session_max)
        } else if needs_room && session_bytes > session_bytes_max {
            (
                "as many bytes of the session are in flight as StoreConfig::session_in_flight_bytes_max allows",
                session_bytes_max,
            )
        } else if needs_room && in_store > bytes_max {
            ("as many bytes of the store are in flight as StoreConfig::in_flight_bytes_max allows", bytes_max)
        } else {
            return Ok(permit);
        };
        Err(ErrorKind::Busy { what, limit }.into())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.count.session.fetch_sub(1, Ordering::AcqRel);
        self.count.session_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.count.metrics.flight_ended(self.bytes);
    }
}
