//! The text of an owner file, and which owners are of this process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::open_here;
use crate::error::OwnerInfo;
use crate::id::Timestamp;
use crate::port::OwnerId;

/// The text of an owner file, for people and for error texts. Whether the owner is alive is told by the lock on the
/// file, not by this text.
pub(crate) fn owner_file_text(info: &OwnerInfo) -> String {
    format!("process {}\nhost {}\nsince {}\n", info.process, info.host, info.since.as_micros())
}

/// Reads an owner file as far as it goes: its owner may be writing it just now. [`is_here`] tells what the file does
/// not.
pub(crate) fn parse_owner_file(id: &OwnerId, text: &str) -> OwnerInfo {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    OwnerInfo {
        id: id.as_str().to_owned(),
        process: field("process").and_then(|value| value.parse().ok()).unwrap_or(0),
        host: field("host").unwrap_or(UNKNOWN_HOST).to_owned(),
        since: Timestamp::from_micros(field("since").and_then(|value| value.parse().ok()).unwrap_or(0)),
        in_this_process: false,
    }
}

/// Whether an owner is a store object of this process. Whoever looks whether it is alive, too, asks this first: it may
/// leave in between.
pub(crate) fn is_here(id: &OwnerId) -> bool {
    lock_here().get(id.as_str()) == Some(&std::process::id())
}

/// The owners that are store objects of this process, with its id. What an owner file says does not tell: two
/// containers may have process id and host name in common. A process that was forked has those of its parent, too.
static HERE: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Whether this process was forked from one that had a directory open. SQLite remembers by process which locks it has
/// on a database, and would take those of the parent for its own.
pub(crate) fn is_forked() -> bool {
    open_here::is_forked() || lock_here().values().any(|process| *process != std::process::id())
}

fn lock_here() -> MutexGuard<'static, BTreeMap<String, u32>> {
    HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store object of this process has claimed its name.
pub(crate) fn came(owner: &OwnerInfo) {
    lock_here().insert(owner.id.clone(), owner.process);
}

/// A store object of this process has given up its name.
pub(crate) fn left(owner: &OwnerInfo) {
    lock_here().remove(&owner.id);
}

const UNKNOWN_HOST: &str = "unknown";

/// The name of this host, for people. Linux has the name in a file; elsewhere the shell may have left it in the
/// environment. Asking the system itself would take `unsafe`.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name: String = name.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(255).collect();
    if name.is_empty() { UNKNOWN_HOST.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_file_says_who_its_owner_is_and_half_a_file_says_what_it_can() {
        let id = OwnerId::random().unwrap();
        let info = OwnerInfo {
            id: id.to_string(),
            process: 4711,
            host: host_name(),
            since: Timestamp::from_micros(1_700_000_000_000_001),
            in_this_process: false,
        };
        assert_eq!(parse_owner_file(&id, &owner_file_text(&info)), info);
        let unknown =
            OwnerInfo { process: 0, host: "unknown".to_owned(), since: Timestamp::from_micros(0), ..info.clone() };
        assert_eq!(parse_owner_file(&id, ""), unknown);
        assert_eq!(parse_owner_file(&id, "process 4711\nho"), OwnerInfo { process: 4711, ..unknown });
    }
}
