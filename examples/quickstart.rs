//! Opens a store, appends to a session, closes, and finds everything again.

use foldlog::agent::{AgentBody, Message};
use foldlog::{Error, Store, StoreConfig};

#[actix::main]
async fn main() -> Result<(), Error> {
    let directory = std::env::temp_dir().join("foldlog-quickstart");
    let store = Store::open(StoreConfig::directory(&directory)).await?;
    let session = store.open_session("support-4711").await?;
    println!("found {} messages", session.view()?.messages.len());

    let receipt = session.append(AgentBody::MessageAppended(Message::user("my invoice is wrong")))?;
    let appended = receipt.await?; // durable, folded, published
    println!("event {} is durable", appended.head);
    store.close().await?;

    let store = Store::open(StoreConfig::directory(&directory)).await?;
    let session = store.resume_session("support-4711").await?;
    println!("found {} messages after reopening", session.view()?.messages.len());
    store.close().await
}
