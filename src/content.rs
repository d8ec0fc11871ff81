//! Large values: inline up to a limit, a blob reference above it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::id::BlobRef;
use crate::json;

/// A value that may be large: inline text, or a reference to the blob that holds it.
///
/// [`Store::intern_text`](crate::Store::intern_text) and [`Store::intern_json`](crate::Store::intern_json) decide by the
/// store's `inline_bytes_max`; [`Store::read_content`](crate::Store::read_content) gives the text back either way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A JSON value as canonical text: members in the order of RFC 8785, strings with its escapes, numbers as they were
/// written.
///
/// Two texts that differ only in space, in the order of members or in escapes become one canonical text. Numbers are
/// not compared by value: `1`, `1.0` and `1e0` stay three different texts.
///
/// Deserialising trusts the text, since foldlog has encoded the record that holds it. Take text from elsewhere with
/// [`Json::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_comes_back_as_it_was() {
        for double in [31.245270191439438, 0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE, -0.0] {
            let json = Json::from_value(&double.into()).unwrap();
            assert_eq!(json.to_value().unwrap().as_f64().map(f64::to_bits), Some(double.to_bits()), "{double}");
        }
    }
}
