//! The fold of a whole log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::event::SessionCore;
use crate::id::{EventId, SessionId};
use crate::model::{SessionModel, View};
use crate::port::StoredRow;
use crate::port::{Head, LogMeta, LogReader};
use crate::replay::key_index::{KeyFilter, KeyIndex};
use crate::replay::read_ahead::Pages;
use crate::replay::record::{StoredBody, corrupt, decode_model, decode_own, open_record, panicked};
use crate::replay::recovered::{Condition, Recovered};
use crate::threads::guarded;

/// How a log is folded.
pub(crate) struct Fold<'a> {
    pub(crate) session: &'a SessionId,
    pub(crate) log: LogMeta,
    /// The head that the log must reach at least; `None` if it may end anywhere.
    pub(crate) head: Option<EventId>,
    /// The last event to fold into the view; `None` for all of them.
    pub(crate) until: Option<EventId>,
    /// The events whose chain hashes are wanted.
    pub(crate) watch: &'a [EventId],
    pub(crate) keys_max: usize,
    pub(crate) page_events: usize,
}

/// A stored view that a fold begins with.
pub(crate) struct Origin<M: SessionModel> {
    pub(crate) head: Head,
    /// The append keys of the events that are folded into the view; `None` if they are not known.
    pub(crate) keys: Option<KeyFilter>,
    pub(crate) view: M::View,
    pub(crate) core: Arc<SessionCore>,
    /// The size of the snapshot that the view comes from, in bytes.
    pub(crate) bytes: u64,
}

impl Fold<'_> {
    /// Reads the log in pages, checks ids and chain, and folds it: the whole log, or the events after the stored view
    /// that `load` gives. If events are redacted meanwhile, it begins again, so that nothing of what is gone is in the
    /// view.
    pub(crate) fn run<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        mut load: impl FnMut(&mut dyn LogReader) -> Option<Origin<M>>,
    ) -> Result<Recovered<M>, Error> {
        let count = |reader: &mut dyn LogReader| {
            reader.redactions(self.log.key).map_err(|error| error.of_session(self.session))
        };
        let mut redactions = count(reader)?;
        loop {
            let origin = load(reader);
            let recovered = self.run_once(reader, origin)?;
            let now = count(reader)?;
            if now == redactions {
                return Ok(Recovered { redactions, ..recovered });
            }
            redactions = now;
        }
    }

    fn run_once<M: SessionModel>(
        &self,
        reader: &mut dyn LogReader,
        origin: Option<Origin<M>>,
    ) -> Result<Recovered<M>, Error> {
        let begun = Instant::now();
        let mut recovered = Recovered::<M>::fresh(self.log, self.keys_max);
        let mut state = FoldState::<M>::default();
        if let Some(Origin { head, keys, view, core, bytes }) = origin {
            recovered.head = head;
            recovered.tail.snapshot_bytes = bytes;
            // Stands for the records that were folded into the view, whose size is not known.
            recovered.bytes = bytes;
            recovered.keys = KeyIndex::with_filter(self.keys_max, keys);
            for id in self.watch.iter().filter(|id| **id <= head.id) {
                let chain = reader.chain_at(self.log.key, *id).map_err(|error| error.of_session(self.session))?;
                recovered.chains.extend(chain.map(|chain| (*id, chain)));
            }
            state = FoldState { view, core, head: head.id };
        }
        // A stored view ends where an append does.
        let mut append_ends = recovered.head.id;
        recovered.head = self.pages(recovered.head).for_each(reader, |page| {
            for stored in page.rows() {
                let (header, body) = open_record(self.session, stored)?;
                recovered.report.events += 1;
                recovered.bytes += stored.record.len() as u64;
                recovered.tail.add(1, stored.record.len() as u64);
                append_ends = header.last;
                if let Some((key, _)) = header.key {
                    recovered.keys.insert(key, header.first);
                } else if codec::has_redacted_key(stored.record) {
                    // Only the log can tell whether a key is the one that is gone.
                    recovered.keys.distrust();
                }
                if self.watch.contains(&stored.id) {
                    recovered.chains.insert(stored.id, stored.chain);
                }
                let is_wanted = self.until.is_none_or(|until| stored.id <= until);
                if is_wanted && recovered.report.condition == Condition::Ready {
                    recovered.report.condition = state.fold(self.session, stored, body)?;
                }
            }
            Ok(())
        })?;
        if let Condition::Unfoldable { event } = recovered.report.condition {
            // The panic may have left the view half changed, so the events before are folded anew.
            state = self.fold_before(reader, event)?;
        }
        // Appends are all or nothing, so no log ends within one.
        let wanted = self.head.unwrap_or_default().max(append_ends);
        if recovered.head.id < wanted {
            let reason = format!("the log ends before it, at {}", recovered.head.id);
            return Err(corrupt(self.session, recovered.head.id.next(), reason));
        }
        // Without its counters a session can only be read. If a panic here were an error, each task would make the
        // session recover again, in vain.
        match guarded("counters or unfinished", || (M::counters(&state.view), M::unfinished(&state.view))) {
            Ok((counters, unfinished)) => {
                recovered.counters = counters;
                recovered.report.unfinished = unfinished;
            }
            Err(_) if recovered.report.condition == Condition::Ready => {
                recovered.report.condition = Condition::Unfoldable { event: state.head };
            }
            Err(_) => {}
        }
        recovered.view = Arc::new(View::new(state.head, state.view, state.core));
        recovered.report.elapsed = begun.elapsed();
        Ok(recovered)
    }

    fn pages(&self, after: Head) -> Pages<'_> {
        Pages::after(after, self.session, self.log, self.page_events)
    }

    /// Folds the events before `end`, which cannot be folded.
    fn fold_before<M: SessionModel>(&self, reader: &mut dyn LogReader, end: EventId) -> Result<FoldState<M>, Error> {
        let mut state = FoldState::<M>::default();
        self.pages(self.log.base).for_each(reader, |page| {
            for stored in page.rows().filter(|stored| stored.id < end) {
                let (_, body) = open_record(self.session, stored)?;
                if state.fold(self.session, stored, body)? != Condition::Ready {
                    let reason = "apply folded this event a moment ago and panics on it now".to_owned();
                    return Err(ErrorKind::Unavailable { reason }.into());
                }
            }
            Ok(())
        })?;
        if state.head.next() < end {
            return Err(corrupt(self.session, state.head.next(), "the log lost it a moment ago".to_owned()));
        }
        Ok(state)
    }
}

/// A view in the making.
pub(super) struct FoldState<M: SessionModel> {
    pub(super) view: M::View,
    pub(super) core: Arc<SessionCore>,
    /// The last event that is folded into it.
    head: EventId,
}

impl<M: SessionModel> Default for FoldState<M> {
    fn default() -> Self {
        Self { view: M::View::default(), core: Arc::default(), head: EventId::ZERO }
    }
}

impl<M: SessionModel> FoldState<M> {
    pub(super) fn fold(
        &mut self,
        session: &SessionId,
        stored: StoredRow<'_>,
        body: StoredBody<'_>,
    ) -> Result<Condition, Error> {
        let mut decoded = false;
        // Decoded and applied in one step, so that a body, which is large, goes straight to its place in the view.
        let folded = catch_unwind(AssertUnwindSafe(|| {
            if body.is_own(stored) {
                let event = decode_own(session, stored, body)?;
                Arc::make_mut(&mut self.core).apply(event.body());
                return Ok(());
            }
            let event = decode_model::<M>(session, stored, body)?;
            decoded = true;
            M::apply_owned(&mut self.view, event);
            Ok(())
        }));
        match folded {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return match Error::kind(&error) {
                    ErrorKind::NewerRecord { event, event_type, schema, .. } => {
                        let (event, event_type, schema) = (*event, event_type.clone(), *schema);
                        Ok(Condition::NewerRecord { event, event_type, schema })
                    }
                    _ => Err(error),
                };
            }
            Err(_) if decoded => {
                log::error!("apply panicked on a committed event");
                return Ok(Condition::Unfoldable { event: stored.id });
            }
            Err(_) => return Err(panicked(session, stored, body)),
        }
        self.head = stored.id;
        Ok(Condition::Ready)
    }
}
