//! A place in the feed of a store, as a host keeps it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Chain;
use crate::error::{Error, ErrorKind};
use crate::id::from_text;
use crate::log_position::ChainStart;
use crate::port::{FeedPlace, LogReader, ScannedPage, Standing, StoreId};

/// A place in the feed of one store: what a consumer keeps of the last item that it has handled, to go on from there.
///
/// It is opaque: two positions can be compared for being equal, and nothing else follows from one. Its text form, such
/// as `6f01a2b3c4d5e6f7-1042-0-89abcdef01234567`, is for files and databases; in JSON it is this text.
///
/// A position is of the store that has given it. A feed from a position of another store is refused
/// ([`ErrorKind::OtherFeed`]), and so is one from a position that the store does not have any more, since its files
/// were replaced by an older copy. A store that was made by [`Store::restore`](crate::Store::restore) or
/// [`Store::repair`](crate::Store::repair), and a backup that was opened as a store, are other stores than the one that
/// they were made of.
///
/// **FeedPosition versus [`LogPosition`](crate::LogPosition).** A log position is an event of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeedPosition(From);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum From {
    Start,
    Now,
    Behind(Told),
}

/// Behind what was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Told {
    store: StoreMark,
    pub(super) place: FeedPlace,
    /// The chain hash of the event there, if it is known.
    pub(super) chain: Option<ChainStart>,
}

/// The first bytes of a store's id; zeros for a store without one.
type StoreMark = [u8; 8];

impl FeedPosition {
    /// Before the first event of all. The text form is `start`.
    ///
    /// A session that was deleted before the feed begins is not told of.
    pub const START: Self = Self(From::Start);

    /// Behind everything that is committed when the feed is opened. The text form is `now`.
    pub const NOW: Self = Self(From::Now);

    pub(super) fn behind(told: Told) -> Self {
        Self(From::Behind(told))
    }

    /// Whether it says where only when a feed is opened.
    pub(crate) fn is_relative(self) -> bool {
        matches!(self.0, From::Start | From::Now)
    }

    pub(super) fn told(self) -> Option<Told> {
        match self.0 {
            From::Start | From::Now => None,
            From::Behind(told) => Some(told),
        }
    }

    /// The place in this store. Refuses the position of another one.
    pub(super) fn resolve(self, reader: &mut dyn LogReader) -> Result<Told, Error> {
        let standing = reader.standing()?;
        let store = mark(standing.store);
        let told = |place| Told { store, place, chain: None };
        match self.0 {
            From::Start => Ok(told(FeedPlace::start(&standing))),
            From::Now => Ok(told(FeedPlace::end(&standing))),
            From::Behind(told) => told.check(reader, store, &standing).map(|()| told),
        }
    }
}

impl Told {
    fn check(&self, reader: &mut dyn LogReader, store: StoreMark, standing: &Standing) -> Result<(), Error> {
        let other = |reason: String| {
            Err(ErrorKind::OtherFeed { position: FeedPosition::behind(*self).to_string(), reason }.into())
        };
        if self.store != store {
            return other(format!("it is of another store than this one, whose positions begin with {}", hex(store)));
        }
        if self.place.is_beyond(standing) {
            return other("the store has not come as far: its files were replaced by an older copy".to_owned());
        }
        let Some(expected) = self.chain else { return Ok(()) };
        let mut page = ScannedPage::default();
        // An event that is deleted, or cannot be read, tells nothing.
        let there = match reader.scan(&mut page, self.place.event.before(), 1, 1) {
            Ok(_) => page.rows().next().filter(|row| row.position == self.place.event).map(|row| row.event.chain),
            Err(_) => None,
        };
        if there.is_some_and(|chain| chain.start_bytes() != expected) {
            return other(
                "the event there is another one: the store's files were replaced by an older copy".to_owned(),
            );
        }
        Ok(())
    }

    pub(super) fn see_event(&mut self, place: FeedPlace, chain: Option<Chain>) {
        self.place = place;
        self.chain = chain.map(|chain| chain.start_bytes());
    }
}

fn mark(store: Option<StoreId>) -> StoreMark {
    store.map(|store| store.start_bytes()).unwrap_or_default()
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn from_hex(text: &str) -> Option<[u8; 8]> {
    let is_hex = text.len() == 16 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(u64::to_be_bytes)
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            From::Start => f.write_str("start"),
            From::Now => f.write_str("now"),
            From::Behind(Told { store, place, chain }) => {
                write!(f, "{}-{place}", hex(*store))?;
                chain.map_or(Ok(()), |chain| write!(f, "-{}", hex(chain)))
            }
        }
    }
}

impl FromStr for FeedPosition {
    type Err = Error;

    /// Reads the text form.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = match text {
            "start" => Some(Self::START),
            "now" => Some(Self::NOW),
            text => told_of(text).map(Self::behind),
        };
        let what = || {
            format!(
                "{text:?} is no position in a feed: start, now, or what FeedItem::position has given, such as \
                 6f01a2b3c4d5e6f7-1042-0-89abcdef01234567"
            )
        };
        parsed.ok_or_else(|| ErrorKind::InvalidArgument { what: what() }.into())
    }
}

fn told_of(text: &str) -> Option<Told> {
    let (store, rest) = text.split_once('-')?;
    let (place, chain) = match rest.rsplit_once('-')? {
        (place, chain) if place.contains('-') => (place, Some(from_hex(chain)?)),
        _ => (rest, None),
    };
    Some(Told { store: from_hex(store)?, place: FeedPlace::parse(place)?, chain })
}

impl Serialize for FeedPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FeedPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{DeletionNumber, Position};

    #[test]
    fn a_position_comes_back_from_its_text_and_other_texts_are_refused() {
        let place = FeedPlace { event: Position(1042), deletion: DeletionNumber(3) };
        let store = [0, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        let told = Told { store, place, chain: Some([0, 1, 2, 3, 4, 5, 6, 7]) };
        let position = FeedPosition::behind(told);
        assert_eq!(position.to_string(), "0023456789abcdef-1042-3-0001020304050607");
        let without = FeedPosition::behind(Told { chain: None, ..told });
        assert_eq!(without.to_string(), "0023456789abcdef-1042-3");
        for position in [position, without, FeedPosition::START, FeedPosition::NOW] {
            assert_eq!(position.to_string().parse::<FeedPosition>().unwrap(), position);
            let json = serde_json::to_string(&position).unwrap();
            assert_eq!(json, format!("\"{position}\""));
            assert_eq!(serde_json::from_str::<FeedPosition>(&json).unwrap(), position);
        }
        for text in [
            "",
            "Start",
            "-",
            "0023456789abcdef",
            "0023456789abcdef-1042",
            "0023456789ABCDEF-1042-3",
            "0023456789abcdef-+1-3",
            "0023456789abcdef--1-3",
            "0023456789abcdef-1042-3-",
            "0023456789abcdef-1042-3-00",
            "0023456789abcdef-1-2-3-0001020304050607",
        ] {
            let error = text.parse::<FeedPosition>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?} is no position in a feed")), "{error}");
        }
    }
}
