//! What a command says: lines for people, JSON for programs, and bytes as they are.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use anstyle::{AnsiColor, Effects};
use clap::ColorChoice;
use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use super::escape::escaped;
use super::json;
use crate::failure::Failure;

/// How a word is set off on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// What leads a block.
    Heading,
    /// What is secondary.
    Dim,
    Good,
    Bad,
    /// Who or what acts.
    Name,
}

impl Style {
    fn ansi(self) -> anstyle::Style {
        let plain = anstyle::Style::new();
        match self {
            Self::Plain => plain,
            Self::Heading => plain.effects(Effects::BOLD),
            Self::Dim => plain.effects(Effects::DIMMED),
            Self::Good => plain.fg_color(Some(AnsiColor::Green.into())),
            Self::Bad => plain.fg_color(Some(AnsiColor::Red.into())),
            Self::Name => plain.fg_color(Some(AnsiColor::Cyan.into())),
        }
    }
}

/// Where a command writes to, and how.
pub(crate) struct Output<'a> {
    writer: Box<dyn Write + Send + 'a>,
    /// Whether the answer is for a program.
    pub(crate) is_json: bool,
    /// The width of the terminal; `None` for a pipe or a file.
    pub(crate) width: Option<usize>,
    has_colours: bool,
}

/// The width of a terminal that does not tell it.
const USUAL_WIDTH: usize = 100;

impl<'a> Output<'a> {
    pub(crate) fn stdout(is_json: bool, colours: ColorChoice) -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| {
            let size = terminal_size::terminal_size();
            size.map_or(USUAL_WIDTH, |(width, _)| width.0.into())
        });
        let has_colours = match colours {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
        };
        Self { writer: Box::new(BufWriter::with_capacity(64 << 10, stdout)), is_json, width, has_colours }
    }

    /// For tests: everything goes to a writer.
    #[cfg(test)]
    pub(crate) fn to(writer: impl Write + Send + 'a, width: Option<usize>, has_colours: bool) -> Self {
        Self { writer: Box::new(writer), is_json: false, width, has_colours }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// A word in a style. What is in it must be harmless already.
    pub(crate) fn styled(&self, style: Style, word: impl Display) -> String {
        if !self.has_colours || style == Style::Plain {
            return word.to_string();
        }
        let style = style.ansi();
        format!("{style}{word}{style:#}")
    }

    /// Writes a line for people, which must be harmless already.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        Ok(writeln!(self.writer, "{line}")?)
    }

    /// Writes an object for programs.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        Ok(json::line(&mut self.writer, value)?)
    }

    /// Writes a value as JSON that a person reads.
    pub(crate) fn indented_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        Ok(json::indented(&mut self.writer, value)?)
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.writer.write_all(bytes)?)
    }

    /// Lets everything be seen that was written until now.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }

    /// Writes rows as a table on a terminal; elsewhere a line each, with tabs between the columns, and no heading.
    pub(crate) fn rows(
        &mut self,
        headings: &[&str],
        rows: impl Iterator<Item = Result<Vec<String>, Failure>>,
    ) -> Result<(), Failure> {
        let Some(width) = self.width else {
            for row in rows {
                let cells: Vec<_> = row?.iter().map(|cell| escaped(cell).into_owned()).collect();
                self.line(cells.join("\t"))?;
            }
            return Ok(());
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        table.set_header(headings.iter().map(Cell::new));
        for row in rows {
            table.add_row(row?.iter().map(|cell| Cell::new(escaped(cell))));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for (number, line) in table.lines().enumerate() {
            let style = if number == 0 { Style::Heading } else { Style::Plain };
            let line = self.styled(style, line.trim_end());
            self.line(line)?;
        }
        Ok(())
    }
}

/// Says why a command failed. There is nobody else to tell if that fails.
pub(crate) fn say_error(failure: &Failure) {
    say(&failure.to_string());
}

/// Says something beside the output, on standard error.
pub(crate) fn say(text: &str) {
    let lines: Vec<_> = super::escaped_lines(text).collect();
    let _ = writeln!(io::stderr().lock(), "foldlog: {}", lines.join("\n         "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>, has_colours: bool) -> String {
        let mut written = Vec::new();
        let mut output = Output::to(&mut written, width, has_colours);
        let rows = [["a\u{1b}[31m", "1"], ["longer name", "22"]];
        output.rows(&["NAME", "N"], rows.iter().map(|row| Ok(row.map(str::to_owned).to_vec()))).unwrap();
        drop(output);
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn rows_are_a_table_on_a_terminal_and_lines_with_tabs_elsewhere() {
        assert_eq!(table(None, false), "a\\u{1b}[31m\t1\nlonger name\t22\n");
        let on_a_terminal = table(Some(60), false);
        let lines: Vec<_> = on_a_terminal.lines().collect();
        assert_eq!(lines.len(), 3, "{on_a_terminal}");
        assert!(lines[0].trim().starts_with("NAME") && lines[1].contains("a\\u{1b}[31m"), "{on_a_terminal}");
        assert!(table(Some(60), true).starts_with("\u{1b}[1m"));
    }

    #[test]
    fn a_closed_pipe_is_no_failure_to_anybody() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut output = Output::to(Closed, None, false);
        assert!(matches!(output.line("x"), Err(Failure::NobodyReads)));
        assert!(matches!(output.json(&1), Err(Failure::NobodyReads)));
        assert!(matches!(output.flush(), Err(Failure::NobodyReads)));
    }
}
