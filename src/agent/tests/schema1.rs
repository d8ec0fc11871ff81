//! Goal: what builds of schema 1 wrote is read as what it meant. Method: the bytes of a body of every variant with
//! every field set, beside the bodies of today that they become.

use super::bytes::{hex, unhex};
use super::*;
use crate::agent::schema1::BodyV1;
use crate::codec;
use crate::model::DecodeError;

/// A body of every variant with every field set, as builds of schema 1 wrote it. Never to be changed.
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

#[test]
fn bodies_of_schema_1_become_those_of_today() {
    let wanted = upcast();
    assert_eq!(wanted.len(), SCHEMA_1.len());
    for ((event_type, golden), wanted) in SCHEMA_1.iter().copied().zip(wanted) {
        assert_eq!(Agent::decode(event_type, 1, &unhex(golden)), Ok(wanted), "{event_type}");
    }
}

#[test]
fn the_frozen_types_write_the_bytes_that_they_read() {
    for (event_type, golden) in SCHEMA_1.iter().copied() {
        let body: BodyV1 = codec::decode_body(&unhex(golden)).unwrap();
        assert_eq!(hex(&codec::encode_body(&body).unwrap()), golden, "{event_type}");
    }
}

#[test]
fn a_status_or_part_of_schema_2_is_no_body_of_schema_1() {
    // `turn_started` with status 5, and a message with a part of kind 5.
    let turn = unhex("0101050000000000000000027b7d");
    assert!(matches!(Agent::decode("turn_started", 1, &turn), Err(DecodeError::Malformed { .. })));
    let mut message = unhex(SCHEMA_1[5].1);
    let place = message.windows(2).position(|two| two == [5, 0]).unwrap();
    message[place + 1] = 5;
    assert!(matches!(Agent::decode("message_appended", 1, &message), Err(DecodeError::Malformed { .. })));
}

#[test]
fn a_number_of_tokens_that_schema_1_did_not_know_is_not_0_today() {
    let usage = Usage::from(crate::agent::schema1::UsageV1 {
        input_tokens: 7,
        output_tokens: 0,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        reasoning_tokens: 0,
    });
    assert_eq!(usage, Usage { input_tokens: Some(7), ..Usage::default() });
}

/// What the bodies of `SCHEMA_1` say, in today's types: every field of schema 1 set, every content a blob of its own.
fn upcast() -> Vec<AgentBody> {
    let mut seed = 0;
    let mut next = move || {
        seed += 1;
        blob(seed)
    };
    let mut content = || Content::Blob(next());
    let at = |seconds: i64| Some(Timestamp::from_micros(seconds * 1_000_000));
    let extra = || Json::parse(r#"{"source":"fixture"}"#).unwrap();
    let usage = || {
        Some(Usage {
            input_tokens: Some(1000),
            output_tokens: Some(20),
            cache_read_tokens: Some(300),
            cache_write_tokens: Some(4),
            reasoning_tokens: Some(5),
            total_tokens: None,
        })
    };
    let failure = |message| Failure { kind: "timeout".to_owned(), message, extra: extra() };
    let session = SessionInfo {
        id: Some("s".to_owned()),
        status: SessionStatus::Running,
        created: at(1),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        provider: Some("provider".to_owned()),
        model: Some("model".to_owned()),
        extra: extra(),
        ..SessionInfo::default()
    };
    let mut turn = |id| Turn {
        id: TurnId::new(id),
        status: TurnStatus::Final,
        started: at(2),
        ended: at(3),
        user_message: Some(MessageId::new(1)),
        final_value: Some(content()),
        preview: Some(content()),
        usage: usage(),
        cost_millionths: Some(1234),
        error: Some(failure(content())),
        extra: extra(),
    };
    let (started_turn, put_turn) = (turn(1), turn(2));
    let mut step = |id| Step {
        id: StepId::new(id),
        turn: Some(TurnId::new(1)),
        status: StepStatus::Done,
        started: at(4),
        ended: at(5),
        request: Some(content()),
        response_summary: Some(content()),
        assistant_message: Some(MessageId::new(2)),
        usage: usage(),
        error: Some(failure(content())),
        extra: extra(),
    };
    let (started_step, put_step) = (step(1), step(2));
    let eval = Eval {
        id: EvalId::new(1),
        turn: Some(TurnId::new(1)),
        step: Some(StepId::new(1)),
        index: 7,
        tool_name: Some("bash".to_owned()),
        call_id: Some("call-1".to_owned()),
        code: Some(content()),
        status: EvalStatus::Final,
        result: Some(content()),
        preview: Some(content()),
        stdout: Some(content()),
        stderr: Some(content()),
        error: Some(failure(content())),
        at: at(6),
        elapsed_micros: Some(250_000),
        usage: usage(),
        extra: extra(),
        ..Eval::default()
    };
    let mut message = |id, event| Message {
        id: MessageId::new(id),
        event_id: EventId::new(event),
        role: Role::Other("critic".to_owned()),
        name: Some("name".to_owned()),
        turn: Some(TurnId::new(1)),
        step: Some(StepId::new(1)),
        at: at(7),
        parts: vec![
            Part::text(content()),
            Part::thought(content()),
            Part::tool_call("call-1", "bash", content()),
            Part::tool_result("call-1", content()),
            Part::media("image/png", *content().as_blob().unwrap()),
        ],
        extra: extra(),
        ..Message::default()
    };
    let (appended, summary) = (message(1, 6), message(2, 9));
    vec![
        AgentBody::SessionStarted(session),
        AgentBody::TurnStarted(started_turn),
        AgentBody::TurnPut(put_turn),
        AgentBody::StepStarted(started_step),
        AgentBody::StepPut(put_step),
        AgentBody::MessageAppended(appended),
        AgentBody::EvalAdded(eval),
        AgentBody::VarsSnapshotted(content()),
        AgentBody::SessionCompacted { vars: Some(content()), boundary: EventId::new(9), message: summary },
        AgentBody::StopRequested,
        AgentBody::Stopped,
        AgentBody::SessionErrored(failure(content())),
        AgentBody::Custom { kind: "note".to_owned(), json: Json::parse("[1,2.50]").unwrap() },
    ]
}
