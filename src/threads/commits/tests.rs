//! Goal: whoever follows a log is told of what others commit, for as long as it follows, and the thread that asks the
//! log is there only meanwhile. Method: a log in memory that another store writes, and a follower that tells over a
//! channel.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::id::{SessionId, Timestamp};
use crate::memory::{MemoryDisk, MemoryEnd};
use crate::port::{LogMedium, Write};

const PATIENCE: Duration = Duration::from_secs(60);

struct Telling(Mutex<Sender<&'static str>>);

impl Follower for Telling {
    fn committed(self: Arc<Self>) {
        let _ = lock(&self.0).send("committed");
    }

    fn closed(self: Arc<Self>) {
        let _ = lock(&self.0).send("closed");
    }
}

fn telling() -> (Arc<Telling>, Receiver<&'static str>) {
    let (sender, receiver) = channel();
    (Arc::new(Telling(Mutex::new(sender))), receiver)
}

fn end(disk: &MemoryDisk) -> Arc<MemoryEnd> {
    Arc::new(MemoryEnd::open(disk.clone(), "t", Timestamp::default()).unwrap())
}

fn write(end: &MemoryEnd, name: &str) {
    let write = Write::Register { session: SessionId::new(name).unwrap(), at: Timestamp::default() };
    end.writer().unwrap().commit(&[write]).unwrap();
}

fn is_watched(commits: &Commits) -> bool {
    lock(&commits.following).is_watched
}

/// Waits for the thread, which was told to end.
fn join(commits: &Commits) {
    let thread = lock(&commits.following).thread.take();
    thread.unwrap().join().unwrap();
}

#[test]
fn what_another_store_commits_is_told_to_everyone_who_follows() {
    let disk = MemoryDisk::default();
    let (mine, other) = (end(&disk), end(&disk));
    let commits = Arc::new(Commits::of(mine));
    let ((one, told), (two, told_too)) = (telling(), telling());
    commits.follow(Arc::clone(&one) as _).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok("committed"), "the thread has seen how the log was");
    commits.follow(two).unwrap();
    for n in 0..3 {
        write(&other, &format!("s{n}"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("committed"));
        assert_eq!(told_too.recv_timeout(PATIENCE), Ok("committed"));
    }
    commits.leave(Arc::as_ptr(&one));
    write(&other, "left");
    assert_eq!(told_too.recv_timeout(PATIENCE), Ok("committed"));
    assert!(told.try_recv().is_err(), "who has left is not told");
    commits.close();
    assert_eq!(told_too.recv_timeout(PATIENCE), Ok("closed"));
}

#[test]
fn the_thread_ends_with_the_last_who_follows_and_begins_with_the_next() {
    let disk = MemoryDisk::default();
    let commits = Arc::new(Commits::of(end(&disk)));
    assert!(!is_watched(&commits));
    for _ in 0..3 {
        let (follower, told) = telling();
        commits.follow(Arc::clone(&follower) as _).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok("committed"));
        assert!(is_watched(&commits));
        commits.leave(Arc::as_ptr(&follower));
        join(&commits);
        assert!(!is_watched(&commits));
    }
    commits.close();
    assert!(commits.follow(telling().0).is_err());
}

#[test]
fn who_asks_again_is_told_again_though_nothing_changes() {
    let disk = MemoryDisk::default();
    let commits = Arc::new(Commits::of(end(&disk)));
    let (follower, told) = telling();
    commits.follow(follower).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok("committed"));
    commits.tell_again();
    assert_eq!(told.recv_timeout(PATIENCE), Ok("committed"));
    commits.close();
}
