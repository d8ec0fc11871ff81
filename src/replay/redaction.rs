//! Prepares a redaction: reads the log, makes the records that take the place of others, and folds the log with them,
//! to see that the session goes on as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fold::FoldState;
use super::page::read;
use super::read_ahead::Pages;
use super::record::{StoredBody, corrupt, decode_model, decode_own, open_record};
use super::recovered::Condition;
use crate::codec::{self, RecordHeader};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, RedactedEvent, SessionCore};
use crate::id::{BlobRef, Digest, EventId, SessionId};
use crate::model::SessionModel;
use crate::port::{Head, LogMeta, LogReader, RedactedRecord, StoredPage, StoredRow};
use crate::threads::guarded;

/// What a host has an event replaced by.
pub(crate) type Replace<M> = Arc<dyn Fn(&Event<M>) -> <M as SessionModel>::Body + Send + Sync>;

/// Which events are to be redacted, and how.
pub(crate) struct RedactionPlan<'a, M: SessionModel> {
    pub(crate) session: &'a SessionId,
    pub(crate) log: LogMeta,
    pub(crate) events: &'a BTreeSet<EventId>,
    /// Wins over what the session model replaces a body by.
    pub(crate) replace: Option<&'a Replace<M>>,
    pub(crate) page_events: usize,
    pub(crate) record_bytes_max: usize,
    /// The most bytes of all new records.
    pub(crate) bytes_max: usize,
}

/// A redaction that the session can go on from.
pub(crate) struct PreparedRedaction<M: SessionModel> {
    pub(crate) records: Vec<RedactedRecord>,
    /// The events of `records`, as they are to be noted.
    pub(crate) noted: Vec<RedactedEvent>,
    /// Blobs that were named by the records before, and are not named by these.
    pub(crate) blobs: Vec<Digest>,
    /// Where the log ends, and what it folds to there.
    pub(crate) head: Head,
    pub(crate) counters: M::Counters,
    pub(crate) core: Arc<SessionCore>,
}

impl<M: SessionModel> RedactionPlan<'_, M> {
    /// Reads and folds the whole log. Writes nothing.
    pub(crate) fn prepare(&self, reader: &mut dyn LogReader) -> Result<PreparedRedaction<M>, Error> {
        let mut state = FoldState::<M>::default();
        let mut made = Records::default();
        let mut firsts = BTreeSet::new();
        let pages = Pages::after(self.log.base, self.session, self.log, self.page_events);
        let head = pages.for_each(reader, |page| {
            for stored in page.rows() {
                let (header, body) = open_record(self.session, stored)?;
                if !self.events.contains(&stored.id) {
                    self.fold(&mut state, stored, body)?;
                    continue;
                }
                let (record, refs) = self.redact(&state, stored, &header, body)?;
                firsts.insert(header.first);
                let (_, body) = open_record(self.session, StoredRow { record: &record, ..stored })?;
                self.fold(&mut state, StoredRow { record: &record, ..stored }, body)?;
                made.push(self, stored.id, record, header.refs.iter().map(|blob| blob.digest), &refs)?;
            }
            Ok(())
        })?;
        if let Some(event) = self.events.iter().find(|event| **event > head.id || **event <= self.log.base.id) {
            let what =
                format!("session {} has no event {event} to redact: its last is event {}", self.session, head.id);
            return Err(ErrorKind::InvalidArgument { what }.into());
        }
        for first in firsts.difference(self.events) {
            self.take_key(reader, *first, &mut made)?;
        }
        let counters =
            guarded("counters", || M::counters(&state.view)).map_err(|panicked| refused(head.id, panicked))?;
        Ok(made.into_prepared(head, counters, state.core))
    }

    fn fold(&self, state: &mut FoldState<M>, stored: StoredRow<'_>, body: StoredBody<'_>) -> Result<(), Error> {
        match state.fold(self.session, stored, body)? {
            Condition::Ready => Ok(()),
            // A session that cannot be folded as it is takes no redaction in the first place.
            _ => Err(refused(stored.id, "with the replacement, it cannot be folded")),
        }
    }

    /// Makes the record for an event whose body is to go, and tells which blobs it names.
    fn redact(
        &self,
        state: &FoldState<M>,
        stored: StoredRow<'_>,
        header: &RecordHeader<'_>,
        body: StoredBody<'_>,
    ) -> Result<(Vec<u8>, Vec<Digest>), Error> {
        let encoded = |error: codec::RecordError| refused(stored.id, error);
        if body.is_own(stored) {
            let body = decode_own(self.session, stored, body)?.body().redacted();
            let bytes = body.encode().map_err(encoded)?;
            return Ok((codec::redact_record(stored.record, header, stored.event_type, &bytes), Vec::new()));
        }
        let replacing = || {
            let original = decode_model::<M>(self.session, stored, body)?;
            self.replacement(state, original)
        };
        let called = "redact, check, stamp, apply or counters";
        let body = guarded(called, replacing).map_err(|panicked| refused(stored.id, panicked))??;
        let mut refs = Vec::new();
        M::blob_refs(&body, &mut |blob| refs.push(*blob));
        // Nobody would see to it that the blob is there, and a sweep that looks only at later events would remove it.
        let is_named = |blob: &BlobRef| header.refs.iter().any(|it| (it.digest, it.bytes) == (blob.digest, blob.bytes));
        if let Some(BlobRef { digest, bytes, .. }) = refs.iter().find(|blob| !is_named(blob)) {
            let reason = format!("its replacement names a blob that it does not name, {digest} of {bytes} bytes");
            return Err(refused(stored.id, reason));
        }
        // Measured first: encoding refuses what is far too large with another error.
        self.check_size(codec::body_bytes(&body).map_err(encoded)?)?;
        let bytes = codec::encode_body(&body).map_err(encoded)?;
        codec::check_shape(&body, &bytes).map_err(encoded)?;
        let named = refs.iter().map(|blob| blob.digest).collect();
        let header = RecordHeader { schema: M::SCHEMA, refs, ..header.clone() };
        let record = codec::redact_record(stored.record, &header, stored.event_type, &bytes);
        self.check_size(record.len() as u64)?;
        Ok((record, named))
    }

    /// Refuses a replacement that has more bytes than a record may have.
    fn check_size(&self, size: u64) -> Result<(), Error> {
        let limit = self.record_bytes_max as u64;
        if size > limit {
            return Err(ErrorKind::TooLarge { what: "replacement", unit: "bytes", size, limit }.into());
        }
        Ok(())
    }

    /// What takes the place of a body: it gets the ids of the original, and leaves the counters as the original does.
    fn replacement(&self, state: &FoldState<M>, original: Event<M>) -> Result<M::Body, Error> {
        let id = original.id();
        let replaced = match self.replace {
            Some(replace) => Some(replace(&original)),
            None => M::redact(original.body()),
        };
        let no_rule = "the session model does not say what is left of it: give a replacement with Redact::replace";
        let mut body = replaced.ok_or_else(|| refused(id, no_rule))?;
        let (was, is) = (original.event_type(), M::event_type(&body));
        if was != is {
            return Err(refused(id, format!("it is of type {was}, and its replacement of {is}")));
        }
        M::check(&body).map_err(|reason| refused(id, reason))?;
        let mut counters = M::counters(&state.view);
        M::stamp(&mut counters, id, &mut body).map_err(|reason| refused(id, reason))?;
        let mut view = state.view.clone();
        M::apply(&mut view, &original);
        if M::counters(&view) != counters {
            return Err(refused(id, "its replacement changes the counters, or names other ids"));
        }
        Ok(body)
    }

    /// Makes the record of an append's first event anew, if it has the append's key and fingerprint: that is of bodies
    /// that are gone.
    fn take_key(&self, reader: &mut dyn LogReader, first: EventId, made: &mut Records) -> Result<(), Error> {
        let mut page = StoredPage::default();
        read(reader, &mut page, self.session, self.log, first.prev(), 1)?;
        let lost = || corrupt(self.session, first, "the log lost it a moment ago".to_owned());
        let stored = page.rows().next().filter(|stored| stored.id == first).ok_or_else(lost)?;
        let wrong = |error: codec::RecordError| corrupt(self.session, first, error.to_string());
        let (header, body) = codec::decode_record(stored.record).map_err(wrong)?;
        if header.key.is_none() {
            return Ok(());
        }
        let record = codec::redact_record(stored.record, &header, stored.event_type, body);
        made.push(self, first, record, [], &[])
    }
}

/// What a redaction has made so far.
#[derive(Default)]
struct Records {
    records: Vec<RedactedRecord>,
    bytes: usize,
    named_before: BTreeSet<Digest>,
    named_now: BTreeSet<Digest>,
}

impl Records {
    fn push<M: SessionModel>(
        &mut self,
        plan: &RedactionPlan<'_, M>,
        event: EventId,
        record: Vec<u8>,
        before: impl IntoIterator<Item = Digest>,
        now: &[Digest],
    ) -> Result<(), Error> {
        self.bytes += record.len();
        if self.bytes > plan.bytes_max {
            let (size, limit) = (self.bytes as u64, plan.bytes_max as u64);
            return Err(ErrorKind::TooLarge { what: "redaction", unit: "bytes", size, limit }.into());
        }
        self.records.push(RedactedRecord { event, record });
        self.named_before.extend(before);
        self.named_now.extend(now);
        Ok(())
    }

    fn into_prepared<M: SessionModel>(
        self,
        head: Head,
        counters: M::Counters,
        core: Arc<SessionCore>,
    ) -> PreparedRedaction<M> {
        let Self { mut records, named_before, named_now, .. } = self;
        records.sort_unstable_by_key(|record| record.event);
        let note = |made: &RedactedRecord| RedactedEvent { event: made.event, record: codec::digest(&made.record) };
        let noted = records.iter().map(note).collect();
        let blobs = named_before.difference(&named_now).copied().collect();
        PreparedRedaction { records, noted, blobs, head, counters, core }
    }
}

fn refused(event: EventId, reason: impl std::fmt::Display) -> Error {
    ErrorKind::BodyRefused { reason: format!("event {event} is not redacted: {reason}") }.into()
}
