//! The decoders of stored and imported bytes, for fuzzing: whatever they are given, they neither panic nor allocate
//! more than the input and the configured limits allow.

use crate::id::{AppendKey, Digest, SessionId};
use crate::model::SessionModel;

/// Decodes a record's header, and tells its body's length.
pub fn record(bytes: &[u8]) -> Option<usize> {
    crate::codec::decode_record(bytes).ok().map(|(_, body)| body.len())
}

/// Decodes a record and its body with the model's own decoder.
pub fn event<M: SessionModel>(event_type: &str, bytes: &[u8]) -> Option<M::Body> {
    let (header, body) = crate::codec::decode_record(bytes).ok()?;
    M::decode(event_type, header.schema, body).ok()
}

/// Decodes the body of an event of foldlog's own, and tells whether it is one.
///
/// # Panics
/// When a body that was decoded does not come back from its own bytes.
pub fn own_body(event_type: &str, bytes: &[u8]) -> bool {
    use crate::event::{OwnBody, SessionCore};
    let Ok(body) = OwnBody::decode(event_type, OwnBody::SCHEMA, bytes) else { return false };
    let encoded = body.encode().ok();
    let again = encoded.and_then(|bytes| OwnBody::decode(event_type, OwnBody::SCHEMA, &bytes).ok());
    assert_eq!(again.as_ref(), Some(&body), "a body does not come back");
    SessionCore::default().apply(&body);
    true
}

/// Makes JSON text canonical, and checks that canonical text stays as it is.
///
/// # Panics
/// When it does not.
pub fn json(text: &str) -> Option<String> {
    let canonical = crate::json::canonical(text).ok()?;
    assert_eq!(crate::json::canonical(&canonical).ok().as_ref(), Some(&canonical), "canonical text changes");
    Some(canonical)
}

/// Reads an owner file and an owner's name.
pub fn owner(id: &str, text: &str) -> Option<crate::error::OwnerInfo> {
    Some(crate::sqlite::parse_owner_file(&crate::port::OwnerId::parse(id)?, text))
}

/// Parses the three kinds of names.
pub fn names(bytes: &[u8]) {
    // The results do not matter, only that the calls return.
    let _ = AppendKey::new(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (SessionId::new(text), text.parse::<Digest>());
    }
}

/// The bytes of the view that bodies fold into, which are stamped one after the other.
pub fn view_bytes<M: SessionModel>(bodies: impl IntoIterator<Item = M::Body>) -> Option<Vec<u8>> {
    use crate::id::{EventId, Timestamp};
    let (mut view, mut counters) = (M::View::default(), M::Counters::default());
    for (mut body, id) in bodies.into_iter().zip(1..) {
        M::stamp(&mut counters, EventId::new(id), &mut body).ok()?;
        M::apply_owned(&mut view, crate::event::Event::new(EventId::new(id), Timestamp::from_micros(0), [0; 8], body));
    }
    M::encode_view(&view)
}

/// Decodes bytes as the runs of a row of each index of events, as if their checksum were right, and counts the events.
pub fn index_rows(key: i64, first: u64, runs: &[u8]) -> [Option<u64>; 2] {
    crate::sqlite::decode_under_checksum(key, first, runs)
}

/// Reads bytes as the frames of a write-ahead log whose header is right, and tells whether they are damaged.
pub fn write_ahead_log(page_bytes: u32, salts: [u32; 2], frames: &[u8]) -> bool {
    crate::sqlite::scan_under_header(page_bytes, salts, frames)
}

/// Makes the bytes of a record around a body: of format 1, which names no event type, so that it may stand under any.
pub fn record_around(schema: u16, body: &[u8]) -> Vec<u8> {
    use crate::id::EventId;
    let (first, last) = (EventId::new(1), EventId::new(1));
    let header =
        crate::codec::RecordHeader { schema, event_type: None, salt: [7; 8], first, last, key: None, refs: Vec::new() };
    crate::codec::encode_record(&header, body)
}

/// The bytes of a body, as a record holds them.
pub fn body_bytes<B: serde::Serialize>(body: &B) -> Option<Vec<u8>> {
    crate::codec::encode_body(body).ok()
}
