//! The place of a directory: rights, the file system, and free space.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use super::Finding;
use crate::commands::stats::bytes_below;
use crate::terminal::bytes;

/// What a store has in its directory, and what may be missing.
const FILES: [&str; 8] = ["events.db", "events.db-wal", "events.db-shm", "LOCK", "blobs", "snapshots", "tmp", "owners"];
/// File systems over a network, by the beginnings of their names. Their locks and syncs are not what a store needs.
const NETWORKS: [&str; 14] = [
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "gpfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.gcsfuse",
    "fuse.glusterfs",
];
/// A checkpoint needs no more than the write-ahead log, and something for what is appended meanwhile.
const RESERVE: u64 = 64 << 20;

/// Whether this process may read and write what is there.
pub(super) fn rights(directory: &Path) -> Vec<Finding> {
    if !directory.is_dir() {
        let says = format!("{} is no directory, or cannot be reached", directory.display());
        return vec![Finding::problem("rights", says, "name the directory of a store with --dir, or in FOLDLOG_DIR")];
    }
    let there =
        || std::iter::once(directory.to_owned()).chain(FILES.map(|name| directory.join(name))).filter(|it| it.exists());
    let lacking = |wanted| -> Vec<PathBuf> { there().filter(|path| access(path, wanted).is_err()).collect() };
    let mut findings = Vec::new();
    let (unread, unwritten) = (lacking(Access::READ_OK), lacking(Access::WRITE_OK));
    if !unread.is_empty() {
        let advice = "run this as the user of the host, or give this user the right";
        findings.push(Finding::problem("rights", format!("this user may not read {}", names(&unread)), advice));
    }
    if !unwritten.is_empty() {
        let advice = "that is enough to look; to change something, run as the user of the host";
        findings.push(Finding::note("rights", format!("this user may not write {}", names(&unwritten)), advice));
    }
    let is_open_to_all = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        path.metadata().is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
    };
    let outer = directory.metadata().is_ok_and(|it| {
        use std::os::unix::fs::PermissionsExt as _;
        it.permissions().mode() & 0o001 != 0
    });
    let database = directory.join("events.db");
    if outer && is_open_to_all(&database) {
        let advice = format!("chmod o= {}", database.display());
        findings.push(Finding::note("rights", "every user of this machine can read events.db", advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("rights", "this user may read and write all of it"));
    }
    findings
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// Of which kind the file system is.
pub(super) fn file_system(directory: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kind = directory.canonicalize().ok().and_then(|path| kind_of(&mounts, &path));
    match kind.as_deref() {
        None => findings.push(Finding::note(
            "file system",
            "of which kind it is cannot be told here",
            "keep stores on a local one",
        )),
        Some(kind) if NETWORKS.iter().any(|network| kind.starts_with(network)) => findings.push(Finding::problem(
            "file system",
            format!("{kind} is a file system over a network: locks and syncs there may not hold what a store promises"),
            "move the store to a local file system, and copy with `foldlog backup`",
        )),
        Some(kind @ ("tmpfs" | "ramfs")) => findings.push(Finding::note(
            "file system",
            format!("{kind} is in memory: all of the store is gone after a restart of the machine"),
            "keep what must last on a disk",
        )),
        Some("overlay") => findings.push(Finding::note(
            "file system",
            "overlay is a layer of a container: the store goes with the container",
            "keep what must last in a volume",
        )),
        Some(kind) => findings.push(Finding::ok("file system", format!("{kind}, a local one"))),
    }
    if statvfs(directory).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        findings.push(Finding::note(
            "file system",
            "it is mounted read-only",
            "mount it for writing before a host opens the store",
        ));
    }
    findings
}

/// The kind of the file system on which a path is, of the text of `mountinfo`.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let place = before.split(' ').nth(4)?.replace("\\040", " ");
        Some((PathBuf::from(place), after.split(' ').next()?.to_owned()))
    };
    // The innermost, and of those at one place the last, which hides the others.
    let around = mounts.lines().filter_map(mount).filter(|(place, _)| path.starts_with(place));
    around.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind)
}

/// Whether there is room.
pub(super) fn space(directory: &Path) -> Vec<Finding> {
    let Ok(found) = statvfs(directory) else {
        return vec![Finding::note("space", "how much is free cannot be told", "look with `df`")];
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let wal = directory.join("events.db-wal").metadata().map_or(0, |file| file.len());
    let all = bytes_below(directory);
    let mut findings = Vec::new();
    if found.f_files > 0 && found.f_favail == 0 {
        findings.push(Finding::problem(
            "space",
            "no file can be made: there is no free inode",
            "remove files, or move the store",
        ));
    }
    findings.push(if free < wal.saturating_add(RESERVE) {
        let says = format!("{} free, and a checkpoint may need {}", bytes(free), bytes(wal.saturating_add(RESERVE)));
        Finding::problem(
            "space",
            says,
            "free some space: a store on a full disk refuses appends, and goes on by itself afterwards",
        )
    } else if free < all {
        let says = format!("{} free, which is less than the store has ({})", bytes(free), bytes(all));
        Finding::note("space", says, "enough for a checkpoint; make backups and repairs on another file system")
    } else {
        Finding::ok("space", format!("{} free; the store has {}", bytes(free), bytes(all)))
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      35 21 0:30 / /mnt/a\\040b rw - nfs4 server:/x rw\n\
                      36 21 0:31 / /mnt rw - xfs /dev/sdb rw\n\
                      37 36 0:32 / /mnt rw - tmpfs tmpfs rw\n";
        let kind = |path: &str| kind_of(mounts, Path::new(path)).unwrap();
        assert_eq!(["/home/x", "/mnt/a b/store", "/mnt/other", "/mnta"].map(kind), ["ext4", "nfs4", "tmpfs", "ext4"]);
        assert_eq!(kind_of("", Path::new("/")), None);
        assert!(NETWORKS.iter().any(|network| "nfs4".starts_with(network)));
    }
}
