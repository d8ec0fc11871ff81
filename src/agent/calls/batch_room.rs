//! Cutting what ends a great many tool calls into batches that a store takes.

use std::iter::Peekable;

use crate::agent::calls::at_head::Batch;
use crate::agent::{AgentBody, Role};
use crate::codec;
use crate::config::StoreConfig;

/// About what an event takes beside its body. Generous: a batch that is cut early costs a commit, one that is cut late
/// is refused.
const EVENT_BYTES: u64 = 512;

/// What one batch takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRoom {
    events: usize,
    bytes: u64,
}

impl BatchRoom {
    pub(super) fn of(config: &StoreConfig) -> Self {
        let bytes = config.batch_bytes_max.min(config.session_in_flight_bytes_max).min(config.in_flight_bytes_max);
        Self { events: config.batch_events_max, bytes: bytes as u64 }
    }

    /// Takes as many bodies as fit, and no more are made. The first is taken in any case: if it is too large, the
    /// append says so.
    pub(super) fn fill(mut self, bodies: &mut Peekable<impl Iterator<Item = AgentBody>>) -> Vec<AgentBody> {
        let mut batch = Vec::new();
        while let Some(body) = bodies.next_if(|body| self.take(body) || batch.is_empty()) {
            batch.push(body);
        }
        batch
    }

    /// The next batch of what ends a turn: all of it, if it fits, or else as many of the leading results as do.
    /// Everything behind the leading results stays together.
    pub(super) fn first(self, mut bodies: Vec<AgentBody>) -> Batch {
        let leading = bodies.iter().take_while(|body| is_result(body)).count();
        let mut room = self;
        // Usually there is no result, and nothing has to be measured.
        if leading == 0 || bodies.iter().all(|body| room.take(body)) {
            return (bodies, true);
        }
        bodies.truncate(leading);
        (self.fill(&mut bodies.into_iter().peekable()), false)
    }

    /// Takes the room of a body, if there is as much.
    fn take(&mut self, body: &AgentBody) -> bool {
        // A body that cannot be encoded takes none here: the append measures it again, and says why.
        let bytes = codec::body_bytes(body).unwrap_or_default() + EVENT_BYTES;
        let left = (self.events.checked_sub(1), self.bytes.checked_sub(bytes));
        let (Some(events), Some(bytes)) = left else { return false };
        *self = Self { events, bytes };
        true
    }
}

fn is_result(body: &AgentBody) -> bool {
    matches!(body, AgentBody::MessageAppended(message) if message.role == Role::Tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Message, Turn};

    fn ending(results: usize) -> Vec<AgentBody> {
        let results = (0..results).map(|n| Message::tool_result(format!("call_{n}"), "x".repeat(100)));
        let messages = results.chain([Message::assistant("done"), Message::tool_result("of_last", "none")]);
        messages.map(AgentBody::MessageAppended).chain([AgentBody::TurnPut(Turn::default())]).collect()
    }

    fn lengths(room: BatchRoom, results: usize) -> (Vec<usize>, usize) {
        let (mut left, mut ahead, mut together) = (ending(results), Vec::new(), Vec::new());
        loop {
            let (batch, is_last) = room.first(left.clone());
            left.drain(..batch.len());
            let length = batch.len();
            together.extend(batch);
            if is_last {
                assert_eq!(together, ending(results), "nothing is lost, and the order stays");
                return (ahead, length);
            }
            ahead.push(length);
        }
    }

    #[test]
    fn an_ending_is_cut_by_events_and_what_ends_the_turn_stays_together() {
        let room = BatchRoom { events: 4, bytes: 1 << 20 };
        assert_eq!(lengths(room, 0), (vec![], 3));
        assert_eq!(lengths(room, 1), (vec![], 4));
        assert_eq!(lengths(room, 2), (vec![2], 3));
        assert_eq!(lengths(room, 9), (vec![4, 4], 4));
        assert_eq!(lengths(BatchRoom { events: 2, ..room }, 0), (vec![], 3), "the append refuses it, and says why");
    }

    #[test]
    fn an_ending_is_cut_by_bytes() {
        let mut room = BatchRoom { events: 4096, bytes: 1 << 20 };
        assert!(ending(5).iter().all(|body| room.take(body)));
        let exact = BatchRoom { events: 4096, bytes: (1 << 20) - room.bytes };
        assert_eq!(lengths(exact, 5), (vec![], 8));
        assert_eq!(lengths(BatchRoom { bytes: exact.bytes - 1, ..exact }, 5), (vec![5], 3));
        assert_eq!(lengths(BatchRoom { bytes: 1, ..exact }, 2), (vec![1, 1], 3), "a batch holds one body at least");
    }
}
