//! Sessions over HTTP, with server-sent events. A client asks with POST and follows with GET: events, and the words of
//! an answer while it is written. After a lost connection it goes on from the last event that it has (browsers send
//! `Last-Event-ID` by themselves). A request that comes twice is answered once, and one that comes while another is
//! answered waits; what a kill has cut off, or kept waiting, the next server answers. An echo stands in for a language
//! model.
//!
//! ```sh
//! cargo run --example sse_server
//! curl -H 'Idempotency-Key: k1' -d 'hello, is anybody there?' http://127.0.0.1:8080/sessions/s1/messages
//! curl -N http://127.0.0.1:8080/sessions/s1/events
//! ```

use std::{collections::HashMap, path::PathBuf, pin::pin, time::Duration};

use actix_web::http::StatusCode;
use actix_web::rt::signal::{ctrl_c, unix};
use actix_web::web::{Bytes, Data, Path, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError, get, post, rt};
use foldlog::agent::{Failure, Message, RunningTurn, TurnBegun, TurnEnd};
use foldlog::{AppendKey, Error, ErrorKind, EventId, Item, LagPolicy, LiveConfig, LogPosition, SessionId};
use foldlog::{Store, StoreConfig, SubscribeFrom};
use futures::{StreamExt, future::select};
use serde_json::json;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8080), |port| port.parse())?;
    let directory = std::env::args().nth(2).map_or(std::env::temp_dir().join("foldlog-sse-server"), PathBuf::from);
    let live = LiveConfig { lag: LagPolicy::CatchUp, ..LiveConfig::default() }; // slow clients get every event, too
    let store = Store::open(StoreConfig { live, ..StoreConfig::directory(directory) }).await?;
    // What a killed server has cut off, or kept waiting, is answered.
    for listed in store.list_sessions(None, usize::MAX).await? {
        match store.open_session(&listed.id).await?.begin_next_turn().await {
            // A server that is not down yet runs a turn of it. What that leaves is taken with the session's next
            // request.
            Err(error) if matches!(error.kind(), ErrorKind::OwnedElsewhere { .. }) => {}
            next => drop(rt::spawn(run(next?))),
        }
    }
    let data = Data::new(store.clone());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).service(list).service(ask).service(follow));
    let server = server.workers(2).disable_signals().shutdown_timeout(5).bind(("127.0.0.1", port))?;
    let mut terminated = unix::signal(unix::SignalKind::terminate())?;
    server.addrs().iter().for_each(|address| println!("listening on {address}"));
    let running = server.run();
    let server = running.handle();
    let running = rt::spawn(running);
    select(pin!(ctrl_c()), pin!(terminated.recv())).await;
    // The store first: closing it ends the streams, which the server would wait for. A turn that runs is cut off, as by
    // a kill.
    let closed = store.close().await;
    server.stop(true).await;
    running.await??;
    Ok(closed?)
}

/// The sessions in the order of their names, 100 at a time: `?after=` names the last one of the page before.
#[get("/sessions")]
async fn list(store: Data<Store>, query: Query<HashMap<String, String>>) -> Answered {
    let after = query.get("after").map(SessionId::new).transpose()?;
    let listed = store.list_sessions(after, 100).await?.into_iter();
    let listed = listed.map(|of| json!({ "id": of.id.as_str(), "created": of.created, "head": of.head }));
    Ok(HttpResponse::Ok().json(listed.collect::<Vec<_>>()))
}

/// Takes a user's message, which is answered in the background. The same request again, under the same key, changes
/// nothing.
#[post("/sessions/{id}/messages")]
async fn ask(store: Data<Store>, id: Path<String>, request: HttpRequest, text: String) -> Answered {
    let Some(key) = request.headers().get("Idempotency-Key") else {
        return Ok(HttpResponse::BadRequest().body("each message needs an Idempotency-Key of its own\n"));
    };
    let session = store.open_session(id.as_str()).await?;
    let message = Message::user(store.intern_text(text).await?);
    let begun = session.begin_turn_once(message, AppendKey::new(key.as_bytes())?).await?;
    let asked = begun.message();
    let next = match begun {
        TurnBegun::Now(turn) => Some(turn),
        TurnBegun::Queued(_) => session.begin_next_turn().await?, // if nobody runs a turn
        TurnBegun::Running(_) | TurnBegun::Ended(_) => None,
    };
    rt::spawn(run(next));
    Ok(HttpResponse::Accepted().json(json!({ "message": asked })))
}

/// Runs a turn in the background, and then those that wait.
async fn run(mut next: Option<RunningTurn>) {
    while let Some(mut turn) = next {
        if let Err(error) = answer(&mut turn).await {
            // When the store is closed, this fails as well: the turn stays open, and the next server goes on with it.
            let ended = turn.end(TurnEnd::Error(Failure::new("server", error.to_string()))).await;
            eprintln!("sse_server: {error}; the turn has {}", if ended.is_ok() { "ended" } else { "no end" });
        }
        let session = turn.session().clone();
        drop(turn); // also one that has no end gives the right to run a turn back
        next = session.begin_next_turn().await.unwrap_or_else(|error| {
            eprintln!("sse_server: {error}; what waits is answered by the next server");
            None
        });
    }
}

/// Answers what the user has said last. A host asks its language model here.
async fn answer(turn: &mut RunningTurn) -> Result<(), Error> {
    turn.begin_step().await?;
    let messages = turn.provider_messages().await?;
    let asked = messages.last().and_then(|message| message.inline_text());
    let answer = format!("You said: {}", asked.unwrap_or_default());
    for word in answer.split_inclusive(' ') {
        turn.delta(word)?;
        rt::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = turn.session().store().intern_text(answer).await?;
    turn.answer(Message::assistant(answer)).await.map(drop)
}

/// The events of a session after the last one that the client has: from the log, then as they come. A client that comes
/// late gets the words of an answer from its beginning.
#[get("/sessions/{id}/events")]
async fn follow(store: Data<Store>, id: Path<String>, request: HttpRequest) -> Answered {
    let last = request.headers().get("Last-Event-ID").map(|id| id.to_str().unwrap_or_default().parse());
    let after = last.transpose()?.unwrap_or(LogPosition::from(EventId::ZERO));
    let session = store.resume_session(id.as_str()).await?;
    let items = session.subscribe(SubscribeFrom::AfterPosition(after)).await?;
    // docs/json.md has the form. Only events have an id, which is where a client goes on from.
    let frames = items.map(|item| -> serde_json::Result<Bytes> {
        let id = if let Item::Event(event) = &item { format!("id: {}\n", event.position()) } else { String::new() };
        Ok(format!("{id}data: {}\n\n", serde_json::to_string(&item)?).into())
    });
    let no_cache = ("Cache-Control", "no-cache");
    Ok(HttpResponse::Ok().content_type("text/event-stream").insert_header(no_cache).streaming(frames))
}

/// An error as a status: docs/guide/errors.md has all kinds.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Refusal(#[from] Error);

type Answered = Result<HttpResponse, Refusal>;

impl ResponseError for Refusal {
    fn error_response(&self) -> HttpResponse {
        let status = self.0.http_status();
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(code);
        if matches!(status, 503 | 507) {
            response.insert_header(("Retry-After", "1"));
        }
        // The store's own text says what the host can do about it.
        let is_unknown = matches!(self.0.kind(), ErrorKind::UnknownSession { .. });
        response.body(if is_unknown { "there is no such session\n".to_owned() } else { format!("{self}\n") })
    }
}
