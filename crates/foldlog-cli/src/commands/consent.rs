//! Leave to delete: given on the command line, or by a person who was asked.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use crate::failure::Failure;
use crate::terminal::Output;

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
    /// Say what would go, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

/// What a command is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Say what would go, and end.
    OnlyTell,
    /// Say what would go, and ask.
    Ask,
    /// Go ahead.
    Given,
}

impl Consent {
    /// Refuses where nothing may go and nobody can be asked.
    pub(crate) fn leave(self, output: &Output<'_>) -> Result<Leave, Failure> {
        match self {
            Self { dry_run: true, .. } => Ok(Leave::OnlyTell),
            Self { yes: true, .. } => Ok(Leave::Given),
            _ if !output.is_json && io::stdin().is_terminal() && io::stderr().is_terminal() => Ok(Leave::Ask),
            _ => Err(Failure::Usage(
                "nothing was changed, since nobody can be asked here: --yes does it, and --dry-run says what would go"
                    .to_owned(),
            )),
        }
    }
}

/// Asks a person, who must answer `y` or `yes`.
pub(crate) fn is_wanted(question: &str, output: &mut Output<'_>) -> Result<bool, Failure> {
    output.flush()?;
    let (mut stdin, mut stderr) = (io::stdin().lock(), io::stderr().lock());
    is_answered_with_yes(question, &mut stdin, &mut stderr)
}

fn is_answered_with_yes(question: &str, from: &mut impl BufRead, to: &mut impl Write) -> Result<bool, Failure> {
    write!(to, "{question} [y/N] ")?;
    to.flush()?;
    let mut answer = String::new();
    from.read_line(&mut answer).map_err(Failure::Output)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, expected) in [
            ("y\n", true),
            ("YES\n", true),
            (" yes \r\n", true),
            ("\n", false),
            ("", false),
            ("no\n", false),
            ("yep\n", false),
        ] {
            let mut asked = Vec::new();
            let found = is_answered_with_yes("Delete 1 session?", &mut answer.as_bytes(), &mut asked).unwrap();
            assert_eq!(found, expected, "{answer:?}");
            assert_eq!(asked, b"Delete 1 session? [y/N] ");
        }
    }
}
