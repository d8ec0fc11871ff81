//! A body of any bytes is decoded or refused at every event type, and one that is taken comes back from its own bytes.
#![no_main]

use foldlog::SessionModel;
use foldlog::agent::{Agent, AgentBody};
use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (event_type, schema, body) = input;
    // One more than there are is no type.
    let types = AgentBody::EVENT_TYPES;
    let event_type = types.get(usize::from(event_type) % (types.len() + 1)).copied().unwrap_or("no such type");
    let schema = if schema % 4 == 0 { schema } else { Agent::SCHEMA };
    if let Ok(body) = Agent::decode(event_type, schema, body) {
        let _ = Agent::check(&body);
        Agent::blob_refs(&body, &mut |_| ());
        let bytes = decode::body_bytes(&body).expect("a body that was decoded encodes");
        let again = Agent::decode(Agent::event_type(&body), Agent::SCHEMA, &bytes).expect("its bytes decode");
        assert_eq!(again, body);
    }
});
