//! Large values: inline up to a limit, a blob reference above it.

use serde::de::value::MapAccessDeserializer;
use serde::de::{EnumAccess, Error as _, MapAccess, VariantAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind};
use crate::id::BlobRef;
use crate::json;

/// A value that may be large: inline text, or a reference to the blob that holds it.
///
/// [`Store::intern_text`](crate::Store::intern_text) and [`Store::intern_json`](crate::Store::intern_json) decide by
/// the store's `inline_bytes_max`; [`Store::read_content`](crate::Store::read_content) gives the text back either way.
///
/// In JSON an inline text is a string, and a blob is `{"blob": {..}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The text itself; canonical JSON is text too.
    Inline(String),
    /// A reference to the blob that holds the text.
    Blob(BlobRef),
}

impl Content {
    /// The text, if it is inline.
    #[must_use]
    pub fn as_inline(&self) -> Option<&str> {
        match self {
            Self::Inline(text) => Some(text),
            Self::Blob(_) => None,
        }
    }

    /// The reference, if it is a blob.
    #[must_use]
    pub fn as_blob(&self) -> Option<&BlobRef> {
        match self {
            Self::Inline(_) => None,
            Self::Blob(blob) => Some(blob),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Inline(String::new())
    }
}

impl From<BlobRef> for Content {
    fn from(blob: BlobRef) -> Self {
        Self::Blob(blob)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Inline(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Inline(text)
    }
}

// Written by hand, since a record holds a variant where JSON has a plain string.
impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            Self::Inline(text) => serializer.serialize_newtype_variant("Content", 0, "inline", text),
            Self::Blob(blob) => serializer.serialize_newtype_variant("Content", 1, "blob", blob),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(ContentVisitor)
        } else {
            deserializer.deserialize_enum("Content", &["inline", "blob"], ContentVisitor)
        }
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, or an object with the member blob")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::from(text))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Content, E> {
        Ok(Content::Inline(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
        self.visit_enum(MapAccessDeserializer::new(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, content: A) -> Result<Content, A::Error> {
        #[derive(Deserialize)]
        #[serde(variant_identifier, rename_all = "snake_case")]
        enum Variant {
            Inline,
            Blob,
        }
        match content.variant()? {
            (Variant::Inline, text) => text.newtype_variant().map(Content::Inline),
            (Variant::Blob, blob) => blob.newtype_variant().map(Content::Blob),
        }
    }
}

/// A JSON value as canonical text: members in the order of RFC 8785, strings with its escapes, numbers as they were
/// written.
///
/// Two texts that differ only in space, in the order of members or in escapes become one canonical text. Numbers are
/// not compared by value: `1`, `1.0` and `1e0` stay three different texts.
///
/// Inside other JSON it is the value, every digit as it is. Serialise to text for that, and deserialise from text: a
/// [`serde_json::Value`] keeps doubles only, and `#[serde(tag)]`, `#[serde(untagged)]` and `#[serde(flatten)]` go
/// through such a value and cannot read it. In a record it is the text, which decoding trusts, since foldlog has
/// encoded it. Take text from elsewhere with [`Json::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// Makes the text of a value canonical.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJson`](crate::ErrorKind::InvalidJson) for a text that is not JSON, that has a duplicate key,
    /// or that nests deeper than 127 levels.
    pub fn parse(text: &str) -> Result<Self, Error> {
        json::canonical(text).map(Self)
    }

    /// Makes the canonical text of a value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJson`](crate::ErrorKind::InvalidJson) for a value that nests deeper than 127 levels.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, Error> {
        Self::parse(&value.to_string())
    }

    /// Parses the text into a value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidJson`] for a number that is larger than a double, which JSON allows and `serde_json` cannot
    /// hold.
    pub fn to_value(&self) -> Result<serde_json::Value, Error> {
        serde_json::from_str(&self.0).map_err(|error| ErrorKind::InvalidJson { reason: error.to_string() }.into())
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The canonical text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Json {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Default for Json {
    /// The empty object.
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let value: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
            value.serialize(serializer)
        } else {
            serializer.serialize_newtype_struct("Json", &self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let value = Box::<RawValue>::deserialize(deserializer)?;
            Self::parse(value.get()).map_err(D::Error::custom)
        } else {
            String::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_within_json_keeps_its_digits_and_is_checked_when_it_is_read() {
        let text = r#"[{"a":1.50,"b":[1e400,-0,18446744073709551617]},"\u000f"]"#;
        let json = Json::parse(text).unwrap();
        let within = serde_json::to_string(&vec![Some(&json)]).unwrap();
        assert_eq!(within, format!("[{text}]"));
        assert_eq!(serde_json::from_str::<Vec<Option<Json>>>(&within).unwrap(), [Some(json)]);
        assert_eq!(serde_json::from_str::<Json>(r#" {"b": 1, "a": 2 } "#).unwrap().as_str(), r#"{"a":2,"b":1}"#);
        for wrong in [r#"{"a":1,"a":2}"#, r#""\ud800""#, "01"] {
            assert!(serde_json::from_str::<Json>(wrong).is_err(), "{wrong}");
        }
        // A record is trusted, so damage could bring text that is no JSON: that is an error, and no broken document.
        for wrong in ["{", "1 2", "", "]"] {
            assert!(serde_json::to_string(&[Json(wrong.to_owned())]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn content_within_json_is_a_text_or_names_a_blob() {
        let inline = Content::from("{\"a\": 1}");
        let text = serde_json::to_string(&inline).unwrap();
        assert_eq!(text, r#""{\"a\": 1}""#);
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), inline);
        let digest = "07".repeat(32);
        let blob = format!(r#"{{"blob":{{"digest":"{digest}","bytes":5,"kind":"text","encoding":"plain"}}}}"#);
        let content: Content = serde_json::from_str(&blob).unwrap();
        assert_eq!(content.as_blob().map(|blob| blob.digest.as_bytes()), Some(&[7; 32]));
        assert_eq!(serde_json::to_string(&content).unwrap(), blob);
        for wrong in ["1", "null", "{}", r#"{"text":"a"}"#, &blob.replace("07", "0G"), &blob.replace("text", "film")] {
            assert!(serde_json::from_str::<Content>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_double_comes_back_as_it_was() {
        for double in [31.245270191439438, 0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE, -0.0] {
            let json = Json::from_value(&double.into()).unwrap();
            assert_eq!(json.to_value().unwrap().as_f64().map(f64::to_bits), Some(double.to_bits()), "{double}");
        }
    }
}
