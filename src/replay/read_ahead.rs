//! Reads a log page by page, and checks each event against the one before. Reads the next pages while one is folded.

use std::mem;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;

use crate::error::Error;
use crate::id::{EventId, SessionId};
use crate::port::StoredPage;
use crate::port::{Head, LogMeta, LogReader};
use crate::replay::page::{PAGE_BYTES_MAX, read};
use crate::replay::record::check;

/// How many pages are read ahead of the one that is folded. More would only take memory: up to [`PAGE_BYTES_MAX`] each.
const PAGES_AHEAD_MAX: usize = 2;
/// The most events of the first page. The fold has to wait for this page, which tells whether there are more.
const FIRST_PAGE_EVENTS: usize = 256;

pub(crate) struct Pages<'a> {
    session: &'a SessionId,
    log: LogMeta,
    page_events: usize,
    /// The last event that was checked.
    head: Head,
}

/// A page on its way to the fold.
struct Ahead {
    page: StoredPage,
    /// `None` if the page was not checked yet.
    checked: Option<CheckedPage>,
}

/// What the check of a page has found. The page itself keeps only the right events.
struct CheckedPage {
    /// The last right event.
    head: Head,
    /// What is wrong with the event after the head: the reading ends there.
    wrong: Option<Error>,
}

impl<'a> Pages<'a> {
    pub(crate) fn after(head: Head, session: &'a SessionId, log: LogMeta, page_events: usize) -> Self {
        Self { session, log, page_events, head }
    }

    /// Hands the pages to `take`, in order, and gives the last event. If an event is wrong, that is the error, and all
    /// events before it are handed over first.
    ///
    /// If the log has more than one page, another thread reads the pages after the first. A page is checked by that
    /// thread if it is so far ahead that it would only wait, and otherwise by this one, before it is handed over.
    pub(crate) fn for_each(
        mut self,
        reader: &mut dyn LogReader,
        mut take: impl FnMut(&StoredPage) -> Result<(), Error>,
    ) -> Result<Head, Error> {
        let first_events = self.page_events.min(FIRST_PAGE_EVENTS);
        let mut page = StoredPage::default();
        self.read(reader, &mut page, self.head.id, first_events)?;
        if page.len() >= first_events || page.record_bytes() >= PAGE_BYTES_MAX {
            let (sender, receiver) = mpsc::sync_channel(PAGES_AHEAD_MAX);
            let (spent, used) = mpsc::channel();
            let (session, log, page_events) = (self.session, self.log, self.page_events);
            let begin = page.head().unwrap_or(self.head);
            let reader = &mut *reader;
            let ended = thread::scope(|scope| {
                let ahead = thread::Builder::new().name("foldlog-ahead".to_owned());
                let pages = Pages { session, log, page_events, head: begin };
                let spawned = ahead.spawn_scoped(scope, move || pages.send_all(reader, &sender, &used));
                // If no thread can be started, this one reads too, below.
                let ahead = spawned.ok()?;
                let first = Ahead { page: mem::take(&mut page), checked: None };
                let ended = [first].into_iter().chain(receiver).try_for_each(|ahead| {
                    let page = self.take(ahead, &mut take)?;
                    // The thread that reads may have come to the end.
                    let _ = spent.send(page);
                    Ok(())
                });
                match ahead.join() {
                    Ok(()) => Some(ended),
                    // A panic of the other thread goes on here, as if this thread had read.
                    Err(panic) => resume_unwind(panic),
                }
            });
            if let Some(ended) = ended {
                return ended.map(|()| self.head);
            }
        }
        while !page.is_empty() {
            page = self.take(Ahead { page, checked: None }, &mut take)?;
            self.read(reader, &mut page, self.head.id, self.page_events)?;
        }
        Ok(self.head)
    }

    /// Reads the pages after the head and sends them, reusing those that were folded. Ends early if the fold has ended.
    fn send_all(mut self, reader: &mut dyn LogReader, sender: &SyncSender<Ahead>, used: &Receiver<StoredPage>) {
        loop {
            let mut page = used.try_recv().unwrap_or_default();
            let checked = match self.read(reader, &mut page, self.head.id, self.page_events) {
                Ok(()) if page.is_empty() => return,
                Ok(()) => None,
                Err(error) => {
                    page.clear();
                    Some(CheckedPage { head: self.head, wrong: Some(error) })
                }
            };
            let is_last = checked.is_some();
            let before = self.head;
            self.head = page.head().unwrap_or(before);
            let sent = match sender.try_send(Ahead { page, checked }) {
                Err(TrySendError::Full(Ahead { mut page, checked })) => {
                    let checked = checked.unwrap_or_else(|| check_page(self.session, before, &mut page));
                    sender.send(Ahead { page, checked: Some(checked) }).is_ok()
                }
                sent => sent.is_ok(),
            };
            if !sent || is_last {
                return;
            }
        }
    }

    /// Checks a page unless that was done, hands it over, and gives it back to be reused.
    fn take(
        &mut self,
        Ahead { mut page, checked }: Ahead,
        take: &mut impl FnMut(&StoredPage) -> Result<(), Error>,
    ) -> Result<StoredPage, Error> {
        let checked = checked.unwrap_or_else(|| check_page(self.session, self.head, &mut page));
        take(&page)?;
        self.head = checked.head;
        checked.wrong.map_or(Ok(page), Err)
    }

    /// Reads one page. If it is empty, the log ends there.
    fn read(
        &self,
        reader: &mut dyn LogReader,
        page: &mut StoredPage,
        after: EventId,
        events_max: usize,
    ) -> Result<(), Error> {
        read(reader, page, self.session, self.log, after, events_max)
    }
}

/// Checks each event of a page against the one before, and cuts the page before the first that is wrong.
fn check_page(session: &SessionId, mut head: Head, page: &mut StoredPage) -> CheckedPage {
    let mut right = 0;
    let mut wrong = None;
    for stored in page.rows() {
        if let Err(error) = check(session, &head, stored) {
            wrong = Some(error);
            break;
        }
        head = Head { id: stored.id, chain: stored.chain, at: stored.at };
        right += 1;
    }
    page.truncate(right);
    CheckedPage { head, wrong }
}

#[cfg(test)]
mod tests {
    //! Goal: whichever thread checks a page, what is wrong is found, and all before it is handed over. Method: logs in
    //! memory that are wrong at each event in turn, some pages long, read through both ways of a page and all of
    //! `for_each`.

    use crate::codec::Chain;
    use crate::error::ErrorKind;
    use crate::id::Timestamp;
    use crate::memory::MemoryEnd;
    use crate::port::{LogMedium, LogSource, StoredEvent, Write, Written};

    use super::*;

    const PAGE_EVENTS: usize = 4;
    const EVENTS: u64 = 30;

    /// A log whose records are as they were hashed, but for one, if any.
    fn log_of(wrong: Option<u64>) -> (Box<dyn LogReader>, SessionId, LogMeta) {
        let medium = MemoryEnd::open(Default::default(), "t", Timestamp::default()).unwrap();
        let mut writer = medium.writer().unwrap();
        let session = SessionId::new("s").unwrap();
        let register = Write::Register { session: session.clone(), at: Timestamp::default() };
        let Ok(Written::Registered { meta, owned: Some(epoch) }) = writer.commit(&[register]).unwrap().remove(0) else {
            panic!("a new session")
        };
        let after = Chain::start(&meta.log_id);
        let mut chain = after;
        let event = |n: u64| {
            let (id, at) = (EventId::new(n), Timestamp::default());
            chain = chain.next(id, at, &n.to_le_bytes());
            let record = if wrong == Some(n) { vec![0; 8] } else { n.to_le_bytes().to_vec() };
            StoredEvent { id, event_type: "x".into(), at, key: None, chain, record }
        };
        let events = (1..=EVENTS).map(event).collect();
        writer
            .commit(&[Write::Append { log: meta.key, epoch, after, events, listed: None }])
            .unwrap()
            .remove(0)
            .unwrap();
        (medium.reader().unwrap(), session, meta)
    }

    fn ids(page: &StoredPage) -> Vec<u64> {
        page.rows().map(|row| row.id.get()).collect()
    }

    fn event_of(error: &Error) -> u64 {
        match error.kind() {
            ErrorKind::CorruptEvent { event, .. } => event.get(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn all_events_before_a_wrong_one_are_handed_over_and_it_is_named() {
        for wrong in (1..=EVENTS).map(Some).chain([None]) {
            for page_events in [1, PAGE_EVENTS, 7, EVENTS as usize, 100] {
                let (mut reader, session, log) = log_of(wrong);
                let mut taken = Vec::new();
                let pages = Pages::after(log.base, &session, log, page_events);
                let ended = pages.for_each(&mut *reader, |page| {
                    taken.extend(ids(page));
                    Ok(())
                });
                let end = match ended {
                    Ok(head) => head.id.get() + 1,
                    Err(error) => event_of(&error),
                };
                assert_eq!(end, wrong.unwrap_or(EVENTS + 1), "pages of {page_events}");
                assert_eq!(taken, (1..end).collect::<Vec<_>>(), "pages of {page_events}");
            }
        }
    }

    #[test]
    fn a_page_that_was_checked_ahead_is_taken_as_one_that_was_not() {
        for wrong in (1..=EVENTS).map(Some).chain([None]) {
            let (mut reader, session, log) = log_of(wrong);
            let head = log.base;
            let mut outcomes = Vec::new();
            for is_ahead in [false, true] {
                let mut page = reader.page(log.key, EventId::ZERO, 20, usize::MAX).unwrap();
                let checked = is_ahead.then(|| check_page(&session, head, &mut page));
                let mut pages = Pages::after(head, &session, log, PAGE_EVENTS);
                let mut taken = Vec::new();
                let outcome = pages.take(Ahead { page, checked }, &mut |page: &StoredPage| {
                    taken.extend(ids(page));
                    Ok(())
                });
                let given_back = outcome.map(|page| ids(&page)).map_err(|error| event_of(&error));
                outcomes.push((given_back, taken, pages.head));
            }
            assert_eq!(outcomes[0], outcomes[1], "{wrong:?}");
            let found = wrong.filter(|wrong| *wrong <= 20);
            assert_eq!(outcomes[0].0.is_err(), found.is_some(), "{wrong:?}");
            assert_eq!(outcomes[0].2.id.get(), found.map_or(20, |wrong| wrong - 1), "{wrong:?}");
        }
    }

    #[test]
    fn a_fold_that_gives_up_ends_the_reading() {
        let (mut reader, session, log) = log_of(None);
        let mut taken = 0;
        let pages = Pages::after(log.base, &session, log, 1);
        let ended = pages.for_each(&mut *reader, |_| {
            taken += 1;
            if taken == 3 { Err(ErrorKind::StoreClosed.into()) } else { Ok(()) }
        });
        assert!(matches!(ended.unwrap_err().kind(), ErrorKind::StoreClosed));
        assert_eq!(taken, 3);
    }
}
