//! Goal: whoever sees an error knows what to do next. Method: the parts of the texts that matter, and not each letter.

use super::*;
use crate::id::{Digest, EventId, SessionId, Timestamp};

fn session() -> SessionId {
    SessionId::new("s").unwrap()
}

fn owner(process: u32, in_this_process: bool) -> OwnerInfo {
    let since = Timestamp::from_micros(1_700_000_000_000_001);
    OwnerInfo { id: "owner-1".to_owned(), process, host: "host-1".to_owned(), since, in_this_process }
}

fn owned(owner: OwnerInfo) -> Error {
    ErrorKind::OwnedElsewhere { session: session(), owner }.into()
}

#[track_caller]
fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn debug_is_the_text_in_one_line_with_the_name_of_the_kind_and_all_fields_where_they_are_asked_for() {
    let error = owned(owner(4711, false));
    assert_eq!(format!("{error:?}"), format!("{error} [OwnedElsewhere]"));
    let all = format!("{error:#?}");
    assert!(all.contains("owner-1") && all.contains("2023-11-14T22:13:20.000001Z") && all.lines().count() > 5, "{all}");
    let caused = Error::with_source(ErrorKind::StoreClosed, "the cause".to_owned());
    assert_eq!(format!("{caused:?}"), "the store is closed: open it again: the cause [StoreClosed]");
    assert!(format!("{caused:#?}").contains("the cause"));
}

#[test]
fn an_owner_is_named_with_a_readable_time_and_the_way_around_it() {
    let other = owned(owner(4711, false));
    assert_says(&other, &["session s", "process 4711 on host-1 since 2023-11-14T22:13:20", "Session::take_over"]);
    let here = owned(owner(4711, true));
    assert_says(
        &here,
        &["another store that this process opened and that has not closed yet", "a clone of its handle"],
    );
    assert!(!here.to_string().contains("take_over"), "{here}");
    let unknown = owned(owner(0, false)).to_string();
    assert!(unknown.contains("owner owner-1") && !unknown.contains("process 0"), "{unknown}");
}

#[test]
fn a_text_names_the_next_call_or_the_setting_and_the_session() {
    let (event, reason) = (EventId::new(7), || "because".to_owned());
    let digest = Digest::from_bytes([1; 32]);
    let kinds: [(ErrorKind, &[&str]); 18] = [
        (ErrorKind::UnknownSession { session: session() }, &["session s", "open_session"]),
        (ErrorKind::DanglingRef { digest }, &["intern_text", "put_bytes"]),
        (ErrorKind::WrongBlobLength { digest, referenced: 1, stored: 2 }, &["BlobRef"]),
        (
            ErrorKind::TooLarge { what: "encoded event", unit: "bytes", size: 9, limit: 8 },
            &["9 bytes, limit is 8", "intern_text", "record_bytes_max"],
        ),
        (ErrorKind::HeadMoved { session: session(), expected: event, actual: event }, &["session s", "events_after"]),
        (ErrorKind::BeyondHead { session: session(), event, head: event }, &["session s", "first event"]),
        (ErrorKind::OtherHistory { session: session(), event }, &["session s", "first event"]),
        (
            ErrorKind::CursorMoved { cursor: "c".to_owned(), expected: "e".to_owned(), actual: "a".to_owned() },
            &["cursor c", "Cursor::position"],
        ),
        (ErrorKind::OtherFeed { position: "6f-1-0".to_owned(), reason: "r".to_owned() }, &["6f-1-0", "at its start"]),
        (ErrorKind::NotWritten { session: session(), reason: reason() }, &["session s, make the call again: because"]),
        (ErrorKind::TurnInFlight { session: session() }, &["session s", "revoke_turn"]),
        (ErrorKind::TurnLimit { session: session(), turns: 3, limit: 2 }, &["3 turns", "session_turns_max is 2"]),
        (ErrorKind::OutcomeUnknown { session: session(), reason: reason() }, &["session s", "same append key"]),
        (ErrorKind::SessionClosed { session: session() }, &["session s", "open_session"]),
        (ErrorKind::Unfoldable { session: session(), event }, &["event 7 of session s", "until a build folds it"]),
        (
            ErrorKind::NewerRecord { session: session(), event, event_type: "x".to_owned(), schema: 2 },
            &["event 7 of session s", "newer build"],
        ),
        (ErrorKind::CorruptEvent { session: session(), event, reason: reason() }, &["Store::verify", "Store::repair"]),
        (
            ErrorKind::Undecodable {
                session: session(),
                event,
                event_type: "x".to_owned(),
                schema: 2,
                reason: reason(),
            },
            &["event 7 of session s", "type x at schema 2", "new SCHEMA"],
        ),
    ];
    for (kind, parts) in kinds {
        assert_says(&kind.into(), parts);
    }
}
