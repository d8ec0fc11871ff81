//! Goal: imports point one way. Method: find the names of the crates that one module each may use, in every source file
//! but for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::path::{Path, PathBuf};

/// A crate, and the beginnings of the paths under `src` that may name it.
const ALLOWED: [(&str, &[&str]); 5] = [
    // Messages are made by the handles' callers, arbiters are named by the configuration.
    ("actix", &["blobs", "commit", "config.rs", "replay/snapshot/store.rs", "session", "store", "threads"]),
    ("rusqlite", &["sqlite/log"]),
    ("bincode", &["codec.rs"]),
    ("blake3", &["codec.rs"]),
    ("jiff", &["clock.rs", "id.rs"]),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines that name a crate as a path, but for comments and what follows `#[cfg(test)]`.
fn lines_that_name<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    let code = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    code.filter(move |(_, line)| {
        let code = line.split("//").next().unwrap();
        code.match_indices(name).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let whole = !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':');
            let after = &code[at + name.len()..];
            whole
                && (after.starts_with("::") || code[..at].trim_end().ends_with("use") && after.starts_with([';', ' ']))
        })
    })
}

#[test]
fn each_outer_crate_is_used_only_where_it_belongs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    let mut seen = [false; ALLOWED.len()];
    for path in files {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
        if relative.split('/').any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for ((name, places), seen) in ALLOWED.iter().zip(&mut seen) {
            for (line, code) in lines_that_name(&text, name) {
                if places.iter().any(|place| relative.starts_with(place)) {
                    *seen = true;
                } else {
                    wrong.push(format!("src/{relative}:{}: {}", line + 1, code.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
    assert!(seen.iter().all(|seen| *seen), "the search finds what is allowed, so it would find what is not");
}

#[test]
fn a_pure_module_imports_no_actor_no_store_and_no_log() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root.join("agent"), &mut files);
    files.extend(["agent.rs", "model.rs", "id.rs", "json.rs", "content.rs"].map(|name| root.join(name)));
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for forbidden in ["crate::session", "crate::store", "crate::port", "crate::sqlite", "std::fs", "std::thread"] {
            let found = code.iter().find(|line| line.contains(forbidden));
            assert!(found.is_none(), "{}: {}", path.display(), found.unwrap());
        }
    }
}
