//! Goal: a scan gives the events of all logs in the order of the commits, once each, whatever the size of its pages and
//! whatever is committed meanwhile.

use super::*;

/// Positions beside log and event, so that their order shows.
type Found = Vec<(Position, LogKey, u64)>;

impl End {
    /// All events behind a position, by pages of so many events and bytes.
    fn scanned(&mut self, mut after: Position, events_max: usize, bytes_max: usize) -> Found {
        let (mut found, mut page) = (Vec::new(), ScannedPage::default());
        while let Some(next) = self.reader.scan(&mut page, after, events_max, bytes_max).unwrap() {
            assert!(next > after);
            found.extend(page.rows().map(|row| (row.position, row.log, row.event.id.get())));
            after = next;
        }
        found
    }

    fn scan_error(&mut self) -> String {
        let (mut after, mut page) = (Position::START, ScannedPage::default());
        loop {
            match self.reader.scan(&mut page, after, 10, usize::MAX) {
                Ok(next) => after = next.expect("the scan comes to the damaged row"),
                Err(LogError::Corrupt(reason)) => return reason,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Two logs whose events are interleaved, in two groups.
fn two_logs(end: &mut End) -> (LogMeta, LogMeta) {
    let ((one, epoch_one), (two, epoch_two)) = (end.register("one"), end.register("two"));
    let (epoch_one, epoch_two) = (epoch_one.unwrap(), epoch_two.unwrap());
    let group = [
        append(one, epoch_one, vec![event(1, Some("k")), event(2, None)]),
        append(two, epoch_two, vec![event(1, None)]),
        append(one, epoch_one, vec![event(3, None)]),
    ];
    assert!(end.log.commit(&group).unwrap().iter().all(Result::is_ok));
    end.write(append(two, epoch_two, vec![event(2, None)])).unwrap();
    (one, two)
}

#[test]
fn a_scan_gives_each_event_of_each_log_once_in_the_order_of_the_commits() {
    for disk in Disk::both() {
        let mut end = disk.open();
        assert_eq!(end.scanned(Position::START, 10, usize::MAX), []);
        let (one, two) = two_logs(&mut end);
        let all = end.scanned(Position::START, 10, usize::MAX);
        let events: Vec<_> = all.iter().map(|(_, log, id)| (*log, *id)).collect();
        assert_eq!(events, [(one.key, 1), (one.key, 2), (two.key, 1), (one.key, 3), (two.key, 2)]);
        assert!(all.is_sorted());
        for (events_max, bytes_max) in [(1, usize::MAX), (2, usize::MAX), (10, 1), (10, 15)] {
            assert_eq!(
                end.scanned(Position::START, events_max, bytes_max),
                all,
                "{events_max} events, {bytes_max} bytes"
            );
        }
        let (third, _, _) = all[2];
        assert_eq!(end.scanned(third, 10, usize::MAX), all[3..]);
        let mut page = ScannedPage::default();
        end.reader.scan(&mut page, Position::START, 1, usize::MAX).unwrap();
        let first = page.rows().next().unwrap().event.to_event();
        assert_eq!(first, event(1, Some("k")), "with all that its row has");
    }
}

#[test]
fn a_scan_goes_on_with_what_was_committed_meanwhile() {
    for disk in Disk::both() {
        let (mut end, mut beside) = (disk.open(), disk.open());
        two_logs(&mut end);
        let before = end.scanned(Position::START, 10, usize::MAX);
        let (last, _, _) = *before.last().unwrap();
        assert_eq!(end.scanned(last, 10, usize::MAX), []);
        let (three, epoch) = beside.register("three");
        beside.write(append(three, epoch.unwrap(), vec![event(1, None)])).unwrap();
        let behind = end.scanned(last, 10, usize::MAX);
        assert_eq!(behind.iter().map(|(_, log, id)| (*log, *id)).collect::<Vec<_>>(), [(three.key, 1)]);
    }
}

#[test]
fn a_scan_leaves_out_the_events_of_deleted_logs() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    let (one, two) = two_logs(&mut end);
    disk.beside().execute("INSERT INTO deleted_logs VALUES (?1, 0)", [one.key.0]).unwrap();
    for events_max in [1, 10] {
        let left = end.scanned(Position::START, events_max, usize::MAX);
        assert_eq!(left.iter().map(|(_, log, id)| (*log, *id)).collect::<Vec<_>>(), [(two.key, 1), (two.key, 2)]);
    }
}

#[test]
fn a_scan_names_the_event_that_it_cannot_read() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    two_logs(&mut end);
    disk.beside().execute("UPDATE events SET chain = x'00' WHERE position = 4", []).unwrap();
    let reason = end.scan_error();
    assert!(reason.starts_with("event 3 of session one, at position 4, cannot be read"), "{reason}");
}
