//! Goal: bodies survive their stored form, today's and every older one. Method: one body of every variant with every
//! field set, and the bytes that schema 1 was released with.

use std::collections::BTreeSet;

use ::bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::codec;
use crate::model::DecodeError;

/// The bodies of `full_bodies`, as schema 1 writes them. Never to be changed.
#[rustfmt::skip]
const SCHEMA_1: &[(&str, &str)] = &[
    ("session_started", "000101730001fc80841e0001047465616d0161010870726f766964657201056d6f64656c147b22736f75726365223a2266697874757265227d"),
    ("turn_started", "01010101fc00093d0001fc808d5b000101010101010101010101010101010101010101010101010101010101010101010101010201000101020202020202020202020202020202020202020202020202020202020202020203010001fbe80314fb2c01040501fbd204010774696d656f7574010303030303030303030303030303030303030303030303030303030303030303040100147b22736f75726365223a2266697874757265227d147b22736f75726365223a2266697874757265227d"),
    ("turn_put", "02020101fc00093d0001fc808d5b000101010104040404040404040404040404040404040404040404040404040404040404040501000101050505050505050505050505050505050505050505050505050505050505050506010001fbe80314fb2c01040501fbd204010774696d656f7574010606060606060606060606060606060606060606060606060606060606060606070100147b22736f75726365223a2266697874757265227d147b22736f75726365223a2266697874757265227d"),
    ("step_started", "030101010101fc00127a0001fc809698000101070707070707070707070707070707070707070707070707070707070707070708010001010808080808080808080808080808080808080808080808080808080808080808090100010201fbe80314fb2c010405010774696d656f75740109090909090909090909090909090909090909090909090909090909090909090a0100147b22736f75726365223a2266697874757265227d147b22736f75726365223a2266697874757265227d"),
    ("step_put", "040201010101fc00127a0001fc8096980001010a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b010001010b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0c0100010201fbe80314fb2c010405010774696d656f7574010c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0d0100147b22736f75726365223a2266697874757265227d147b22736f75726365223a2266697874757265227d"),
    ("message_appended", "050106050663726974696301046e616d650101010101fc809fd500050001131313131313131313131313131313131313131313131313131313131313131314010001011414141414141414141414141414141414141414141414141414141414141414150100020663616c6c2d310462617368011515151515151515151515151515151515151515151515151515151515151515160100030663616c6c2d310116161616161616161616161616161616161616161616161616161616161616161701000409696d6167652f706e671717171717171717171717171717171717171717171717171717171717171717180100147b22736f75726365223a2266697874757265227d"),
    ("eval_added", "06010101010107010462617368010663616c6c2d3101010d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0e01000101010e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0f010001010f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f1001000101101010101010101010101010101010101010101010101010101010101010101011010001011111111111111111111111111111111111111111111111111111111111111111120100010774696d656f7574011212121212121212121212121212121212121212121212121212121212121212130100147b22736f75726365223a2266697874757265227d01fc001bb70001fc90d0030001fbe80314fb2c010405147b22736f75726365223a2266697874757265227d"),
    ("vars_snapshotted", "07011d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1e0100"),
    ("session_compacted", "0801011e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1f0100090209050663726974696301046e616d650101010101fc809fd5000500011818181818181818181818181818181818181818181818181818181818181818190100010119191919191919191919191919191919191919191919191919191919191919191a0100020663616c6c2d310462617368011a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1b0100030663616c6c2d31011b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1c01000409696d6167652f706e671c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1d0100147b22736f75726365223a2266697874757265227d"),
    ("stop_requested", "09"),
    ("stopped", "0a"),
    ("session_errored", "0b0774696d656f7574011f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f200100147b22736f75726365223a2266697874757265227d"),
    ("custom", "0c046e6f7465085b312c322e35305d"),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Every value under a `digest` key, wherever it is.
fn digests(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| digests(item, found)),
        Value::Object(members) => {
            found.extend(members.get("digest").cloned());
            members.values().for_each(|member| digests(member, found));
        }
        _ => {}
    }
}

#[test]
fn every_content_of_every_body_is_visited() {
    let mut visited = BTreeSet::new();
    let mut all = 0;
    for body in full_bodies() {
        let json = serde_json::to_value(&body).unwrap();
        assert!(!json.to_string().contains("null"), "{}: a field of the fixture is not set", body.event_type());
        let (mut wanted, mut seen) = (Vec::new(), Vec::new());
        digests(&json, &mut wanted);
        Agent::blob_refs(&body, &mut |blob| {
            seen.push(serde_json::to_value(blob.digest).unwrap());
            visited.insert(blob.digest);
        });
        let count = |values: &[Value]| values.iter().map(Value::to_string).collect::<BTreeSet<_>>();
        assert_eq!(count(&seen), count(&wanted), "{}", body.event_type());
        assert_eq!(seen.len(), wanted.len());
        all += seen.len();
    }
    assert_eq!(visited.len(), all, "the fixture's blobs are distinct");
    // 2 turns and 2 steps of 3, 2 messages of 5, an eval of 6, variables twice, a session error.
    assert_eq!(all, 4 * 3 + 2 * 5 + 6 + 2 + 1);
}

#[test]
fn inline_content_references_no_blob() {
    let body = AgentBody::MessageAppended(Message::tool_result("call-1", "done"));
    Agent::blob_refs(&body, &mut |blob| panic!("{blob:?}"));
}

#[test]
fn every_variant_decodes_from_its_own_bytes_under_its_own_type_only() {
    let bodies = full_bodies();
    let types: Vec<_> = bodies.iter().map(Agent::event_type).collect();
    assert_eq!(types, AgentBody::EVENT_TYPES);
    for body in bodies {
        let bytes = codec::encode_body(&body).unwrap();
        for event_type in AgentBody::EVENT_TYPES.iter().copied() {
            match Agent::decode(event_type, 1, &bytes) {
                Ok(decoded) => assert!(decoded == body && event_type == body.event_type()),
                Err(DecodeError::Malformed { .. }) => assert_ne!(event_type, body.event_type()),
                Err(DecodeError::Unknown) => panic!("{event_type}"),
            }
        }
    }
}

#[test]
fn an_unknown_type_or_schema_is_unknown_and_damaged_bytes_are_malformed() {
    let bytes = codec::encode_body(&AgentBody::Stopped).unwrap();
    assert_eq!(Agent::decode("stopped", 1, &bytes), Ok(AgentBody::Stopped));
    for (event_type, schema) in [("stopped", 0), ("stopped", 2), ("Stopped", 1), ("", 1), ("head_published", 1)] {
        assert_eq!(Agent::decode(event_type, schema, &bytes), Err(DecodeError::Unknown));
    }
    for damaged in [vec![], vec![200], [&bytes[..], &[0]].concat()] {
        assert!(matches!(Agent::decode("stopped", 1, &damaged), Err(DecodeError::Malformed { .. })));
    }
}

#[test]
fn bytes_of_schema_1_still_decode_and_are_still_written() {
    for ((event_type, golden), body) in SCHEMA_1.iter().copied().zip(full_bodies()) {
        assert_eq!(Agent::decode(event_type, 1, &unhex(golden)).as_ref(), Ok(&body), "{event_type}");
        assert_eq!(hex(&codec::encode_body(&body).unwrap()), golden, "{event_type}");
    }
    // A new event type is missing here until its line is added: this prints it.
    let golden: Vec<_> = SCHEMA_1.iter().map(|(event_type, _)| *event_type).collect();
    let new = full_bodies().into_iter().filter(|body| !golden.contains(&body.event_type()));
    let lines: Vec<_> = new
        .map(|body| format!("    ({:?}, {:?}),", body.event_type(), hex(&codec::encode_body(&body).unwrap())))
        .collect();
    assert!(lines.is_empty(), "append to the golden bytes:\n{}", lines.join("\n"));
}

#[test]
fn the_document_of_the_format_names_every_event_type_and_the_schemas() {
    let document = include_str!("../../../docs/format.md");
    for (variant, event_type) in AgentBody::EVENT_TYPES.iter().enumerate() {
        let row = format!("| {variant} | `{event_type}` |");
        assert!(document.contains(&row), "docs/format.md has no row {row}");
    }
    for wanted in [
        format!("its schema version is {}.", Agent::SCHEMA),
        format!("**The view of the agent model** (view schema {})", Agent::VIEW_SCHEMA),
    ] {
        assert!(document.contains(&wanted), "docs/format.md does not say: {wanted}");
    }
}

#[test]
fn every_enum_value_keeps_its_stored_number() {
    fn numbers<T: serde::Serialize>(values: &[T]) -> Vec<u8> {
        values.iter().map(|value| codec::encode_body(value).unwrap()[0]).collect()
    }
    use SessionStatus as Session;
    assert_eq!(numbers(&[Session::Running, Session::StopRequested, Session::Stopped, Session::Error]), [0, 1, 2, 3]);
    use TurnStatus as Ends;
    let turns = [Ends::Running, Ends::Final, Ends::Error, Ends::Timeout, Ends::BudgetExceeded];
    assert_eq!(numbers(&turns), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&[StepStatus::Running, StepStatus::Done, StepStatus::Error]), [0, 1, 2]);
    assert_eq!(numbers(&[EvalStatus::Ok, EvalStatus::Final, EvalStatus::Error]), [0, 1, 2]);
    let other = Role::Other(String::new());
    let roles = [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Observation, other];
    assert_eq!(numbers(&roles), [0, 1, 2, 3, 4, 5]);
    assert_eq!(numbers(&[Content::default(), Content::Blob(blob(1))]), [0, 1]);
}

/// Of the view of all bodies, at view schema 2.
const VIEW_2: &str = "08ec4dcef1d67c8ad888830f8bb4a6ad8cb447f94e84924d168deeb6cc9a4c7b";

#[test]
fn a_view_comes_back_from_its_bytes_and_they_are_those_of_its_schema() {
    let mut view = AgentView::default();
    for body in full_bodies() {
        view.apply(crate::id::Timestamp::from_micros(1_000_000), body);
    }
    let bytes = Bytes::from(Agent::encode_view(&view).unwrap());
    assert_eq!(Agent::decode_view(bytes.clone()).as_ref(), Ok(&view));
    let found = (Agent::VIEW_SCHEMA, codec::digest(&bytes).to_string());
    assert_eq!(
        found,
        (2, VIEW_2.to_owned()),
        "the bytes of a view changed: raise VIEW_SCHEMA, and put its number and the left digest here"
    );
    for len in 0..bytes.len() {
        assert!(Agent::decode_view(bytes.slice(..len)).is_err(), "{len}");
    }
}
