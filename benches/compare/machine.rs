//! The machine, as the program can tell it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) system: String,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) sqlite: String,
    pub(crate) foldlog: String,
}

/// What there is to say of this machine and of the file system under a directory. What it does not tell is empty.
pub(crate) fn look(directory: &Path) -> Machine {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        processor: field("/proc/cpuinfo", "model name"),
        memory_gib: field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 20,
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        kernel: kernel.trim().to_owned(),
        file_system: file_system(directory),
        sqlite: rusqlite::version().to_owned(),
        foldlog: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
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
