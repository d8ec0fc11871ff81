//! What the tests of the command have in common: directories, the command itself, and hosts that write beside it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod host;
pub mod sessions;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// How a run of the command ended.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// The error text of a run that ended with this code and said nothing else.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.status.code(), self.stdout.as_str()), (Some(code), ""), "{}", self.stderr);
        self.stderr
    }
}

/// The command, in an environment that says nothing of its own.
pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foldlog"));
    command.args(arguments).env("FOLDLOG_DIR", directory).stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

pub fn run(directory: &Path, arguments: &[&str]) -> Ran {
    let output = command(directory, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A copy of a directory of the library's test data.
pub fn data(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name), copy.path());
    copy
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&copy).unwrap();
            copy_directory(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), copy).unwrap();
        }
    }
}

/// Every file below a directory, with its bytes.
pub fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let mut bytes = Vec::new();
            std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// An object whose body, view or records have a word in their place: those forms are the library's, which holds them
/// against docs/json.md and docs/format.md.
fn without_library_forms(line: &str) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    for member in ["body", "state", "core", "record_bytes", "freed_bytes", "freeable_bytes"] {
        if let Some(value) = object.get_mut(member) {
            *value = "of the library".into();
        }
    }
    for of_type in object.get_mut("types").and_then(serde_json::Value::as_object_mut).into_iter().flatten() {
        of_type.1["record_bytes"] = "of the library".into();
    }
    format!("{}\n", serde_json::Value::Object(object))
}

/// Text with one word in the place of each chain hash in a position.
pub fn without_chains(text: &str) -> String {
    let mut parts = text.split("\"position\":\"");
    let mut found = parts.next().unwrap().to_owned();
    for part in parts {
        let (position, rest) = part.split_once('"').unwrap();
        let position = match position.split_once('-') {
            Some((event, _)) => format!("{event}-CHAIN"),
            None => position.to_owned(),
        };
        found.push_str(&format!("\"position\":\"{position}\"{rest}"));
    }
    found
}

/// Holds an output against its golden file; with FOLDLOG_BLESS=1 writes the file. What differs from run to run has a
/// word in its place: the chain in a position, and the path of the directory.
#[track_caller]
pub fn assert_golden(name: &str, directory: &Path, found: &str) {
    let mut found = found.replace(directory.to_str().unwrap(), "DIR");
    if name.ends_with(".json") {
        found = found.lines().map(without_library_forms).collect();
    }
    let found = without_chains(&found);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("FOLDLOG_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == golden, "{} differs; if it should, run with FOLDLOG_BLESS=1\n{found}", path.display());
}
