//! What the answers to a group say, and what is made of them.

use std::collections::HashSet;

use super::{Follows, Waiting};
use crate::commit::error::{GoesOn, PersistError};
use crate::port::{LogError, Refusal, Write, Written};

/// How many appends a group wrote, and how many events.
pub(super) fn appended(writes: &[Write], answers: &[Result<Written, Refusal>]) -> (u64, u64) {
    writes.iter().zip(answers).fold((0, 0), |(appends, total), pair| match pair {
        (Write::Append { events, .. }, Ok(_)) => (appends + 1, total + events.len() as u64),
        (Write::Redact(_), Ok(_)) => (appends + 1, total + 1),
        _ => (appends, total),
    })
}

pub(super) fn answer_all(waiting: Waiting, error: impl Fn() -> PersistError) {
    for (_, reply) in waiting {
        reply(Err(error()), Follows::Nothing);
    }
}

/// What follows each write of a group.
pub(super) fn follows(writes: &[Write]) -> Vec<Follows> {
    let mut later = HashSet::new();
    let mut follows: Vec<_> = writes
        .iter()
        .rev()
        .map(|write| match write {
            Write::Append { log, .. } if !later.insert(*log) => Follows::More,
            _ => Follows::Nothing,
        })
        .collect();
    follows.reverse();
    follows
}

pub(super) fn unknown(cause: &LogError, then: &LogError) -> PersistError {
    let is_lost = [cause, then].iter().any(|error| matches!(error, LogError::Lost(_)));
    let goes_on = if is_lost { GoesOn::No } else { GoesOn::Yes };
    let (cause, then) = (cause.to_string(), then.to_string());
    let text = if cause == then { cause } else { format!("{cause}; then: {then}") };
    PersistError::Unknown { text, goes_on }
}

/// Whether a group has redacted events, or deleted a session: what was read before may hold what is gone.
pub(super) fn take_away(writes: &[Write], answers: &[Result<Written, Refusal>]) -> bool {
    let takes_away = |write: &Write| matches!(write, Write::Delete { .. } | Write::Redact(_));
    writes.iter().zip(answers).any(|(write, answer)| takes_away(write) && answer.is_ok())
}

/// Whether a group has written something that those who follow the log are told of.
pub(super) fn is_told(writes: &[Write], answers: &[Result<Written, Refusal>]) -> bool {
    let is_told = |write: &Write| matches!(write, Write::Delete { .. } | Write::Redact(_) | Write::Append { .. });
    writes.iter().zip(answers).any(|(write, answer)| is_told(write) && answer.is_ok())
}
