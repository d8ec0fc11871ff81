//! Fences: asking for a log, behind what was sent to it before.

use super::*;

#[test]
fn a_session_that_is_only_opened_does_not_wait_for_a_foreign_lock() {
    let mut bench = Bench::plain([]);
    let (mut mine, other) = (bench.session("mine"), bench.session("other"));
    let waiting = bench.push(mine.append(), 1);
    let behind = bench.push(Write::Fence { log: mine.meta, claim: Claiming::No }, 2);
    let opened = bench.push(Write::Fence { log: other.meta, claim: Claiming::No }, 1);
    bench.medium.is_locked.store(true, Ordering::SeqCst);
    assert_eq!(bench.writer.flush(), Next::Retry);
    assert!(matches!(opened.try_recv().unwrap(), Ok(Written::Fenced { .. })));
    assert!(waiting.try_recv().is_err() && behind.try_recv().is_err(), "a fence stays behind the writes of its log");
    bench.medium.is_locked.store(false, Ordering::SeqCst);
    while bench.writer.flush() == Next::Flush {}
    assert!(matches!(waiting.try_recv().unwrap(), Ok(Written::Appended { .. })));
    assert!(matches!(behind.try_recv().unwrap(), Ok(Written::Fenced { head, .. }) if head.id.get() == 1));
}

#[test]
fn after_a_fence_appends_of_an_earlier_life_are_refused() {
    let mut bench = Bench::plain([]);
    let mut log = bench.session("s");
    let before = bench.push(log.append(), 1);
    let fence = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
    let late = bench.push(log.append(), 1);
    bench.writer.flush();
    assert!(matches!(before.try_recv().unwrap(), Ok(Written::Appended { .. })));
    assert!(matches!(fence.try_recv().unwrap(), Ok(Written::Fenced { head, .. }) if head.id.get() == 1));
    assert!(matches!(late.try_recv().unwrap(), Err(PersistError::Fenced)));
    assert_eq!(bench.stored(&log), 1);
}
