//! Text that somebody else wrote, made harmless: no byte of it moves a cursor, changes a colour, or turns a line
//! around.

use std::borrow::Cow;

/// Whether a character can do more to a terminal than be seen: control characters (of both sets), marks that change the
/// direction of text, characters without a width that hide in words, separators of lines and paragraphs, and tags.
pub(super) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line: what is hostile as `\n`, `\t`, `\u{1b}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The lines of a text, each of them harmless. A tab stays a few spaces, and a carriage return before a newline goes.
pub(crate) fn escaped_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| escaped(&line.replace('\t', "    ")).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_a_terminal_is_shown_as_an_escape_and_other_text_stays() {
        for (text, shown) in [
            ("plain, ünïcödé, 漢字, 🦀", "plain, ünïcödé, 漢字, 🦀"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("c1: \u{9b}31m", "c1: \\u{9b}31m"),
            ("a\r\nb\tc\0\u{7f}", "a\\r\\nb\\tc\\u{0}\\u{7f}"),
            ("ab\u{202e}dc\u{202c}\u{2066}\u{200f}", "ab\\u{202e}dc\\u{202c}\\u{2066}\\u{200f}"),
            ("ze\u{200b}ro \u{2028}line \u{feff} \u{e0041}", "ze\\u{200b}ro \\u{2028}line \\u{feff} \\u{e0041}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
        // Joins letters and emoji, and turns nothing around.
        assert_eq!(escaped("👩\u{200d}💻"), "👩\u{200d}💻");
        assert_eq!(escaped_lines("a\r\n\tb\u{1b}\n\nc").collect::<Vec<_>>(), ["a", "    b\\u{1b}", "", "c"]);
    }
}
