//! From where a log is read: an event, or a time.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use foldlog::{LogPosition, Timestamp};

use crate::commands::values::span;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// After an event.
    Event(LogPosition),
    /// At this time, and later.
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Event(position));
        }
        if let Ok(span) = span(text) {
            let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            return Ok(Self::Time(Timestamp::from_micros(now().saturating_sub(micros))));
        }
        text.parse().map(Self::Time).map_err(|_| {
            "wanted an event id (12), a position (12-0123456789abcdef), an RFC 3339 time (2026-11-28T06:30:00Z), or a span \
             (90s, 10m, 2h, 3d)"
                .to_owned()
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the user speaks of now, and no event gets this time")]
fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use foldlog::EventId;

    use super::*;

    #[test]
    fn an_event_a_position_a_time_and_a_span_are_told_apart() {
        assert_eq!("12".parse(), Ok(Since::Event(EventId::new(12).into())));
        assert!(matches!("12-0123456789abcdef".parse(), Ok(Since::Event(_))));
        let time = Timestamp::from_micros(1_700_000_000_000_000);
        assert_eq!("2023-11-14T22:13:20Z".parse(), Ok(Since::Time(time)));
        assert!(matches!("90s".parse(), Ok(Since::Time(_))));
        for wrong in ["", "h", "-1h", "2w", "soon", "12-", "1.5h", "ü"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
