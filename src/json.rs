//! Canonical JSON text: RFC 8785 member order and escapes, numbers with the digits they came with. Pure.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind};

/// How deep arrays and objects may nest. Every pass over a value is recursive, so the depth bounds the stack.
const LEVELS_MAX: usize = 127;

/// Makes a JSON text canonical: members ordered by their names' UTF-16 code units, the escapes of RFC 8785, no space.
/// Numbers are checked and kept as they are written, so that no digit is lost.
///
/// # Errors
/// [`ErrorKind::InvalidJson`] with the byte offset of what is wrong: no JSON, a duplicate key, a lone surrogate, over
/// 127 levels, text after the value.
pub(crate) fn canonical(text: &str) -> Result<String, Error> {
    let mut reader = Reader { text, at: 0 };
    let node = reader.value(0)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(wrong(reader.at, "text after the value"));
    }
    let mut out = String::with_capacity(text.len());
    node.write(&mut out);
    Ok(out)
}

/// A parsed value. It is a tree, because an object must be read whole before its first member can be written.
enum Node<'a> {
    /// A number or literal, as written.
    Verbatim(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
}

struct Member<'a> {
    name: Cow<'a, str>,
    at: usize,
    value: Node<'a>,
}

impl Node<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Verbatim(text) => out.push_str(text),
            Self::Text(text) => write_text(text, out),
            Self::Array(nodes) => {
                out.push('[');
                for (i, node) in nodes.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    node.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, member) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(&member.name, out);
                    out.push(':');
                    member.value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
}

fn wrong(at: usize, what: &str) -> Error {
    ErrorKind::InvalidJson { reason: format!("{what} at byte {at}") }.into()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_space(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// The text from `start` to the current place. Both ends are always next to an ASCII byte, so neither splits a
    /// character.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, level: usize) -> Result<Node<'a>, Error> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') if level == LEVELS_MAX => {
                Err(wrong(self.at, &format!("nesting is over {LEVELS_MAX} levels")))
            }
            Some(b'{') => self.object(level + 1),
            Some(b'[') => self.array(level + 1),
            Some(b'"') => self.string().map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(_) => Err(wrong(self.at, "no value")),
            None => Err(wrong(self.at, "the text ends where a value should be,")),
        }
    }

    fn array(&mut self, level: usize) -> Result<Node<'a>, Error> {
        self.at += 1;
        let mut nodes = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Node::Array(nodes));
        }
        loop {
            nodes.push(self.value(level)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Node::Array(nodes));
            }
            if !self.take(b',') {
                return Err(wrong(self.at, "no comma or end of an array"));
            }
        }
    }

    fn object(&mut self, level: usize) -> Result<Node<'a>, Error> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            self.skip_space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(wrong(at, "no name of a member"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(wrong(self.at, "no colon after a name"));
            }
            members.push(Member { name, at, value: self.value(level)? });
            self.skip_space();
            if self.take(b'}') {
                return ordered(members).map(Node::Object);
            }
            if !self.take(b',') {
                return Err(wrong(self.at, "no comma or end of an object"));
            }
        }
    }

    fn literal(&mut self, word: &'static str) -> Result<Node<'a>, Error> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(wrong(self.at, "no value"));
        }
        self.at += word.len();
        Ok(Node::Verbatim(word))
    }

    fn number(&mut self) -> Result<Node<'a>, Error> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Node::Verbatim(self.since(start)))
    }

    fn digits(&mut self) -> Result<(), Error> {
        match self.skip_while(|byte| byte.is_ascii_digit()) {
            0 => Err(wrong(self.at, "no digit of a number")),
            _ => Ok(()),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let start = self.at;
            self.skip_while(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
            let plain = self.since(start);
            if text.is_empty() {
                text = Cow::Borrowed(plain);
            } else {
                text.to_mut().push_str(plain);
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.to_mut().push(self.escape()?),
                Some(_) => return Err(wrong(self.at, "control character in a string")),
                None => return Err(wrong(self.at, "the text ends inside a string,")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut unit = self.hex(start)?;
                if (0xd800..0xdc00).contains(&unit) && self.take(b'\\') && self.take(b'u') {
                    let low = self.hex(start)?;
                    // Where no low half follows, the unit stays a lone half and is refused below.
                    if (0xdc00..0xe000).contains(&low) {
                        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    }
                }
                char::from_u32(unit).ok_or_else(|| wrong(start, "lone surrogate"))?
            }
            _ => return Err(wrong(start, "no escape that JSON knows")),
        })
    }

    fn hex(&mut self, start: usize) -> Result<u32, Error> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| wrong(start, "no four hex digits in the escape"))?;
            self.at += 1;
        }
        Ok(unit)
    }
}

/// Members in RFC 8785 order, which is not the order of UTF-8 bytes beyond the basic plane. Names are unescaped by now,
/// so a duplicate cannot hide behind an escape.
fn ordered(mut members: Vec<Member<'_>>) -> Result<Vec<Member<'_>>, Error> {
    members.sort_by(|a, b| a.name.encode_utf16().cmp(b.name.encode_utf16()));
    let duplicate = members.windows(2).find_map(|pair| match pair {
        [first, second] if first.name == second.name => Some(second.at),
        _ => None,
    });
    match duplicate {
        Some(at) => Err(wrong(at, "duplicate key")),
        None => Ok(members),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn refused(text: &str) -> String {
        match canonical(text).unwrap_err().kind() {
            ErrorKind::InvalidJson { reason } => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_are_in_the_order_of_rfc_8785() {
        let text = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
            "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let order = ["\\r", "1", "\u{80}", "ö", "€", "😀", "\u{fb33}"].map(|name| format!("\"{name}\":"));
        let out = canonical(text).unwrap();
        let places = order.map(|name| out.find(&name).unwrap());
        assert!(places.is_sorted(), "{out}");
    }

    #[test]
    fn strings_have_the_escapes_of_rfc_8785() {
        let text = r#" { "string" : "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/\b\f\t\u007f\u2028" , "literals":[null,true, false]} "#;
        let wanted =
            "{\"literals\":[null,true,false],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\\b\\f\\t\u{7f}\u{2028}\"}";
        assert_eq!(canonical(text).unwrap(), wanted);
        assert_eq!(canonical(r#""a\u0000b""#).unwrap(), r#""a\u0000b""#);
    }

    #[test]
    fn numbers_keep_the_digits_they_came_with() {
        for number in ["0", "-0", "1.0", "1e400", "1E+2", "-12.50e-07", "333333333.33333329", "18446744073709551617"] {
            assert_eq!(canonical(&format!(" [{number} ]")).unwrap(), format!("[{number}]"));
        }
        for wrong in ["01", "-", "+1", ".5", "1.", "1.e3", "1e", "1e+", "0x10", "NaN", "Infinity", "-a", "1_0"] {
            assert!(canonical(wrong).is_err(), "{wrong}");
            assert!(canonical(&format!("[{wrong}]")).is_err(), "[{wrong}]");
        }
    }

    #[test]
    fn a_duplicate_key_is_refused_even_behind_an_escape() {
        assert_eq!(refused(r#"{"a":1,"\u0061":2}"#), "duplicate key at byte 7");
        assert_eq!(refused(r#"[{"x":{"b":1,"a":1,"b":1}}]"#), "duplicate key at byte 19");
        assert_eq!(canonical(r#"{"b":{"a":1},"a":{"a":1}}"#).unwrap(), r#"{"a":{"a":1},"b":{"a":1}}"#);
    }

    #[test]
    fn nesting_is_refused_from_128_levels_on() {
        let nested = |open: &str, close: &str, levels| open.repeat(levels) + "1" + close.repeat(levels).as_str();
        assert!(canonical(&nested("[", "]", 127)).is_ok());
        assert_eq!(refused(&nested("[", "]", 128)), "nesting is over 127 levels at byte 127");
        assert!(canonical(&nested("{\"a\":", "}", 127)).is_ok());
        assert!(refused(&nested("{\"a\":", "}", 128)).starts_with("nesting is over 127 levels"));
        assert!(canonical(&"[".repeat(1 << 20)).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_byte_offset() {
        let cases = [
            ("", "the text ends where a value should be, at byte 0"),
            ("  ", "the text ends where a value should be, at byte 2"),
            ("\u{feff}1", "no value at byte 0"),
            ("1 2", "text after the value at byte 2"),
            ("[1,]", "no value at byte 3"),
            ("[1 2]", "no comma or end of an array at byte 3"),
            ("{a:1}", "no name of a member at byte 1"),
            ("{\"a\":1,}", "no name of a member at byte 7"),
            ("{\"a\" 1}", "no colon after a name at byte 5"),
            ("{\"a\":1;", "no comma or end of an object at byte 6"),
            ("tru", "no value at byte 0"),
            ("truex", "text after the value at byte 4"),
            ("\"ä\nb\"", "control character in a string at byte 3"),
            ("\"abc", "the text ends inside a string, at byte 4"),
            ("\"abc\\", "no escape that JSON knows at byte 4"),
            (r#""\x""#, "no escape that JSON knows at byte 1"),
            (r#""\u12g4""#, "no four hex digits in the escape at byte 1"),
            (r#""\u+123""#, "no four hex digits in the escape at byte 1"),
            (r#""a\ud800""#, "lone surrogate at byte 2"),
            (r#""\udc00\ud800""#, "lone surrogate at byte 1"),
            (r#""\ud800\u0041""#, "lone surrogate at byte 1"),
            (r#""\ud800\n""#, "lone surrogate at byte 1"),
            ("\"\\ä\"", "no escape that JSON knows at byte 1"),
        ];
        for (text, reason) in cases {
            assert_eq!(refused(text), reason, "{text:?}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["\\PC{0,6}", any::<String>(), "[a-c😀\u{fb33}\u{0}-\u{1f}\"\\\\]{0,3}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300_f64..1e300).prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Every character of every string as a `\u` escape, members in reverse, space everywhere.
    fn disguised(value: &Value) -> String {
        let escaped = |text: &str| {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            format!("\"{units}\"")
        };
        match value {
            Value::String(text) => escaped(text),
            Value::Array(items) => format!("[ {} ]", items.iter().map(disguised).collect::<Vec<_>>().join("\t,\r\n")),
            Value::Object(members) => {
                let members: Vec<_> =
                    members.iter().rev().map(|(k, v)| format!("{} : {}", escaped(k), disguised(v))).collect();
                format!("{{ {} }}", members.join(" , "))
            }
            _ => value.to_string(),
        }
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    proptest! {
        #[test]
        fn canonical_text_has_the_same_value_and_is_its_own_canonical_text(value in value()) {
            let out = canonical(&value.to_string()).unwrap();
            // Compared as read back, since serde_json reads some floats a last digit off.
            prop_assert_eq!(parsed(&out), parsed(&value.to_string()));
            prop_assert_eq!(canonical(&out).unwrap(), out);
        }

        #[test]
        fn equal_values_have_equal_texts_however_they_are_written(value in value()) {
            let plain = canonical(&value.to_string()).unwrap();
            prop_assert_eq!(canonical(&disguised(&value)).unwrap(), plain.clone());
            prop_assert_eq!(canonical(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), plain);
        }

        #[test]
        fn any_text_is_refused_or_has_serde_jsons_value(text in "[\\[\\]{}:, \"\\\\a0-2eEu.\\-tn]{0,24}") {
            match (canonical(&text), serde_json::from_str::<Value>(&text)) {
                (Ok(out), Ok(value)) => prop_assert_eq!(parsed(&out), value),
                // serde_json takes duplicate keys, and refuses numbers beyond a double.
                (Err(error), Ok(_)) => prop_assert!(error.to_string().contains("duplicate key"), "{}", error),
                (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{}", error),
                (Err(_), Err(_)) => {}
            }
        }
    }
}
