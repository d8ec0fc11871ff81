//! The numbers of a store, for a person.

use std::fmt;

use foldlog::Stats;

/// Writes [`Stats`] as a few lines.
pub(crate) struct Report(pub(crate) Stats);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.0;
        let (appends, events, busy) = (stats.appends_acknowledged, stats.events_acknowledged, stats.appends_busy);
        writeln!(f, "appends: {appends} acknowledged, {events} events; {busy} refused as busy")?;
        writeln!(f, "acknowledgement, microseconds: {}", stats.acknowledgement_micros)?;
        writeln!(f, "groups: {} committed, {} failed", stats.commit_micros.count(), stats.groups_failed)?;
        writeln!(f, "events in a group: {}", stats.group_events)?;
        writeln!(f, "commit, microseconds: {}", stats.commit_micros)?;
        let (reads, blobs) = (stats.reads_queued, stats.blob_calls_queued);
        writeln!(
            f,
            "waiting now: {} in flight, {} writes, {reads} reads, {blobs} blob calls",
            stats.in_flight, stats.writes_queued
        )?;
        writeln!(f, "waits for another process: {}, {:?} in all", stats.lock_waits, stats.lock_waited)?;
        let (done, blocked) = (stats.upkeep.runs, stats.upkeep.runs_blocked);
        writeln!(f, "write-ahead log: {} bytes; {done} checkpoints, {blocked} blocked", stats.upkeep.log_bytes)?;
        let (open, failed) = (stats.sessions_open, stats.recoveries_failed);
        writeln!(f, "sessions: {open} open; {} recoveries, {failed} failed", stats.recovery_micros.count())?;
        let (resident, bytes, emptied) = (stats.sessions_resident, stats.resident_bytes, stats.sessions_emptied);
        writeln!(f, "in memory: {resident} sessions of {bytes} record bytes; {emptied} were emptied")?;
        let (same, saved) = (stats.blobs_deduplicated, stats.blob_bytes_deduplicated);
        writeln!(f, "blobs: {} puts, {same} of them there already, which saved {saved} bytes", stats.blob_puts)?;
        let (left_out, transients) = (stats.subscriber_events_left_out, stats.subscriber_transients_left_out);
        write!(f, "gaps of subscribers: {}, of {left_out} events and {transients} transients", stats.subscriber_gaps)
    }
}
