//! Recorded runs of agents, played by 100 sessions: the events of `examples/replay_transcript`, one append an event,
//! one in flight in each session. Each replay is of other texts, so that no two sessions share a blob.

use std::path::Path;
use std::time::Instant;

use foldlog::agent::{AgentBody, Message, Part, PartBody, ResultPart};
use foldlog::{Content, Durability, Store, StoreConfig};
use futures::future::join_all;
use serde_json::Value;

use crate::by_hand::{ByHand, encode};
use crate::entry::Contents;
use crate::measure::{Sample, Timing};
use crate::run::Run;
use crate::{appends, common};

/// The events of each run, with everything inline.
pub(crate) struct Recorded(Vec<Vec<AgentBody>>);

impl Recorded {
    /// All runs of a directory; `None` when there are none.
    pub(crate) async fn read(directory: &Path) -> Option<Self> {
        let mut paths: Vec<_> = std::fs::read_dir(directory).ok()?.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_string_lossy().ends_with(".traj.json"));
        paths.sort();
        let store = Store::open(StoreConfig { inline_bytes_max: usize::MAX, ..StoreConfig::memory() }).await.unwrap();
        let mut runs = Vec::new();
        for path in paths {
            let transcript: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            runs.push(events(&store, &transcript).await);
        }
        store.close().await.unwrap();
        (!runs.is_empty()).then_some(Self(runs))
    }

    fn of(&self, session: usize) -> &[AgentBody] {
        &self.0[session % self.0.len()]
    }

    /// Through a store: large values are put as blobs first, as `intern_text` does.
    pub(crate) async fn append(&self, sessions: usize, durability: Durability, timing: Timing) -> Sample {
        let directory = common::directory();
        let store = Store::open(appends::config(directory.path(), durability)).await.unwrap();
        let window = timing.start();
        let callers = (0..sessions).map(|caller| {
            let store = &store;
            async move {
                let mut latencies = Vec::new();
                for replay in 0.. {
                    let mark = format!(" [{caller}, {replay}]");
                    let session = store.open_session(format!("session-{caller}-{replay}")).await.unwrap();
                    for body in self.of(caller) {
                        let asked = Instant::now();
                        let mut body = body.clone();
                        for content in contents(&mut body) {
                            let text = content.as_inline().unwrap_or_default().to_owned() + &mark;
                            *content = store.intern_text(text).await.unwrap();
                        }
                        session.append(body).unwrap().await.unwrap();
                        let acknowledged = Instant::now();
                        if window.counts(acknowledged) {
                            latencies.push(acknowledged - asked);
                        }
                        if window.is_over() {
                            return latencies;
                        }
                    }
                    session.close().await.unwrap();
                }
                latencies
            }
        });
        let latencies = join_all(callers).await.concat();
        store.close().await.unwrap();
        window.stop(1, latencies)
    }

    /// By hand: a commit an event, with everything inline, encoded beforehand. The texts need not differ, since nothing
    /// is shared.
    pub(crate) fn insert(&self, sessions: usize, durability: Durability, timing: Timing) -> Sample {
        let encoded = |body: &AgentBody| (body.event_type(), encode(body));
        let runs: Vec<Vec<_>> = self.0.iter().map(|run| run.iter().map(encoded).collect()).collect();
        let names: Vec<String> = (0..sessions).map(|session| format!("session-{session}")).collect();
        let database = ByHand::open(durability);
        let window = timing.start();
        let mut asked = vec![Instant::now(); sessions];
        let mut latencies = Vec::new();
        'timed: for number in 0.. {
            for (caller, asked) in asked.iter_mut().enumerate() {
                if window.is_over() {
                    break 'timed;
                }
                let run = &runs[caller % runs.len()];
                let (event_type, payload) = &run[number % run.len()];
                database.insert(&names[caller], i64::try_from(number).unwrap(), event_type, payload);
                let acknowledged = Instant::now();
                if window.counts(acknowledged) {
                    latencies.push(acknowledged - *asked);
                }
                *asked = acknowledged;
            }
        }
        database.close();
        let lengths: Vec<usize> = runs.iter().flatten().map(|(_, payload)| payload.len()).collect();
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        window.stop(1, latencies).fact("bytes per event", mean as f64)
    }
}

/// The events of one run, as the example makes them.
async fn events(store: &Store, transcript: &Value) -> Vec<AgentBody> {
    let mut contents = Contents::new(store.clone());
    let mut run = Run::new(store.clone(), Default::default());
    let mut events = Run::begin("session", transcript).unwrap();
    for entry in transcript.get("history").and_then(Value::as_array).into_iter().flatten() {
        events.extend(run.entry(&mut contents, entry).await.unwrap());
    }
    events.extend(run.end(&mut contents, transcript).await.unwrap());
    events
}

/// The texts of a body.
fn contents(body: &mut AgentBody) -> Vec<&mut Content> {
    match body {
        AgentBody::MessageAppended(Message { parts, .. }) => parts.iter_mut().filter_map(text).collect(),
        AgentBody::EvalAdded(eval) => eval.code.iter_mut().chain(&mut eval.result).collect(),
        AgentBody::TurnPut(turn) => turn.final_value.iter_mut().collect(),
        _ => Vec::new(),
    }
}

fn text(part: &mut Part) -> Option<&mut Content> {
    match &mut part.body {
        PartBody::Text(content) | PartBody::Thought(content) => Some(content),
        PartBody::ToolCall(call) => Some(&mut call.arguments),
        PartBody::ToolResult(result) => match result.parts.first_mut() {
            Some(ResultPart::Text(content)) => Some(content),
            _ => None,
        },
        _ => None,
    }
}
