//! A body of any bytes is decoded or refused at every event type, and one that is taken comes back from its own bytes.
#![no_main]

use foldlog::SessionModel;
use foldlog::agent::Agent;
use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 14] = [
    "session_started",
    "turn_started",
    "turn_put",
    "step_started",
    "step_put",
    "message_appended",
    "eval_added",
    "vars_snapshotted",
    "session_compacted",
    "stop_requested",
    "stopped",
    "session_errored",
    "custom",
    "no such type",
];

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (event_type, schema, body) = input;
    let event_type = TYPES[usize::from(event_type) % TYPES.len()];
    let schema = if schema % 4 == 0 { schema } else { Agent::SCHEMA };
    if let Ok(body) = Agent::decode(event_type, schema, body) {
        let _ = Agent::check(&body);
        Agent::blob_refs(&body, &mut |_| ());
        let bytes = decode::body_bytes(&body).expect("a body that was decoded encodes");
        let again = Agent::decode(Agent::event_type(&body), Agent::SCHEMA, &bytes).expect("its bytes decode");
        assert_eq!(again, body);
    }
});
