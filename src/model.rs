//! What a host plugs in: its events, its view, its fold.

mod unfinished;
mod view;

use std::fmt::Debug;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::event::Event;
use crate::id::{BlobRef, EventId};
pub use unfinished::{Unfinished, UnfinishedId};
pub use view::View;
pub(crate) use view::apply_to;

/// A host's kind of session: which events it has, and how they fold into a view.
///
/// Every function is pure: time and ids come in as arguments, and no function reads a clock, a file or a random number.
/// Folding the same events from the start always gives the same view.
///
/// **Bodies must survive bincode.** Structs, externally tagged enums, `Option`, lists and maps do. `serde_json::Value`,
/// `#[serde(untagged)]`, `#[serde(tag = ...)]`, `#[serde(flatten)]` and `#[serde(skip_serializing_if)]` do not: carry
/// JSON as text. Before a body is persisted, it is decoded again, once for each shape that bodies of its type have, and
/// an append of one that does not come back is refused. A body must not be recursive, nor hold a list of empty values:
/// hostile bytes could then exhaust stack or time.
///
/// # Examples
/// ```
/// use foldlog::{Event, EventId, SessionModel};
/// use serde::{Deserialize, Serialize};
///
/// struct Tally;
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// enum TallyBody {
///     Added(u64),
/// }
///
/// impl SessionModel for Tally {
///     const NAME: &'static str = "tally";
///     const SCHEMA: u16 = 1;
///     type Body = TallyBody;
///     type View = u64;
///     type Counters = ();
///     type Transient = ();
///
///     fn event_type(_: &TallyBody) -> &'static str {
///         "added"
///     }
///     fn apply(sum: &mut u64, event: &Event<Self>) {
///         let TallyBody::Added(n) = event.body();
///         *sum += n;
///     }
///     fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<TallyBody, foldlog::DecodeError> {
///         match (event_type, schema) {
///             ("added", 1) => foldlog::decode_body(bytes),
///             _ => Err(foldlog::DecodeError::Unknown),
///         }
///     }
/// }
/// ```
pub trait SessionModel: Sized + Send + Sync + 'static {
    /// The session model's name. It is stored in the directory, which a store of another session model cannot open.
    const NAME: &'static str;
    /// The schema version that this build writes. Raise it whenever a body changes its encoding.
    const SCHEMA: u16;

    /// The schema version of the encoded view. Raise it whenever [`SessionModel::encode_view`] or what
    /// [`SessionModel::apply`] makes of an event changes, a new event type included: a stored view of another version
    /// is not used.
    const VIEW_SCHEMA: u16 = 1;

    /// Refuses a body because of what the session has become: a reply to a ticket that is closed. The function is given
    /// the view and the body, and answers a text that says what is wrong; the receipt of the append then fails with
    /// [`ErrorKind::RefusedByView`](crate::ErrorKind::RefusedByView). Nothing of the append is written, and those
    /// behind it go on.
    ///
    /// The view holds every event ahead of the body: those that are still on their way to the disk, and the earlier
    /// ones of the same batch. So of two appends made at once that may not both be, the later is refused. The body has
    /// the ids that [`SessionModel::stamp`] has given it. The refusal is told when everything that it may rest on is
    /// durable; if that was not written, the receipt fails with
    /// [`ErrorKind::NotWritten`](crate::ErrorKind::NotWritten).
    ///
    /// A function, like the others of this trait: pure, and one that must not panic. `None` by default, which costs an
    /// append nothing. Otherwise an event that another append follows while it is in flight is applied twice.
    ///
    /// ```
    /// # use foldlog::{DecodeError, Event, RefuseByView, SessionModel, decode_body};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Debug, Clone, Serialize, Deserialize)] enum TicketBody { Replied(String), Closed }
    /// # #[derive(Debug, Clone, Default, PartialEq)] struct Ticket { closed: bool }
    /// # struct Tickets;
    /// impl SessionModel for Tickets {
    ///     const REFUSE_BY_VIEW: Option<RefuseByView<Self>> = Some(|ticket, _| {
    ///         if ticket.closed { Err("the ticket is closed".to_owned()) } else { Ok(()) }
    ///     });
    ///     // ...
    /// #    const NAME: &'static str = "tickets";
    /// #    const SCHEMA: u16 = 1;
    /// #    type Body = TicketBody;
    /// #    type View = Ticket;
    /// #    type Counters = ();
    /// #    type Transient = ();
    /// #    fn event_type(_: &TicketBody) -> &'static str { "ticket" }
    /// #    fn apply(view: &mut Ticket, event: &Event<Self>) { view.closed |= matches!(event.body(), TicketBody::Closed); }
    /// #    fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<TicketBody, DecodeError> { decode_body(bytes) }
    /// }
    /// ```
    const REFUSE_BY_VIEW: Option<RefuseByView<Self>> = None;

    /// What the host appends. Equal bodies must encode to equal bytes: use `BTreeMap` or a list, not `HashMap` or
    /// `HashSet`.
    type Body: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// The folded state. It is cloned after each append, so its collections should share structure: use those of the
    /// crate `imbl`, or an `Arc` around what is large.
    type View: Clone + Debug + Default + PartialEq + Send + Sync + 'static;
    /// What stamping depends on: the counters that mint the session model's own ids.
    type Counters: Clone + Debug + Default + PartialEq + Send + Sync + 'static;
    /// A live item that is delivered to subscribers, never persisted and never folded.
    type Transient: Clone + Debug + Send + Sync + 'static;

    /// The type that is stored with each event, such as `turn_started`, of at most 255 bytes. Names that begin with
    /// `foldlog.` are reserved.
    fn event_type(body: &Self::Body) -> &'static str;

    /// Refuses a body that must never be persisted, with a reason. Called before stamping.
    ///
    /// # Errors
    /// A text that says what is wrong; the call of the append fails with
    /// [`ErrorKind::BodyRefused`](crate::ErrorKind::BodyRefused).
    fn check(body: &Self::Body) -> Result<(), String> {
        let _ = body;
        Ok(())
    }

    /// Writes the ids that this body creates into the body, from the counters, and moves the counters to where
    /// [`SessionModel::apply`] will put them. It must not depend on any other state than the counters. The ids ascend
    /// and need not be consecutive, since foldlog's own events take ids, too.
    ///
    /// # Errors
    /// A text that says why no id can be given, or which entity the body names that is not there. The receipt of the
    /// append fails with [`ErrorKind::BodyRefused`](crate::ErrorKind::BodyRefused), and the counters must be left as
    /// they were.
    fn stamp(counters: &mut Self::Counters, id: EventId, body: &mut Self::Body) -> Result<(), String> {
        let _ = (counters, id, body);
        Ok(())
    }

    /// Folds one committed event into the view. Must not panic: refuse bad bodies in [`SessionModel::check`].
    fn apply(view: &mut Self::View, event: &Event<Self>);

    /// Folds one committed event that nobody else needs, so that the view may keep the event's body instead of a clone.
    /// A replay of a log calls this function. It must give the view that [`SessionModel::apply`] gives.
    fn apply_owned(view: &mut Self::View, event: Event<Self>) {
        Self::apply(view, &event);
    }

    /// What is left of a body when its event is redacted and the host has not said it by
    /// [`Redact::replace`](crate::Redact::replace), which wins over this function. Everything that says something
    /// should be gone, and everything that the fold and later events rely on should stay: ids, and which entity belongs
    /// to which. The replacement is of the same type, is checked and stamped as a new body is, with the counters that
    /// the original was stamped with, and must leave the counters as the original does. The default is `None`: only a
    /// host that brings a replacement can redact.
    fn redact(body: &Self::Body) -> Option<Self::Body> {
        let _ = body;
        None
    }

    /// The counters of a view, from which the next ids are minted.
    fn counters(view: &Self::View) -> Self::Counters {
        let _ = view;
        Self::Counters::default()
    }

    /// Calls `each` with every blob that the body references.
    fn blob_refs(body: &Self::Body, each: &mut dyn FnMut(&BlobRef)) {
        let _ = (body, each);
    }

    /// The stream that a transient belongs to, under any text that is the stream's alone within the session, such as
    /// the id of an answer that is being written. foldlog keeps the transients of a stream in memory until an event
    /// ends it ([`SessionModel::ends_stream`]), and gives them to a subscriber that comes late, ahead of the live ones.
    /// By default a transient belongs to no stream, and nothing is kept.
    ///
    /// A session remembers its last 1,024 open streams: name an end for each.
    ///
    /// ```
    /// # use foldlog::{DecodeError, Event, SessionModel};
    /// # use serde::{Deserialize, Serialize};
    /// struct Chat;
    ///
    /// # #[derive(Debug, Clone, Serialize, Deserialize)]
    /// enum ChatBody {
    ///     Asked(String),
    ///     Answered { question: u64, text: String },
    /// }
    /// # #[derive(Debug, Clone)]
    /// enum ChatTransient {
    ///     Delta { question: u64, text: String },
    ///     Typing,
    /// }
    ///
    /// impl SessionModel for Chat {
    /// #   const NAME: &'static str = "chat";
    /// #   const SCHEMA: u16 = 1;
    /// #   type Body = ChatBody;
    /// #   type View = u64;
    /// #   type Counters = ();
    /// #   type Transient = ChatTransient;
    /// #   fn event_type(_: &ChatBody) -> &'static str { "chat" }
    /// #   fn apply(view: &mut u64, _: &Event<Self>) { *view += 1; }
    /// #   fn decode(_: &str, _: u16, bytes: &[u8]) -> Result<ChatBody, DecodeError> { foldlog::decode_body(bytes) }
    ///     // ...
    ///     fn transient_key(transient: &ChatTransient) -> Option<String> {
    ///         match transient {
    ///             ChatTransient::Delta { question, .. } => Some(question.to_string()),
    ///             ChatTransient::Typing => None,
    ///         }
    ///     }
    ///     fn transient_bytes(transient: &ChatTransient) -> usize {
    ///         match transient {
    ///             ChatTransient::Delta { text, .. } => text.len(),
    ///             ChatTransient::Typing => 0,
    ///         }
    ///     }
    ///     fn ends_stream(body: &ChatBody, key: &str) -> bool {
    ///         matches!(body, ChatBody::Answered { question, .. } if question.to_string() == key)
    ///     }
    /// }
    /// ```
    fn transient_key(transient: &Self::Transient) -> Option<String> {
        let _ = transient;
        None
    }

    /// How many bytes of memory a transient of a stream takes, roughly, such as the length of its text: see
    /// [`StoreConfig::session_kept_transients_bytes_max`](crate::StoreConfig::session_kept_transients_bytes_max). The
    /// default is the size of the type, which leaves out what the transient has on the heap.
    fn transient_bytes(transient: &Self::Transient) -> usize {
        size_of_val(transient)
    }

    /// Whether an event with this body ends the open stream of this key: what the stream announced is in the log now,
    /// or will never be. Asked at each commit for each open stream. By default no event ends a stream.
    fn ends_stream(body: &Self::Body, key: &str) -> bool {
        let _ = (body, key);
        false
    }

    /// Whether turns may be taken, and how many have been. By default the session never stops and no turn is
    /// counted against [`StoreConfig::session_turns_max`](crate::StoreConfig::session_turns_max).
    fn turns(view: &Self::View) -> Turns {
        let _ = view;
        Turns::default()
    }

    /// Lists what was begun and has no end. A recovery of the session reports the list, so that the host can repair it.
    fn unfinished(view: &Self::View) -> Vec<Unfinished> {
        let _ = view;
        Vec::new()
    }

    /// Encodes the view; equal views must give equal bytes. With such bytes foldlog stores snapshots, and recovers a
    /// session from the last of them. The default is `None`: no views are stored. A view with serde can use
    /// [`encode_view`].
    fn encode_view(view: &Self::View) -> Option<Vec<u8>> {
        let _ = view;
        None
    }

    /// Decodes a view from bytes that [`SessionModel::encode_view`] made at the same [`SessionModel::VIEW_SCHEMA`]. A
    /// view with serde can use [`decode_view`]. A view that takes long to decode may keep slices of the bytes, which
    /// are shared, and decode a slice when it is asked for.
    ///
    /// foldlog has checked the bytes against their digest. It stores bytes only after this function has made an equal
    /// view of them.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are not a view: foldlog then folds the session from its events.
    fn decode_view(bytes: Bytes) -> Result<Self::View, DecodeError> {
        let _ = bytes;
        Err(DecodeError::Unknown)
    }

    /// Decodes a stored body, upcasting what an older build wrote.
    ///
    /// The bytes hold the whole body. Decode a body of an older schema as the older enum, which is kept with all of its
    /// variants in their order, and then turn it into the current enum. Answer `Unknown` for every type and schema that
    /// the function does not name; a catch-all that decodes would call an event of a newer build damaged.
    ///
    /// ```
    /// # use foldlog::{DecodeError, decode_body};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] enum BodyV1 { Added(u32) }
    /// # #[derive(Serialize, Deserialize)] enum Body { Added { by: u64, why: String } }
    /// fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<Body, DecodeError> {
    ///     match (event_type, schema) {
    ///         ("added", 1) => {
    ///             let BodyV1::Added(by) = decode_body(bytes)?;
    ///             Ok(Body::Added { by: by.into(), why: String::new() })
    ///         }
    ///         ("added", 2) => decode_body(bytes),
    ///         _ => Err(DecodeError::Unknown),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] for a type or schema that this build does not know: the session opens read-only.
    /// [`DecodeError::Malformed`] for bytes that do not decode.
    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<Self::Body, DecodeError>;
}

/// A function of [`SessionModel::REFUSE_BY_VIEW`]: `Ok` for a body that may follow, or a text that says why it may not.
pub type RefuseByView<M> = fn(&<M as SessionModel>::View, &<M as SessionModel>::Body) -> Result<(), String>;

/// Decodes a body that was encoded from a type of the shape of `B`. Call it from [`SessionModel::decode`].
///
/// # Errors
/// [`DecodeError::Malformed`] for bytes that do not decode, or that go on after the body.
pub fn decode_body<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, DecodeError> {
    codec::decode_body(bytes).map_err(|error| DecodeError::Malformed { reason: error.to_string() })
}

/// Splits the bytes of a body that is an enum into the number of its variant, from 0 on, and the bytes of what the
/// variant holds. For a model with a variant that holds the body of another model, whose
/// [`decode`](SessionModel::decode) is then asked for the rest.
///
/// # Errors
/// [`DecodeError::Malformed`] for bytes that do not begin with the number of a variant.
///
/// # Examples
/// ```
/// use foldlog::agent::{Agent, AgentBody};
/// use foldlog::{DecodeError, SessionModel, decode_body, split_variant};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Debug, Serialize, Deserialize)]
/// enum DeskBody {
///     Agent(AgentBody),
///     Rated { stars: u8 },
/// }
///
/// fn decode(event_type: &str, agent_schema: u16, bytes: &[u8]) -> Result<DeskBody, DecodeError> {
///     match (event_type, split_variant(bytes)?) {
///         ("rated", _) => decode_body(bytes),
///         (_, (0, agent)) => Agent::decode(event_type, agent_schema, agent).map(DeskBody::Agent),
///         _ => Err(DecodeError::Unknown),
///     }
/// }
/// # assert!(matches!(decode("rated", 1, &[1, 5]), Ok(DeskBody::Rated { stars: 5 })));
/// ```
pub fn split_variant(bytes: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    codec::split_variant(bytes).map_err(|error| DecodeError::Malformed { reason: error.to_string() })
}

/// Encodes a view that has serde; `None` for a shape that does not encode. The view must hold no `HashMap` or
/// `HashSet`, whose order changes from one map to the next. Call it from [`SessionModel::encode_view`].
pub fn encode_view<V: Serialize>(view: &V) -> Option<Vec<u8>> {
    codec::encode_view(view).ok()
}

/// Decodes what [`encode_view`] made. Call it from [`SessionModel::decode_view`].
///
/// # Errors
/// [`DecodeError::Malformed`] for bytes that do not decode, or that go on after the view.
pub fn decode_view<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, DecodeError> {
    codec::decode_view(bytes).map_err(|error| DecodeError::Malformed { reason: error.to_string() })
}

/// Why a stored body or view was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// This build does not know the event type or its schema version.
    #[error("the event type or schema is not known")]
    Unknown,
    /// The bytes are not a body or view.
    #[error("the body does not decode: {reason}")]
    Malformed {
        /// What is wrong with the bytes.
        reason: String,
    },
}

/// What the session model says of its turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    /// The session has stopped, was asked to stop, or ended in an error: no turn may be taken.
    pub stopped: bool,
    /// How many turns were started.
    pub started: u64,
}
