//! Named, durable positions of consumers of the feed.

use std::fmt;
use std::sync::Arc;

use crate::commit::{PersistError, persist_one};
use crate::error::{Error, ErrorKind};
use crate::feed::FeedPosition;
use crate::model::SessionModel;
use crate::port::{CursorChange, CursorTarget, Refusal, Write};
use crate::session::Services;
use crate::store::Store;

/// The longest name of a cursor, in UTF-8 bytes.
const NAME_BYTES_MAX: usize = 256;

/// Where a consumer of the feed is, kept in the store under a name: for a consumer that has no database of its own.
///
/// A cursor is moved by compare-and-swap, so that of two processes that run the same consumer by mistake one is told.
/// It is moved when the consumer says so, in a transaction together with whatever else is being appended: move it after
/// each page of work rather than after each event.
///
/// What the consumer has done since the cursor was moved last is done again after a crash. A consumer that must do each
/// thing once keeps the position where it keeps its results, and in the same transaction.
///
/// A backup has no cursors, since positions are of one store.
///
/// # Examples
/// ```
/// # use foldlog::agent::{AgentBody, Message};
/// # use foldlog::{Error, FeedItem, FeedPosition, Store, StoreConfig};
/// use futures::StreamExt;
///
/// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
/// # let store = Store::open(StoreConfig::memory()).await?;
/// # let session = store.open_session("support-4711").await?;
/// # session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// let cursor = store.cursor("billing")?;
/// let mut at = cursor.position().await?;
/// let mut feed = store.feed(at).await?;
/// while let Some(item) = feed.next().await {
///     match item {
///         FeedItem::Event(event) => println!("bill {}", event.session),
///         FeedItem::CaughtUp(position) => {
///             cursor.move_to(at, position).await?;
///             at = position;
///             break;
///         }
///         _ => {}
///     }
/// }
/// # assert_eq!(cursor.position().await?, at);
/// # assert_ne!(at, FeedPosition::START);
/// # drop(feed);
/// # store.close().await }) }
/// ```
#[derive(Clone)]
pub struct Cursor {
    name: Arc<str>,
    services: Arc<Services>,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<M: SessionModel> Store<M> {
    /// Gives the cursor of a name. It does not have to be there: one that was never moved is at
    /// [`FeedPosition::START`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a name that is empty, longer than 256 bytes, or has a control character.
    pub fn cursor(&self, name: impl AsRef<str>) -> Result<Cursor, Error> {
        let name = name.as_ref();
        let wrong = match name.len() {
            0 => Some("it is empty".to_owned()),
            bytes if bytes > NAME_BYTES_MAX => Some(format!("it is {bytes} bytes, limit is {NAME_BYTES_MAX}")),
            _ if name.chars().any(char::is_control) => Some("it has a control character".to_owned()),
            _ => None,
        };
        match wrong {
            Some(reason) => {
                Err(ErrorKind::InvalidArgument { what: format!("the name of a cursor is not valid: {reason}") }.into())
            }
            None => Ok(Cursor { name: name.into(), services: Arc::clone(&self.0.services) }),
        }
    }

    /// Lists cursors in the order of their names, up to `max` after `after`, with where they are.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::CorruptStore`] when the store cannot be read; [`ErrorKind::Busy`]
    /// when the queue of reads is full; [`ErrorKind::StoreClosed`].
    pub async fn list_cursors(&self, after: Option<String>, max: usize) -> Result<Vec<(String, FeedPosition)>, Error> {
        self.0.services.check_open()?;
        let after = after.unwrap_or_default();
        let found = self.0.services.readers.read(move |reader| Ok(reader.cursors(&after, max)?)).await?;
        found.into_iter().map(|(name, position)| Ok((name, position.parse()?))).collect()
    }
}

impl Cursor {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads where the cursor is; [`FeedPosition::START`] if it was never moved.
    ///
    /// # Errors
    /// Those of [`Store::list_cursors`].
    pub async fn position(&self) -> Result<FeedPosition, Error> {
        self.services.check_open()?;
        let name = Arc::clone(&self.name);
        let found = self.services.readers.read(move |reader| Ok(reader.cursor(&name)?)).await?;
        found.map_or(Ok(FeedPosition::START), |position| position.parse())
    }

    /// Moves the cursor, if it is where it is expected. A cursor that is at the new position already counts as moved,
    /// so a call whose outcome is not known may be made again.
    ///
    /// # Errors
    /// [`ErrorKind::CursorMoved`] if the cursor is somewhere else: another consumer has moved it.
    /// [`ErrorKind::InvalidArgument`] for [`FeedPosition::START`] or [`FeedPosition::NOW`] as the new position;
    /// [`ErrorKind::DiskFull`], [`ErrorKind::Unavailable`] when it cannot be written, or may not have been;
    /// [`ErrorKind::StoreClosed`].
    ///
    /// # Cancellation
    /// If the future is dropped, the cursor may be moved all the same.
    pub async fn move_to(&self, expected: FeedPosition, new: FeedPosition) -> Result<(), Error> {
        if new.is_relative() {
            let what = format!("a cursor cannot be moved to {new}: give it a position that the feed has given");
            return Err(ErrorKind::InvalidArgument { what }.into());
        }
        let from = (expected != FeedPosition::START).then(|| expected.to_string());
        let changed = self.change(CursorTarget::Position { expected: from, position: new.to_string() }).await;
        changed.map_err(|error| match error {
            PersistError::Refused(Refusal::CursorMoved { found }) => ErrorKind::CursorMoved {
                cursor: self.name.to_string(),
                expected: expected.to_string(),
                actual: found.unwrap_or_else(|| FeedPosition::START.to_string()),
            }
            .into(),
            error => error.of_store(),
        })
    }

    /// Takes the cursor out of the store, wherever it is. It is at [`FeedPosition::START`] from then on, and is no more
    /// in the list.
    ///
    /// # Errors
    /// [`ErrorKind::DiskFull`], [`ErrorKind::Unavailable`] when it cannot be written, or may not have been;
    /// [`ErrorKind::StoreClosed`].
    ///
    /// # Cancellation
    /// If the future is dropped, the cursor may be gone all the same.
    pub async fn delete(&self) -> Result<(), Error> {
        self.change(CursorTarget::Nowhere).await.map_err(PersistError::of_store)
    }

    async fn change(&self, to: CursorTarget) -> Result<(), PersistError> {
        if self.services.check_open().is_err() {
            return Err(PersistError::Closed);
        }
        let write = Write::Cursor(CursorChange { name: self.name.to_string(), to });
        persist_one(&self.services.persist, write).await.map(drop)
    }
}
