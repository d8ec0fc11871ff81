//! The kind of machine and the build, as the program can tell them. What it cannot tell is empty or 0.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Machine {
    cores: usize,
    memory_gib: u64,
    system: String,
    file_system: String,
    sqlite: String,
    foldlog: String,
    /// With `-dirty` behind it when the source was changed since.
    commit: String,
}

/// This machine, and the file system under a directory.
pub(crate) fn look(directory: &Path) -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_gib: memory_gib(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        file_system: file_system(directory),
        sqlite: rusqlite::version().to_owned(),
        foldlog: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit(),
    }
}

fn memory_gib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    total.and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) >> 20
}

/// The type of the mount that holds a directory: the longest mount point above it.
fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.to_owned();
        let kind = source.split(' ').next()?.to_owned();
        directory.starts_with(&point).then_some((point.len(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map_or(String::new(), |(_, kind)| kind)
}

fn commit() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    described.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
