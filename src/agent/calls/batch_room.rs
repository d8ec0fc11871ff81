//! Cutting what ends a great many tool calls into batches that a store takes.

use std::iter::Peekable;

use crate::agent::{AgentBody, Role};
use crate::codec;
use crate::config::StoreConfig;

/// About what an event takes beside its body. Generous: a batch that is cut early costs a commit, one that is cut late is
/// refused.
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

    /// Takes as many bodies as fit, and no more are made. The first is taken in any case: if it is too large, the append
    /// says so.
    pub(super) fn fill(mut self, bodies: &mut Peekable<impl Iterator<Item = AgentBody>>) -> Vec<AgentBody> {
        let mut batch = Vec::new();
        while let Some(body) = bodies.next_if(|body| self.take(body) || batch.is_empty()) {
            batch.push(body);
        }
        batch
    }

    /// Cuts what ends a turn: batches of results that go ahead, usually none, and the batch that ends the turn. Everything
    /// behind the leading results stays together.
    pub(super) fn cut(self, mut bodies: Vec<AgentBody>) -> (Vec<Vec<AgentBody>>, Vec<AgentBody>) {
        let leading = bodies.iter().take_while(|body| is_result(body)).count();
        let end = bodies.split_off(leading);
        let mut results = bodies.into_iter().peekable();
        let mut ahead = Vec::new();
        while results.peek().is_some() {
            ahead.push(self.fill(&mut results));
        }
        let mut room = self;
        match ahead.pop() {
            Some(mut last) if last.iter().chain(&end).all(|body| room.take(body)) => {
                last.extend(end);
                (ahead, last)
            }
            last => {
                ahead.extend(last);
                (ahead, end)
            }
        }
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
        let (ahead, end) = room.cut(ending(results));
        let together: Vec<_> = ahead.iter().flatten().chain(&end).cloned().collect();
        assert_eq!(together, ending(results), "nothing is lost, and the order stays");
        (ahead.iter().map(Vec::len).collect(), end.len())
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
