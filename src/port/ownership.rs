//! Who writes: one open store object, and whether another one still lives.

use std::fmt;
use std::io;

use crate::error::OwnerInfo;
use crate::id::Timestamp;

/// The name of one open store object: 16 random bytes as 32 lower-case hex digits.
///
/// Never used twice. The race-free clearing of what dead owners leave behind rests on that: an owner whose file is gone
/// can never come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnerId(String);

impl OwnerId {
    const BYTES: usize = 16;

    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        })?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Takes what a file name or a database row says, and nothing that could be another path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 2 * Self::BYTES && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an owner still holds what it owns. There is no third answer and no clock: an operating system lock, or a
/// memory disk's table, says so at once, even after `kill -9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive(OwnerInfo),
    Dead,
}

/// The owners of one medium, as one of them sees them.
pub(crate) trait Owners: Send + Sync {
    fn me(&self) -> &OwnerId;

    /// May do I/O. Never `Dead` for a living owner, and never `Alive` for one whose store has closed or whose process
    /// is gone, however many others look at the same time.
    fn liveness(&self, id: &str) -> io::Result<Liveness>;
}

/// What an owner file says. For people and for error texts; the truth is the lock on the file, not its text.
pub(crate) fn owner_file_text(info: &OwnerInfo) -> String {
    format!("process {}\nhost {}\nsince {}\n", info.process, info.host, info.since.as_micros())
}

/// Reads an owner file as far as it goes: its owner may be writing it just now.
pub(crate) fn parse_owner_file(id: &OwnerId, text: &str) -> OwnerInfo {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    OwnerInfo {
        id: id.as_str().to_owned(),
        process: field("process").and_then(|value| value.parse().ok()).unwrap_or(0),
        host: field("host").unwrap_or(UNKNOWN_HOST).to_owned(),
        since: Timestamp::from_micros(field("since").and_then(|value| value.parse().ok()).unwrap_or(0)),
    }
}

const UNKNOWN_HOST: &str = "unknown";

/// The name of this host, for people. Linux has it as a file; elsewhere the shell may have left it in the environment,
/// and asking the system itself would take `unsafe`.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name: String = name.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(255).collect();
    if name.is_empty() { UNKNOWN_HOST.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_id_is_32_hex_digits_and_no_two_are_equal() {
        let (one, other) = (OwnerId::random().unwrap(), OwnerId::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(OwnerId::parse(one.as_str()), Some(one.clone()));
        for text in
            ["", "..", &one.as_str()[1..], &one.as_str().replace(|_| true, "A"), &format!("../{}", &one.as_str()[3..])]
        {
            assert_eq!(OwnerId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_owner_file_says_who_its_owner_is_and_half_a_file_says_what_it_can() {
        let id = OwnerId::random().unwrap();
        let info = OwnerInfo {
            id: id.to_string(),
            process: 4711,
            host: host_name(),
            since: Timestamp::from_micros(1_700_000_000_000_001),
        };
        assert_eq!(parse_owner_file(&id, &owner_file_text(&info)), info);
        let unknown =
            OwnerInfo { process: 0, host: "unknown".to_owned(), since: Timestamp::from_micros(0), ..info.clone() };
        assert_eq!(parse_owner_file(&id, ""), unknown);
        assert_eq!(parse_owner_file(&id, "process 4711\nho"), OwnerInfo { process: 4711, ..unknown });
    }
}
