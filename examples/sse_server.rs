//! Sessions over HTTP, with server-sent events. A client appends with POST and follows with GET; after a lost connection it
//! goes on from the last event that it has, without a gap: browsers send `Last-Event-ID` by themselves.
//!
//! ```sh
//! cargo run --example sse_server
//! curl -N http://127.0.0.1:8080/sessions/s1/events
//! curl -H 'Idempotency-Key: k1' -d 'hello' http://127.0.0.1:8080/sessions/s1/messages
//! ```

use std::path::PathBuf;
use std::pin::pin;

use actix_web::http::StatusCode;
use actix_web::rt::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, get, post};
use foldlog::agent::{Agent, AgentBody, Message};
use foldlog::{Append, AppendKey, Error, ErrorKind, EventId, Item, LogPosition, Store, StoreConfig, SubscribeFrom};
use futures::StreamExt;
use futures::future::{ready, select};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8080);
    let given = std::env::args_os().nth(2).map(PathBuf::from);
    let directory = given.unwrap_or_else(|| std::env::temp_dir().join("foldlog-sse-server"));
    let store = Store::open(StoreConfig::directory(directory)).await.map_err(std::io::Error::other)?;
    let shared = Data::new(store.clone());
    let server = HttpServer::new(move || App::new().app_data(shared.clone()).service(append).service(events))
        .bind(("127.0.0.1", port))?
        .disable_signals()
        .shutdown_timeout(5);
    for address in server.addrs() {
        println!("listening on {address}");
    }
    let running = server.run();
    let handle = running.handle();
    actix_web::rt::spawn(async move {
        told_to_end().await;
        // The store is closed first: that ends the streams of its subscribers, which the server would wait for.
        if let Err(error) = store.close().await {
            eprintln!("sse_server: {error}");
        }
        handle.stop(true).await;
    });
    running.await
}

/// Waits for Ctrl-C or SIGTERM.
async fn told_to_end() {
    let interrupted = pin!(ctrl_c());
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => drop(select(interrupted, pin!(terminated.recv())).await),
        Err(_) => drop(interrupted.await),
    }
}

/// Appends a user's message. With the header `Idempotency-Key` a retry writes nothing and gets the first answer.
#[post("/sessions/{id}/messages")]
async fn append(store: Data<Store>, id: Path<String>, request: HttpRequest, text: String) -> HttpResponse {
    let appended = async {
        let session = store.open_session(id.as_str()).await?;
        let mut append = Append::new(AgentBody::MessageAppended(Message::user(store.intern_text(text).await?)));
        if let Some(key) = request.headers().get("Idempotency-Key") {
            append = append.key(AppendKey::new(key)?);
        }
        session.append_with(append)?.await
    };
    match appended.await {
        Ok(appended) => HttpResponse::Ok().body(format!("{}\n", appended.head)),
        Err(error) => refusal(&error),
    }
}

/// The events of a session as they come: first those of the log after the last one that the client has, then live.
#[get("/sessions/{id}/events")]
async fn events(store: Data<Store>, id: Path<String>, request: HttpRequest) -> HttpResponse {
    let last = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.unwrap_or(LogPosition::from(EventId::ZERO));
    let stream = async {
        let session = store.open_session(id.as_str()).await?;
        session.subscribe(SubscribeFrom::AfterPosition(after)).await
    };
    match stream.await {
        Ok(stream) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header(("Cache-Control", "no-cache"))
            .streaming(stream.take_while(|item| ready(!lost_events(item))).map(|item| frame(&item))),
        Err(error) => refusal(&error),
    }
}

/// Whether this client was so slow that events did not fit its queue. Then the stream ends and the client
/// connects again. By the last id that it has, it gets the missing events from the log.
fn lost_events(item: &Item<Agent>) -> bool {
    matches!(item, Item::Gap(gap) if gap.through > gap.after)
}

/// One item as a server-sent event: docs/json.md has its form. Only events have an id, which is where a client goes on from.
fn frame(item: &Item<Agent>) -> serde_json::Result<Bytes> {
    let id = match item {
        Item::Event(event) => format!("id: {}\n", event.position()),
        _ => String::new(),
    };
    Ok(format!("{id}data: {}\n\n", serde_json::to_string(item)?).into())
}

/// An error as a status: docs/guide/errors.md has all kinds.
fn refusal(error: &Error) -> HttpResponse {
    use ErrorKind::*;
    let status = match error.kind() {
        InvalidSessionId { .. } | InvalidArgument { .. } => StatusCode::BAD_REQUEST,
        BodyRefused { .. } | KeyReused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        OwnedElsewhere { .. } => StatusCode::CONFLICT,
        BeyondHead { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        OtherHistory { .. } => StatusCode::GONE,
        DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Busy { .. } | NotWritten { .. } | Unavailable { .. } | OutcomeUnknown { .. } | StoreClosed => {
            return HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "1")).body(format!("{error}\n"));
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    HttpResponse::build(status).body(format!("{error}\n"))
}
