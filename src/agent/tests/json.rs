//! Goal: the form in JSON is the one that docs/json.md describes, and a body comes back from it. Method: golden lines
//! of a body of every type with every field set; generated bodies; the examples of the document.

use ::bytes::Bytes;
use proptest::option::of;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;
use crate::agent::{AgentTransient, MessageOrigin, OutputStream};
use crate::event::{Described, OwnBody, OwnEvent, Redacted, RedactedEvent};
use crate::model::View;

const DOCUMENT: &str = include_str!("../../../docs/json.md");

/// A line for each of `full_bodies`, as an event. A line may gain members; what is there keeps its name and form, and a
/// member that is added to a body is an `Option` or has `#[serde(default)]`, so that JSON from before is read.
const GOLDEN: &str = include_str!("events.jsonl");

fn events(bodies: impl IntoIterator<Item = AgentBody>) -> Vec<Event<Agent>> {
    let event = |(body, id)| Event::new(EventId::new(id), time(EventId::new(id)), [id as u8; 8], body);
    bodies.into_iter().zip(1..).map(event).collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// What a reader of events in Rust takes of one.
#[derive(Deserialize)]
struct Shown {
    body: AgentBody,
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_form_of_every_event_is_the_golden_one_and_its_body_comes_back() {
    let lines: Vec<_> = events(full_bodies()).iter().map(json).collect();
    assert!(lines.iter().map(String::as_str).eq(GOLDEN.lines()), "events.jsonl, wanted:\n{}", lines.join("\n"));
    for (line, body) in GOLDEN.lines().zip(full_bodies()) {
        let event = parsed(line);
        assert_eq!(event["type"], body.event_type());
        assert_eq!(serde_json::from_str::<Shown>(line).unwrap().body, body);
        // The one member of a body is named as the type; a body that holds nothing is its name.
        let name = event["body"].as_object().map_or(&event["body"], |_| &event["type"]);
        assert_eq!(name, body.event_type());
        assert!(event["body"].as_object().is_none_or(|members| members.keys().eq([body.event_type()])));
    }
}

#[test]
fn a_member_that_is_not_known_is_passed_over_and_one_that_may_be_null_may_be_absent() {
    let text = r#"{"vars_snapshotted":{"blob":{"digest":"D","bytes":1,"kind":"text","encoding":"plain","new":1}}}"#;
    let text = text.replace('D', &"01".repeat(32));
    assert!(matches!(serde_json::from_str(&text), Ok(AgentBody::VarsSnapshotted(Content::Blob(_)))));
    let message = r#"{"message_appended":{"id":0,"event_id":0,"role":"user","parts":[{"body":{"text":"hello"}}],"extra":{},"new":1}}"#;
    let hello = AgentBody::MessageAppended(Message::user("hello"));
    assert_eq!(serde_json::from_str::<AgentBody>(message).unwrap(), hello);
    for wrong in [r#"{"message_removed":{}}"#, r#""message_appended""#, r#"{"stopped":null,"stop_requested":null}"#] {
        assert!(serde_json::from_str::<AgentBody>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_stored_view_has_the_form_of_the_folded_one_and_stays_packed() {
    let mut script = Script::of([AgentBody::SessionStarted(SessionInfo::default())]);
    for n in 1..=200 {
        script.append(AgentBody::MessageAppended(Message::user(format!("number {n}"))));
        script.append(AgentBody::TurnStarted(Turn::for_message(MessageId::new(n))));
        script.append(AgentBody::TurnPut(Turn { id: TurnId::new(n), status: TurnStatus::Final, ..Turn::default() }));
    }
    let stored = Bytes::from(Agent::encode_view(&script.view).unwrap());
    let loaded = Agent::decode_view(stored).unwrap();
    let waiting = loaded.messages.waiting();
    assert!(waiting > 0);
    assert_eq!(json(&loaded), json(&script.view));
    assert_eq!(loaded.messages.waiting(), waiting, "no chunk is kept decoded");
    let view = parsed(&json(&script.view));
    let ids = |list: &str| -> Vec<u64> {
        view[list].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect()
    };
    assert!(ids("messages").into_iter().eq(1..=200) && ids("turns").into_iter().eq(1..=200));
    assert_eq!(view["turns"][199]["status"], "final");
    assert_eq!(view["messages"][0]["at"], time(EventId::new(2)).to_string(), "filled in");
}

/// What docs/json.md shows, in its order.
fn examples() -> Vec<(&'static str, String)> {
    let at = |millis: i64| Some(Timestamp::from_micros(1_700_000_000_000_000 + 1000 * millis));
    let usage = Usage { input_tokens: Some(812), output_tokens: Some(64), ..Usage::default() };
    let json_of = |text: &str| Json::parse(text).unwrap();
    let call = Part::tool_call("call_1", "bash", r#"{"cmd": "ls"}"#);
    let origin = MessageOrigin { stop_reason: Some("tool_calls".to_owned()), usage: Some(usage), ..Default::default() };
    let answer = Message::answer([Part::thought("Look first.").with_signature("c2ln"), call]).with_origin(origin);
    let result = ToolResult { is_error: Some(false), ..ToolResult::text("call_1", Content::Blob(blob(7))) };
    let bodies = vec![
        AgentBody::SessionStarted(SessionInfo {
            labels: [("team".to_owned(), "support".to_owned())].into(),
            model: Some("some-model".to_owned()),
            extra: json_of(r#"{"temperature":0.70}"#),
            ..SessionInfo::default()
        }),
        AgentBody::MessageAppended(Message::user("What is in this folder?")),
        AgentBody::TurnStarted(Turn::for_message(MessageId::new(1))),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(1))),
        AgentBody::MessageAppended(Message { turn: Some(TurnId::new(1)), step: Some(StepId::new(1)), ..answer }),
        AgentBody::EvalAdded(Eval {
            turn: Some(TurnId::new(1)),
            step: Some(StepId::new(1)),
            tool_name: Some("bash".to_owned()),
            call_id: Some("call_1".to_owned()),
            stdout: Some(Content::Blob(blob(7))),
            exit_code: Some(0),
            elapsed_micros: Some(5200),
            ..Eval::default()
        }),
        AgentBody::MessageAppended(Message::tool(result)),
        AgentBody::StepPut(Step {
            id: StepId::new(1),
            status: StepStatus::Done,
            started: at(4),
            ended: at(7),
            assistant_message: Some(MessageId::new(2)),
            usage: Some(usage),
            ..Step::of_turn(TurnId::new(1))
        }),
        AgentBody::TurnPut(Turn {
            id: TurnId::new(1),
            status: TurnStatus::Final,
            started: at(3),
            ended: at(9),
            final_value: Some("Two files.".into()),
            cost_millionths: Some(1200),
            ..Turn::for_message(MessageId::new(1))
        }),
        AgentBody::VarsSnapshotted("{\"cwd\":\"/srv\"}".into()),
        AgentBody::compacted(None, Message::system("The user asked for a listing.")),
        AgentBody::Custom { kind: "rated".to_owned(), json: json_of(r#"{"stars":4.50}"#) },
        AgentBody::StopRequested,
        AgentBody::Stopped,
        AgentBody::SessionErrored(Failure::new("provider_timeout", "no answer within 60 s")),
        AgentBody::TurnQueued { message: MessageId::new(1) },
    ];
    let mut counters = Counters::default();
    let mut view = AgentView::default();
    let mut shown = Vec::new();
    for (mut body, id) in bodies.into_iter().zip(1..) {
        Agent::stamp(&mut counters, EventId::new(id), &mut body).unwrap();
        let event = Event::<Agent>::new(EventId::new(id), at(id as i64).unwrap(), [0xa0 + id as u8; 8], body);
        shown.push((event.event_type(), json(&event)));
        if id <= 2 {
            Agent::apply(&mut view, &event);
        }
    }
    let described = Described {
        title: Some("A listing".to_owned()),
        labels: [("team".to_owned(), Some("support".to_owned())), ("todo".to_owned(), None)].into(),
    };
    let redacted = Redacted {
        events: vec![RedactedEvent { event: EventId::new(6), record: blob(7).digest }],
        reason: "ann: a key in the output".to_owned(),
    };
    for (body, id) in [OwnBody::Described(described), OwnBody::Redacted(redacted)].into_iter().zip(17_u8..) {
        let own = OwnEvent::new(EventId::new(id.into()), at(id.into()).unwrap(), [0xa0 + id; 8], body);
        shown.push((own.body().event_type(), json(&own)));
    }
    let (turn, step, text) = (TurnId::new(1), StepId::new(1), "Two fi".to_owned());
    let transients = [
        AgentTransient::TokenDelta { turn, step, text: text.clone() },
        AgentTransient::OutputChunk { turn, step, stream: OutputStream::Stdout, text },
        AgentTransient::Other { kind: "typing".to_owned(), json: json_of(r#"{"who":"ann"}"#) },
    ];
    shown.extend(transients.iter().map(|transient| ("transient", json(transient))));
    shown.push(("view", json(&View::<Agent>::new(EventId::new(2), view, Default::default()))));
    shown
}

#[test]
fn the_document_shows_every_body_and_transient_and_a_view_as_they_are() {
    let blocks: Vec<_> = DOCUMENT.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let examples = examples();
    let wanted: Vec<_> = examples.iter().map(|(name, text)| format!("{name}\n{text}")).collect();
    let canonical = |text: &str| Json::parse(text).map_or_else(|error| error.to_string(), Json::into_string);
    assert!(
        blocks.iter().map(|block| canonical(block)).eq(examples.iter().map(|(_, text)| canonical(text))),
        "the examples of docs/json.md, wanted:\n{}",
        wanted.join("\n")
    );
    for event_type in AgentBody::EVENT_TYPES {
        assert!(examples.iter().any(|(name, _)| name == event_type), "no example of {event_type}");
    }
}

/// Every value of every enum below a body, with its name in JSON.
#[test]
fn every_name_of_an_enum_is_in_the_document() {
    use {EvalStatus as Ran, SessionStatus as Session, StepStatus as Did, TurnStatus as Ends};
    let media = |source| PartBody::Media(media(source));
    let names = [
        vec![json(&Session::Running), json(&Session::StopRequested), json(&Session::Stopped), json(&Session::Error)],
        vec![json(&Ends::Final), json(&Ends::Timeout), json(&Ends::BudgetExceeded), json(&Ends::Cancelled)],
        vec![json(&Ends::Running), json(&Ends::Error), json(&Ends::Interrupted)],
        vec![json(&Did::Running), json(&Did::Done), json(&Did::Error), json(&Did::Interrupted)],
        vec![json(&Ran::Ok), json(&Ran::Final), json(&Ran::Error), json(&Ran::Denied), json(&Ran::Cancelled)],
        vec![json(&Ran::Timeout), json(&OutputStream::Stdout), json(&OutputStream::Stderr)],
        vec![json(&Role::System), json(&Role::User), json(&Role::Assistant), json(&Role::Tool)],
        vec![json(&Role::Observation), json(&Role::Developer), json(&Role::Other("critic".to_owned()))],
        vec![json(&ToolKind::Function), json(&ToolKind::Custom), json(&ToolKind::Provider)],
        vec![json(&BlobKind::Bytes), json(&BlobKind::Text), json(&BlobKind::Json), json(&BlobEncoding::Plain)],
        [PartBody::Refusal("".into()), PartBody::RedactedThought("".into()), media(MediaSource::Base64("".into()))]
            .iter()
            .chain(&[media(MediaSource::Url("".into())), media(MediaSource::FileId(String::new()))])
            .flat_map(|body| parsed(&json(body)).as_object().unwrap().keys().map(json).collect::<Vec<_>>())
            .collect(),
    ];
    for name in names.concat() {
        assert!(DOCUMENT.contains(&format!("`{name}`")), "docs/json.md does not name {name}");
    }
}

fn text() -> BoxedStrategy<String> {
    prop_oneof!["\\PC{0,6}", "[\"\\\\/{}\\x00-\\x1f😀]{0,4}"].boxed()
}

fn content() -> BoxedStrategy<Content> {
    prop_oneof![text().prop_map(Content::Inline), any::<u8>().prop_map(|seed| Content::Blob(blob(seed)))].boxed()
}

fn moment() -> BoxedStrategy<Timestamp> {
    prop_oneof![any::<i64>(), 0_i64..2_000_000_000_000_000].prop_map(Timestamp::from_micros).boxed()
}

/// JSON with numbers that no double holds.
fn value() -> BoxedStrategy<Json> {
    let number = "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    (number, text(), any::<bool>())
        .prop_map(|(number, text, is_list)| {
            let text = serde_json::to_string(&text).unwrap();
            let value = if is_list { format!("[{number},{text}]") } else { number };
            Json::parse(&format!("{{\"value\":{value},{text}:null}}")).unwrap_or_default()
        })
        .boxed()
}

fn usage() -> BoxedStrategy<Option<Usage>> {
    of((of(any::<u64>()), of(any::<u64>()), of(any::<u64>())).prop_map(|(input, output, total)| Usage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: total,
        ..Usage::default()
    }))
    .boxed()
}

fn failure() -> BoxedStrategy<Failure> {
    (text(), content(), value()).prop_map(|(kind, message, extra)| Failure { kind, message, extra }).boxed()
}

fn media_part() -> BoxedStrategy<Media> {
    let source = prop_oneof![
        any::<u8>().prop_map(|seed| MediaSource::Blob(blob(seed))),
        content().prop_map(MediaSource::Url),
        text().prop_map(MediaSource::FileId),
        content().prop_map(MediaSource::Base64),
    ];
    (source, of(text()), of(text())).prop_map(|(source, media_type, name)| Media { source, media_type, name }).boxed()
}

fn part() -> BoxedStrategy<Part> {
    let kind = prop_oneof![Just(ToolKind::Function), Just(ToolKind::Provider), text().prop_map(ToolKind::Other)];
    let result_part = prop_oneof![
        content().prop_map(ResultPart::Text),
        content().prop_map(ResultPart::Json),
        media_part().prop_map(ResultPart::Media),
        (text(), content()).prop_map(|(kind, json)| ResultPart::Other { kind, json }),
    ];
    let result = (text(), of(text()), prop::collection::vec(result_part, 0..3), of(any::<bool>()));
    let body = prop_oneof![
        content().prop_map(PartBody::Text),
        content().prop_map(PartBody::RedactedThought),
        (text(), text(), content(), kind).prop_map(|(id, name, arguments, kind)| PartBody::ToolCall(ToolCall {
            id,
            name,
            arguments,
            kind
        })),
        result.prop_map(|(call_id, name, parts, is_error)| {
            PartBody::ToolResult(ToolResult { call_id, name, parts, is_error })
        }),
        media_part().prop_map(PartBody::Media),
        (text(), content()).prop_map(|(kind, json)| PartBody::Other { kind, json }),
    ];
    let origin = (of(text()), of(content()), of(content()))
        .prop_map(|(id, signature, verbatim)| Box::new(PartOrigin { id, signature, verbatim }));
    (body, of(origin)).prop_map(|(body, origin)| Part { body, origin }).boxed()
}

fn message() -> BoxedStrategy<Message> {
    let role = prop_oneof![Just(Role::Assistant), Just(Role::Developer), text().prop_map(Role::Other)];
    let origin = (of(text()), usage(), of(content())).prop_map(|(model, usage, verbatim)| {
        Box::new(MessageOrigin { model, usage, verbatim, ..MessageOrigin::default() })
    });
    let parts = prop::collection::vec(part(), 0..4);
    let linked = (of(any::<u64>()), of(any::<u64>()), of(text()));
    (any::<u64>(), role, of(moment()), parts, linked, of(origin), value())
        .prop_map(|(id, role, at, parts, (turn, parent, agent), origin, extra)| Message {
            id: MessageId::new(id),
            role,
            turn: turn.map(TurnId::new),
            at,
            parts,
            parent: parent.map(MessageId::new),
            agent,
            origin,
            extra,
            ..Message::default()
        })
        .boxed()
}

fn body() -> BoxedStrategy<AgentBody> {
    let session = (prop::collection::btree_map(text(), text(), 0..3), of(content()), of(moment()), value());
    let turn = (any::<u64>(), of(moment()), of(content()), of(failure()), usage(), value());
    let turn = turn.prop_map(|(id, started, preview, error, usage, extra)| Turn {
        id: TurnId::new(id),
        status: TurnStatus::BudgetExceeded,
        started,
        preview,
        error,
        usage,
        extra,
        ..Turn::default()
    });
    let step = (any::<u64>(), of(content()), value());
    let eval = (any::<u32>(), of(content()), of(any::<i32>()), of(any::<u64>()), value());
    prop_oneof![
        session.prop_map(|(labels, tools, created, extra)| {
            AgentBody::SessionStarted(SessionInfo { labels, tools, created, extra, ..SessionInfo::default() })
        }),
        (turn, any::<bool>()).prop_map(|(turn, is_put)| match is_put {
            true => AgentBody::TurnPut(turn),
            false => AgentBody::TurnStarted(turn),
        }),
        step.prop_map(|(id, request, extra)| {
            AgentBody::StepPut(Step { id: StepId::new(id), request, extra, ..Step::default() })
        }),
        message().prop_map(AgentBody::MessageAppended),
        eval.prop_map(|(index, result, exit_code, elapsed_micros, extra)| {
            AgentBody::EvalAdded(Eval { index, result, exit_code, elapsed_micros, extra, ..Eval::default() })
        }),
        content().prop_map(AgentBody::VarsSnapshotted),
        (of(content()), 0..EventId::MAX.get(), message()).prop_map(|(vars, boundary, message)| {
            AgentBody::SessionCompacted { vars, boundary: EventId::new(boundary), message }
        }),
        Just(AgentBody::Stopped),
        any::<u64>().prop_map(|id| AgentBody::TurnQueued { message: MessageId::new(id) }),
        failure().prop_map(AgentBody::SessionErrored),
        (text(), value()).prop_map(|(kind, json)| AgentBody::Custom { kind, json }),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn a_body_comes_back_from_its_json_with_every_digit(body in body()) {
        let text = json(&body);
        let again: AgentBody = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&again, &body);
        prop_assert_eq!(json(&again), text.clone());
        prop_assert_eq!(serde_json::from_reader::<_, AgentBody>(text.as_bytes()).unwrap(), body);
    }
}
