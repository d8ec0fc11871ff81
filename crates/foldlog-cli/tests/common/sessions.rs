//! Directories that tests write: a session with everything in it, a hostile one, and one of another model.

use std::os::unix::fs::FileExt;
use std::path::Path;

use foldlog::agent::{
    Agent, AgentBody, Eval, EvalId, EvalStatus, Failure, Media, Message, MessageId, MessageOrigin, Part, Role,
    SessionInfo, Step, StepId, StepStatus, Turn, TurnId, TurnStatus, Usage,
};
use foldlog::{
    BlobRef, Clock, DecodeError, Describe, Event, Json, ManualClock, Session, SessionModel, SnapshotPolicy, Store,
    StoreConfig, Timestamp, decode_body,
};
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

/// A time that every run has.
const BEGUN: i64 = 1_700_000_000_000_000;

/// Text that takes a terminal over, if it reaches one: clears it, changes its title and colours, turns lines around,
/// hides itself, rings.
pub const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}evil\u{202c}\u{200b}\u{2028}\r\u{8}\u{7f}\u{feff}";

/// A session of the agent model, written with a clock that tells each event its time.
pub struct Written {
    store: Store,
    session: Session<Agent>,
    clock: ManualClock,
    now: i64,
}

impl Written {
    pub fn begin(directory: &Path, session: &str) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(BEGUN));
        let config = StoreConfig { clock: Clock::Manual(clock.clone()), ..StoreConfig::directory(directory) };
        let store = block_on(Store::open(config)).unwrap();
        let session = block_on(store.open_session(session)).unwrap();
        Self { store, session, clock, now: BEGUN }
    }

    /// Appends a body, so many milliseconds after the one before.
    pub fn after(&mut self, millis: i64, body: AgentBody) -> &mut Self {
        self.now += millis * 1000;
        self.clock.set(Timestamp::from_micros(self.now));
        block_on(self.session.append(body).unwrap()).unwrap();
        self
    }

    /// Appends bodies in one go.
    pub fn batch(&mut self, bodies: Vec<AgentBody>) -> &mut Self {
        block_on(self.session.append_batch(bodies).unwrap()).unwrap();
        self
    }

    fn now(&self) -> Option<Timestamp> {
        Some(Timestamp::from_micros(self.now))
    }

    pub fn describe(&mut self, title: &str, label: &str, value: &str) -> &mut Self {
        block_on(self.session.describe(Describe::new().title(title).label(label, value)).unwrap()).unwrap();
        self
    }

    /// Puts a text as a blob.
    pub fn put(&self, text: &str) -> BlobRef {
        block_on(self.store.put_text(text.to_owned())).unwrap()
    }

    pub fn end_in_place(&mut self) {
        block_on(self.store.close()).unwrap();
    }

    pub fn end(self) {
        block_on(self.store.close()).unwrap();
    }
}

/// One session, `support-4711`, with two turns: one that went well and one that failed.
pub fn everything(directory: &Path) {
    let mut written = Written::begin(directory, "support-4711");
    let report: String = (1..=40).map(|n| format!("order {n}: delivered\n")).collect();
    let report = block_on(written.store.put_text(report)).unwrap();
    let image = block_on(written.store.put_bytes(vec![0x89, b'P', b'N', b'G', 0, 255])).unwrap();
    let labels = [("team".to_owned(), "support".to_owned())].into();
    let info = SessionInfo { model: Some("some-model".to_owned()), labels, ..SessionInfo::default() };
    let call = Part::tool_call("call_1", "orders", r#"{"customer": 17}"#);
    let usage = Usage { input_tokens: Some(1812), output_tokens: Some(64), ..Usage::default() };
    let question = Message::user("Where is my order?\nIt was due on Friday.").with(Media::blob("image/png", image));
    written
        .after(1, AgentBody::SessionStarted(info))
        .after(1, AgentBody::MessageAppended(Message::system("Be brief.")))
        .after(1, AgentBody::MessageAppended(question))
        .after(1, AgentBody::TurnStarted(Turn::for_last_message()));
    let began = written.now();
    let (turn, step) = (TurnId::new(1), StepId::new(1));
    written.after(2, AgentBody::StepStarted(Step::of_turn(turn)));
    let step_began = written.now();
    let origin = MessageOrigin { usage: Some(usage), ..MessageOrigin::default() };
    let answer = Message::answer([Part::thought("Look at the orders."), call]).with_origin(origin);
    written
        .after(900, AgentBody::MessageAppended(Message { turn: Some(turn), step: Some(step), ..answer }))
        .after(
            100,
            AgentBody::StepPut(Step {
                id: step,
                status: StepStatus::Done,
                started: step_began,
                ended: Some(Timestamp::from_micros(BEGUN + 1_005_000)),
                assistant_message: Some(MessageId::new(3)),
                usage: Some(usage),
                ..Step::of_turn(turn)
            }),
        )
        .after(
            50,
            AgentBody::EvalAdded(Eval {
                id: EvalId::default(),
                turn: Some(turn),
                step: Some(step),
                tool_name: Some("orders".to_owned()),
                call_id: Some("call_1".to_owned()),
                elapsed_micros: Some(48_200),
                exit_code: Some(0),
                ..Eval::default()
            }),
        )
        .after(
            1,
            AgentBody::MessageAppended(Message {
                turn: Some(turn),
                step: Some(step),
                ..Message::tool_result("call_1", report)
            }),
        )
        .after(
            500,
            AgentBody::MessageAppended(Message { turn: Some(turn), ..Message::assistant("It comes on Friday.") }),
        );
    let ended = written.now();
    written
        .after(
            1,
            AgentBody::TurnPut(Turn {
                id: turn,
                status: TurnStatus::Final,
                started: began,
                ended,
                user_message: Some(MessageId::new(2)),
                final_value: Some("It comes on Friday.".into()),
                usage: Some(usage),
                cost_millionths: Some(1_200),
                ..Turn::default()
            }),
        )
        .after(60_000, AgentBody::MessageAppended(Message::user("And the other one?")))
        .after(1, AgentBody::TurnStarted(Turn::for_last_message()))
        .after(1, AgentBody::StepStarted(Step::of_turn(TurnId::new(2))))
        .after(
            10,
            AgentBody::EvalAdded(Eval {
                turn: Some(TurnId::new(2)),
                step: Some(StepId::new(2)),
                code: Some("print(orders[1])".into()),
                status: EvalStatus::Error,
                stderr: Some("IndexError: list index out of range".into()),
                error: Some(Failure::new("exception", "IndexError")),
                ..Eval::default()
            }),
        )
        .after(10, AgentBody::Custom { kind: "rated".to_owned(), json: Json::parse(r#"{"stars":2}"#).unwrap() })
        .after(
            10,
            AgentBody::MessageAppended(Message {
                agent: Some("critic".to_owned()),
                ..Message::text(Role::Other("critic".to_owned()), "Ask for the number.")
            }),
        )
        .after(
            5_000,
            AgentBody::TurnPut(Turn {
                id: TurnId::new(2),
                status: TurnStatus::Error,
                user_message: Some(MessageId::new(6)),
                error: Some(Failure::new("provider_timeout", "no answer within 5 s")),
                ..Turn::default()
            }),
        );
    written.describe("Where is my order?", "priority", "2");
    written.end();
}

/// One session, `hostile`, whose every text is hostile, with a line of a million characters.
pub fn hostile(directory: &Path) {
    let mut written = Written::begin(directory, "hostile\u{202e}");
    let text = || HOSTILE.to_owned();
    let blob = block_on(written.store.put_text(HOSTILE.repeat(100))).unwrap();
    let info = SessionInfo {
        id: Some(text()),
        provider: Some(text()),
        model: Some(text()),
        parent: Some(text()),
        labels: [(text(), text())].into(),
        ..SessionInfo::default()
    };
    let other = |role| Message { name: Some(text()), agent: Some(text()), ..Message::text(role, text()) };
    let media = Media { name: Some(text()), ..Media::blob(text(), blob) };
    let parts = [
        Part::thought(text()),
        Part::tool_call(text(), text(), text()),
        Part::tool_result(text(), text()),
        Part::other(text(), text()),
        Part::text(blob),
        media.into(),
        Part::text("x".repeat(1_000_000)),
    ];
    let failure = || Some(Failure::new(text(), text()));
    let eval = Eval { tool_name: Some(text()), code: Some(HOSTILE.into()), session: Some(text()), ..Eval::default() };
    written
        .after(1, AgentBody::SessionStarted(info))
        .after(1, AgentBody::MessageAppended(other(Role::Other(text()))))
        .after(1, AgentBody::TurnStarted(Turn::for_last_message()))
        .after(1, AgentBody::StepStarted(Step::of_turn(TurnId::new(1))))
        .after(1, AgentBody::MessageAppended(Message { turn: Some(TurnId::new(1)), ..Message::answer(parts) }))
        .after(1, AgentBody::EvalAdded(Eval { error: failure(), stdout: Some(HOSTILE.into()), ..eval }))
        .after(1, AgentBody::Custom { kind: text(), json: Json::parse("{\"\u{202e}\":\"\u{9b}\"}").unwrap() })
        .after(
            1,
            AgentBody::TurnPut(Turn {
                id: TurnId::new(1),
                error: failure(),
                preview: Some(HOSTILE.into()),
                ..Turn::default()
            }),
        )
        .after(1, AgentBody::SessionErrored(Failure::new(text(), text())));
    written.describe(HOSTILE, HOSTILE, HOSTILE);
    written.end();
}

/// A model that the command does not know.
pub struct Counter;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CounterBody {
    Added(u64),
    Reset,
}

impl SessionModel for Counter {
    const NAME: &'static str = "counter";
    const SCHEMA: u16 = 3;
    type Body = CounterBody;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(body: &CounterBody) -> &'static str {
        match body {
            CounterBody::Added(_) => "added",
            CounterBody::Reset => "reset",
        }
    }

    fn apply(sum: &mut u64, event: &Event<Self>) {
        match event.body() {
            CounterBody::Added(n) => *sum += n,
            CounterBody::Reset => *sum = 0,
        }
    }

    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<CounterBody, DecodeError> {
        match (event_type, schema) {
            ("added" | "reset", 3) => decode_body(bytes),
            _ => Err(DecodeError::Unknown),
        }
    }
}

/// The agent model of a newer build, as far as its name and its number tell.
pub struct Newer;

impl SessionModel for Newer {
    const NAME: &'static str = "agent";
    const SCHEMA: u16 = 9;
    type Body = String;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(_: &String) -> &'static str {
        "dreamt"
    }

    fn apply(dreams: &mut u64, _: &Event<Self>) {
        *dreams += 1;
    }

    fn decode(_: &str, schema: u16, bytes: &[u8]) -> Result<String, DecodeError> {
        // What the build of today wrote is nothing to it.
        if schema == 9 { decode_body(bytes) } else { Ok(String::new()) }
    }
}

/// The sessions of [`everything`], and one, `of-tomorrow`, with an event of today and behind it one of a newer build.
pub fn with_a_newer_event(directory: &Path) {
    with_newer_events(directory, 1);
}

/// As [`with_a_newer_event`], with so many events of the newer build.
pub fn with_newer_events(directory: &Path, events: usize) {
    everything(directory);
    let message = |text: &str| AgentBody::MessageAppended(Message::user(text));
    let mut written = Written::begin(directory, "of-tomorrow");
    written.after(1, message("before")).end_in_place();
    block_on(async {
        let clock = Clock::Manual(ManualClock::new(Timestamp::from_micros(BEGUN + 5_000_000)));
        let config = StoreConfig { clock, ..StoreConfig::directory(directory) };
        let store = Store::<Newer>::open_model(config).await.unwrap();
        let session = store.open_session("of-tomorrow").await.unwrap();
        for _ in 0..events {
            session.append("sheep".to_owned()).unwrap().await.unwrap();
        }
        store.close().await.unwrap();
    });
}

/// One session, `viewed`, of three events, whose view is stored.
pub fn with_a_stored_view(directory: &Path) {
    let snapshots = SnapshotPolicy { closing_events: 1, ..SnapshotPolicy::default() };
    block_on(async {
        let config = StoreConfig { snapshots, ..StoreConfig::directory(directory) };
        let store = Store::open(config).await.unwrap();
        let session = store.open_session("viewed").await.unwrap();
        for text in ["a", "b", "c"] {
            session.append(AgentBody::MessageAppended(Message::user(text))).unwrap().await.unwrap();
        }
        session.close().await.unwrap();
        store.close().await.unwrap();
    });
}

/// Damages the record of an event.
pub fn damage_event(directory: &Path, event: u64) {
    change(directory, &format!("UPDATE events SET record = substr(record, 2) WHERE event_id = {event}"));
}

/// Takes away the row of an event, to which the index still leads.
pub fn lose_event(directory: &Path, event: u64) {
    change(directory, &format!("DELETE FROM events WHERE event_id = {event}"));
}

/// Changes one row of the database.
fn change(directory: &Path, statement: &str) {
    let database = rusqlite::Connection::open(directory.join("events.db")).unwrap();
    assert_eq!(database.execute(statement, []).unwrap(), 1);
    database.close().unwrap();
}

/// Fills the pages from which the names of sessions are read with zeros.
pub fn damage_names(directory: &Path) {
    let path = directory.join("events.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    let page_bytes: u32 = database.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let mut statement = database.prepare("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'sessions'").unwrap();
    let pages: Vec<u32> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    database.close().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for page in pages {
        file.write_all_at(&vec![0; page_bytes as usize], u64::from((page - 1) * page_bytes)).unwrap();
    }
}

/// One session, `tally`, of another model.
pub fn of_another_model(directory: &Path) {
    let clock = Clock::Manual(ManualClock::new(Timestamp::from_micros(BEGUN)));
    let config = StoreConfig { clock, ..StoreConfig::directory(directory) };
    block_on(async {
        let store = Store::<Counter>::open_model(config).await.unwrap();
        let session = store.open_session("tally").await.unwrap();
        session.append_batch(vec![CounterBody::Added(1), CounterBody::Added(2)]).unwrap().await.unwrap();
        session.append(CounterBody::Reset).unwrap().await.unwrap();
        store.close().await.unwrap();
    });
}
