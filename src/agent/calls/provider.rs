//! The messages for a provider, with the text of every blob in them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, stream};

use crate::agent::calls::base64;
use crate::agent::{
    Agent, Media, MediaSource, Message, MessageOrigin, Part, PartBody, PartOrigin, ResultPart, RunningTurn, ToolCall,
    ToolResult,
};
use crate::content::Content;
use crate::error::{Error, ErrorKind};
use crate::id::{BlobRef, Digest, SessionId};
use crate::store::read_only::ReadOnlyStore;
use crate::store::{Session, Store, text_of};

/// How many blobs are read at once. More would fill the queue of reads that all sessions share.
const READS_MAX: usize = 8;

impl Session<Agent> {
    /// Gives [`AgentView::provider_messages`](crate::agent::AgentView::provider_messages) of the current view with what
    /// is in blobs: every [`Content`] is inline text, also in results and origins, and media whose bytes are in a blob
    /// are [`MediaSource::Base64`].
    ///
    /// Each blob is read once, at most 8 at a time. All of them are in memory at the end, media a third longer than
    /// their bytes, so the answer is as large as the request to the provider will be. Messages without a blob are
    /// shared with the view. A compaction makes it smaller.
    ///
    /// # Errors
    /// Those of [`Session::view`]; [`ErrorKind::UnknownBlob`],
    /// [`ErrorKind::CorruptBlob`], and the others of
    /// [`Store::read_content`](crate::Store::read_content).
    pub async fn provider_messages(&self) -> Result<Vec<Arc<Message>>, Error> {
        let view = self.current_view().await?;
        resolved(view.provider_messages(), of_store(self.store())).await
    }
}

impl RunningTurn {
    /// The messages to send to the language model in this turn: those of [`Session::provider_messages`] in the same
    /// order, but the message that the turn answers and what the turn has added behind it at the end, and without what
    /// waits for later turns ([`AgentView::provider_messages_of`](crate::agent::AgentView::provider_messages_of)).
    ///
    /// # Errors
    /// Those of [`Session::provider_messages`].
    pub async fn provider_messages(&self) -> Result<Vec<Arc<Message>>, Error> {
        let view = self.session().current_view().await?;
        resolved(view.provider_messages_of(self.id()), of_store(self.session().store())).await
    }
}

impl ReadOnlyStore<Agent> {
    /// Gives what [`Session::provider_messages`] gives, of a session as it is stored now.
    ///
    /// # Errors
    /// Those of [`ReadOnlyStore::read_state`] and of [`ReadOnlyStore::get_bytes`].
    pub async fn provider_messages(&self, id: impl AsRef<str>) -> Result<Vec<Arc<Message>>, Error> {
        let state = self.read_state(SessionId::new(id)?).await?;
        let store = self.clone();
        let read = move |digest| {
            let store = store.clone();
            async move { store.get_bytes(digest).await }.boxed()
        };
        resolved(state.view.provider_messages(), read).await
    }
}

/// The bytes of blobs.
type Read = HashMap<Digest, Vec<u8>>;

/// Reads one blob. It borrows nothing, or the futures of the calls above could not be spawned on any thread.
type BlobRead = BoxFuture<'static, Result<Vec<u8>, Error>>;

fn of_store(store: &Store<Agent>) -> impl Fn(Digest) -> BlobRead {
    let store = store.clone();
    move |digest| {
        let store = store.clone();
        async move { store.get_bytes(digest).await }.boxed()
    }
}

async fn resolved(
    mut messages: Vec<Arc<Message>>,
    read: impl Fn(Digest) -> BlobRead,
) -> Result<Vec<Arc<Message>>, Error> {
    let mut wanted = HashSet::new();
    for message in &messages {
        message.blob_refs(&mut |blob| wanted.extend([blob.digest]));
    }
    if wanted.is_empty() {
        return Ok(messages);
    }
    let reads: Vec<_> = wanted.into_iter().map(|digest| read(digest).map_ok(move |bytes| (digest, bytes))).collect();
    let blobs: Read = stream::iter(reads).buffer_unordered(READS_MAX).try_collect().await?;
    for message in &mut messages {
        let mut has_blob = false;
        message.blob_refs(&mut |_| has_blob = true);
        if has_blob {
            inline_message(Arc::make_mut(message), &blobs)?;
        }
    }
    Ok(messages)
}

// Every struct is taken apart without `..`, so that a new field must be considered here.

fn inline_message(message: &mut Message, blobs: &Read) -> Result<(), Error> {
    let Message {
        id: _,
        event_id: _,
        role: _,
        name: _,
        turn: _,
        step: _,
        at: _,
        parts,
        parent: _,
        agent: _,
        origin,
        extra: _,
    } = message;
    parts.iter_mut().try_for_each(|part| inline_part(part, blobs))?;
    match origin.as_deref_mut() {
        Some(MessageOrigin { id: _, model: _, stop_reason: _, usage: _, verbatim }) => inline_all([verbatim], blobs),
        None => Ok(()),
    }
}

fn inline_part(part: &mut Part, blobs: &Read) -> Result<(), Error> {
    let Part { body, origin } = part;
    match body {
        PartBody::Text(content)
        | PartBody::Thought(content)
        | PartBody::RedactedThought(content)
        | PartBody::Refusal(content)
        | PartBody::Other { kind: _, json: content } => inline(content, blobs)?,
        PartBody::ToolCall(ToolCall { id: _, name: _, arguments, kind: _ }) => inline(arguments, blobs)?,
        PartBody::ToolResult(ToolResult { call_id: _, name: _, parts, is_error: _ }) => {
            parts.iter_mut().try_for_each(|part| inline_result_part(part, blobs))?;
        }
        PartBody::Media(media) => inline_media(media, blobs)?,
    }
    match origin.as_deref_mut() {
        Some(PartOrigin { id: _, signature, verbatim }) => inline_all([signature, verbatim], blobs),
        None => Ok(()),
    }
}

fn inline_result_part(part: &mut ResultPart, blobs: &Read) -> Result<(), Error> {
    match part {
        ResultPart::Text(content) | ResultPart::Json(content) | ResultPart::Other { kind: _, json: content } => {
            inline(content, blobs)
        }
        ResultPart::Media(media) => inline_media(media, blobs),
    }
}

fn inline_media(media: &mut Media, blobs: &Read) -> Result<(), Error> {
    let Media { source, media_type: _, name: _ } = media;
    match source {
        MediaSource::Blob(blob) => *source = MediaSource::Base64(base64::encode(bytes_of(blob, blobs)?).into()),
        MediaSource::Url(content) | MediaSource::Base64(content) => inline(content, blobs)?,
        MediaSource::FileId(_) => {}
    }
    Ok(())
}

fn inline_all<const N: usize>(contents: [&mut Option<Content>; N], blobs: &Read) -> Result<(), Error> {
    contents.into_iter().flatten().try_for_each(|content| inline(content, blobs))
}

fn inline(content: &mut Content, blobs: &Read) -> Result<(), Error> {
    if let Content::Blob(blob) = content {
        *content = Content::Inline(text_of(blob, bytes_of(blob, blobs)?.to_vec())?);
    }
    Ok(())
}

/// The bytes of a blob. Every blob that [`Message::blob_refs`] names was read.
fn bytes_of<'a>(blob: &BlobRef, blobs: &'a Read) -> Result<&'a [u8], Error> {
    let bytes = blobs.get(&blob.digest).map(Vec::as_slice);
    bytes.ok_or_else(|| ErrorKind::UnknownBlob { digest: blob.digest }.into())
}
