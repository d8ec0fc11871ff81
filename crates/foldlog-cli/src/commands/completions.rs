//! `foldlog completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::{Exit, Failure};
use crate::terminal::Output;

pub(crate) fn run(shell: Shell, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "foldlog", &mut script);
    output.bytes(&script)?;
    Ok(Exit::Done)
}
