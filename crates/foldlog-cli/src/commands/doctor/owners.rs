//! Who has the directory open: the files in `owners/`, each locked for as long as its store lives.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::Path;

use foldlog::Timestamp;

use super::Finding;
use crate::terminal::time;

/// A file of an owner is a few lines.
const TEXT_MAX: u64 = 4096;

/// The owners of a directory.
pub(super) struct Owners {
    owners: Vec<Owner>,
    /// Why they could not be looked at.
    unread: Option<String>,
}

struct Owner {
    id: String,
    is_alive: bool,
    text: String,
}

pub(super) fn look(directory: &Path) -> Owners {
    let mut found = Owners { owners: Vec::new(), unread: None };
    let entries = match directory.join("owners").read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found,
        Err(error) => return Owners { unread: Some(error.to_string()), ..found },
    };
    for entry in entries {
        let looked =
            entry.and_then(|entry| Ok((entry.file_name().to_string_lossy().into_owned(), look_at(&entry.path())?)));
        match looked {
            Ok((id, Some((is_alive, text)))) => found.owners.push(Owner { id, is_alive, text }),
            Ok((_, None)) => {}
            Err(error) => found.unread = Some(error.to_string()),
        }
    }
    found.owners.sort_by(|one, other| one.id.cmp(&other.id));
    found
}

/// Whether an owner is alive, and what its file says; `None` if it has gone just now. The lock is taken shared, and
/// only for a moment, as by every store that looks.
fn look_at(path: &Path) -> std::io::Result<Option<(bool, String)>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let is_alive = match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    let mut text = Vec::new();
    (&mut file).take(TEXT_MAX).read_to_end(&mut text)?;
    Ok(Some((is_alive, String::from_utf8_lossy(&text).into_owned())))
}

impl Owner {
    fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }

    fn who(&self) -> String {
        let (Some(process), Some(host)) = (self.field("process"), self.field("host")) else {
            return format!("a store that says no more of itself, owner {}", self.id);
        };
        let since = self.field("since").and_then(|micros| micros.parse().ok());
        let since = since.map_or_else(String::new, |micros| format!(" since {}", time(Timestamp::from_micros(micros))));
        format!("process {process} on {host}{since}")
    }
}

impl Owners {
    /// Whether a host has the directory open, as far as can be told.
    pub(super) fn lives(&self) -> bool {
        self.unread.is_some() || self.owners.iter().any(|owner| owner.is_alive)
    }

    /// The ids of the owners that have died.
    pub(super) fn is_alive(&self, id: &str) -> bool {
        self.unread.is_some() || self.owners.iter().any(|owner| owner.is_alive && owner.id == id)
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<_> = self
            .owners
            .iter()
            .map(|owner| match owner.is_alive {
                true => Finding::ok("owners", format!("{} has the store open", owner.who())),
                false => Finding::note(
                    "owners",
                    format!("{} has died with the store open, or was killed", owner.who()),
                    "nothing to do: the next store that opens here takes over what it has left",
                ),
            })
            .collect();
        if let Some(reason) = &self.unread {
            let advice = "run this as the user of the host";
            findings.push(Finding::problem(
                "owners",
                format!("who has the store open cannot be told: {reason}"),
                advice,
            ));
        } else if findings.is_empty() {
            findings.push(Finding::ok("owners", "nobody has the store open"));
        }
        findings
    }
}
