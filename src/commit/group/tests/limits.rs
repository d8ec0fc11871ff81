//! Goal: nothing that a group does grows with how much waits or with how often it fails. Method: many writes of each
//! kind, and a logger that keeps the lines of each thread apart.

use std::cell::RefCell;
use std::sync::Once;

use super::*;

fn limited(events_max: usize) -> Bench {
    Bench::new(GroupLimits { events_max, bytes_max: 1 << 20 }, [])
}

/// Flushes until nothing waits, and gives the sizes of the groups.
fn flush_all(bench: &mut Bench) -> Vec<usize> {
    lock(&bench.medium.groups).clear();
    while bench.writer.flush() == Next::Flush {}
    lock(&bench.medium.groups).clone()
}

#[test]
fn every_kind_of_write_counts_against_the_limit_of_a_group() {
    let mut bench = limited(3);
    let logs: Vec<_> = (0..7).map(|n| bench.session(&format!("s{n}"))).collect();
    let kinds: [fn(&Log) -> Write; 4] = [
        |log| Write::Fence { log: log.meta, claim: Claiming::No },
        |log| Write::Fence { log: log.meta, claim: Claiming::Yes },
        |log| Write::Release { log: log.meta.key, epoch: log.epoch },
        |log| {
            let session = SessionId::new(format!("new-{}", log.meta.key.0)).unwrap();
            Write::Register { session, at: Timestamp::default() }
        },
    ];
    for kind in kinds {
        let answers: Vec<_> = logs.iter().map(|log| bench.push(kind(log), 1)).collect();
        let groups = flush_all(&mut bench);
        assert_eq!(groups.iter().sum::<usize>(), 7);
        assert!(groups.iter().all(|group| *group <= 3), "{groups:?}");
        assert!(answers.iter().all(|answer| matches!(answer.try_recv(), Ok(Ok(_)))));
    }
}

#[test]
fn so_many_sessions_that_are_only_opened_all_get_through_a_foreign_lock() {
    let mut bench = limited(3);
    let logs: Vec<_> = (0..7).map(|n| bench.session(&format!("s{n}"))).collect();
    let mut written = bench.session("written");
    let waiting = bench.push(written.append(), 1);
    let opened: Vec<_> =
        logs.iter().map(|log| bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 1)).collect();
    bench.medium.is_locked.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(bench.writer.flush(), Next::Retry);
    }
    assert!(opened.iter().all(|answer| matches!(answer.try_recv(), Ok(Ok(Written::Fenced { .. })))));
    assert!(waiting.try_recv().is_err());
    bench.medium.is_locked.store(false, Ordering::SeqCst);
    assert_eq!(flush_all(&mut bench), [1]);
    assert!(matches!(waiting.try_recv(), Ok(Ok(Written::Appended { .. }))));
}

#[test]
fn closing_answers_all_that_waits_when_its_time_is_over() {
    let mut bench = limited(3);
    let logs: Vec<_> = (0..7).map(|n| bench.session(&format!("s{n}"))).collect();
    bench.medium.is_locked.store(true, Ordering::SeqCst);
    let claims: Vec<_> =
        logs.iter().map(|log| bench.push(Write::Fence { log: log.meta, claim: Claiming::Yes }, 1)).collect();
    bench.writer.close(Instant::now()).unwrap();
    for answer in claims {
        assert!(matches!(answer.try_recv(), Ok(Err(PersistError::NotWritten { error: LogError::Busy, .. }))));
    }
}

#[test]
fn what_is_remembered_of_fences_does_not_grow_with_the_sessions_that_were_opened() {
    let mut bench = limited(100);
    for n in 0..50 {
        let log = bench.session(&format!("s{n}"));
        // Opened, and closed without having been written: then nothing is released.
        let _asked = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 1);
        flush_all(&mut bench);
    }
    assert_eq!(bench.writer.incarnations.len(), 0);
    // One that recovers again is remembered until it is opened anew.
    let mut log = bench.session("again");
    for (incarnation, remembered) in [(2, 1), (1, 0)] {
        let _asked = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, incarnation);
        flush_all(&mut bench);
        assert_eq!(bench.writer.incarnations.len(), remembered);
    }
    let answer = bench.push(log.append(), 1);
    flush_all(&mut bench);
    assert!(matches!(answer.try_recv(), Ok(Ok(Written::Appended { .. }))));
}

#[test]
fn what_is_remembered_of_fences_goes_with_a_deleted_session() {
    let mut bench = limited(100);
    let log = bench.session("s");
    let _asked = bench.push(Write::Fence { log: log.meta, claim: Claiming::No }, 2);
    flush_all(&mut bench);
    let session = SessionId::new("s").unwrap();
    let _deleted = bench.push(Write::Delete { session, log: log.meta.key, head: None, at: Timestamp::default() }, 0);
    flush_all(&mut bench);
    assert_eq!(bench.writer.incarnations.len(), 0);
}

#[test]
fn an_upkeep_that_failed_is_tried_again() {
    let mut bench = limited(100);
    let mut log = bench.session("s");
    *lock(&bench.medium.cannot_keep_up) = Some(LogError::Io("no sync".to_owned()));
    let _appended = bench.push(log.append(), 1);
    flush_all(&mut bench);
    assert_eq!(bench.writer.upkeep_left(), UpkeepLeft::HeldBack);
    bench.writer.keep_up_when_idle().unwrap();
    assert_eq!(bench.writer.upkeep_left(), UpkeepLeft::Nothing);
    // A store that has lost its files has nothing to try.
    *lock(&bench.medium.cannot_keep_up) = Some(LogError::Lost("moved".to_owned()));
    let _appended = bench.push(log.append(), 1);
    flush_all(&mut bench);
    assert_eq!(bench.writer.upkeep_left(), UpkeepLeft::Nothing);
}

// --- log lines ---

struct Collector;

thread_local! {
    /// The lines above debug level that this thread has logged.
    static LINES: RefCell<Vec<(log::Level, String)>> = RefCell::default();
}

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push((record.level(), record.args().to_string())));
        }
    }

    fn flush(&self) {}
}

fn collect_lines() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// The levels of the lines since the last call, and their text.
fn lines() -> (Vec<log::Level>, String) {
    let lines = LINES.take();
    (lines.iter().map(|(level, _)| *level).collect(), lines.into_iter().map(|(_, line)| line + "\n").collect())
}

#[test]
fn a_disk_that_stays_full_is_one_log_line_and_its_end_another_with_the_count() {
    collect_lines();
    let mut bench = Bench::plain([]);
    let mut log = bench.session("s");
    let (mut opened, mut behind) = (bench.session("opened"), bench.session("behind"));
    lines();
    for round in 1..=2 {
        for _ in 0..500 {
            bench.fail([Fault::DiskFull]);
            let mut copy = Log { meta: log.meta, epoch: log.epoch, head: log.head };
            let _asked = bench.push(copy.append(), 1);
            // What writes nothing goes through meanwhile, and says nothing of the disk: a fence that only reads, and an
            // append that is refused since one ahead of it was.
            bench.writer.flush();
            let _asked = bench.push(Write::Fence { log: opened.meta, claim: Claiming::No }, 1);
            behind.append();
            let _asked = bench.push(behind.append(), 1);
            flush_all(&mut bench);
        }
        let (levels, text) = lines();
        assert_eq!(levels, [log::Level::Error], "round {round}: {text}");
        assert!(text.contains("disk is full"), "{text}");
        for _ in 0..3 {
            let answer = bench.push(log.append(), 1);
            flush_all(&mut bench);
            assert!(matches!(answer.try_recv(), Ok(Ok(Written::Appended { .. }))));
        }
        let (levels, text) = lines();
        assert_eq!(levels, [log::Level::Warn], "round {round}: {text}");
        assert!(text.contains("500 failures"), "{text}");
    }
    let _asked = bench.push(opened.append(), 1);
    flush_all(&mut bench);
    assert!(lines().0.is_empty());
}

#[test]
fn commits_that_fail_again_and_again_are_one_log_line() {
    collect_lines();
    let mut bench = Bench::plain([]);
    let mut log = bench.session("s");
    lines();
    for fault in [Fault::FailedBeforeWriting, Fault::DiskFull, Fault::FailedBeforeWriting] {
        bench.fail([fault]);
        let mut copy = Log { meta: log.meta, epoch: log.epoch, head: log.head };
        let _asked = bench.push(copy.append(), 1);
        flush_all(&mut bench);
    }
    *lock(&bench.medium.is_readable) = false;
    bench.writer.reset();
    let _asked = bench.push(log.append(), 1);
    flush_all(&mut bench);
    let (levels, text) = lines();
    assert_eq!(levels, [log::Level::Error], "{text}");
}
