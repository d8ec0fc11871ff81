//! The store itself: its files, and what a store that opens them to read says.

use std::path::{Path, PathBuf};

use foldlog::agent::Agent;
use foldlog::{Salvage, StoreConfig, UntypedStore};
use futures::executor::block_on;

use super::Finding;
use crate::failure::Failure;
use crate::terminal::{bytes, counted};

/// A write-ahead log is written over from its beginning when it has about this size: docs/format.md.
const WAL_USUAL: u64 = 16 << 20;

/// What the files are beside their contents. A host changes them all the time, so they are held against one another
/// only where none lives.
pub(super) fn files(directory: &Path, lives: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wal = directory.join("events.db-wal").metadata().map_or(0, |file| file.len());
    if wal > 2 * WAL_USUAL {
        let says = format!("the write-ahead log has {}, usual are at most {}", bytes(wal), bytes(WAL_USUAL));
        let advice = "a program reads the database in a long transaction, or one wrote a very large append: find who has \
                      events.db open (`fuser`, `lsof`), and end what hangs";
        findings.push(Finding::problem("log", says, advice));
    } else if wal > 0 && !lives {
        let says = format!("{} in the write-ahead log, and nobody has the store open: a host was killed", bytes(wal));
        findings.push(Finding::note(
            "log",
            says,
            "nothing to do: the next store that opens here takes it over; copy all files together",
        ));
    } else {
        findings.push(Finding::ok(
            "log",
            format!("{} in the write-ahead log, usual are at most {}", bytes(wal), bytes(WAL_USUAL)),
        ));
    }
    if !lives {
        for problem in Salvage::<Agent>::file_problems(directory) {
            let advice = "put all files back from one moment, or take what they hold into a new directory with `foldlog repair`: \
                          docs/guide/damage.md";
            findings.push(Finding::problem("files", problem, advice));
        }
    }
    findings
}

/// What a store that opens it to read says.
pub(super) fn opened(directory: &Path) -> Vec<Finding> {
    let store = match block_on(UntypedStore::open(StoreConfig::directory(directory))) {
        Ok(store) => store,
        Err(error) => {
            let failure = Failure::Store { store: PathBuf::from(directory), error };
            let text = failure.to_string();
            let (says, advice) =
                text.split_once('\n').unwrap_or((&text, "`foldlog salvage` reads what is left of a damaged directory"));
            return vec![Finding::problem("store", format!("it does not open: {says}"), advice)];
        }
    };
    let mut findings = Vec::new();
    let model = format!("of the session model {}", store.model());
    match store.format() {
        Some(format) if format.found < format.supported => {
            let says = format!("format {}, {model}", format.found);
            let advice =
                format!("nothing to do: the next host of this release makes it one of format {}", format.supported);
            findings.push(Finding::note("store", says, advice));
        }
        Some(format) => findings.push(Finding::ok("store", format!("format {}, {model}", format.found))),
        None => findings.push(Finding::ok("store", model)),
    }
    match block_on(store.pending_erasures()) {
        Ok(0) => findings.push(Finding::ok("erasing", "nothing that was deleted or redacted is left")),
        Ok(pending) => {
            let says =
                format!("{} deleted or redacted, and not erased from the files yet", counted(pending, "session"));
            findings.push(Finding::note(
                "erasing",
                says,
                "a store that is open to write goes on with it by itself: start the host",
            ));
        }
        Err(error) => {
            let advice = "`foldlog verify` tells what is damaged";
            findings.push(Finding::problem("erasing", format!("it cannot be read: {error}"), advice));
        }
    }
    if let Err(error) = block_on(store.close()) {
        findings.push(Finding::problem("store", error.to_string(), "run the command again"));
    }
    findings
}
