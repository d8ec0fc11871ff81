//! Goal: a store can be read where one that writes cannot even open: on a full disk, without a free inode, on a
//! read-only mount. Method: small file systems in memory and mounts of a directory at a second place, made by a child
//! process for itself.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use foldlog::{ErrorKind, Store, StoreConfig};

use crate::common::child::Child;
use crate::common::*;
use crate::{Writer, assert_reads, assert_reads_of, assert_untouched, companions, listing, open_to_read, prepared};

/// Runs a part of this file in a process with mounts of its own.
fn in_own_mounts(name: &str) {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    match Child::with_own_mounts("mounts", name, directory.path()) {
        Some(child) => {
            let ended = child.end();
            assert!(ended.status.success(), "{name}: {:?}", ended.lines);
            assert_eq!(ended.lines, ["done"]);
        }
        None => eprintln!("left out, since this process may not mount: {name}"),
    }
}

#[test]
fn on_a_full_disk_a_store_is_read_whatever_it_was_doing() {
    in_own_mounts("full");
}

#[test]
fn without_a_free_inode_a_store_is_read_whatever_it_was_doing() {
    in_own_mounts("no-inode");
}

#[test]
fn on_a_read_only_mount_a_store_is_read_whatever_it_was_doing() {
    in_own_mounts("read-only");
}

#[test]
fn through_a_read_only_mount_the_commits_of_a_store_that_writes_elsewhere_are_seen() {
    in_own_mounts("second-mount");
}

pub(crate) async fn run(name: &str, directory: &Path) {
    match name {
        "full" => full(directory, Mount::fill).await,
        "no-inode" => full(directory, Mount::use_inodes).await,
        "read-only" => read_only(directory).await,
        "second-mount" => second_mount(directory).await,
        other => panic!("no part {other}"),
    }
    child_done();
}

fn child_done() {
    crate::common::child::tell("done");
}

/// A mount, until it is dropped. It goes with this process's mounts in any case.
struct Mount(PathBuf);

impl Mount {
    fn new(place: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(place).status().unwrap();
        assert!(mounted.success(), "mount {arguments:?}");
        Self(place.to_owned())
    }

    fn small(place: &Path) -> Self {
        Self::new(place, &["-t", "tmpfs", "-o", "size=8m,nr_inodes=300", "foldlog"])
    }

    fn set_read_only(&self) {
        let mounted = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&self.0).status().unwrap();
        assert!(mounted.success());
        assert!(File::create(self.0.join("file")).is_err(), "nothing can be made");
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        assert!(file.write_all(b"x").is_err());
    }

    fn use_inodes(&self) {
        std::fs::create_dir(self.0.join("fillers")).unwrap();
        let made = (0..1000).take_while(|n| File::create(self.0.join("fillers").join(n.to_string())).is_ok()).count();
        assert!(made < 1000, "no inode is left");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Fails while a file there is open, after a panic for one.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What a store was doing when the disk became full or could not be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Closed,
    Killed,
    /// And its index of the write-ahead log did not come along, as in a copy.
    KilledWithoutIndex,
    Writes,
}

/// Makes a store. Gives the process that writes it, if one does, and how many events it has added.
fn leave(store: &Path, last: Last) -> (Option<Writer>, u64) {
    if last == Last::Closed {
        return (None, 0);
    }
    let mut writer = Writer::start(store);
    writer.add();
    writer.add();
    if last == Last::Writes {
        return (Some(writer), 2);
    }
    writer.kill();
    if last == Last::KilledWithoutIndex {
        std::fs::remove_file(store.join("events.db-shm")).unwrap();
    }
    assert!(companions(store).contains(&"events.db-wal"));
    (None, 2)
}

async fn full(directory: &Path, fill: fn(&Mount)) {
    for last in [Last::Closed, Last::Killed, Last::Writes, Last::KilledWithoutIndex] {
        let mount = Mount::small(directory);
        let store = directory.join("store");
        let blob = prepared(&store).await;
        let (writer, added) = leave(&store, last);
        fill(&mount);
        let before = listing(&store);
        // As on a file system that does not give the space back at once when SQLite makes the index anew.
        if last == Last::KilledWithoutIndex && !can_make(&store) {
            // SQLite must make the index, for others may come to write at any moment.
            let refused = soon(Store::<Tally>::open_model_read_only(StoreConfig::directory(&store))).await;
            let error = refused.err().unwrap();
            let is_named = matches!(error.kind(), ErrorKind::UnsuitablePlace { .. } | ErrorKind::DiskFull);
            assert!(is_named && error.to_string().contains("events.db-shm"), "{error:?}");
        } else {
            for _ in 0..2 {
                assert_reads(&store, blob, added).await;
            }
        }
        assert_untouched(&store, &before);
        // This is what it is for.
        assert!(soon(Store::<Tally>::open_model(StoreConfig::directory(&store))).await.is_err(), "{last:?}");
        if let Some(writer) = writer {
            writer.kill();
        }
        drop(mount);
    }
}

/// Whether a file can be made, if not filled.
fn can_make(directory: &Path) -> bool {
    let path = directory.join("file");
    File::create(&path).is_ok_and(|_| std::fs::remove_file(path).is_ok())
}

async fn read_only(directory: &Path) {
    for last in [Last::Closed, Last::Killed, Last::KilledWithoutIndex] {
        let mount = Mount::small(directory);
        let store = directory.join("store");
        let blob = prepared(&store).await;
        let (_, added) = leave(&store, last);
        let had = companions(&store);
        mount.set_read_only();
        let before = listing(&store);
        for _ in 0..2 {
            assert_reads(&store, blob, added).await;
        }
        assert_untouched(&store, &before);
        assert_eq!(companions(&store), had);
        assert!(soon(Store::<Tally>::open_model(StoreConfig::directory(&store))).await.is_err(), "{last:?}");
        drop(mount);
    }
}

async fn second_mount(directory: &Path) {
    for last in [Last::Closed, Last::Killed, Last::KilledWithoutIndex] {
        let (store, second) = (directory.join(format!("store-{last:?}")), directory.join("second"));
        let blob = prepared(&store).await;
        let (_, mut added) = leave(&store, last);
        let mount = Mount::new(&second, &["--bind", store.to_str().unwrap()]);
        mount.set_read_only();
        let reader = open_to_read(&StoreConfig::directory(&second)).await;
        assert_reads_of(&reader, blob, added).await;
        for is_killed in [false, true, false] {
            let mut writer = Writer::start(&store);
            for _ in 0..3 {
                writer.add();
                added += 1;
                assert_reads_of(&reader, blob, added).await;
            }
            if is_killed {
                writer.kill()
            } else {
                writer.close()
            }
            assert_reads_of(&reader, blob, added).await;
        }
        soon(reader.close()).await.unwrap();
        drop(mount);
    }
}
