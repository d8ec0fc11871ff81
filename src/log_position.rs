//! A place in a session's log that is known to be of one history.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};
use crate::id::{EventId, from_text};

/// An event of a session's log, with the first eight bytes of its chain hash: what a consumer keeps of the last event
/// that it has seen, to go on from there. If the log was replaced by an older copy and has gone on differently, the
/// event with that id is another one, which the id alone cannot tell.
///
/// Its text form is `20-0123456789abcdef`, such as for the `id:` line of a server-sent event; in JSON it is this text.
/// An [`EventId`] alone becomes a position without a chain hash, whose text form is the number: then only an event that
/// the log has not reached is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogPosition {
    event: EventId,
    chain: Option<ChainStart>,
}

/// The first bytes of a chain hash.
pub(crate) type ChainStart = [u8; 8];

impl LogPosition {
    pub(crate) fn new(event: EventId, chain: ChainStart) -> Self {
        Self { event, chain: Some(chain) }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.event
    }

    /// Whether the event of a log whose chain hash begins like this is the one that is meant, as far as that is known.
    pub(crate) fn is_of(&self, chain: ChainStart) -> bool {
        self.chain.is_none_or(|start| start == chain)
    }

    /// Whether the history can be told from another one.
    pub(crate) fn has_chain(&self) -> bool {
        self.chain.is_some()
    }
}

impl From<EventId> for LogPosition {
    fn from(event: EventId) -> Self {
        Self { event, chain: None }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)?;
        match self.chain {
            Some(chain) => write!(f, "-{:016x}", u64::from_be_bytes(chain)),
            None => Ok(()),
        }
    }
}

impl FromStr for LogPosition {
    type Err = Error;

    /// Reads an event id, alone or followed by `-` and 16 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (event, chain) = text.split_once('-').map_or((text, None), |(event, chain)| (event, Some(chain)));
        let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let chain = chain.map(|chain| match chain.len() == 16 && chain.bytes().all(is_hex) {
            true => u64::from_str_radix(chain, 16).ok(),
            false => None,
        });
        match (event.parse::<EventId>(), chain) {
            (Ok(event), None) => Ok(event.into()),
            (Ok(event), Some(Some(chain))) => Ok(Self::new(event, chain.to_be_bytes())),
            _ => Err(ErrorKind::InvalidArgument { what: no_position(text) }.into()),
        }
    }
}

fn no_position(text: &str) -> String {
    format!(
        "{text:?} is no position in a log, such as 20-0123456789abcdef: an event id, and the first 16 hex digits of its chain \
         hash, as Event::position gives it for the id of a server-sent event, which comes back as Last-Event-ID; or an event \
         id alone, from 0"
    )
}

impl Serialize for LogPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_from_its_text_and_other_texts_are_refused() {
        let position = LogPosition::new(EventId::new(20), [0, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(position.to_string(), "20-0023456789abcdef");
        for position in [position, EventId::new(20).into(), EventId::ZERO.into()] {
            assert_eq!(position.to_string().parse::<LogPosition>().unwrap(), position);
            let json = serde_json::to_string(&position).unwrap();
            assert_eq!(json, format!("\"{position}\""));
            assert_eq!(serde_json::from_str::<LogPosition>(&json).unwrap(), position);
        }
        for text in
            ["", "-", "20-", "20-23456789abcdef", "20-0023456789ABCDEF", "20-+023456789abcdef", "x-0023456789abcdef"]
        {
            let error = text.parse::<LogPosition>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} is no position")) && error.contains("Last-Event-ID"),
                "{error}"
            );
        }
    }
}
