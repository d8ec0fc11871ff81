//! What is left in the files of what was deleted or redacted.

use foldlog::Erased;
use serde::Serialize;

use crate::directory::Writing;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, Style, counted, escaped, waiting};

/// What is left, in JSON; each `null` where nothing was erased.
#[derive(Default, Serialize)]
pub(crate) struct Left {
    pending: Option<u64>,
    copies: Option<Vec<String>>,
}

impl From<&Erased> for Left {
    fn from(erased: &Erased) -> Self {
        Self { pending: Some(erased.pending), copies: Some(erased.copies.clone()) }
    }
}

/// Erases what was deleted, as far as that is possible now.
pub(crate) fn erase(writing: &Writing) -> Result<Erased, Failure> {
    waiting("erasing", || writing.wait(writing.store.erase_deleted()))
}

/// Says what is left, and what to do. Something left is something found.
pub(crate) fn say_left(erased: &Erased, output: &mut Output<'_>) -> Result<Exit, Failure> {
    if erased.is_complete() {
        output.line("erased: none of it is left in a file of the log")?;
        return Ok(Exit::Done);
    }
    if erased.pending > 0 {
        let what = counted(erased.pending, "session");
        let left = format!(
            "not erased yet: {what}, since a program reads or writes the log; stores that write go on with it, and \
             `foldlog doctor` tells when none is left"
        );
        let left = output.styled(Style::Bad, left);
        output.line(left)?;
    }
    say_copies(&erased.copies, output)?;
    Ok(Exit::Found)
}

pub(crate) fn say_copies(copies: &[String], output: &mut Output<'_>) -> Result<(), Failure> {
    for copy in copies {
        let left = format!(
            "may hold it: {}, a copy that was kept of a damaged log; remove it when nobody needs it",
            escaped(copy)
        );
        let left = output.styled(Style::Bad, left);
        output.line(left)?;
    }
    Ok(())
}
