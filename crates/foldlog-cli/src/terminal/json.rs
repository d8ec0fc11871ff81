//! JSON, one object a line. Hostile characters are escapes in it, so it does no harm on a terminal either.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use super::escape::is_hostile;

/// A formatter whose texts hold no hostile character.
struct Harmless<F>(F);

/// Writes a part of a text of JSON. Each character that goes is inside of a string, or is space between values.
fn write_harmless<W: Write + ?Sized>(writer: &mut W, mut text: &str) -> io::Result<()> {
    let is_told = |c: char| is_hostile(c) && !matches!(c, '\n' | '\r' | '\t');
    while let Some((at, hostile)) = text.char_indices().find(|(_, c)| is_told(*c)) {
        let (before, rest) = text.split_at(at);
        writer.write_all(before.as_bytes())?;
        for unit in hostile.encode_utf16(&mut [0; 2]) {
            write!(writer, "\\u{unit:04x}")?;
        }
        text = rest.split_at(hostile.len_utf8()).1;
    }
    writer.write_all(text.as_bytes())
}

/// What `CompactFormatter` does by itself needs no word here.
macro_rules! passed_on {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $name<W: Write + ?Sized>(&mut self, writer: &mut W, $($argument: $kind),*) -> io::Result<()> {
            self.0.$name(writer, $($argument),*)
        })*
    };
}

impl<F: Formatter> Formatter for Harmless<F> {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_harmless(writer, fragment)
    }

    fn write_raw_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_harmless(writer, fragment)
    }

    passed_on! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

/// Writes a value on one line.
pub(super) fn line(writer: &mut impl Write, value: &impl Serialize) -> Result<(), serde_json::Error> {
    write_as(writer, value, CompactFormatter)
}

/// Writes a value over several lines, indented.
pub(super) fn indented(writer: &mut impl Write, value: &impl Serialize) -> Result<(), serde_json::Error> {
    write_as(writer, value, PrettyFormatter::new())
}

fn write_as(
    writer: &mut impl Write,
    value: &impl Serialize,
    formatter: impl Formatter,
) -> Result<(), serde_json::Error> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *writer, Harmless(formatter)))?;
    writer.write_all(b"\n").map_err(serde_json::Error::io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_escapes_in_json_and_come_back() {
        let text = "\u{1b}[2J \u{9b} \u{202e} \u{7f} \u{e0041} ü \n";
        let raw = serde_json::value::RawValue::from_string(format!("{{\"k\":\"{}\"}}", "\u{202e}\u{9b}")).unwrap();
        let mut written = Vec::new();
        line(&mut written, &(text, raw)).unwrap();
        let written = String::from_utf8(written).unwrap();
        let expected = "[\"\\u001b[2J \\u009b \\u202e \\u007f \\udb40\\udc41 ü \\n\",{\"k\":\"\\u202e\\u009b\"}]\n";
        assert_eq!(written, expected);
        let (back, _): (String, serde_json::Value) = serde_json::from_str(&written).unwrap();
        assert_eq!(back, text);
        let mut written = Vec::new();
        indented(&mut written, &[1]).unwrap();
        assert_eq!(written, b"[\n  1\n]\n");
    }
}
