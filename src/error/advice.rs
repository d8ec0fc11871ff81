//! The two questions that every caller asks of an error: was anything written, and what is to be done next.

use super::{Error, ErrorKind};

/// Whether the append that failed was written: see [`Error::was_written`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WasWritten {
    /// Nothing of the refused call was written, and nothing of it will be.
    No,
    /// The events may be in the log, or not. An append with an [`AppendKey`](crate::AppendKey) may be repeated with the
    /// same key: it is written once. Without a key, read the log first.
    Unknown,
}

/// What a caller does about an error: see [`Error::next_step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NextStep {
    /// The call was wrong, and stays wrong: change what it asks for.
    CorrectTheCall,
    /// The session is not as the caller thought: read it, then decide anew.
    ReadAndDecide,
    /// Wait a moment, then make the same call again, a few times. If [`Error::was_written`] is
    /// [`Unknown`](WasWritten::Unknown), only with the append key that the call had.
    WaitAndRetry,
    /// Another store writes the session: send the request there, wait until that store has closed or died, or take the
    /// session from one that hangs, with [`Session::take_over`](crate::Session::take_over).
    AskTheOwner,
    /// This handle has come to its end: close the store, or the session, open it again, and make the call there.
    OpenAgain,
    /// A person has to mend the directory, its permissions, the configuration, or the program: the text says what.
    MendTheSetup,
    /// Stored bytes are damaged: look with [`Store::verify`](crate::Store::verify), make a new directory of what is
    /// valid with [`Store::repair`](crate::Store::repair), or go back to a copy of the directory. A blob is repaired by
    /// putting the same bytes again.
    Repair,
}

/// Declares the answers for each kind. No arm is a default: a new kind must decide.
macro_rules! advice {
    ($($step:ident, $written:ident: $($kind:ident)+;)+) => {
        impl ErrorKind {
            fn advice(&self) -> (NextStep, WasWritten) {
                match self {
                    $($(Self::$kind { .. })|+ => (NextStep::$step, WasWritten::$written),)+
                }
            }

            /// The name of the kind, as in the source.
            pub(super) fn name(&self) -> &'static str {
                match self {
                    $($(Self::$kind { .. } => stringify!($kind),)+)+
                }
            }
        }

        /// Each group in the words of the documents.
        #[cfg(test)]
        const GROUPS: &[(&str, WasWritten, &[&str])] =
            &[$((stringify!($step), WasWritten::$written, &[$(stringify!($kind)),+])),+];
    };
}

advice! {
    CorrectTheCall, No:
        InvalidSessionId InvalidDigest InvalidJson InvalidArgument BodyRefused TooLarge UnknownSession UnknownBlob
        DanglingRef WrongBlobLength KeyReused;
    ReadAndDecide, No: HeadMoved RefusedByView BeyondHead OtherHistory OtherFeed CursorMoved SessionStopped
        TurnLimit TurnNotHeld SessionDeleted;
    WaitAndRetry, No: NotWritten TurnInFlight Busy DiskFull Unavailable;
    WaitAndRetry, Unknown: OutcomeUnknown;
    AskTheOwner, No: OwnedElsewhere;
    OpenAgain, No: StoreClosed SessionClosed MustReopen;
    MendTheSetup, No:
        NewerRecord Unfoldable Undecodable NewerFormat OlderFormat WrongModel NoStore NotAStore UnsuitablePlace Io Forked;
    Repair, No: CorruptEvent CorruptBlob CorruptStore;
}

impl Error {
    /// Tells whether anything of the append that ended with this error was written.
    #[must_use]
    pub fn was_written(&self) -> WasWritten {
        self.kind().advice().1
    }

    /// Tells what a caller does next. [`ErrorKind`] has the table.
    #[must_use]
    pub fn next_step(&self) -> NextStep {
        self.kind().advice().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_the_guide_and_of_the_reference_are_those_of_the_code() {
        let guide = include_str!("../../docs/guide/errors.md");
        let reference = include_str!("kind.rs");
        for (step, written, kinds) in GROUPS {
            let names: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
            let links: Vec<_> = kinds.iter().map(|kind| format!("[`{kind}`](Self::{kind})")).collect();
            let row = format!("| `{step}` | `{written:?}` | {} |", names.join(", "));
            assert!(guide.contains(&row), "docs/guide/errors.md needs the row:\n{row}");
            let row = format!("/// | [`{step}`](NextStep::{step}) | `{written:?}` | {} |", links.join(", "));
            assert!(reference.contains(&row), "the documentation of ErrorKind needs the row:\n{row}");
            for kind in *kinds {
                assert!(guide.contains(&format!("\n| `{kind}` | ")), "docs/guide/errors.md has no row for {kind}");
            }
        }
        let rows = reference.lines().filter(|line| line.starts_with("/// | [`")).count();
        assert_eq!(rows, GROUPS.len() + 1, "a row that the code does not have");
    }

    #[test]
    fn an_error_tells_whether_to_wait_and_whether_it_was_written() {
        let busy = Error::from(ErrorKind::Busy { what: "queue", limit: 1 });
        assert_eq!((busy.next_step(), busy.was_written()), (NextStep::WaitAndRetry, WasWritten::No));
        let session = crate::SessionId::new("s").unwrap();
        let unknown = Error::from(ErrorKind::OutcomeUnknown { session, reason: String::new() });
        assert_eq!((unknown.next_step(), unknown.was_written()), (NextStep::WaitAndRetry, WasWritten::Unknown));
        let place = Error::from(ErrorKind::UnsuitablePlace { reason: String::new() });
        assert_eq!(place.next_step(), NextStep::MendTheSetup);
    }
}
