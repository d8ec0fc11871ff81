//! What a view holds that was begun and has no end.

use std::fmt;

/// Something that was begun and has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// What was begun, such as `turn`, `step` or `tool_call`.
    pub kind: &'static str,
    /// The id of what was begun.
    pub id: UnfinishedId,
}

impl Unfinished {
    /// Names what has no end: `Unfinished::new("turn", 3)`, `Unfinished::new("tool_call", "call_17")`.
    #[must_use]
    pub fn new(kind: &'static str, id: impl Into<UnfinishedId>) -> Self {
        Self { kind, id: id.into() }
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// The id of what has no end: the session model's own number, or a text such as a provider's id of a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnfinishedId {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl UnfinishedId {
    /// The number, if it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

impl From<u64> for UnfinishedId {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for UnfinishedId {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for UnfinishedId {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for UnfinishedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}
