//! Goal: a blob that a store has acknowledged is there, undamaged, whatever fails meanwhile. Method: one contract body
//! on both stores; for files, a record of every durable operation, and each of them failed in turn.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind as Fault;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use tempfile::TempDir;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::memory::{MemoryBlobMap, MemoryBlobs};
use crate::sqlite::blobs::fault::FaultyFiles;

const BYTES_MAX: u64 = 1 << 20;

/// A file store on a directory of its own, with its operations watched.
struct OnDisk {
    root: TempDir,
    files: FaultyFiles,
    store: FileBlobs,
}

impl OnDisk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["blobs", "tmp"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let (store, files) = open(root.path(), BYTES_MAX);
        Self { root, files, store }
    }

    fn blobs(&self) -> PathBuf {
        self.root.path().join("blobs")
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.blobs().join(&name[..2]).join(name)
    }

    fn temporaries(&self) -> usize {
        fs::read_dir(self.root.path().join("tmp")).unwrap().count()
    }

    /// Another store object on the same files, that knows nothing yet.
    fn reopened(&self) -> FileBlobs {
        open(self.root.path(), BYTES_MAX).0
    }

    /// The same files as a store of views.
    fn of_snapshots(&self) -> FileBlobs {
        let files = Arc::new(self.files.clone());
        FileBlobs::of_snapshots(files, &self.blobs(), &self.root.path().join("tmp"), BYTES_MAX)
    }

    /// What was done since the last call, with paths below the directory; the name of a temporary does not matter.
    fn operations(&self) -> Vec<String> {
        let shown = |path: &Path| match path.strip_prefix(self.root.path()).unwrap() {
            path if path.starts_with("tmp") => "tmp".to_owned(),
            path => path.display().to_string(),
        };
        self.files.take_operations().iter().map(|(name, path)| format!("{name} {}", shown(path))).collect()
    }
}

fn open(root: &Path, bytes_max: u64) -> (FileBlobs, FaultyFiles) {
    let files = FaultyFiles::default();
    (FileBlobs::new(Arc::new(files.clone()), &root.join("blobs"), &root.join("tmp"), bytes_max), files)
}

fn count_files(blobs: &Path) -> usize {
    fs::read_dir(blobs).unwrap().map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}

/// The contract, on two stores of one medium: the second sees what the first has put.
fn keep_the_contract(store: &dyn BlobStore, other: &dyn BlobStore) {
    let text = "{\"a\":1}";
    let put = store.put(text.as_bytes()).unwrap();
    assert_eq!(put, Put { digest: codec::digest(text.as_bytes()), bytes: 7, existed: false });
    assert_eq!(store.get(&put.digest).unwrap(), text.as_bytes());
    assert!(store.is_known_durable(&put.digest, put.bytes));

    // Text and JSON of equal bytes share one blob; so do two stores.
    assert_eq!(store.put(text.as_bytes()).unwrap(), Put { existed: true, ..put });
    assert_eq!(other.put(text.as_bytes()).unwrap(), Put { existed: true, ..put });
    assert_eq!(other.get(&put.digest).unwrap(), text.as_bytes());

    let missing = codec::digest(b"never put");
    assert!(matches!(store.get(&missing).unwrap_err(), BlobError::Missing { digest } if digest == missing));
    assert!(!store.ensure_durable(&missing, 9).unwrap());
    assert!(!store.is_known_durable(&missing, 9));

    assert!(!store.is_known_durable(&put.digest, put.bytes + 1));
    for store in [store, other] {
        let wrong = store.ensure_durable(&put.digest, put.bytes - 1).unwrap_err();
        assert!(matches!(wrong, BlobError::OtherLength { digest, wanted: 6, stored: 7 } if digest == put.digest));
    }

    let empty = store.put(b"").unwrap();
    assert_eq!((empty.bytes, store.get(&empty.digest).unwrap().len()), (0, 0));
    let long: Vec<u8> = (0..300_001_u32).map(|n| n as u8).collect();
    let put = store.put(&long).unwrap();
    assert_eq!(other.get(&put.digest).unwrap(), long);
    assert!(other.ensure_durable(&put.digest, put.bytes).unwrap());
    assert!(other.is_known_durable(&put.digest, put.bytes));

    let too_large = store.put(&vec![7; 1 + BYTES_MAX as usize]).unwrap();
    assert!(matches!(store.get(&too_large.digest).unwrap_err(),
        BlobError::TooLarge { size, limit: BYTES_MAX } if size == BYTES_MAX + 1));
    store.rescan().unwrap();
    assert_eq!(store.get(&put.digest).unwrap(), long);
    assert!(store.ensure_durable(&put.digest, put.bytes).unwrap());

    // All threads put the same bytes, and each puts its own.
    let start = Barrier::new(16);
    let digests: HashSet<Digest> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16_usize)
            .map(|n| {
                let (start, store) = (&start, if n % 2 == 0 { store } else { other });
                scope.spawn(move || {
                    start.wait();
                    let own = store.put(format!("own {n}").as_bytes()).unwrap();
                    assert!(!own.existed);
                    assert_eq!(store.get(&own.digest).unwrap(), format!("own {n}").as_bytes());
                    store.put(b"the same").unwrap().digest
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(digests, HashSet::from([codec::digest(b"the same")]));
    assert_eq!(other.get(&codec::digest(b"the same")).unwrap(), b"the same");
}

#[test]
fn the_memory_store_keeps_the_contract() {
    let blobs = MemoryBlobMap::default();
    let store = || MemoryBlobs::new(blobs.clone(), BYTES_MAX);
    keep_the_contract(&store(), &store());
}

#[test]
fn the_file_store_keeps_the_contract_with_one_file_for_equal_bytes() {
    let disk = OnDisk::new();
    let other_tmp = disk.root.path().join("tmp-of-the-other");
    fs::create_dir(&other_tmp).unwrap();
    let other = FileBlobs::new(Arc::new(disk.files.clone()), &disk.blobs(), &other_tmp, BYTES_MAX);
    keep_the_contract(&disk.store, &other);
    assert_eq!(count_files(&disk.blobs()), 4 + 16 + 1);
    assert_eq!((disk.temporaries(), fs::read_dir(other_tmp).unwrap().count()), (0, 0));
}

#[test]
fn a_blobs_file_name_is_the_blake3_of_its_content_and_only_its_owner_can_read_it() {
    let disk = OnDisk::new();
    let put = disk.store.put(b"abc").unwrap();
    // `printf abc | b3sum`
    let name = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    assert_eq!(put.digest.to_string(), name);
    assert_eq!(fs::read(disk.blobs().join("64").join(name)).unwrap(), b"abc");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&disk.path(&put.digest)), 0o600);
    assert_eq!(mode(&disk.blobs().join("64")), 0o700);
}

#[test]
fn a_put_syncs_file_then_renames_then_syncs_every_directory_above_the_name() {
    let disk = OnDisk::new();
    let name = disk.store.put(b"abc").unwrap().digest.to_string();
    let expected = [
        "create_directory blobs/64".to_owned(),
        "sync_directory blobs".to_owned(),
        "create_file tmp".to_owned(),
        "write tmp".to_owned(),
        "sync_file tmp".to_owned(),
        format!("rename blobs/64/{name}"),
        "sync_directory blobs/64".to_owned(),
    ];
    assert_eq!(disk.operations(), expected);
    disk.store.put(b"abc").unwrap();
    assert_eq!(disk.operations(), [""; 0], "what is known to be durable costs nothing");
}

#[test]
fn a_large_blob_is_written_past_the_cache_and_a_large_stored_view_is_not() {
    let disk = OnDisk::new();
    let large = vec![b'x'; crate::sqlite::blobs::UNCACHED_BYTES_MIN];
    let written = |operations: Vec<String>| operations.into_iter().filter(|done| done.starts_with("write")).collect();
    let mut all: Vec<String> = Vec::new();
    let snapshots = disk.root.path().join("snapshots");
    fs::create_dir(&snapshots).unwrap();
    let tmp = disk.root.path().join("tmp");
    let views = FileBlobs::of_snapshots(Arc::new(disk.files.clone()), &snapshots, &tmp, BYTES_MAX);
    for (store, bytes) in [(&disk.store, &large[1..]), (&disk.store, &large), (&views, &large)] {
        let digest = store.put(bytes).unwrap().digest;
        assert!(store.get(&digest).unwrap() == bytes);
        let here: Vec<String> = written(disk.operations());
        all.extend(here);
    }
    assert_eq!(all, ["write tmp", "write_uncached tmp", "write tmp"]);
}

#[test]
fn a_blob_that_is_found_is_synced_with_every_directory_above_it_before_it_counts() {
    let disk = OnDisk::new();
    let digest = disk.store.put(b"abc").unwrap().digest;
    disk.operations();
    let found = [
        "sync_directory blobs".to_owned(),
        format!("sync_file blobs/64/{digest}"),
        "sync_directory blobs/64".to_owned(),
    ];

    let (putting, files) = open(disk.root.path(), BYTES_MAX);
    let disk = OnDisk { files, ..disk };
    assert!(putting.put(b"abc").unwrap().existed);
    assert_eq!(disk.operations(), found);

    let (checking, files) = open(disk.root.path(), BYTES_MAX);
    let disk = OnDisk { files, ..disk };
    assert!(!checking.is_known_durable(&digest, 3));
    assert!(checking.ensure_durable(&digest, 3).unwrap());
    assert_eq!(disk.operations(), found);
    assert!(checking.is_known_durable(&digest, 3));
}

#[test]
fn stored_views_are_named_when_they_are_complete_and_nothing_of_them_is_synced() {
    let disk = OnDisk::new();
    let name = disk.of_snapshots().put(b"abc").unwrap().digest.to_string();
    let expected = [
        "create_directory blobs/64".to_owned(),
        "create_file tmp".to_owned(),
        "write tmp".to_owned(),
        format!("rename blobs/64/{name}"),
    ];
    assert_eq!(disk.operations(), expected);
    let again = disk.of_snapshots();
    assert!(again.put(b"abc").unwrap().existed);
    assert!(again.ensure_durable(&codec::digest(b"abc"), 3).unwrap());
    assert_eq!(disk.operations(), [""; 0]);
}

#[test]
fn a_damaged_file_is_found_by_every_read_and_healed_by_a_put_of_the_same_bytes() {
    let damages: [fn(&Path); 5] = [
        |path| fs::write(path, [0; 10]).unwrap(),
        |path| fs::write(path, b"some bytez").unwrap(),
        |path| fs::write(path, b"some").unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, b"some bytes and more").unwrap(),
    ];
    let opened: [fn(&OnDisk) -> FileBlobs; 2] = [OnDisk::reopened, OnDisk::of_snapshots];
    for (damage, open) in damages.into_iter().flat_map(|damage| opened.map(|open| (damage, open))) {
        let disk = OnDisk::new();
        let digest = disk.store.put(b"some bytes").unwrap().digest;
        damage(&disk.path(&digest));

        let store = open(&disk);
        assert!(matches!(store.get(&digest).unwrap_err(), BlobError::Corrupt { digest: damaged } if damaged == digest));
        assert!(matches!(store.ensure_durable(&digest, 10).unwrap_err(), BlobError::Corrupt { .. }));
        assert!(!store.is_known_durable(&digest, 10));

        assert!(!store.put(b"some bytes").unwrap().existed);
        assert_eq!(store.get(&digest).unwrap(), b"some bytes");
        assert!(disk.reopened().ensure_durable(&digest, 10).unwrap());
        assert_eq!((count_files(&disk.blobs()), disk.temporaries()), (1, 0));
    }
}

#[test]
fn a_put_that_fails_anywhere_says_so_leaves_no_temporary_and_can_be_repeated() {
    let large = vec![b'x'; crate::sqlite::blobs::UNCACHED_BYTES_MIN + 1];
    for (setup, content, operations) in [
        ("new", &b"some bytes"[..], 7),
        ("new", &large, 7),
        ("found", b"some bytes", 3),
        ("damaged", b"some bytes", 6),
        ("damaged", &large, 6),
    ] {
        for kind in [Fault::StorageFull, Fault::PermissionDenied] {
            for skipped in 0..operations {
                let disk = OnDisk::new();
                let digest = codec::digest(content);
                if setup != "new" {
                    disk.store.put(content).unwrap();
                }
                if setup == "damaged" {
                    fs::write(disk.path(&digest), b"some").unwrap();
                }
                let (store, files) = open(disk.root.path(), BYTES_MAX);
                files.fail_after(skipped, kind);
                let at = format!("{setup}, {} bytes, operation {skipped}, {kind}", content.len());
                let error = store.put(content).expect_err(&at);
                let BlobError::Medium(error) = error else { panic!("{at}: {error}") };
                let is_disk_full = matches!(error.kind(), ErrorKind::DiskFull);
                assert_eq!(is_disk_full, kind == Fault::StorageFull, "{at}: {error}");
                assert!(error.to_string().contains(disk.root.path().to_str().unwrap()), "{at}: {error}");
                assert_eq!(disk.temporaries(), 0, "{at}");
                assert!(!store.is_known_durable(&digest, content.len() as u64), "{at}");
                match disk.reopened().get(&digest) {
                    Ok(bytes) => assert!(bytes == content, "{at}"),
                    Err(BlobError::Missing { .. }) => assert_eq!(setup, "new", "{at}"),
                    Err(BlobError::Corrupt { .. }) => assert_eq!(setup, "damaged", "{at}"),
                    Err(error) => panic!("{at}: {error}"),
                }
                store.put(content).expect(&at);
                assert!(store.is_known_durable(&digest, content.len() as u64), "{at}");
                assert!(store.get(&digest).expect(&at) == content);
                assert!(!files.disarm());
            }
        }
        // One operation further, and the put does not meet the fault: the counts above are complete.
        let disk = OnDisk::new();
        if setup != "new" {
            disk.store.put(content).unwrap();
        }
        if setup == "damaged" {
            fs::write(disk.path(&codec::digest(content)), b"some").unwrap();
        }
        let (store, files) = open(disk.root.path(), BYTES_MAX);
        files.fail_after(operations, Fault::PermissionDenied);
        store.put(content).unwrap();
        assert!(files.disarm(), "{setup}");
    }
}

#[test]
fn after_a_failed_sync_what_is_found_is_written_afresh() {
    // The kernel reports lost pages once: a second sync of the same file would succeed and prove nothing.
    for skipped in 0..3 {
        let disk = OnDisk::new();
        let digest = disk.store.put(b"some bytes").unwrap().digest;
        for repeat in [
            |store: &FileBlobs| store.put(b"some bytes").map(|_| ()),
            |store: &FileBlobs| store.ensure_durable(&codec::digest(b"some bytes"), 10).map(|_| ()),
        ] {
            let (store, files) = open(disk.root.path(), BYTES_MAX);
            files.fail_after(skipped, Fault::Other);
            repeat(&store).unwrap_err();
            files.take_operations();
            repeat(&store).unwrap();
            let done: Vec<_> = files.take_operations().into_iter().map(|(name, _)| name).collect();
            assert!(done.ends_with(&["create_file", "write", "sync_file", "rename", "sync_directory"]), "{done:?}");
            assert!(store.is_known_durable(&digest, 10));
        }
    }
}

#[test]
fn a_file_in_place_of_the_shard_directory_fails_the_put_and_leaves_no_temporary() {
    let disk = OnDisk::new();
    let digest = codec::digest(b"abc");
    fs::write(disk.blobs().join("64"), b"").unwrap();
    assert!(matches!(disk.store.put(b"abc").unwrap_err(), BlobError::Medium(_)));
    assert!(matches!(disk.store.get(&digest).unwrap_err(), BlobError::Medium(_)));
    assert_eq!(disk.temporaries(), 0);
    assert!(!disk.store.is_known_durable(&digest, 3));

    fs::remove_file(disk.blobs().join("64")).unwrap();
    assert!(!disk.store.put(b"abc").unwrap().existed);
    assert_eq!(disk.store.get(&digest).unwrap(), b"abc");
}

#[test]
fn a_shard_directory_that_was_removed_comes_back_with_the_second_put() {
    let disk = OnDisk::new();
    disk.store.put(b"abc").unwrap();
    fs::remove_dir_all(disk.blobs().join("64")).unwrap();
    let same_shard =
        (0_u32..).map(|n| n.to_string()).find(|text| codec::digest(text.as_bytes()).as_bytes()[0] == 0x64).unwrap();
    assert!(matches!(disk.store.put(same_shard.as_bytes()).unwrap_err(), BlobError::Medium(_)));
    assert!(!disk.store.put(same_shard.as_bytes()).unwrap().existed);
}

#[test]
fn what_was_put_while_another_directory_was_in_the_place_is_not_taken_for_stored_afterwards() {
    let disk = OnDisk::new();
    let aside = disk.root.path().join("aside");
    let known = disk.store.put(b"known").unwrap();
    fs::rename(disk.blobs(), &aside).unwrap();
    fs::create_dir(disk.blobs()).unwrap();
    assert!(matches!(disk.store.put(b"abc").unwrap_err(), BlobError::Medium(_)));
    assert!(matches!(disk.store.put(b"known").unwrap_err(), BlobError::Medium(_)));
    let elsewhere = codec::digest(b"abc");
    assert!(matches!(disk.store.ensure_durable(&elsewhere, 3).unwrap_err(), BlobError::Medium(_)));
    fs::remove_dir_all(disk.blobs()).unwrap();
    fs::rename(&aside, disk.blobs()).unwrap();

    assert!(!disk.store.is_known_durable(&elsewhere, 3));
    assert!(!disk.store.ensure_durable(&elsewhere, 3).unwrap());
    disk.operations();
    assert!(!disk.store.put(b"abc").unwrap().existed);
    // Its shard was made in the other directory: that it was synced there proves nothing here.
    assert_eq!(
        disk.operations().iter().take(2).collect::<Vec<_>>(),
        ["create_directory blobs/64", "sync_directory blobs"]
    );
    assert_eq!(disk.store.get(&elsewhere).unwrap(), b"abc");
    assert!(disk.store.put(b"known").unwrap().existed);
    assert_eq!(disk.store.get(&known.digest).unwrap(), b"known");
}

#[test]
fn a_blob_whose_file_has_gone_or_changed_its_length_is_not_known_and_the_next_put_writes_it() {
    let damages: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, b"ab").unwrap(),
        |path| fs::write(path, b"").unwrap(),
    ];
    for damage in damages {
        let disk = OnDisk::new();
        let digest = disk.store.put(b"abc").unwrap().digest;
        damage(&disk.path(&digest));
        assert!(!disk.store.is_known_durable(&digest, 3));
        assert!(!disk.store.ensure_durable(&digest, 3).unwrap_or_default());
        assert!(!disk.store.put(b"abc").unwrap().existed);
        assert_eq!(disk.store.get(&digest).unwrap(), b"abc");

        damage(&disk.path(&digest));
        assert!(!disk.store.put(b"abc").unwrap().existed, "also when nobody has looked since");
        assert_eq!(disk.store.get(&digest).unwrap(), b"abc");
        assert!(disk.store.is_known_durable(&digest, 3));
    }
}

#[test]
fn a_rescan_forgets_what_was_known_and_puts_the_directories_in_order() {
    let disk = OnDisk::new();
    let digest = disk.store.put(b"abc").unwrap().digest;
    fs::write(disk.root.path().join("tmp/17"), b"left over").unwrap();
    fs::remove_dir_all(disk.blobs()).unwrap();
    assert!(!disk.store.is_known_durable(&digest, 3));
    assert!(matches!(disk.store.put(b"abc").unwrap_err(), BlobError::Medium(_)));

    disk.store.rescan().unwrap();
    assert!(!disk.store.is_known_durable(&digest, 3));
    assert!(!disk.store.ensure_durable(&digest, 3).unwrap());
    assert_eq!(disk.temporaries(), 0);
    assert_eq!(fs::metadata(disk.blobs()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!disk.store.put(b"abc").unwrap().existed);
    assert_eq!(disk.store.get(&digest).unwrap(), b"abc");
}

#[test]
fn a_rescan_says_when_there_is_no_directory_to_put_in_order() {
    let disk = OnDisk::new();
    fs::remove_dir_all(disk.blobs()).unwrap();
    fs::write(disk.blobs(), b"").unwrap();
    assert!(matches!(disk.store.rescan().unwrap_err(), BlobError::Medium(_)));
}

#[test]
fn a_file_over_the_limit_is_refused_by_get_unread_and_still_counts_as_durable() {
    let disk = OnDisk::new();
    let digest = disk.store.put(&[7; 1000]).unwrap().digest;
    let (small, _) = open(disk.root.path(), 999);
    assert!(matches!(small.get(&digest).unwrap_err(), BlobError::TooLarge { size: 1000, limit: 999 }));
    assert!(small.ensure_durable(&digest, 1000).unwrap());
    assert_eq!(open(disk.root.path(), 1000).0.get(&digest).unwrap().len(), 1000);
}

#[test]
fn a_blob_error_becomes_the_public_kind_that_says_what_to_do() {
    let digest = codec::digest(b"abc");
    let (what, path) = ("cannot write", PathBuf::from("/x"));
    let io = |kind: Fault| Error::from(BlobError::from(FileError { what, path: path.clone(), source: kind.into() }));
    assert!(matches!(Error::from(BlobError::Missing { digest }).kind(), ErrorKind::UnknownBlob { .. }));
    assert!(matches!(Error::from(BlobError::Corrupt { digest }).kind(), ErrorKind::CorruptBlob { .. }));
    let too_large = Error::from(BlobError::TooLarge { size: 9, limit: 8 });
    assert!(too_large.to_string().starts_with("blob is 9 bytes, limit is 8: store it in parts"), "{too_large}");
    assert!(matches!(io(Fault::StorageFull).kind(), ErrorKind::DiskFull));
    assert!(matches!(io(Fault::QuotaExceeded).kind(), ErrorKind::DiskFull));
    assert_eq!(
        io(Fault::StorageFull).to_string(),
        "the disk is full: free some space, then make the call again: cannot write /x: no storage space"
    );
    assert_eq!(io(Fault::PermissionDenied).to_string(), "cannot write /x: permission denied");
}
