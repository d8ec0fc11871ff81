//! Goal: the messages for a provider hold everything inline. Method: a blob in every place that a message has for one.

use std::sync::Arc;

use foldlog::agent::{
    AgentBody, Media, MediaSource, Message, MessageOrigin, Part, PartBody, PartOrigin, ResultPart, Role, ToolResult,
};
use foldlog::{Content, ErrorKind, Store};

use crate::common::*;

on_both_media!(
    every_blob_of_a_message_becomes_text,
    messages_without_a_blob_are_those_of_the_view,
    a_blob_that_is_no_text_is_an_error_that_names_it,
    many_blobs_are_read,
);

async fn text(store: &Store, text: &str) -> Content {
    Content::Blob(store.put_text(text).await.unwrap())
}

fn inline(text: &str) -> Content {
    text.into()
}

async fn every_blob_of_a_message_becomes_text(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let bytes = store.put_bytes(vec![0xFF, 0x00, 0x3E]).await.unwrap();
    let message = async |make: &mut dyn FnMut(&str) -> Content, source: fn(foldlog::BlobRef) -> MediaSource| {
        let media = || Media { source: source(bytes), media_type: Some("image/png".to_owned()), name: None };
        let origin = PartOrigin { id: None, signature: Some(make("signature")), verbatim: Some(make("{\"part\":1}")) };
        let media_of = |source| Part::from(Media { source, media_type: None, name: None });
        let result = ToolResult {
            parts: vec![
                ResultPart::Text(make("result")),
                ResultPart::Json(make("{\"json\":1}")),
                ResultPart::Media(media()),
                ResultPart::Other { kind: "k".to_owned(), json: make("{\"result\":1}") },
            ],
            ..ToolResult::text("call_1", "")
        };
        let call = Message::answer([
            Part::text(make("text")),
            Part::thought(make("thought")),
            Part { body: PartBody::Refusal(make("refusal")), origin: Some(Box::new(origin)) },
            PartBody::RedactedThought(make("redacted")).into(),
            Part::other("k", make("{\"other\":1}")),
            media().into(),
            media_of(MediaSource::Url(make("https://example.org"))),
            media_of(MediaSource::Base64(make("QQ=="))),
            media_of(MediaSource::FileId("file-1".to_owned())),
            Part::tool_call("call_1", "run", make("{\"arguments\":1}")),
        ]);
        let origin = MessageOrigin { verbatim: Some(make("{\"message\":1}")), ..MessageOrigin::default() };
        [call.with_origin(origin), Message::tool(result)]
    };
    // The texts of the first pass are put before the second pass names them.
    let mut texts = Vec::new();
    let mut collect = |text: &str| {
        texts.push(text.to_owned());
        inline(text)
    };
    let wanted = message(&mut collect, |_| MediaSource::Base64("/wA+".into())).await;
    let mut blobs = std::collections::HashMap::new();
    for each in texts {
        blobs.insert(each.clone(), text(&store, &each).await);
    }
    let stored = message(&mut |text| blobs[text].clone(), MediaSource::Blob).await;
    for message in stored {
        append(&session, AgentBody::MessageAppended(message)).await.unwrap();
    }
    let messages = session.provider_messages().await.unwrap();
    let said: Vec<_> = messages.iter().map(|message| (message.parts.clone(), message.origin.clone())).collect();
    assert_eq!(said, wanted.map(|message| (message.parts, message.origin)));
    assert!(
        session.view().unwrap().messages[0].parts[0].as_text().unwrap().as_blob().is_some(),
        "the view is as it was"
    );
    if let Some(path) = disk.path() {
        let reader = Store::open_read_only(foldlog::StoreConfig::directory(path)).await.unwrap();
        assert_eq!(reader.provider_messages("s").await.unwrap(), messages);
        reader.close().await.unwrap();
    }
    store.close().await.unwrap();
}

async fn messages_without_a_blob_are_those_of_the_view(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    append(&session, user("one")).await.unwrap();
    append(&session, AgentBody::MessageAppended(Message::text(Role::User, text(&store, "two").await))).await.unwrap();
    let messages = session.provider_messages().await.unwrap();
    let view = session.view().unwrap();
    assert!(Arc::ptr_eq(&messages[0], &view.messages[0]));
    assert_eq!(messages[1].inline_text().as_deref(), Some("two"));
    store.close().await.unwrap();
}

async fn a_blob_that_is_no_text_is_an_error_that_names_it(disk: TestDisk) {
    let store = disk.open().await;
    let session = store.open_session("s").await.unwrap();
    let blob = store.put_bytes(vec![0xFF]).await.unwrap();
    append(&session, AgentBody::MessageAppended(Message::user(Content::Blob(blob)))).await.unwrap();
    let digest = blob.digest.to_string();
    assert_refused!(session.provider_messages().await, ErrorKind::InvalidArgument { what } if what.contains(&digest));
    store.close().await.unwrap();
}

/// More than are read at once, and more than the queue of reads takes.
async fn many_blobs_are_read(disk: TestDisk) {
    let store = disk.open_with(|config| config.queued_jobs_max = 16).await;
    let session = store.open_session("s").await.unwrap();
    for number in 0..40 {
        let text = text(&store, &number.to_string()).await;
        append(&session, AgentBody::MessageAppended(Message::user(text))).await.unwrap();
    }
    let messages = soon(session.provider_messages()).await.unwrap();
    let texts: Vec<_> = messages.iter().map(|message| message.inline_text().unwrap()).collect();
    assert_eq!(texts, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
    store.close().await.unwrap();
}
