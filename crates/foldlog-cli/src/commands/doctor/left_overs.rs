//! What crashes and people have left in a directory.

use std::path::Path;

use super::Finding;
use super::owners::Owners;
use crate::commands::stats::bytes_below;
use crate::terminal::{bytes, shortened};

/// How long a list of names is told.
const NAMES_MAX: usize = 300;

pub(super) fn look(directory: &Path, owners: &Owners) -> Vec<Finding> {
    let mut findings = Vec::new();
    if directory.join("UNFINISHED-COPY").exists() {
        let says = "it is a backup or a restore that was not finished, and no store opens it";
        let advice = "make the same backup or restore into it again, or remove the directory";
        findings.push(Finding::problem("left-overs", says, advice));
    }
    let names = names_in(directory);
    let copies: Vec<_> =
        names.iter().filter(|name| name.starts_with("events.db-wal.damaged-")).map(String::as_str).collect();
    if !copies.is_empty() {
        let says = format!("a write-ahead log was damaged, and a copy was kept: {}", copies.join(", "));
        let advice = "acknowledged events may have been lost then: docs/guide/damage.md says how to look; remove the copies when \
                      nobody needs them, since they may hold what was deleted later";
        findings.push(Finding::problem("left-overs", says, advice));
    }
    let tmp = directory.join("tmp");
    let dead: Vec<_> = names_in(&tmp).into_iter().filter(|id| !owners.is_alive(id)).collect();
    if !dead.is_empty() {
        let size: u64 = dead.iter().map(|id| bytes_below(&tmp.join(id))).sum();
        let says = format!("temporaries of stores that have died: {}", bytes(size));
        findings.push(Finding::note("left-overs", says, "nothing to do: the next store that opens here removes them"));
    }
    let strange: Vec<_> = names.iter().filter(|name| !is_own(name)).map(String::as_str).collect();
    if !strange.is_empty() {
        let says = format!("it has what is not foldlog's: {}", shortened(&strange.join(", "), NAMES_MAX));
        findings.push(Finding::note("left-overs", says, "give a store a directory of its own"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("left-overs", "none"));
    }
    findings
}

fn is_own(name: &str) -> bool {
    let own = ["LOCK", "UNFINISHED-COPY", "blobs", "owners", "snapshots", "tmp"];
    own.contains(&name) || name.starts_with("events.db") || name.starts_with('.') || name == "lost+found"
}

/// The names in a directory, in their order; none where it cannot be read, which another finding says.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().into_iter().flatten().map_while(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
