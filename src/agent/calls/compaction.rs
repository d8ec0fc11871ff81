//! Compacting a session: one message stands for those up to an event.

use crate::agent::{Agent, AgentBody, Message};
use crate::content::Content;
use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::session::Appended;
use crate::store::Session;

/// What [`Session::compact`] did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compacted {
    /// The first event whose message is kept. It is the one behind `through`, or before that: see [`Session::compact`].
    pub boundary: EventId,
    /// The event of the compaction.
    pub appended: Appended<Agent>,
}

impl Session<Agent> {
    /// Compacts the session in one event: `message` stands for every message up to the event `through`, and every
    /// message behind it is kept, also one that is appended while this call runs. `vars` replaces the variables; `None`
    /// leaves them as they are.
    ///
    /// **`through`** is the last event that the message sums up: the [`head`](crate::View::head) of the view that it
    /// was made from, or an earlier event, so that the last few messages stay as they are. The answer says where the
    /// boundary is:
    /// - A result is never kept without its call. If the result of a call would be kept, or the call has none yet, the
    ///   boundary moves back to the event of that call.
    /// - It never goes back. Earlier summaries are covered, so the message has to say what they said. A compaction that
    ///   covers less than an earlier one is refused; if the two were on their way at once, it stands for nothing, and
    ///   the boundary in the answer is that of the other.
    ///
    /// The call takes no turn, so whoever has the turn may compact in the middle of it. A session that has stopped can
    /// be compacted, too. Takes time in the number of kept messages.
    ///
    /// # Errors
    /// [`ErrorKind::BeyondHead`] if the view has not reached `through`; [`ErrorKind::RefusedByView`] if an earlier
    /// compaction covers more. Nothing is written then. Those of [`Session::append`] and of its receipt.
    ///
    /// # Cancellation
    /// The compaction is written, or it is not: dropping the future does not take back an append that it has made.
    ///
    /// # Examples
    /// ```
    /// # use foldlog::agent::{AgentBody, Message};
    /// # use foldlog::{Error, Store, StoreConfig};
    /// # fn main() -> Result<(), Error> { futures::executor::block_on(async {
    /// # let store = Store::open(StoreConfig::memory()).await?;
    /// # let session = store.open_session("s").await?;
    /// # session.append(AgentBody::MessageAppended(Message::user("my invoice is wrong")))?.await?;
    /// let through = session.current_view().await?.head();
    /// let summary = Message::user("So far: the invoice of May is wrong."); // made by a language model; it takes a while
    /// # session.append(AgentBody::MessageAppended(Message::user("are you there?")))?.await?;
    /// let compacted = session.compact(summary, through, None).await?;
    /// assert_eq!(compacted.boundary, through.next());
    /// let messages = session.provider_messages().await?; // the summary, then what was said meanwhile
    /// # assert_eq!(messages.last().and_then(|last| last.inline_text()).as_deref(), Some("are you there?"));
    /// # assert_eq!(messages.len(), 2);
    /// # store.close().await
    /// # }) }
    /// ```
    pub async fn compact(&self, message: Message, through: EventId, vars: Option<Content>) -> Result<Compacted, Error> {
        // Whatever is appended behind this view is kept: its events come behind `through`. A result among it is the
        // answer to a call that this view has as unanswered, or to one that is kept.
        let view = self.current_view().await?;
        let head = view.head();
        if through > head {
            return Err(ErrorKind::BeyondHead { session: self.id().clone(), event: through, head }.into());
        }
        if let Some(before) = view.compact_from.filter(|before| through.next() < *before) {
            let reason =
                format!("it sums up the events through {through}, and those before {before} are summed up already");
            return Err(ErrorKind::RefusedByView { reason }.into());
        }
        let boundary = view.boundary_after(through);
        let appended = self.append(AgentBody::SessionCompacted { vars, boundary, message })?.await?;
        let boundary = self.current_view().await?.compact_from.unwrap_or(boundary);
        Ok(Compacted { boundary, appended })
    }
}
