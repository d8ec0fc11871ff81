//! `foldlog sweep`: removes blobs that no event names.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::Args;
use foldlog::{Digest, Sweep as Sweeping, Swept};
use serde::Serialize;

use crate::commands::consent::{Consent, Leave, is_wanted};
use crate::commands::values::span;
use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, bytes, counted, waiting};

/// How many blobs are named to a person.
const SHOWN_MAX: u64 = 20;
/// How many blobs may wait until they are told.
const UNTOLD_MAX: usize = 1024;

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Leave what was put less than this ago, though no event names it yet (`90s`, `10m`, `24h`, `7d`)
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "24h")]
    grace: Duration,
    #[command(flatten)]
    consent: Consent,
}

/// A blob in JSON.
#[derive(Serialize)]
struct InJson {
    v: u8,
    digest: Digest,
    bytes: u64,
}

/// The whole in JSON.
#[derive(Serialize)]
struct Whole {
    v: u8,
    dry_run: bool,
    removed: u64,
    removed_bytes: u64,
    in_grace: u64,
    in_grace_bytes: u64,
    referenced: u64,
}

impl Sweep {
    pub(crate) fn run(&self, directory: Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        directory.check_writing("sweep", "its host can call Store::<Model>::sweep")?;
        let leave = self.consent.leave(output)?;
        if leave != Leave::Given {
            let sweep = |sweeping| directory.read(directory.untyped.sweep_dry_run(sweeping));
            let would = self.tell_each(sweep, output)?;
            tell(&would, true, output)?;
            if leave == Leave::OnlyTell || would.removed == 0 {
                return Ok(Exit::Done);
            }
            if !is_wanted(&format!("Remove {} for good?", counted(would.removed, "blob")), output)? {
                output.line("nothing was removed")?;
                return Ok(Exit::Found);
            }
        }
        let swept = directory
            .write(|writing| self.tell_each(|sweeping| writing.wait(writing.store.sweep(sweeping)), output))?;
        tell(&swept, false, output)?;
        Ok(Exit::Done)
    }

    /// Runs a sweep, and tells of each blob meanwhile.
    fn tell_each(
        &self,
        run: impl FnOnce(Sweeping) -> Result<Swept, Failure> + Send,
        output: &mut Output<'_>,
    ) -> Result<Swept, Failure> {
        let (sender, blobs) = sync_channel(UNTOLD_MAX);
        let sweeping = Sweeping::default().grace(self.grace).on_removed(move |digest, bytes| {
            // Whoever is told may be gone. What was removed is removed all the same.
            let _ = sender.send((digest, bytes));
        });
        std::thread::scope(|scope| {
            let running = scope.spawn(|| waiting("reading events, then blobs", || run(sweeping)));
            let told = tell_blobs(blobs.into_iter(), output);
            let swept = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            told.map(|()| swept)
        })
    }
}

fn tell_blobs(blobs: impl Iterator<Item = (Digest, u64)>, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut more = 0;
    for (number, (digest, size)) in (0..).zip(blobs) {
        if output.is_json {
            output.json(&InJson { v: 1, digest, bytes: size })?;
        } else if number < SHOWN_MAX {
            output.line(format!("{digest}  {}", bytes(size)))?;
        } else {
            more += 1;
        }
    }
    if more > 0 { output.line(format!("… {}: --json names all", counted(more, "more blob"))) } else { Ok(()) }
}

fn tell(swept: &Swept, dry_run: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    let Swept { removed, removed_bytes, in_grace, in_grace_bytes, referenced, .. } = *swept;
    if output.is_json {
        return output.json(&Whole { v: 1, dry_run, removed, removed_bytes, in_grace, in_grace_bytes, referenced });
    }
    let what = if dry_run { "would go" } else { "removed" };
    output.line(format!("{what}: {} of {}", counted(removed, "blob"), bytes(removed_bytes)))?;
    if in_grace > 0 {
        output.line(format!("in their grace time: {} of {}", counted(in_grace, "blob"), bytes(in_grace_bytes)))?;
    }
    output.line(format!("named by events: {}", counted(referenced, "blob")))
}
