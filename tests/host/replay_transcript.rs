//! Goal: every history entry comes back from its stored message alone, and a replay that lost something says so.
//! Method: made-up transcripts of both forms through the compiled example; its modules on any JSON, and on damaged
//! stores.

use crate::entry::{Contents, difference, from_message, to_message};
use crate::replay::{Transcript, check};
use foldlog::agent::{AgentBody, Message, Part, Role, StepStatus, TurnStatus};
use foldlog::{ErrorKind, Medium, MemoryDisk, Store, StoreConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Strings that a careless store would change, and one that becomes a blob.
fn strings() -> Vec<String> {
    vec![
        String::new(),
        "line\r\nline\n\n".to_owned(),
        "nul \0, del \u{7f}, bom \u{feff}, e\u{301}é, 😀".to_owned(),
        "{\"not\":  \"canonical\" }".to_owned(),
        "observation ".repeat(4_000),
    ]
}

fn with_tool_calls() -> Value {
    let mut history = vec![
        json!({"role": "system", "content": "be brief", "agent": "main", "message_type": "system_prompt"}),
        json!({"role": "user", "content": [{"type": "text", "text": "fix"}, {"type": "text", "text": "it"}], "agent": "main"}),
    ];
    for (place, text) in strings().into_iter().enumerate() {
        let id = format!("call_{place}");
        history.push(json!({
            "role": "assistant", "content": text, "thought": text, "action": "ls", "agent": "main",
            "tool_calls": [{"function": {"arguments": text, "name": "bash"}, "id": id, "type": "function"}],
        }));
        history.push(json!({"role": "tool", "content": text, "agent": "main", "tool_call_ids": [id]}));
    }
    // What no field of a message fits.
    history.push(json!({"role": "assistant", "content": null, "tool_calls": [], "agent": 7}));
    history.push(
        json!({"role": "tool", "content": [{"type": "image_url", "image_url": "x"}], "tool_call_ids": ["a", "b"]}),
    );
    history.push(json!({"content": "no role", "score": 31.245270191439438, "large": "y".repeat(40_000)}));
    history.push(json!("no object"));
    json!({
        "history": history, "environment": "made-up", "trajectory": [{"execution_time": 0.5}],
        "info": {"exit_status": "submitted", "submission": "diff", "model_stats":
            {"instance_cost": 1.25, "tokens_sent": 100, "tokens_received": 20, "api_calls": 5}},
    })
}

fn with_actions() -> Value {
    let mut history = vec![
        json!({"role": "system", "content": "be brief", "agent": "primary"}),
        json!({"role": "user", "content": "a demonstration", "agent": "primary", "is_demo": true}),
    ];
    for text in strings() {
        history
            .push(json!({"role": "assistant", "content": text, "thought": text, "action": text, "agent": "primary"}));
        history.push(json!({"role": "user", "content": text, "agent": "primary"}));
    }
    history.push(
        json!({"role": "assistant", "content": "bye", "thought": "done", "action": "submit\n", "agent": "primary"}),
    );
    json!({ "history": history })
}

fn parsed(name: &str, value: &Value) -> Transcript {
    Transcript::parse(name.to_owned(), &value.to_string()).unwrap()
}

/// Plays a transcript into a store and closes it.
async fn play(config: &StoreConfig, transcript: &Transcript) -> crate::replay::Replayed {
    let store = Store::open(config.clone()).await.unwrap();
    let replayed = crate::replay::replay(&store, "s", transcript, || ()).await.unwrap();
    store.close().await.unwrap();
    replayed
}

#[test]
fn both_forms_replay_in_memory_and_on_disk_and_twice_into_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, value: &Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, serde_json::to_string_pretty(value).unwrap()).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (calls, actions) = (with_tool_calls(), with_actions());
    let entries = [&calls, &actions].map(|value| value["history"].as_array().unwrap().len()).iter().sum::<usize>();
    let (calls, actions) = (file("calls.traj.json", &calls), file("actions.json", &actions));
    let store = dir.path().join("store").to_string_lossy().into_owned();
    for (medium, name) in [
        (vec!["--memory"], "calls:"),
        (vec![], "calls:"),
        (vec!["--dir", &store], "calls:"),
        (vec!["--dir", &store], "calls-2:"),
    ] {
        let ended = crate::common::child::run("replay_transcript", &[&medium[..], &[&calls, &actions]].concat());
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.stderr, "", "no progress bar where stderr is no terminal");
        assert_eq!(ended.lines.len(), 4, "{ended:?}");
        assert!(ended.lines[0].starts_with(name), "{ended:?}");
        assert_eq!(ended.lines[3], format!("ok: 2 views and {entries} history entries came back equal"));
        // The long text is content, thought, arguments, code and result, in both files.
        assert!(ended.lines[2].contains(" 2 blobs with "), "{ended:?}");
    }
}

#[test]
fn what_is_no_transcript_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for (text, reason) in [
        ("{", "not canonical JSON"),
        ("{\"messages\": []}", "has no history"),
        ("{\"history\": [{\"role\": \"user\", \"role\": \"tool\"}]}", "duplicate key"),
    ] {
        let path = dir.path().join("bad.json");
        std::fs::write(&path, text).unwrap();
        let ended = crate::common::child::run("replay_transcript", &["--memory", &path.to_string_lossy()]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("bad.json") && ended.stderr.contains(reason), "{ended:?}");
    }
    for arguments in [&[][..], &["--nonsense"], &["--dir"], &["--memory", "--dir", "x", "y"]] {
        let ended = crate::common::child::run("replay_transcript", arguments);
        assert_eq!((ended.status.code(), ended.lines.len()), (Some(1), 0), "{ended:?}");
    }
}

#[actix::test]
async fn a_run_is_one_turn_and_each_message_of_the_assistant_a_step_with_what_it_ran() {
    for (value, tool, observer) in
        [(with_tool_calls(), "bash", Role::Tool), (with_actions(), "action", Role::Observation)]
    {
        let view = play(&StoreConfig::memory(), &parsed("s", &value)).await.view;
        let turn = view.turns.last().unwrap();
        assert_eq!((view.turns.len(), turn.status), (1, TurnStatus::Final));
        assert_eq!(turn.user_message.unwrap().get(), 2);
        assert_eq!(view.steps.len(), 6);
        for (place, step) in view.steps.iter().enumerate() {
            assert_eq!((step.status, step.turn), (StepStatus::Done, Some(turn.id)));
            let said = view.message(step.assistant_message.unwrap()).unwrap();
            assert_eq!((&said.role, said.step), (&Role::Assistant, Some(step.id)));
            let Some(eval) = view.evals.iter().find(|eval| eval.step == Some(step.id)) else {
                assert_eq!(place, 5, "only the entry with no call has no eval");
                continue;
            };
            assert_eq!(eval.tool_name.as_deref(), Some(tool));
            let called = said.parts.iter().find_map(Part::as_tool_call).map(|call| &call.arguments);
            assert_eq!(eval.code.as_ref(), called);
            assert_eq!(eval.result.is_some(), place < 5, "each call but the last was answered");
        }
        assert!(view.messages.iter().filter(|message| message.role == observer).count() >= 5);
    }
}

#[actix::test]
async fn the_check_finds_a_changed_byte_a_lost_message_and_a_moved_view() {
    let config = StoreConfig::on(Medium::memory(MemoryDisk::default()));
    let value = with_tool_calls();
    let transcript = parsed("s", &value);
    let replayed = play(&config, &transcript).await;
    let history = transcript.history();
    let store = Store::open(config).await.unwrap();
    assert_eq!(check(&store, "s", &replayed.view, history).await.unwrap(), Vec::<String>::new());

    // One byte of the long text: it lies in a blob.
    let mut changed = history.to_vec();
    let mut text = changed[10]["content"].as_str().unwrap().to_owned();
    assert!(text.len() > 40_000);
    text.replace_range(20_000..20_001, "#");
    changed[10]["content"] = text.into();
    let found = check(&store, "s", &replayed.view, &changed).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("history[10].content: strings of 48000 and 48000 bytes differ at byte 20000"),
        "{found:?}"
    );

    let found = check(&store, "s", &replayed.view, &history[..history.len() - 1]).await.unwrap();
    assert_eq!(found, ["s: 15 entries became 16 messages"]);

    let session = store.resume_session("s").await.unwrap();
    session.append(AgentBody::MessageAppended(Message::user("one more"))).unwrap().await.unwrap();
    let found = check(&store, "s", &replayed.view, history).await.unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("is not the view at event"), "{found:?}");
    store.close().await.unwrap();
}

#[actix::test]
async fn the_check_fails_when_a_blob_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig::directory(dir.path());
    let transcript = parsed("s", &with_actions());
    let replayed = play(&config, &transcript).await;
    let blob = replayed
        .view
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .find_map(|part| part.as_text()?.as_blob().copied());
    let digest = blob.unwrap().digest.to_string();
    let path = dir.path().join("blobs").join(&digest[..2]).join(&digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30_000] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();

    let store = Store::open(config).await.unwrap();
    let error = check(&store, "s", &replayed.view, transcript.history()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CorruptBlob { .. }), "{error}");
    store.close().await.unwrap();
}

#[test]
fn a_difference_is_named_by_its_path() {
    let value = json!({"a": [1, {"b": "x"}], "c": null});
    assert_eq!(difference(&value, &value), None);
    for (other, path) in [
        (json!({"a": [1, {"b": "y"}], "c": null}), ".a[1].b: strings of 1 and 1 bytes differ at byte 0"),
        (json!({"a": [1, {"b": "x"}]}), ".c: is missing"),
        (json!({"a": [1, {"b": "x"}], "c": null, "d": 1}), ".d: was added"),
        (json!({"a": [1], "c": null}), ".a: [1,{\"b\":\"x\"}] became [1]"),
        (json!({"a": [1.0, {"b": "x"}], "c": null}), ".a[0]: 1 became 1.0"),
        (json!([]), ": {\"a\":[1,{\"b\":\"x\"}],\"c\":null} became []"),
    ] {
        assert_eq!(difference(&value, &other).as_deref(), Some(path));
    }
}

/// Any JSON, and often one that looks like an entry.
fn entry_like() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["(|a|x{20}|\r\n|é😀\u{0})", "[a-z]{0,40}"].prop_map(Value::String).boxed();
    let leaf = prop_oneof![
        text.clone(),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no infinity", |double| double.is_finite()).prop_map(Value::from),
    ];
    let any_json = leaf
        .prop_recursive(3, 12, 3, |inner| {
            let members =
                prop::collection::btree_map("(entry|shape|no-object|type|text|id|[a-z]{1,3})", inner.clone(), 0..3);
            prop_oneof![
                prop::collection::vec(inner, 0..3).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
        .boxed();
    let part =
        prop_oneof![4 => text.clone().prop_map(|text| json!({"type": "text", "text": text})), 1 => any_json.clone()];
    let call = (text.clone(), text.clone(), text.clone()).prop_map(|(id, name, arguments)| {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    let call = prop_oneof![4 => call, 1 => any_json.clone()];
    let role = prop_oneof!["(system|user|assistant|tool|observation|critic|)".prop_map(Value::from), any_json.clone()];
    let content = prop_oneof![text.clone(), prop::collection::vec(part, 0..3).prop_map(Value::from), any_json.clone()];
    let maybe = |value: BoxedStrategy<Value>| prop::option::of(value);
    let ids = prop_oneof![prop::collection::vec(text.clone(), 0..3).prop_map(Value::from), any_json.clone()];
    let known = (
        maybe(role.boxed()),
        maybe(content.boxed()),
        maybe(prop_oneof![text.clone(), any_json.clone()].boxed()),
        maybe(prop_oneof![text, any_json.clone()].boxed()),
        maybe(prop_oneof![prop::collection::vec(call, 0..3).prop_map(Value::from), any_json.clone()].boxed()),
        maybe(ids.boxed()),
        maybe(any_json.clone()),
        maybe(any_json.clone()),
    );
    let names = ["role", "content", "thought", "action", "tool_calls", "tool_call_ids", "agent", "no-object"];
    let entry = known.prop_map(move |(a, b, c, d, e, f, g, h)| {
        let values = names.into_iter().zip([a, b, c, d, e, f, g, h]);
        Value::Object(values.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    });
    prop_oneof![9 => entry, 1 => any_json]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_entry_comes_back_from_its_message(entries in prop::collection::vec((entry_like(), any::<bool>()), 1..12)) {
        let config = StoreConfig { inline_bytes_max: 16, ..StoreConfig::memory() };
        futures::executor::block_on(async {
            let store = Store::open(config).await.unwrap();
            let mut contents = Contents::new(store.clone());
            for (entry, observes) in entries {
                let message = to_message(&mut contents, &entry, observes).await.unwrap().message;
                let found = from_message(&store, &message).await.unwrap();
                prop_assert_eq!(difference(&entry, &found), None);
                prop_assert_eq!(found, entry);
            }
            store.close().await.unwrap();
            Ok(())
        })?;
    }
}
