//! Goal: whoever follows the log is told of each group that has written something, and only of those; and of what a
//! redaction or deletion takes away before anybody is answered. Method: a follower that counts.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::threads::Follower;

#[derive(Default)]
struct Counting(AtomicUsize);

impl Follower for Counting {
    fn committed(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn closed(self: Arc<Self>) {}
}

/// How often the follower is told while something is done.
fn told(bench: &mut Bench, does: impl FnOnce(&mut Bench)) -> usize {
    let follower = Arc::new(Counting::default());
    bench.commits.follow_unwatched(Arc::clone(&follower) as _);
    does(bench);
    bench.commits.leave(Arc::as_ptr(&follower));
    follower.0.load(Ordering::SeqCst)
}

#[test]
fn each_group_that_has_written_something_is_told_of() {
    let mut bench = Bench::plain([]);
    let mut log = bench.session("s");
    let flush = |write: Write| {
        move |bench: &mut Bench| {
            let _answer = bench.push(write, 1);
            bench.writer.flush();
        }
    };
    assert_eq!(told(&mut bench, flush(log.append())), 1);
    assert_eq!(told(&mut bench, flush(Write::Fence { log: log.meta, claim: Claiming::No })), 0);
    let stale =
        Write::Append { log: log.meta.key, epoch: Epoch(7), after: log.head.chain, events: Vec::new(), listed: None };
    assert_eq!(told(&mut bench, flush(stale)), 0, "it was refused");
    let deletion = Write::Delete {
        session: SessionId::new("s").unwrap(),
        log: log.meta.key,
        head: None,
        at: Timestamp::default(),
    };
    let voids = bench.commits.voids();
    assert_eq!(told(&mut bench, flush(deletion)), 1);
    assert_eq!(bench.commits.voids(), voids + 1);
}

#[test]
fn a_group_whose_commit_failed_is_told_of_when_it_is_settled() {
    for fault in [Fault::FailedAfterWriting, Fault::FailedBeforeWriting] {
        let mut bench = Bench::plain([fault]);
        let mut log = bench.session("s");
        let append = log.append();
        let count = told(&mut bench, |bench| {
            let _answer = bench.push(append, 1);
            while bench.writer.flush() != Next::Idle {}
        });
        assert_eq!(count, 1, "{fault:?}");
    }
}

#[test]
fn what_is_taken_away_is_noted_before_the_answer() {
    let mut bench = Bench::plain([]);
    let log = bench.session("s");
    let (commits, voids) = (Arc::clone(&bench.commits), bench.commits.voids());
    let (sender, receiver) = channel();
    let session = SessionId::new("s").unwrap();
    let write = Write::Delete { session, log: log.meta.key, head: None, at: Timestamp::default() };
    let reply = Box::new(move |_, _| sender.send(commits.voids()).unwrap());
    bench.writer.push(Pending { write, incarnation: 0, reply });
    bench.writer.flush();
    assert_eq!(receiver.recv().unwrap(), voids + 1);
}
