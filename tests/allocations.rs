//! Goal: hostile bytes make no decoder allocate more than the limits of the configuration allow. Method: an allocator
//! that remembers its peak, and records that claim lengths which they do not have. Alone in its file, since it counts
//! for the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use foldlog::agent::{Agent, AgentBody, Failure, Message, MessageId, SessionInfo, Step, StepId, Turn, TurnId};
use foldlog::testkit::decode;
use foldlog::{Json, SessionModel, StoreConfig};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// How many more bytes than before were in use at the peak of a call.
fn peak(call: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    call();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

/// Numbers as a body's lengths are written.
fn lengths() -> Vec<Vec<u8>> {
    let wide = |value: u64| [[253].as_slice(), &value.to_le_bytes()].concat();
    let mut lengths: Vec<_> =
        [u64::MAX, 1 << 62, 1 << 40, 64 << 20, (64 << 20) - 300, 32 << 20, 1 << 20].map(wide).to_vec();
    lengths.push(vec![251, 255, 255]);
    lengths
}

/// At least one of each event type.
fn bodies() -> Vec<AgentBody> {
    let json = Json::parse("{\"a\":1}").unwrap();
    vec![
        AgentBody::SessionStarted(SessionInfo::default()),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::TurnPut(Turn { id: TurnId::new(1), ..Turn::default() }),
        AgentBody::StepStarted(Step::default()),
        AgentBody::StepPut(Step { id: StepId::new(1), ..Step::default() }),
        AgentBody::MessageAppended(Message::user("hello")),
        AgentBody::EvalAdded(foldlog::agent::Eval::default()),
        AgentBody::VarsSnapshotted("{}".into()),
        AgentBody::compacted(None, Message::user("before")),
        AgentBody::StopRequested,
        AgentBody::Stopped,
        AgentBody::SessionErrored(Failure::new("provider", "gone")),
        AgentBody::Custom { kind: "note".to_owned(), json },
        AgentBody::TurnQueued { message: MessageId::new(1) },
    ]
}

#[test]
fn what_is_decoded_of_hostile_bytes_stays_below_twice_the_limit() {
    // The smallest of the limits: that of a record which is written.
    let limit = 2 * StoreConfig::memory().record_bytes_max;
    let mut largest = 0;
    for event_type in AgentBody::EVENT_TYPES {
        assert!(bodies().iter().any(|body| body.event_type() == *event_type), "{event_type} has no body");
    }
    for body in bodies() {
        let event_type = Agent::event_type(&body);
        let bytes = decode::body_bytes(&body).unwrap();
        for at in 0..=bytes.len() {
            for length in lengths() {
                let hostile = [&bytes[..at], &length, &bytes[at..]].concat();
                let record = decode::record_around(Agent::SCHEMA, &hostile);
                largest = largest.max(peak(|| drop(decode::event::<Agent>(event_type, &record))));
            }
        }
    }
    // A stored view, and whoever looks at all of it. The second chunk of its messages is decoded only then.
    let many = (0..130).map(|_| AgentBody::MessageAppended(Message::user("hello")));
    let bytes = decode::view_bytes::<Agent>(many.chain(bodies())).unwrap();
    let items = |view: foldlog::agent::AgentView| view.messages.iter().count() + view.evals.iter().count();
    let whole = items(Agent::decode_view(bytes.clone().into()).unwrap());
    let (mut taken, mut views) = (0, 0);
    for at in 0..=bytes.len() {
        for length in lengths() {
            // In place of what is there, since the chunks would not be as long as they should be otherwise.
            let rest = bytes.get(at + length.len()..).unwrap_or_default();
            let hostile = foldlog::Bytes::from([&bytes[..at], &length, rest].concat());
            views += 1;
            let view = || {
                if let Ok(view) = Agent::decode_view(hostile) {
                    taken += 1;
                    assert_eq!(items(view), whole);
                }
            };
            largest = largest.max(peak(view));
        }
    }
    println!("{taken} of {views} damaged views were taken");
    // The header's own lengths: of the key, and of the list of references.
    let record = decode::record_around(Agent::SCHEMA, &[0; 100]);
    for at in 0..record.len().min(60) {
        let mut hostile = record.clone();
        hostile[at..].iter_mut().take(4).for_each(|byte| *byte = 255);
        largest = largest.max(peak(|| assert!(decode::record(&hostile).is_none_or(|body| body <= 100))));
    }
    println!("the most that was allocated: {largest} bytes");
    assert!(largest < limit, "{largest} bytes, limit is {limit}");

    // A body of the largest size that is ever decoded: itself, and no more than as much again.
    let text = "x".repeat(60 << 20);
    let record =
        decode::record_around(Agent::SCHEMA, &decode::body_bytes(&AgentBody::VarsSnapshotted(text.into())).unwrap());
    let most = peak(|| assert!(decode::event::<Agent>("vars_snapshotted", &record).is_some()));
    assert!(most < 64 << 20, "{most} bytes for a record of {}", record.len());
    // The count is not always nothing.
    assert!(most >= 60 << 20, "{most}");

    // Lengths of a title, a number of labels, a number of redacted events.
    for length in lengths() {
        for (event_type, before) in
            [("foldlog.described", vec![1]), ("foldlog.described", vec![0]), ("foldlog.redacted", vec![])]
        {
            let hostile = [before, length.clone(), vec![0; 100]].concat();
            let most = peak(|| {
                decode::own_body(event_type, &hostile);
            });
            assert!(most < limit, "{most} bytes for {event_type}");
        }
    }

    // A write-ahead log whose header claims pages of a size that there is not.
    for page_bytes in [1 << 20, 1 << 31, u32::MAX] {
        let most = peak(|| assert!(!decode::write_ahead_log(page_bytes, [1, 2], &[])));
        assert!(most < limit, "{most} bytes for pages of {page_bytes}");
    }
    // A row of the index of events whose runs are longer than any log.
    let runs: Vec<u8> = [[255; 8].as_slice(), &[127]].concat().repeat(100);
    let most = peak(|| assert_eq!(decode::index_rows(1, 1, &runs), [None, None]));
    assert!(most < limit, "{most} bytes for a row of {}", runs.len());

    // Text in a file, and nothing that grows faster than it.
    let text = "[".repeat(1 << 20);
    let most = peak(|| assert_eq!(decode::json(&text), None));
    assert!(most < limit, "{most} bytes for JSON that is nested {} times", text.len());
}
