//! What is still being written: the transients of a session's open streams, kept in memory for subscribers who come
//! late.
//!
//! Each transient of a stream gets a number, its place among all of the session. A subscriber copies what is kept when
//! it has every published event, and notes the last number: a transient that reaches it with a number up to that one
//! was copied already. So each of them comes once, wherever the copy falls.
//!
//! The lock here is the innermost: it is taken under that of the session's state, and under that of a subscriber's
//! queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::config::StoreConfig;
use crate::event::LogEvent;
use crate::model::SessionModel;
use crate::stats::Metrics;
use crate::threads::{guarded, lock};

/// About how many bytes a kept transient takes in memory beside those that the session model tells: the transient
/// itself, its place in the queue, and what the allocator adds.
const TRANSIENT_BYTES: u64 = 128;

/// How many streams of a session may be open. Far more than what an agent writes at once, so that only streams that
/// nothing ever ends reach it; the oldest is then forgotten.
const OPEN_STREAMS_MAX: usize = 1024;

/// How much may be kept. The metrics of the store count what is kept of all sessions.
pub(crate) struct KeptLimits {
    session_bytes_max: u64,
    bytes_max: u64,
    metrics: Arc<Metrics>,
}

impl KeptLimits {
    pub(crate) fn new(config: &StoreConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            session_bytes_max: config.session_kept_transients_bytes_max as u64,
            bytes_max: config.kept_transients_bytes_max as u64,
            metrics,
        }
    }
}

/// See the module. Only the session's state changes it; subscribers read it.
pub(crate) struct OpenStreams<M: SessionModel> {
    limits: Arc<KeptLimits>,
    open: Mutex<Kept<M>>,
}

struct Kept<M: SessionModel> {
    /// The number of the last transient of a stream.
    last: u64,
    /// How many streams were ever opened.
    opened: u64,
    /// The streams, in the order in which they were opened: their ids ascend.
    streams: Vec<OpenStream>,
    /// What is kept, in the order of the numbers.
    kept: VecDeque<KeptTransient<M>>,
    /// What is kept counts for so many bytes.
    bytes: u64,
}

struct OpenStream {
    id: u64,
    key: String,
    /// How many of its transients are not kept any more: its first ones.
    cut: u64,
    /// The number of the last of these.
    cut_through: u64,
}

struct KeptTransient<M: SessionModel> {
    number: u64,
    stream: u64,
    bytes: u64,
    transient: Arc<M::Transient>,
}

/// What a subscriber has not been given of the open streams.
pub(super) struct NotGiven<M: SessionModel> {
    /// How many are not kept any more; they precede the others. It may be too many for a subscriber that was given a
    /// part of those before other streams ended. It is 0 if and only if none is missing.
    pub(super) cut: u64,
    pub(super) kept: Vec<Arc<M::Transient>>,
    /// The number of the last transient of all.
    pub(super) last: u64,
}

impl<M: SessionModel> OpenStreams<M> {
    pub(crate) fn new(limits: &Arc<KeptLimits>) -> Self {
        let open = Kept { last: 0, opened: 0, streams: Vec::new(), kept: VecDeque::new(), bytes: 0 };
        Self { limits: Arc::clone(limits), open: Mutex::new(open) }
    }

    /// Keeps the transient of a stream, and gives its number. At a limit the session's oldest kept transients go.
    pub(crate) fn keep(&self, transient: &Arc<M::Transient>, key: String, bytes: u64) -> u64 {
        let bytes = bytes.saturating_add(TRANSIENT_BYTES);
        let mut open = lock(&self.open);
        open.last += 1;
        let (number, stream) = (open.last, self.stream(&mut open, key));
        if bytes > self.limits.session_bytes_max {
            // All that is kept precedes it, and has to go too: what is kept of a stream is its end, without a hole.
            self.cut_all_of(&mut open);
            open.note_cut(stream, number);
            return number;
        }
        open.kept.push_back(KeptTransient { number, stream, bytes, transient: Arc::clone(transient) });
        open.bytes += bytes;
        let mut in_store = self.limits.metrics.kept_grew(bytes);
        while open.bytes > self.limits.session_bytes_max || in_store > self.limits.bytes_max {
            match self.cut_oldest(&mut open) {
                Some(bytes) => in_store = in_store.saturating_sub(bytes),
                None => break,
            }
        }
        number
    }

    /// The id of the open stream of this key, which is opened if there is none.
    fn stream(&self, open: &mut Kept<M>, key: String) -> u64 {
        // Most often the last one opened.
        if let Some(stream) = open.streams.iter().rev().find(|stream| stream.key == key) {
            return stream.id;
        }
        if open.streams.len() >= OPEN_STREAMS_MAX {
            log::debug!("a session has {OPEN_STREAMS_MAX} open streams: the oldest is forgotten");
            let oldest = open.streams.remove(0);
            self.drop_kept_of(open, &[oldest.id]);
        }
        open.opened += 1;
        open.streams.push(OpenStream { id: open.opened, key, cut: 0, cut_through: 0 });
        open.opened
    }

    /// Forgets the streams that committed events end. To be called before the events are delivered: otherwise a
    /// subscriber could be given the end of a stream after the event that replaces it.
    pub(crate) fn end(&self, events: &[LogEvent<M>]) {
        let mut open = lock(&self.open);
        let mut ended = Vec::new();
        for body in events.iter().filter_map(LogEvent::body) {
            if open.streams.is_empty() {
                break;
            }
            let ends = |stream: &OpenStream| guarded("ends_stream", || M::ends_stream(body, &stream.key));
            // A stream that nobody can tell the end of is not kept for ever.
            open.streams.retain(|stream| {
                let is_ended = ends(stream).unwrap_or(true);
                if is_ended {
                    ended.push(stream.id);
                }
                !is_ended
            });
        }
        if !ended.is_empty() {
            // An event may end an older stream than the event before it does.
            ended.sort_unstable();
            self.drop_kept_of(&mut open, &ended);
        }
    }

    /// Drops what is kept. The streams stay open, and who comes late is told how much of them is missing.
    pub(crate) fn cut_all(&self) {
        self.cut_all_of(&mut lock(&self.open));
    }

    fn cut_all_of(&self, open: &mut Kept<M>) {
        while self.cut_oldest(open).is_some() {}
        open.kept = VecDeque::new();
    }

    /// Drops the oldest that is kept, and tells its bytes.
    fn cut_oldest(&self, open: &mut Kept<M>) -> Option<u64> {
        let KeptTransient { number, stream, bytes, transient } = open.kept.pop_front()?;
        open.note_cut(stream, number);
        open.bytes -= bytes;
        self.limits.metrics.kept_shrank(bytes);
        // Last, since its drop is the host's and may panic.
        drop(transient);
        Some(bytes)
    }

    /// Drops what is kept of streams that are not open any more. Their ids must ascend.
    fn drop_kept_of(&self, open: &mut Kept<M>, closed: &[u64]) {
        let Kept { kept, bytes, .. } = open;
        kept.retain(|kept| {
            let is_closed = closed.binary_search(&kept.stream).is_ok();
            if is_closed {
                // Counted before the transient is dropped, since its drop is the host's and may panic.
                *bytes -= kept.bytes;
                self.limits.metrics.kept_shrank(kept.bytes);
            }
            !is_closed
        });
        if kept.is_empty() {
            // Replaced, so that its memory is given back too.
            *kept = VecDeque::new();
        }
    }

    /// What a subscriber has not been given yet that was given everything up to a number.
    pub(super) fn after(&self, given: u64) -> NotGiven<M> {
        let open = lock(&self.open);
        let missing = open.streams.iter().filter(|stream| stream.cut_through > given);
        let cut = missing.map(|stream| stream.cut.min(stream.cut_through - given)).sum();
        let first = open.kept.partition_point(|kept| kept.number <= given);
        let kept = open.kept.range(first..).map(|kept| Arc::clone(&kept.transient)).collect();
        NotGiven { cut, kept, last: open.last }
    }
}

impl<M: SessionModel> Kept<M> {
    fn note_cut(&mut self, stream: u64, number: u64) {
        let place = self.streams.binary_search_by_key(&stream, |open| open.id);
        if let Some(stream) = place.ok().and_then(|place| self.streams.get_mut(place)) {
            stream.cut += 1;
            stream.cut_through = number;
        }
    }
}

impl<M: SessionModel> Drop for OpenStreams<M> {
    fn drop(&mut self) {
        self.limits.metrics.kept_shrank(lock(&self.open).bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Agent, AgentBody, AgentTransient, Step, StepId, StepStatus, TurnId};
    use crate::event::Event;
    use crate::id::{EventId, Timestamp};

    struct Streams {
        open: OpenStreams<Agent>,
        metrics: Arc<Metrics>,
    }

    impl Streams {
        fn new(config: &StoreConfig) -> Self {
            let metrics = Arc::new(Metrics::new());
            let limits = Arc::new(KeptLimits::new(config, Arc::clone(&metrics)));
            Self { open: OpenStreams::new(&limits), metrics }
        }

        fn delta(&self, step: u64) {
            let (turn, step) = (TurnId::new(1), StepId::new(step));
            let delta = AgentTransient::TokenDelta { turn, step, text: step.to_string() };
            self.open.keep(&Arc::new(delta), format!("1/{step}/text"), 1);
        }

        fn end(&self, steps: impl IntoIterator<Item = u64>) {
            let of_step = |step| {
                let put = Step { id: StepId::new(step), status: StepStatus::Done, ..Step::default() };
                let event = Event::new(EventId::new(1), Timestamp::from_micros(0), [0; 8], AgentBody::StepPut(put));
                LogEvent::Model(Arc::new(event))
            };
            self.open.end(&steps.into_iter().map(of_step).collect::<Vec<_>>());
        }

        /// The steps of the kept transients, after checking that all of them are counted.
        fn kept(&self) -> Vec<u64> {
            let NotGiven { kept, .. } = self.open.after(0);
            let bytes = kept.len() as u64 * (TRANSIENT_BYTES + 1);
            assert_eq!((self.metrics.kept_grew(0), lock(&self.open.open).bytes), (bytes, bytes));
            let step = |transient: &Arc<AgentTransient>| match &**transient {
                AgentTransient::TokenDelta { step, .. } => step.get(),
                other => panic!("{other:?}"),
            };
            kept.iter().map(step).collect()
        }
    }

    #[test]
    fn streams_that_end_in_any_order_leave_what_is_kept_of_the_others() {
        let streams = Streams::new(&StoreConfig::memory());
        (0..3).for_each(|_| (1..=7).for_each(|step| streams.delta(step)));
        streams.end([6, 2, 9, 4]);
        assert_eq!(streams.kept(), [1, 3, 5, 7].repeat(3));
        // Opened anew, as the last one.
        streams.delta(2);
        streams.end([7, 1, 3]);
        assert_eq!(streams.kept(), [5, 5, 5, 2]);
        streams.end([2, 5]);
        assert_eq!(streams.kept(), [0; 0]);
    }

    #[test]
    fn what_is_cut_is_counted_for_its_own_stream() {
        let five = usize::try_from(5 * (TRANSIENT_BYTES + 1)).unwrap();
        let config = StoreConfig { session_kept_transients_bytes_max: five, ..StoreConfig::memory() };
        let streams = Streams::new(&config);
        (0..3).for_each(|_| (1..=4).for_each(|step| streams.delta(step)));
        assert_eq!(streams.kept(), [4, 1, 2, 3, 4]);
        let cut = |streams: &Streams| streams.open.after(0).cut;
        assert_eq!(cut(&streams), 7);
        streams.end([2]);
        assert_eq!((streams.kept(), cut(&streams)), (vec![4, 1, 3, 4], 5));
        streams.end([1]);
        assert_eq!((streams.kept(), cut(&streams)), (vec![4, 3, 4], 3));
        streams.end([4]);
        assert_eq!((streams.kept(), cut(&streams)), (vec![3], 2));
    }

    #[test]
    fn of_too_many_open_streams_the_oldest_are_forgotten() {
        let streams = Streams::new(&StoreConfig::memory());
        let last = OPEN_STREAMS_MAX as u64 + 1000;
        for step in 1..=last {
            streams.delta(step);
            streams.delta(step);
        }
        let left: Vec<u64> = (1001..=last).flat_map(|step| [step, step]).collect();
        assert_eq!(streams.kept(), left);
    }
}
