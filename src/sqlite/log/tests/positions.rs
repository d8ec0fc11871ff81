//! Goal: a position is given once, also where the events at the end of the table were deleted. Method: delete rows as a
//! later build does, which notes the highest position and marks the log.

use super::*;

impl Disk {
    fn positions(&self) -> Vec<i64> {
        let connection = self.beside();
        let mut positions = connection.prepare("SELECT position FROM events ORDER BY position").unwrap();
        positions.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

/// A directory with the logs `kept` and `gone`, the events of the second last, and all of its rows deleted.
fn with_a_deleted_log() -> (Disk, LogMeta) {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    let ((kept, epoch), (gone, epoch_of_gone)) = (end.register("kept"), end.register("gone"));
    end.write(append(kept, epoch.unwrap(), vec![event(1, None), event(2, None)])).unwrap();
    end.write(append(gone, epoch_of_gone.unwrap(), vec![event(1, None), event(2, None)])).unwrap();
    end.write(append(gone, epoch_of_gone.unwrap(), vec![event(3, None)])).unwrap();
    end.log.close().unwrap();
    drop(end.reader);
    assert_eq!(disk.positions(), [1, 2, 3, 4, 5]);
    let delete =
        "BEGIN; INSERT INTO meta VALUES ('highest_position', '5'); DELETE FROM sessions WHERE session_id = 'gone';
         INSERT INTO deleted_logs VALUES (2, 0); DELETE FROM events WHERE log_key = 2;
         DELETE FROM recent_index WHERE first_position > 2; COMMIT";
    disk.beside().execute_batch(delete).unwrap();
    (disk, kept)
}

#[test]
fn no_position_is_given_again_after_the_last_events_were_deleted() {
    let (disk, kept) = with_a_deleted_log();
    let mut end = disk.open();
    assert_eq!(end.wrong(), [""; 0]);
    assert_eq!(end.ids(kept), [1, 2]);
    let (found, _) = end.register("kept");
    assert_eq!(found, kept);
    let Ok(Written::Fenced { owned: Some(epoch), .. }) = end.write(Write::Fence { log: kept, claim: Claiming::Yes })
    else {
        panic!("its owner is gone")
    };
    // In the first group after it, in the next one, and in one after the index was read again.
    end.write(append(kept, epoch, vec![event(3, None), event(4, None)])).unwrap();
    end.write(append(kept, epoch, vec![event(5, None)])).unwrap();
    disk.beside().execute_batch("UPDATE sessions SET created = created").unwrap();
    end.write(append(kept, epoch, vec![event(6, None)])).unwrap();
    assert_eq!(disk.positions(), [1, 2, 6, 7, 8, 9]);
    assert_eq!(end.ids(kept), [1, 2, 3, 4, 5, 6]);
    assert_eq!(end.wrong(), [""; 0], "positions without an event are no damage");
}

/// Another store of this process has the index in memory when the rows go.
#[test]
fn a_store_that_is_open_gives_no_position_again_either() {
    let disk = Disk::Directory(tempfile::tempdir().unwrap());
    let mut end = disk.open();
    let (log, epoch) = end.register("s");
    let (other, epoch_of_other) = end.register("other");
    end.write(append(log, epoch.unwrap(), vec![event(1, None)])).unwrap();
    end.write(append(other, epoch_of_other.unwrap(), vec![event(1, None)])).unwrap();
    let delete =
        "BEGIN; INSERT INTO meta VALUES ('highest_position', '2'); DELETE FROM sessions WHERE session_id = 'other';
         INSERT INTO deleted_logs VALUES (2, 0); DELETE FROM events WHERE log_key = 2;
         DELETE FROM recent_index WHERE first_position = 2; COMMIT";
    disk.beside().execute_batch(delete).unwrap();
    end.write(append(log, epoch.unwrap(), vec![event(2, None)])).unwrap();
    assert_eq!(disk.positions(), [1, 3]);
    assert_eq!(end.ids(log), [1, 2]);
    assert_eq!(end.wrong(), [""; 0]);
}
