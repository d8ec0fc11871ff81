//! A log page by page, each event held against the one before. While one page is folded, the next ones are read.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use super::{PAGE_BYTES_MAX, check, read};
use crate::error::Error;
use crate::event_log::{Head, LogMeta, LogReader, StoredPage};
use crate::id::SessionId;

/// How many pages are read ahead of the one that is folded. Reading and folding cost about the same, so that more would
/// only take memory: up to [`PAGE_BYTES_MAX`] each.
const PAGES_AHEAD_MAX: usize = 2;

pub(super) struct Pages<'a> {
    session: &'a SessionId,
    log: LogMeta,
    page_events: usize,
    /// The last event that was checked.
    head: Head,
}

impl<'a> Pages<'a> {
    pub(super) fn after(head: Head, session: &'a SessionId, log: LogMeta, page_events: usize) -> Self {
        Self { session, log, page_events, head }
    }

    /// Hands over each page in order, and what is wrong with an event after all events before it. Gives the last event.
    ///
    /// A log of more than one page is read on a thread of its own meanwhile.
    pub(super) fn for_each(
        mut self,
        reader: &mut dyn LogReader,
        mut take: impl FnMut(&StoredPage) -> Result<(), Error>,
    ) -> Result<Head, Error> {
        let mut page = self.next(reader)?;
        if self.may_have_more(&page) {
            let (sender, receiver) = mpsc::sync_channel(PAGES_AHEAD_MAX);
            let (pages, reader) = (&mut self, &mut *reader);
            let ended = thread::scope(|scope| {
                let ahead = thread::Builder::new().name("foldlog-ahead".to_owned());
                let spawned = ahead.spawn_scoped(scope, move || pages.send_all(reader, &sender));
                // Without another thread, this one does both.
                let ahead = spawned.ok()?;
                let ended = take(&page).and_then(|()| receiver.into_iter().try_for_each(|page| take(&page?)));
                match ahead.join() {
                    Ok(()) => Some(ended),
                    // As if it had been read here.
                    Err(panic) => resume_unwind(panic),
                }
            });
            if let Some(ended) = ended {
                return ended.map(|()| self.head);
            }
        }
        while !page.is_empty() {
            take(&page)?;
            page = self.next(reader)?;
        }
        Ok(self.head)
    }

    fn send_all(&mut self, reader: &mut dyn LogReader, sender: &mpsc::SyncSender<Result<StoredPage, Error>>) {
        loop {
            let page = self.next(reader);
            let is_last = page.as_ref().map_or(true, StoredPage::is_empty);
            // Whoever folds may have met something that ends it.
            if sender.send(page).is_err() || is_last {
                return;
            }
        }
    }

    fn may_have_more(&self, page: &StoredPage) -> bool {
        page.len() >= self.page_events || page.record_bytes() >= PAGE_BYTES_MAX
    }

    /// Empty where the log ends.
    fn next(&mut self, reader: &mut dyn LogReader) -> Result<StoredPage, Error> {
        let mut page = read(reader, self.session, self.log, self.head.id, self.page_events)?;
        let mut checked = 0;
        for stored in page.rows() {
            match check(self.session, &self.head, stored) {
                Ok(()) => {}
                Err(error) if checked == 0 => return Err(error),
                // The next page begins with it.
                Err(_) => break,
            }
            self.head = Head { id: stored.id, chain: stored.chain, at: stored.at };
            checked += 1;
        }
        page.truncate(checked);
        Ok(page)
    }
}
