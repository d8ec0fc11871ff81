//! How a session's log is read for a host, and what the session learns from it: that it was deleted, or that events of
//! it were redacted, by another store.

use std::sync::Arc;

use super::Entry;
use crate::error::{Error, ErrorKind};
use crate::log_position::LogPosition;
use crate::model::SessionModel;
use crate::port::LogReader;
use crate::replay::{EventPage, check_position, read_page};
use crate::session::messages::CatchUp;

impl<M: SessionModel> Entry<M> {
    /// Whether the log has the event at this position, which the session itself need not know yet: another store may
    /// have written it, or it was read from the log before the session has folded it.
    pub(crate) async fn check_position(self: Arc<Self>, after: LogPosition) -> Result<(), Error> {
        let services = Arc::clone(&self.services);
        let check =
            move |reader: &mut dyn LogReader| self.unless_deleted(check_position(reader, &self.id, self.log, after));
        services.readers.read(check).await
    }

    /// Reads a page of the log. If the view is of before a redaction, it is brought up to date first.
    pub(crate) async fn events_after(
        self: Arc<Self>,
        after: LogPosition,
        events_max: usize,
    ) -> Result<EventPage<M>, Error> {
        let events_max = events_max.clamp(1, self.services.config.page_events_max);
        let entry = Arc::clone(&self);
        let read = move |reader: &mut dyn LogReader| {
            let page = entry.unless_deleted(read_page(reader, &entry.id, entry.log, after, events_max))?;
            Ok((page, entry.redactions(reader)?))
        };
        let (page, redactions) = self.services.readers.read(read).await?;
        if self.is_of_before(redactions) {
            // The page is right, whatever has become of the view.
            let _ = self.catch_up(redactions).await;
        }
        Ok(page)
    }

    /// Asks the log of a session that another store may write for what was taken out of it, and tells whether the view
    /// is another one since. If the log cannot be asked, the view stays as it is.
    pub(super) async fn asks_for_redactions(self: &Arc<Self>) -> Result<bool, Error> {
        if self.published().is_owned() || self.check_open().is_err() {
            return Ok(false);
        }
        let entry = Arc::clone(self);
        let ask = move |reader: &mut dyn LogReader| {
            let head = reader.head(entry.log).map_err(|error| error.of_session(&entry.id));
            entry.unless_deleted(head)?;
            entry.redactions(reader)
        };
        match self.services.readers.read_in_turn(ask).await {
            Ok(redactions) if self.is_of_before(redactions) => self.catch_up(redactions).await.map(|()| true),
            Err(error) if matches!(error.kind(), ErrorKind::SessionDeleted { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// Ends the session if a read has found that it was deleted. On the thread of the read, since subscribers may run
    /// the host's code.
    fn unless_deleted<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &read
            && matches!(error.kind(), ErrorKind::SessionDeleted { .. })
        {
            self.end_deleted();
        }
        read
    }

    fn redactions(&self, reader: &mut dyn LogReader) -> Result<u64, Error> {
        reader.redactions(self.log.key).map_err(|error| error.of_session(&self.id))
    }

    /// Whether there is a view that was folded before the last of so many redactions.
    fn is_of_before(&self, redactions: u64) -> bool {
        redactions > self.published().redactions() && self.published().view().is_some()
    }

    async fn catch_up(self: &Arc<Self>, redactions: u64) -> Result<(), Error> {
        let asked = self.address()?.send(CatchUp { redactions });
        asked.await.unwrap_or_else(|_| Err(self.closed()))
    }
}
