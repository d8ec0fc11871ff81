//! Goal: the rooms of `src/` have walls. Method: read every source file but for tests, find what it imports and what it
//! says, and hold that against the table below.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::collections::BTreeMap;
use std::path::Path;

/// The words and bytes that everything else is made of. No I/O.
const VOCABULARY: &[&str] = &["id", "error", "clock", "content", "json", "log_position", "model", "event", "codec"];

/// Each room, and the rooms beside the vocabulary that it may use. A file may have its own line.
const ROOMS: &[(&str, &[&str])] = &[
    // The vocabulary knows nothing else, but for the one folder of the model with its own calls on the handles.
    ("id", &[]),
    ("error", &[]),
    ("clock", &[]),
    ("content", &[]),
    ("json", &[]),
    ("log_position", &[]),
    ("model", &[]),
    ("event", &[]),
    ("codec", &[]),
    ("agent", &[]),
    ("agent/calls", &["config", "session", "store"]),
    ("port", &[]),
    ("memory", &["port"]),
    ("sqlite", &["port"]),
    ("stats", &["port"]),
    ("threads", &["port", "stats"]),
    ("replay", &["port", "stats", "threads"]),
    // A host's configuration names the policy of stored views and a disk in memory.
    ("config", &["port", "memory", "replay"]),
    ("commit", &["port", "stats", "threads"]),
    ("blobs", &["port", "stats", "threads", "commit"]),
    ("feed", &["port", "threads", "replay"]),
    ("session", &["config", "port", "stats", "threads", "replay", "commit", "blobs"]),
    // The handles name the built-in model as the default of their type parameter, and a directory's own calls:
    // `wal_damage`, `salvage` and `repair`.
    (
        "store",
        &["agent", "config", "port", "sqlite", "stats", "threads", "replay", "commit", "blobs", "feed", "session"],
    ),
];

/// An outer crate, and the places that may name it.
const CRATES: &[(&str, &[&str])] = &[
    // A host's configuration names arbiters.
    ("actix", &["session", "commit", "blobs", "threads", "feed", "store", "config"]),
    ("rusqlite", &["sqlite/log"]),
    ("rustix", &["sqlite/files"]),
    ("bincode", &["codec"]),
    ("blake3", &["codec"]),
    ("jiff", &["clock", "id"]),
];

/// A word in code that only some places may say: what belongs to one engine, and to files.
const WORDS: &[(&str, &[&str])] = &[
    ("sqlite", &["sqlite", "lib", "store"]),
    ("wal", &["sqlite", "lib", "store"]),
    ("std::fs", &["sqlite"]),
    ("path::", &["sqlite", "config", "error", "store"]),
];

struct Source {
    /// The path under `src/`.
    path: String,
    /// The code, without comments, tests and texts.
    code: Vec<(usize, String)>,
}

impl Source {
    /// Whether the file is in a place: a room, a folder of it, or a file.
    fn is_in(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
    }
}

/// Every source file but the testkit, which reaches everything on purpose, and tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in rust_files(&root) {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let is_test = relative.split('/').any(|part| part == "tests" || part == "tests.rs");
        if is_test || relative.starts_with("testkit") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().enumerate().take_while(|(_, line)| line.trim() != "mod tests {");
        let code = lines.map(|(number, line)| (number + 1, without_comments_and_texts(line))).collect();
        found.push(Source { path: relative, code });
    }
    found
}

fn rust_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn without_comments_and_texts(line: &str) -> String {
    let mut code = String::new();
    let mut is_text = false;
    for part in line.split("//").next().unwrap().split('"') {
        if !is_text {
            code.push_str(part);
        }
        is_text = !is_text;
    }
    code
}

/// Whether code says a word that is not a part of another word.
fn says(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !(before.is_some_and(is_part) || word.ends_with(is_part) && after.is_some_and(is_part))
    })
}

fn assert_none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

#[test]
fn a_room_uses_only_the_rooms_that_it_may() {
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let own = source.path.split('/').next().unwrap().trim_end_matches(".rs");
        // The longest line that fits: a file's own, if it has one.
        let (place, allowed) = ROOMS
            .iter()
            .filter(|(place, _)| source.is_in(place))
            .max_by_key(|(place, _)| place.len())
            .unwrap_or_else(|| panic!("src/{} is in no room: give it one", source.path));
        for (number, code) in &source.code {
            for (at, _) in code.match_indices("crate::") {
                let name: String = code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // A macro, or a name of the crate's root: those are for hosts.
                let is_room = ROOMS.iter().any(|(place, _)| *place == name);
                if !is_room || name == own || VOCABULARY.contains(&&*name) {
                    continue;
                }
                if allowed.contains(&&*name) {
                    seen.insert((*place, name), ());
                } else {
                    wrong.push(format!("src/{}:{number}: {}", source.path, code.trim()));
                }
            }
        }
    }
    assert_none(&wrong, "imports through a wall");
    for (place, allowed) in ROOMS {
        for name in *allowed {
            assert!(seen.contains_key(&(*place, (*name).to_owned())), "{place} uses no {name}: narrow its line");
        }
    }
}

#[test]
fn an_outer_crate_is_named_only_where_it_belongs() {
    let sources = sources();
    for (name, places) in CRATES {
        let mut wrong = Vec::new();
        let mut is_seen = false;
        for source in &sources {
            for (number, code) in &source.code {
                let is_named = says(code, name) && (code.contains(&format!("{name}::")) || code.contains("use "));
                if is_named && places.iter().any(|place| source.is_in(place)) {
                    is_seen = true;
                } else if is_named && !code.contains(&format!("::{name}")) {
                    wrong.push(format!("src/{}:{number}: {}", source.path, code.trim()));
                }
            }
        }
        assert_none(&wrong, &format!("{name} is named where it does not belong"));
        assert!(is_seen, "{name} is found where it belongs, so it would be found elsewhere");
    }
}

#[test]
fn nothing_outside_of_an_engine_speaks_of_it() {
    let sources = sources();
    for (word, places) in WORDS {
        let mut wrong = Vec::new();
        for source in sources.iter().filter(|source| !places.iter().any(|place| source.is_in(place))) {
            for (number, code) in &source.code {
                let code = code.to_lowercase().replace("crate::sqlite", "");
                // Also inside of a longer name: WalDamage, wal_bytes.
                let is_said = code.split(|c: char| !c.is_alphanumeric() && c != ':').any(|name| match *word {
                    "wal" => name == "wal" || name.starts_with("waldamage"),
                    word => name.contains(word),
                });
                if is_said {
                    wrong.push(format!("src/{}:{number}: {}", source.path, code.trim()));
                }
            }
        }
        assert_none(&wrong, &format!("{word:?} is said outside of {places:?}"));
    }
}

#[test]
fn a_type_name_stands_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for (number, code) in &source.code {
            let words: Vec<_> = code.split_whitespace().filter(|word| !word.starts_with("pub")).collect();
            let [kind, name, ..] = words[..] else { continue };
            let is_top = !code.starts_with(' ') && ["struct", "enum", "trait", "type"].contains(&kind);
            if is_top {
                let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
                places.entry(name).or_default().push(format!("src/{}:{number}", source.path));
            }
        }
    }
    assert!(places.len() > 150, "the search finds types");
    let wrong: Vec<_> = places
        .iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert_none(&wrong, "one name, several types");
}

#[test]
fn a_file_has_at_most_500_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests", "benches", "examples", "crates"].map(|folder| rust_files(&root.join(folder)));
    let mut wrong = Vec::new();
    for path in folders.into_iter().flatten() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        if lines > 500 {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert_none(&wrong, "too long to hold one idea");
}
