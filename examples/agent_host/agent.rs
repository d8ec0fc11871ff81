//! The agent: an actor that runs one line a turn and writes down what happened.

use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use foldlog::agent::{AgentBody, Eval, EvalStatus, Failure, Message as Said, Role, SessionInfo, Step, TurnEnd};
use foldlog::{Error, Json, Restart, Session};

use crate::interpreter::{Interpreter, Outcome};

/// How many characters of a long value are shown.
const PREVIEW_CHARS: usize = 100;

/// An agent that has its turns in one session.
pub(crate) struct Agent {
    session: Session,
}

/// One thing that the person may ask for.
#[derive(Message)]
#[rtype(result = "Result<Option<String>, Error>")]
pub(crate) enum Ask {
    /// Run this line as a turn. Answered with the line to print, once the turn is durable.
    Turn(String),
    /// Let the session's actor stop and come back from the log.
    Restart,
    /// Let one message stand for everything so far.
    Compact,
}

impl Agent {
    /// Takes over a session as the last host left it: ends what that host left running, and brings the variables back.
    pub(crate) async fn resume(session: Session) -> Result<Self, Error> {
        repair(&session).await?;
        if session.view()?.session.is_none() {
            let info = SessionInfo { id: Some(session.id().to_string()), ..SessionInfo::default() };
            session.append(AgentBody::SessionStarted(info))?.await?;
        }
        let restored = restored(&session).await?;
        session.context_or_insert_with(|| Mutex::new(restored));
        Ok(Self { session })
    }
}

impl Actor for Agent {
    type Context = Context<Self>;
}

impl Handler<Ask> for Agent {
    // Turns exclude one another by the session's turn guard, not by this mailbox.
    type Result = ResponseFuture<Result<Option<String>, Error>>;

    fn handle(&mut self, ask: Ask, _: &mut Context<Self>) -> Self::Result {
        let session = self.session.clone();
        Box::pin(async move {
            match ask {
                Ask::Turn(line) => run_turn(&session, line).await.map(Some),
                Ask::Restart => restart(&session).await.map(|()| None),
                Ask::Compact => compact(&session).await.map(|()| None),
            }
        })
    }
}

/// Ends the turns and steps that a killed host left running.
async fn repair(session: &Session) -> Result<(), Error> {
    for left in session.interrupt("the host ended during this turn").await? {
        eprintln!("agent_host: {left} was left running: it is ended now");
    }
    eprintln!("agent_host: session {} goes on after {} events", session.id(), session.view()?.head());
    Ok(())
}

/// The interpreter as the log has it: the variables of the last snapshot, the functions of every line that defined
/// some.
async fn restored(session: &Session) -> Result<Interpreter, Error> {
    let view = session.view()?;
    let mut interpreter = Interpreter::new();
    for eval in view.evals.iter().filter(|eval| eval.extra.as_str().contains("\"functions\"")) {
        if let Some(code) = &eval.code {
            let code = session.store().read_content(code).await?;
            if let Err(error) = interpreter.restore_functions(&code) {
                eprintln!("agent_host: functions of eval {} are not back: {error}", eval.id);
            }
        }
    }
    if let Some(vars) = &view.vars {
        let vars = session.store().read_content(vars).await?;
        if let Err(error) = interpreter.restore_variables(&vars) {
            eprintln!("agent_host: the variables are not back: {error}");
        }
    }
    Ok(interpreter)
}

/// Runs a line as a turn. The start of the turn is durable before the line runs, and the result is durable before it is
/// told.
async fn run_turn(session: &Session, line: String) -> Result<String, Error> {
    let store = session.store();
    let code = store.intern_text(line.as_str()).await?;
    let mut turn = session.begin_turn(Said::user(code.clone())).await?;
    turn.begin_step_with(Step { request: Some(code.clone()), ..Step::default() }).await?;

    let interpreter = session.context_or_insert_with(|| Mutex::new(Interpreter::new()));
    let (outcome, variables) = run(interpreter, line).await;
    let told = match &outcome.result {
        Ok(answer) => preview(&answer.text),
        Err(error) => preview(&format!("error: {error}")),
    };

    let result = match &outcome.result {
        Ok(answer) => Some(match &answer.json {
            Some(json) => store.intern_json(Json::from_value(json)?).await?,
            None => store.intern_text(answer.text.as_str()).await?,
        }),
        Err(_) => None,
    };
    let error = match &outcome.result {
        Ok(_) => None,
        Err(error) => Some(Failure::new("script", store.intern_text(error.as_str()).await?)),
    };
    let stdout = if outcome.stdout.is_empty() { None } else { Some(store.intern_text(outcome.stdout.as_str()).await?) };
    let said = result.clone().or_else(|| error.as_ref().map(|error| error.message.clone())).unwrap_or_default();
    let variables = store.intern_json(Json::from_value(&variables)?).await?;

    let extra = if outcome.functions.is_empty() {
        Json::default()
    } else {
        Json::from_value(&serde_json::json!({ "functions": outcome.functions }))?
    };
    let eval = Eval {
        turn: Some(turn.id()),
        step: turn.step_id(),
        tool_name: Some("rhai".to_owned()),
        code: Some(code),
        status: if error.is_some() { EvalStatus::Error } else { EvalStatus::Final },
        result: result.clone(),
        preview: Some(told.clone().into()),
        stdout,
        error: error.clone(),
        elapsed_micros: u64::try_from(outcome.elapsed.as_micros()).ok(),
        extra,
        ..Eval::default()
    };
    let answer = Said { turn: Some(turn.id()), step: turn.step_id(), ..Said::text(Role::Assistant, said) };
    // One batch: what a line has done to the variables is never there without the eval that did it.
    let done =
        vec![AgentBody::EvalAdded(eval), AgentBody::MessageAppended(answer), AgentBody::VarsSnapshotted(variables)];
    session.append_batch(done)?.await?;
    turn.end(match error {
        Some(failure) => TurnEnd::Error(failure),
        None => TurnEnd::Value(result.unwrap_or_default()),
    })
    .await?;
    Ok(told)
}

/// Runs a line on a thread of its own: the arbiter stays free for the sessions.
async fn run(interpreter: Arc<Mutex<Interpreter>>, line: String) -> (Outcome, serde_json::Value) {
    let ran = tokio::task::spawn_blocking(move || {
        let mut interpreter = interpreter.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = interpreter.run(&line);
        (outcome, interpreter.variables())
    });
    match ran.await {
        Ok((outcome, (variables, left_out))) => {
            for printed in outcome.stdout.lines() {
                eprintln!("| {printed}");
            }
            for name in left_out {
                eprintln!("agent_host: variable {name} is not JSON and ends with this process");
            }
            (outcome, variables)
        }
        // The interpreter is not built to panic. If it does, the turn stays open, and the next host ends it.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn restart(session: &Session) -> Result<(), Error> {
    let before = session.view()?;
    // The actor takes no more messages once it stops, so it does not matter whether its answer arrives.
    let _ = session.address()?.send(Restart).await;
    let report = session.recovery().await?;
    let same = *before == *session.view()?;
    eprintln!(
        "agent_host: the actor is back from {} events, its view {}",
        report.events,
        if same { "the same" } else { "NOT the same" }
    );
    Ok(())
}

async fn compact(session: &Session) -> Result<(), Error> {
    let view = session.view()?;
    let summary = format!("{} turns so far; the variables are what is left of them", view.turns.len());
    session.compact(Said::user(summary), view.head(), view.vars.as_deref().cloned()).await?;
    eprintln!(
        "agent_host: {} of {} messages are kept",
        session.view()?.kept_messages().len(),
        session.view()?.messages.len()
    );
    Ok(())
}

fn preview(text: &str) -> String {
    let shown: String = text.chars().take(PREVIEW_CHARS).collect();
    if shown.len() == text.len() { shown } else { format!("{shown}... ({} bytes)", text.len()) }
}
