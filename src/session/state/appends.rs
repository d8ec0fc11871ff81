//! What a session does with an append when its turn has come: it checks and stamps the append, and sends it to be persisted.

use super::{Effect, Env, SessionState, Task};
use crate::error::{Error, ErrorKind};
use crate::id::EventId;
use crate::model::SessionModel;
use crate::port::{Claiming, Epoch, Write};
use crate::session::append::Appended;
use crate::session::in_flight::{Request, StampedAppend};
use crate::session::stamper::Stamped;
use crate::threads::{Panicked, guarded};

impl<M: SessionModel> SessionState<M> {
    /// Checks one append; stamps and sends it when nothing is left to ask.
    pub(super) fn append(&mut self, mut request: Request<M>, env: &Env<'_>) {
        if request.bodies.is_empty() {
            let head = self.stamper.head.id;
            let nothing = Appended { events: Vec::new(), head, repeated: false };
            let answer = self.check_head(&request).map(|()| nothing);
            return request.answer(answer);
        }
        if let Some(error) = self.published.refusal(&self.id) {
            // What is in the log already is told all the same.
            return match request.key.clone() {
                Some(key) if !request.is_key_checked => match self.keys.get(&key) {
                    Some(first) => self.effects.push(Effect::Repeat { first, request }),
                    None if self.keys.may_be_in_log(&key) => {
                        self.ask_first(Task::Append(request), Effect::FindKey { key });
                    }
                    None => request.answer(Err(error)),
                },
                _ => request.answer(Err(error)),
            };
        }
        let Some(epoch) = self.owned else {
            // Another store may have used the key since the log was searched.
            request.is_key_checked = false;
            return self.ask_first(Task::Append(request), Effect::Fence { claim: Claiming::Yes });
        };
        if let Some(key) = request.key.clone() {
            match self.keys.get(&key) {
                Some(first) if first > self.committed.id => return self.join(first, request),
                Some(first) => return self.effects.push(Effect::Repeat { first, request }),
                None if request.is_key_checked || !self.keys.may_be_in_log(&key) => {}
                // The index keeps only the last keys, and may have dropped one that is in flight. Nothing is stamped
                // while the log is searched, so what the search finds stays true.
                None => match self.in_flight.first_of(&key) {
                    Some(first) => return self.join(first, request),
                    None => return self.ask_first(Task::Append(request), Effect::FindKey { key }),
                },
            }
        }
        if let Err(error) = self.check_head(&request) {
            return request.answer(Err(error));
        }
        if !request.are_refs_checked {
            let mut blobs = match guarded("blob_refs", || request.blobs()) {
                Ok(blobs) => blobs,
                Err(panicked) => return request.answer(Err(refused_by(panicked))),
            };
            blobs.retain(|(digest, bytes)| !env.blobs.is_known_durable(digest, *bytes));
            if !blobs.is_empty() {
                return self.ask_first(Task::Append(request), Effect::CheckRefs { blobs });
            }
        }
        let bodies = std::mem::take(&mut request.bodies);
        // The stamper's head and counters change only in `send`, so a panic leaves nothing behind.
        let stamped = guarded("stamp, event_type, blob_refs or encoding", || {
            self.stamper.stamp(bodies, request.key.as_ref(), env.now, env.config.record_bytes_max)
        });
        match stamped.unwrap_or_else(|panicked| Err(refused_by(panicked))) {
            Err(error) => request.answer(Err(error)),
            Ok(stamped) => self.send(stamped, epoch, request),
        }
    }

    /// Sends a stamped append to be persisted, and goes on from it.
    fn send(&mut self, stamped: Stamped<M>, epoch: Epoch, request: Request<M>) {
        if let (Some(key), Some(first)) = (&stamped.key, stamped.events.first()) {
            self.keys.insert(key.key.clone(), first.id());
        }
        let record_bytes = stamped.stored.iter().map(|event| event.record.len() as u64).sum();
        self.resident.grow(record_bytes);
        let after = self.stamper.head.chain;
        self.stamper.advance(&stamped);
        let Stamped { stored, events, head, key, .. } = stamped;
        let write = Write::Append { log: self.log, epoch, after, events: stored };
        self.effects.push(Effect::Persist { last: head.id, write });
        let replies = vec![request.into_reply()];
        self.in_flight.push_append(StampedAppend { events, head, key, record_bytes, replies });
    }

    fn check_head(&self, request: &Request<M>) -> Result<(), Error> {
        let actual = self.stamper.head.id;
        match request.expected_head {
            Some(expected) if expected != actual => {
                Err(ErrorKind::HeadMoved { session: self.id.clone(), expected, actual }.into())
            }
            _ => Ok(()),
        }
    }

    /// Lets a retry share the answer of the append in flight that begins with `first`.
    fn join(&mut self, first: EventId, request: Request<M>) {
        let Some(original) = self.in_flight.find(first) else {
            let reason = "the first append with this key was refused a moment ago; append again".to_owned();
            return request.answer(Err(ErrorKind::NotWritten { session: self.id.clone(), reason }.into()));
        };
        if original.is_same(&request) {
            original.replies.push(request.into_reply());
        } else {
            request.answer(Err(ErrorKind::KeyReused { session: self.id.clone(), first }.into()));
        }
    }
}

fn refused_by(panicked: Panicked) -> Error {
    ErrorKind::BodyRefused { reason: panicked.to_string() }.into()
}
