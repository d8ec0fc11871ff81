//! Goal: no stored or imported bytes make a decoder panic or loop. Method: random bytes, and real ones that were
//! damaged, through every decoder; blob files of a size that nobody could read. tests/allocations.rs measures what they
//! allocate.

use std::cell::Cell;
use std::sync::LazyLock;

use crate::common::TestDisk;
use foldlog::agent::{
    Agent, AgentBody, Failure, Message, MessageOrigin, Part, SessionInfo, Step, StepId, Turn, TurnId,
};
use foldlog::testkit::decode;
use foldlog::{Content, ErrorKind, Json, SessionModel};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Real bodies of many shapes, at least one of each event type.
fn samples() -> Vec<AgentBody> {
    let json = Json::parse("{\"a\":[1,2.5,\"three\"]}").unwrap();
    vec![
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::TurnPut(Turn { id: TurnId::new(1), ..Turn::default() }),
        AgentBody::StepStarted(Step::default()),
        AgentBody::StepPut(Step { id: StepId::new(1), ..Step::default() }),
        AgentBody::MessageAppended(Message::user("hello")),
        AgentBody::MessageAppended(Message::user(Content::Blob(crate::common::dangling()))),
        AgentBody::MessageAppended(Message::answer([
            Part::thought("so").with_id("rs-1").with_signature("c2lnbmVk").with_verbatim("{}"),
            Part::tool_call("call-1", "bash", "{}"),
            Part::other("search", "{}"),
        ])),
        AgentBody::MessageAppended(Message::tool_error("call-1", "failed").with_origin(MessageOrigin::default())),
        AgentBody::EvalAdded(foldlog::agent::Eval::default()),
        AgentBody::VarsSnapshotted("{}".into()),
        AgentBody::compacted(None, Message::user("before")),
        AgentBody::StopRequested,
        AgentBody::Stopped,
        AgentBody::SessionErrored(Failure::new("provider", "gone")),
        AgentBody::Custom { kind: "note".to_owned(), json },
        AgentBody::TurnQueued { message: foldlog::agent::MessageId::new(1) },
    ]
}

/// The bytes of a view that has chunks of all kinds: 200 messages and 100 evals, and the samples.
static VIEW: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let is_listed = |body: &AgentBody| matches!(body.event_type(), "message_appended" | "eval_added");
    let many = (0..100).flat_map(|_| samples()).filter(is_listed);
    decode::view_bytes::<Agent>(many.chain(samples())).unwrap()
});

#[test]
fn the_samples_are_of_every_event_type() {
    for event_type in AgentBody::EVENT_TYPES {
        assert!(samples().iter().any(|body| body.event_type() == *event_type), "{event_type} has no sample");
    }
}

/// A record of a real body, damaged.
fn damaged() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    (0..samples().len()).prop_flat_map(|sample| {
        let body = &samples()[sample];
        let bytes = decode::record_around(Agent::SCHEMA, &decode::body_bytes(body).unwrap());
        (Just(Agent::event_type(body)), damaged_bytes(&bytes))
    })
}

/// Bytes that are damaged in a few places: flipped, cut, or with a huge length put in.
fn damaged_bytes(bytes: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let bytes = bytes.to_vec();
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..4);
    damage.prop_map(move |damage| {
        let mut bytes = bytes.clone();
        for (at, byte, how) in damage {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, [253, 255, 255, 255, 255, byte, 0, 0, 0])),
                2 => bytes.insert(at, byte),
                _ => bytes.get_mut(at).into_iter().for_each(|found| *found ^= byte),
            }
        }
        bytes
    })
}

/// Text that is nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let parts =
        ["{", "}", "[", "]", ",", ":", "\"", "\\u", "d800", "1e999", "-0", "0.1", "null", "true", "é", "\u{0}", " "];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

/// The inputs of each test below; `PROPTEST_CASES` is another number.
const INPUTS: u32 = 2_000;

/// Gives a decoder one input after the other, and shrinks one that fails.
fn each<S: Strategy>(what: &str, inputs: S, decode: impl Fn(S::Value)) {
    let cases = std::env::var("PROPTEST_CASES").map_or(INPUTS, |cases| cases.parse().expect("a number"));
    let tried = Cell::new(0);
    let outcome = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
        .run(&inputs, |input| {
            tried.set(tried.get() + 1);
            decode(input);
            Ok(())
        });
    println!("{what}: {} inputs", tried.get());
    outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
}

fn any_bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

#[test]
fn a_record_of_any_bytes_is_decoded_or_refused() {
    each("any record", any_bytes(300), |bytes| {
        decode::record(&bytes);
        for body in samples() {
            decode::event::<Agent>(Agent::event_type(&body), &bytes);
        }
    });
}

#[test]
fn a_damaged_record_is_decoded_or_refused() {
    each("damaged record", damaged(), |(event_type, bytes)| {
        if let Some(body) = decode::event::<Agent>(event_type, &bytes) {
            // What was taken is a body like any other.
            assert!(decode::body_bytes(&body).is_some());
            let _ = Agent::check(&body);
        }
    });
}

#[test]
fn a_body_of_any_bytes_is_decoded_or_refused_at_every_event_type() {
    each("any body", any_bytes(200), |body| {
        let bytes = decode::record_around(Agent::SCHEMA, &body);
        for sample in samples() {
            decode::event::<Agent>(Agent::event_type(&sample), &bytes);
        }
    });
}

#[test]
fn a_body_of_foldlogs_own_of_any_bytes_is_decoded_or_refused() {
    // Two labels, one of them taken away; and one redacted event.
    let described = [&[1, 1, b'T', 2, 1, b'a', 1, 1, b'b', 1, b'c', 0][..]].concat();
    let redacted = [&[1, 3][..], &[7; 32], &[3], b"why"].concat();
    for (event_type, bytes) in [("foldlog.described", described), ("foldlog.redacted", redacted)] {
        assert!(decode::own_body(event_type, &bytes), "{event_type}");
        assert!(!decode::own_body("foldlog.unheard_of", &bytes));
        each("damaged own body", damaged_bytes(&bytes), |bytes| {
            decode::own_body(event_type, &bytes);
        });
        each("any own body", any_bytes(200), |bytes| {
            decode::own_body(event_type, &bytes);
        });
    }
}

#[test]
fn a_view_of_any_bytes_is_decoded_or_refused() {
    each("view", any_bytes(300), |bytes| drop(Agent::decode_view(bytes.into())));
}

#[test]
fn a_damaged_view_is_decoded_or_refused_and_can_be_read() {
    each("damaged view", damaged_bytes(&VIEW), |bytes| {
        let Ok(view) = Agent::decode_view(bytes.into()) else { return };
        assert_eq!(view.messages.iter().count(), view.messages.len());
        assert_eq!(view.evals.iter().count(), view.evals.len());
        assert!(view.kept_messages().len() <= view.messages.len());
        // What was taken is a view like any other.
        assert!(Agent::encode_view(&view).is_some());
    });
}

#[test]
fn the_runs_of_an_index_row_of_any_bytes_are_decoded_or_refused() {
    // Small numbers, which lead further than any, and huge ones.
    let small = prop::collection::vec(prop_oneof![any::<u8>(), 1..9_u8], 0..60);
    let huge = prop::sample::select(vec![&[][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]);
    let key = prop_oneof![any::<i64>(), 0..1000_i64];
    let first = prop_oneof![any::<u64>(), 0..1000_u64];
    each("index row", (key, first, small, huge), |(key, first, small, huge)| {
        decode::index_rows(key, first, &[&small, huge].concat());
    });
}

#[test]
fn a_write_ahead_log_of_any_frames_is_whole_or_damaged() {
    let page_bytes = prop_oneof![any::<u32>(), Just(512), Just(0), Just(u32::MAX)];
    each("write-ahead log", (page_bytes, [0..3_u32, 0..3_u32], any_bytes(1200)), |(page_bytes, salts, mut frames)| {
        decode::write_ahead_log(page_bytes, salts, &frames);
        // Frames of this log, as their salts say.
        for frame in frames.chunks_exact_mut(24 + 512) {
            frame[8..16].copy_from_slice(&salts.map(u32::to_be_bytes).concat());
        }
        let is_damaged = decode::write_ahead_log(512, salts, &frames);
        assert_eq!(is_damaged, frames.len() >= 24 + 512 && salts != [0, 0]);
    });
}

#[test]
fn json_of_any_text_is_canonical_or_refused() {
    each("json", (".{0,80}", nearly_json()), |(any, nearly)| {
        decode::json(&any);
        decode::json(&nearly);
    });
}

#[test]
fn an_owner_file_of_any_text_says_what_it_can() {
    const OWNER: &str = "00112233445566778899aabbccddeeff";
    each("owner file", (".{0,40}", "(process|host|since|.{0,5})[ \n]?.{0,40}"), |(id, text)| {
        decode::owner(&id, &text);
        assert!(decode::owner(OWNER, &text).is_some());
    });
}

#[test]
fn names_of_any_bytes_are_taken_or_refused() {
    each("names", (any_bytes(300), "[0-9a-fA-F]{60,70}"), |(bytes, hex)| {
        decode::names(&bytes);
        decode::names(hex.as_bytes());
    });
}

#[test]
fn every_sample_comes_back_undamaged() {
    for body in samples() {
        let bytes = decode::record_around(Agent::SCHEMA, &decode::body_bytes(&body).unwrap());
        let again = decode::event::<Agent>(Agent::event_type(&body), &bytes).unwrap();
        assert_eq!(again, body);
    }
}

#[test]
fn json_that_is_nested_too_deeply_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(decode::json(&deep), None);
    }
}

#[actix::test]
async fn a_blob_file_larger_than_the_limit_is_refused_before_it_is_read() {
    let disk = TestDisk::directory();
    let store = disk.open().await;
    let blob = store.put_bytes(vec![1; 100]).await.unwrap();
    let name = blob.digest.to_string();
    let path = disk.path().unwrap().join("blobs").join(&name[..2]).join(&name);
    // A file with a hole, so that it has this size and takes no space.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let refused = store.get_bytes(blob.digest).await.unwrap_err();
    let limit = disk.config().blob_bytes_max as u64;
    let is_right =
        matches!(refused.kind(), ErrorKind::TooLarge { size, limit: found, .. } if *size == 1 << 40 && *found == limit);
    assert!(is_right, "{refused:?}");
    store.close().await.unwrap();
}
