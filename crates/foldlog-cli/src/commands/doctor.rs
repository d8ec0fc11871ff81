//! `foldlog doctor`: how a directory is, whether or not a store can be opened in it.
//!
//! It looks at the files beside the store, by what docs/format.md says of the directory, and changes none. `events.db`
//! itself is opened by the library alone, since to close a handle of it would drop the locks of this process.

mod left_overs;
mod owners;
mod place;
mod store;

use std::path::Path;

use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, counted, escaped};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    /// It is as it should be.
    Ok,
    /// Somebody may want to know, and nothing needs to be done now.
    Note,
    /// Something needs to be done.
    Problem,
}

/// Something that was found.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    /// What it is about, in a word.
    about: &'static str,
    /// A sentence.
    says: String,
    /// What to do.
    advice: Option<String>,
}

impl Finding {
    fn ok(about: &'static str, says: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, about, says: says.into(), advice: None }
    }

    fn note(about: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Note, about, says: says.into(), advice: Some(advice.into()) }
    }

    fn problem(about: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, ..Self::note(about, says, advice) }
    }
}

/// A finding in JSON, before the object of the whole.
#[derive(Serialize)]
struct InJson<'a> {
    v: u8,
    severity: Severity,
    about: &'a str,
    says: &'a str,
    advice: Option<&'a str>,
}

/// The whole in JSON.
#[derive(Serialize)]
struct Whole {
    v: u8,
    healthy: bool,
    problems: usize,
    notes: usize,
}

pub(crate) fn run(directory: &Path, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut findings = place::rights(directory);
    if directory.is_dir() {
        let owners = owners::look(directory);
        let lives = owners.lives();
        findings.extend(place::file_system(directory));
        findings.extend(place::space(directory));
        findings.extend(owners.findings());
        findings.extend(left_overs::look(directory, &owners));
        findings.extend(store::files(directory, lives));
        // Last, since from here on this process has files of the store open.
        findings.extend(store::opened(directory));
    }
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (problems, notes) = (of(Severity::Problem), of(Severity::Note));
    for Finding { severity, about, says, advice } in &findings {
        if output.is_json {
            let (says, advice) = (says.as_str(), advice.as_deref());
            output.json(&InJson { v: 1, severity: *severity, about, says, advice })?;
            continue;
        }
        let (word, style) = match severity {
            Severity::Ok => ("ok", Style::Good),
            Severity::Note => ("note", Style::Name),
            Severity::Problem => ("problem", Style::Bad),
        };
        let word = output.styled(style, format!("{word:<7}"));
        output.line(format!("{word}  {about:<11}  {}", escaped(says)))?;
        if let Some(advice) = advice {
            output.line(format!("                      {}", escaped(advice)))?;
        }
    }
    if output.is_json {
        output.json(&Whole { v: 1, healthy: problems == 0, problems, notes })?;
    } else {
        output.line(format!("{}, {}", counted(problems as u64, "problem"), counted(notes as u64, "note")))?;
    }
    Ok(if problems == 0 { Exit::Done } else { Exit::Found })
}
