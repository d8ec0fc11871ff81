//! How commits go on when they meet a page that cannot be read.

use super::error::SqlError;
use super::transaction::Transaction;
use super::writer::SqliteLog;
use crate::port::{CommitError, LogError, Refusal, Write, Written};

/// How a commit keeps the index. After damage of the index, appends go on in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Indexing {
    /// Each commit writes to `recent_index`, and moves what earlier ones wrote to `event_index`.
    #[default]
    Both,
    /// `event_index` stays as it is, and what cannot be read of it is looked up in the table once.
    RecentAlone,
    /// `recent_index` stays as it is: each commit writes all that it knows of its logs to `event_index`.
    SegmentsAlone,
}

impl Indexing {
    pub(super) fn around_damage(self) -> Option<Self> {
        match self {
            Self::Both => Some(Self::RecentAlone),
            Self::RecentAlone => Some(Self::SegmentsAlone),
            Self::SegmentsAlone => None,
        }
    }
}

/// Whether a write was refused because of damage.
pub(super) fn met_damage(answer: &Result<Written, Refusal>) -> bool {
    matches!(answer, Err(Refusal::Damaged { .. }))
}

/// Commits each write of a group alone: those that meet damage are refused, and say so.
fn commit_each(
    log: &mut SqliteLog,
    group: &[Write],
    damage: &str,
) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
    let refused = |reason: &str| Err(Refusal::Damaged { event: None, reason: reason.to_owned() });
    if let [_] = group {
        return Ok(vec![refused(damage)]);
    }
    let mut answers = Vec::with_capacity(group.len());
    for write in group {
        match log.commit_group(std::slice::from_ref(write)) {
            Ok(answer) => answers.extend(answer),
            Err(CommitError::NotWritten(LogError::Corrupt(reason))) => answers.push(refused(&reason)),
            Err(CommitError::NotWritten(error)) if !answers.iter().any(Result::is_ok) => {
                return Err(CommitError::NotWritten(error));
            }
            // Some are written: what the log holds says which.
            Err(CommitError::NotWritten(error) | CommitError::Unknown(error)) => {
                return Err(CommitError::Unknown(error));
            }
        }
    }
    Ok(answers)
}

impl SqliteLog {
    /// Commits a group, in whatever way the damage leaves.
    pub(super) fn commit_around_damage(
        &mut self,
        group: &[Write],
    ) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let known = self.indexing;
        loop {
            match self.commit_group(group) {
                Err(CommitError::NotWritten(LogError::Corrupt(reason))) => match self.indexing.around_damage() {
                    Some(other) => {
                        log::error!("the index of events is damaged, and is written otherwise from now on: {reason}");
                        (self.indexing, self.remembered.recent) = (other, None);
                    }
                    None => {
                        // Not the index alone: whatever does not need the damaged pages is written.
                        (self.indexing, self.remembered.recent) = (known, None);
                        return commit_each(self, group, &reason);
                    }
                },
                outcome => {
                    if self.indexing != known && outcome.as_ref().is_ok_and(|all| all.iter().any(met_damage)) {
                        // It was not the index.
                        (self.indexing, self.remembered.recent) = (known, None);
                    }
                    return outcome;
                }
            }
        }
    }

    /// Commits a group without the writes that met damage, which are answered as they were.
    pub(super) fn commit_without(
        &mut self,
        group: &[Write],
        answers: Vec<Result<Written, Refusal>>,
    ) -> Result<Vec<Result<Written, Refusal>>, CommitError> {
        let others = group.iter().zip(&answers).filter(|(_, answer)| !met_damage(answer));
        let others: Vec<Write> = others.map(|(write, _)| write.clone()).collect();
        let mut others = if others.is_empty() { Vec::new() } else { self.commit_group(&others)? }.into_iter();
        // One answer for each write, in their order.
        let answer = |answer| if met_damage(&answer) { Some(answer) } else { others.next() };
        Ok(answers.into_iter().filter_map(answer).collect())
    }
}

/// Why a group was not committed. If ROLLBACK fails too, the transaction may still be open: this connection must not be
/// used again, and another one says what is in the log.
pub(super) fn rolled_back(transaction: Transaction<'_>, error: SqlError) -> CommitError {
    match transaction.rollback() {
        Ok(()) => CommitError::NotWritten(error.into()),
        Err(rollback) => {
            log::error!("a transaction could not be rolled back, its connection is given up: {rollback}");
            CommitError::Unknown(error.into())
        }
    }
}
