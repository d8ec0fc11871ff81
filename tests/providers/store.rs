//! A host's way to the store and back: large texts and bytes become blobs, and are read again.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use foldlog::agent::{AgentBody, Media, MediaSource, Message, MessageOrigin, PartBody, PartOrigin, ResultPart};
use foldlog::{Content, Store, StoreConfig};

use crate::common::TestDisk;

/// Appends messages to a session in a directory, and gives them as a store that is opened later has them, in a
/// provider's order.
pub(crate) async fn kept(messages: &[Message]) -> Vec<Message> {
    let disk = TestDisk::directory();
    // Small, so that nearly every text is a blob.
    let config = StoreConfig { inline_bytes_max: 20, ..disk.config() };
    let store = Store::open(config.clone()).await.unwrap();
    let session = store.open_session("s").await.unwrap();
    for message in messages {
        let message = to_blobs(&store, message.clone()).await;
        session.append(AgentBody::MessageAppended(message)).unwrap().await.unwrap();
    }
    store.close().await.unwrap();

    let store = Store::open(config).await.unwrap();
    let view = store.open_session("s").await.unwrap().current_view().await.unwrap();
    let mut kept = Vec::new();
    let mut blobs = 0;
    for message in view.provider_messages() {
        let mut message = Message::clone(&message);
        blobs += contents(&mut message).iter().filter(|content| content.as_blob().is_some()).count();
        kept.push(from_blobs(&store, message).await);
    }
    assert!(blobs > messages.len(), "{blobs} blobs: the test is to read blobs");
    store.close().await.unwrap();
    kept
}

/// What a host does before it appends.
async fn to_blobs(store: &Store, mut message: Message) -> Message {
    for media in media(&mut message) {
        let MediaSource::Base64(data) = &media.source else { continue };
        let data = data.as_inline().unwrap();
        // Where encoding the bytes anew gives another text, the text itself is kept.
        if let Some(bytes) = BASE64_STANDARD.decode(data).ok().filter(|bytes| BASE64_STANDARD.encode(bytes) == data) {
            media.source = MediaSource::Blob(store.put_bytes(bytes).await.unwrap());
        }
    }
    for content in contents(&mut message) {
        *content = store.intern_text(content.as_inline().unwrap()).await.unwrap();
    }
    message
}

/// What a host does before it turns a message into a provider's JSON.
async fn from_blobs(store: &Store, mut message: Message) -> Message {
    for content in contents(&mut message) {
        *content = store.read_content(content).await.unwrap().into();
    }
    for media in media(&mut message) {
        if let MediaSource::Blob(blob) = &media.source {
            let bytes = store.get_bytes(blob.digest).await.unwrap();
            media.source = MediaSource::Base64(BASE64_STANDARD.encode(bytes).into());
        }
    }
    message
}

/// The media of a message and of its tool results.
fn media(message: &mut Message) -> Vec<&mut Media> {
    let mut found = Vec::new();
    for part in &mut message.parts {
        match &mut part.body {
            PartBody::Media(media) => found.push(media),
            PartBody::ToolResult(result) => found.extend(result.parts.iter_mut().filter_map(|part| match part {
                ResultPart::Media(media) => Some(media),
                _ => None,
            })),
            _ => {}
        }
    }
    found
}

/// The contents of a message, each of which may be a blob.
fn contents(message: &mut Message) -> Vec<&mut Content> {
    let mut found = Vec::new();
    for part in &mut message.parts {
        match &mut part.body {
            PartBody::Text(text) | PartBody::Thought(text) | PartBody::Refusal(text) => found.push(text),
            PartBody::RedactedThought(data) => found.push(data),
            PartBody::ToolCall(call) => found.push(&mut call.arguments),
            PartBody::ToolResult(result) => found.extend(result.parts.iter_mut().filter_map(of_result_part)),
            PartBody::Media(media) => found.extend(of_media(media)),
            PartBody::Other { json, .. } => found.push(json),
            other => panic!("{other:?}"),
        }
        if let Some(PartOrigin { id: _, signature, verbatim }) = part.origin.as_deref_mut() {
            found.extend(signature.iter_mut().chain(verbatim));
        }
    }
    if let Some(MessageOrigin { verbatim, .. }) = message.origin.as_deref_mut() {
        found.extend(verbatim);
    }
    found
}

fn of_result_part(part: &mut ResultPart) -> Option<&mut Content> {
    match part {
        ResultPart::Text(text) => Some(text),
        ResultPart::Json(json) | ResultPart::Other { json, .. } => Some(json),
        ResultPart::Media(media) => of_media(media),
        other => panic!("{other:?}"),
    }
}

fn of_media(media: &mut Media) -> Option<&mut Content> {
    match &mut media.source {
        MediaSource::Url(content) | MediaSource::Base64(content) => Some(content),
        MediaSource::Blob(_) | MediaSource::FileId(_) => None,
        other => panic!("{other:?}"),
    }
}
