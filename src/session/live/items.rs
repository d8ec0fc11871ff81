//! What a subscriber is given, and from where a subscription begins.

use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::event::LogEvent;
use crate::id::EventId;
use crate::log_position::LogPosition;
use crate::model::SessionModel;

/// From where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeFrom {
    /// From the next event that is committed. What is still being written
    /// ([`SessionModel::transient_key`](crate::SessionModel::transient_key)) comes from its beginning.
    Now,
    /// From the event after this one: first the log, then live. At the change no event is left out, and none comes
    /// twice. An event that the log does not have is an error.
    After(EventId),
    /// The same, from an event of one history: an event of another history is an error, too.
    AfterPosition(LogPosition),
}

impl SubscribeFrom {
    /// After which event, unless it is from now on.
    pub(crate) fn position(self) -> Option<LogPosition> {
        match self {
            Self::Now => None,
            Self::After(event) => Some(event.into()),
            Self::AfterPosition(position) => Some(position),
        }
    }
}

/// One item of a subscription.
///
/// Serialises as `{"event": ..}`, `{"transient": ..}`, `{"gap": ..}`, `{"failed": ..}` or `"ended"` where the session
/// model's transients have serde: docs/json.md.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", bound = "M::Transient: Serialize")]
#[non_exhaustive]
pub enum Item<M: SessionModel> {
    /// A committed event. Ids ascend by one, except for the events that a [`Gap`] names.
    Event(LogEvent<M>),
    /// A live item, which is never persisted.
    Transient(M::Transient),
    /// Something was left out here.
    Gap(Gap),
    /// The log cannot be read on: nothing follows but the end. To subscribe again helps only if the error says so.
    #[serde(serialize_with = "as_text")]
    Failed(Error),
    /// The session or the store was closed, or the log could not be read: nothing follows. Only an actor gets this
    /// item; a stream just ends.
    Ended,
}

fn as_text<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}

impl<M: SessionModel> std::fmt::Debug for Item<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Transient(transient) => f.debug_tuple("Transient").field(transient).finish(),
            Self::Gap(gap) => f.debug_tuple("Gap").field(gap).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Ended => f.write_str("Ended"),
        }
    }
}

impl<M: SessionModel> Clone for Item<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Event(event) => Self::Event(event.clone()),
            Self::Transient(transient) => Self::Transient(transient.clone()),
            Self::Gap(gap) => Self::Gap(*gap),
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Ended => Self::Ended,
        }
    }
}

/// What a subscriber has not been given: it lagged behind, or came late to what is still being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// The last event that was delivered, or that the gap before this one named: read the log after it.
    pub after: EventId,
    /// The last event that was left out. Equal to `after` when only transients were.
    pub through: EventId,
    /// How many transients were left out: they did not fit the queue, came while the subscriber read the log, or are no
    /// longer kept of what is still being written. For a slow subscriber the number may be too large, if streams of
    /// transients ended meanwhile.
    pub transients: u64,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::Deserialize;

    use super::*;
    use crate::event::{Described, Event, OwnBody, OwnEvent, SessionCore};
    use crate::id::Timestamp;
    use crate::model::{DecodeError, View, decode_body};
    use crate::replay::EventPage;

    struct Tally;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    enum TallyBody {
        Added { by: u64, note: Option<String> },
    }

    #[derive(Debug, Clone, Default, PartialEq, Serialize)]
    struct TallyView {
        sum: u64,
    }

    impl SessionModel for Tally {
        const NAME: &'static str = "tally";
        const SCHEMA: u16 = 1;
        type Body = TallyBody;
        type View = TallyView;
        type Counters = ();
        type Transient = f64;

        fn event_type(_: &TallyBody) -> &'static str {
            "added"
        }

        fn apply(view: &mut TallyView, event: &Event<Self>) {
            let TallyBody::Added { by, note: _ } = event.body();
            view.sum += by;
        }

        fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<TallyBody, DecodeError> {
            decode_body(bytes)
        }
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn what_a_model_of_a_host_gives_to_subscribers_has_one_form_in_json() {
        let at = Timestamp::from_micros(1_700_000_000_000_001);
        let body = TallyBody::Added { by: 5, note: None };
        let event = LogEvent::<Tally>::Model(Arc::new(Event::new(EventId::new(1), at, [0x0a; 8], body)));
        let labels = [("team".to_owned(), Some("a".to_owned())), ("todo".to_owned(), None)].into();
        let described = Described { title: Some("T".to_owned()), labels };
        let own = OwnEvent::new(EventId::new(2), at, [0; 8], OwnBody::Described(described));
        let own = LogEvent::<Tally>::Own(Arc::new(own));
        let event_text = r#"{"id":1,"at":"2023-11-14T22:13:20.000001Z","type":"added","position":"1-0a0a0a0a0a0a0a0a","body":{"Added":{"by":5,"note":null}}}"#;
        let own_text = r#"{"id":2,"at":"2023-11-14T22:13:20.000001Z","type":"foldlog.described","position":"2-0000000000000000","body":{"foldlog.described":{"title":"T","labels":{"team":"a","todo":null}}}}"#;
        assert_eq!(json(&event), event_text);
        assert_eq!(json(event.as_model().unwrap().as_ref()), event_text);
        assert_eq!(json(&own), own_text);
        let page = EventPage { events: vec![event.clone(), own], more: true };
        assert_eq!(json(&page), format!(r#"{{"events":[{event_text},{own_text}],"more":true}}"#));
        let core = SessionCore { title: "T".to_owned(), labels: [("team".to_owned(), "a".to_owned())].into() };
        let view = View::<Tally>::new(EventId::new(2), TallyView { sum: 5 }, Arc::new(core));
        assert_eq!(json(&view), r#"{"head":2,"state":{"sum":5},"core":{"title":"T","labels":{"team":"a"}}}"#);

        let gap = Gap { after: EventId::new(2), through: EventId::new(4), transients: 3 };
        let items = [Item::Event(event), Item::Transient(0.5), Item::Gap(gap), Item::Ended];
        let wanted = [
            format!(r#"{{"event":{event_text}}}"#),
            r#"{"transient":0.5}"#.to_owned(),
            r#"{"gap":{"after":2,"through":4,"transients":3}}"#.to_owned(),
            r#""ended""#.to_owned(),
        ];
        assert_eq!(items.each_ref().map(json), wanted);
    }
}
