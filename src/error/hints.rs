//! What the text of an error says beside its fields.

use crate::id::EventId;

/// What the append has written whose key another one uses.
pub(super) fn other_append(first: EventId, written: u64, given: u64) -> String {
    let last = EventId::new(first.get().saturating_add(written.saturating_sub(1)));
    let bodies = |count| if count == 1 { "1 body".to_owned() } else { format!("{count} bodies") };
    match (written, given) {
        (1, 1) => format!("event {first}, with another body"),
        (1, _) => format!("event {first} alone, and this append has {}", bodies(given)),
        _ if written == given => format!("events {first} to {last}, with other bodies"),
        _ => format!("events {first} to {last}, and this append has {}", bodies(given)),
    }
}

/// What to do about something that is too large.
pub(super) fn way_below(what: &str) -> &'static str {
    match what {
        "encoded event" => {
            ": make blobs of large values, with Store::intern_text or put_bytes, or raise StoreConfig::record_bytes_max"
        }
        "batch" => ": append it in several batches, or raise StoreConfig::batch_events_max",
        "append" => {
            ": make blobs of large values, with Store::intern_text or put_bytes, append less at once, or raise StoreConfig::batch_bytes_max, session_in_flight_bytes_max and in_flight_bytes_max"
        }
        "blob" => ": store it in parts, or raise StoreConfig::blob_bytes_max",
        _ => "",
    }
}
