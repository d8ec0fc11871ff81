//! A JSON object whose members are still text, and what the converters share.
//!
//! All converters work in one way: what a typed field holds is taken out of the object, and the rest is the verbatim
//! JSON. On the way back the fields are put into the rest. A member that is absent, null or of an unknown shape stays
//! in the rest, so that nothing has to be known of it.

use std::collections::BTreeMap;

use foldlog::Content;
use foldlog::agent::{Media, MediaSource, Message, MessageOrigin, Part, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON object whose members are still text, so that no digit, space or order within them changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Object(BTreeMap<String, Box<RawValue>>);

impl Object {
    pub(crate) fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap()
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn first_name(&self) -> String {
        self.0.keys().next().cloned().unwrap_or_default()
    }

    /// The part that the object is; a part of another kind, with its whole text, if a field does not find what it
    /// holds.
    pub(crate) fn into_part(self, typed: impl FnOnce(Self) -> Option<Part>) -> Part {
        let kind = self.get("type").unwrap_or_else(|| self.first_name());
        typed(self.clone()).unwrap_or_else(|| Part::other(kind, self.to_json()))
    }

    /// A member, if it is there and of this type.
    pub(crate) fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// A member of a member, if it is there and of this type.
    pub(crate) fn get_in<T: DeserializeOwned>(&self, name: &str, inner: &str) -> Option<T> {
        self.get::<Self>(name)?.get(inner)
    }

    /// Takes a member out, if it is of this type: `null` stays.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.get(name)?;
        self.0.remove(name);
        Some(value)
    }

    /// Takes a member's JSON text out, as it was written.
    pub(crate) fn take_json(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(|json| json.get().to_owned())
    }

    /// Takes a list of objects out. An empty list stays: no part would bring it back.
    pub(crate) fn take_list(&mut self, name: &str) -> Option<Vec<Self>> {
        self.get::<Vec<Self>>(name).filter(|list| !list.is_empty())?;
        self.take(name)
    }

    pub(crate) fn put(&mut self, name: &str, value: impl Serialize) {
        self.0.insert(name.to_owned(), serde_json::value::to_raw_value(&value).unwrap());
    }

    /// Says of what kind the object is, if nothing has said it: what the host made itself came from no provider.
    pub(crate) fn is_a(&mut self, kind: &str) {
        if !self.has("type") {
            self.put("type", kind);
        }
    }

    pub(crate) fn put_some(&mut self, name: &str, value: Option<impl Serialize>) {
        value.into_iter().for_each(|value| self.put(name, value));
    }

    pub(crate) fn put_json(&mut self, name: &str, json: &str) {
        self.0.insert(name.to_owned(), RawValue::from_string(json.to_owned()).unwrap());
    }

    /// The object as verbatim JSON; `None` if nothing is left in it.
    pub(crate) fn verbatim(&self) -> Option<Content> {
        (!self.0.is_empty()).then(|| self.to_json().into())
    }

    pub(crate) fn of_verbatim(verbatim: Option<&Content>) -> Self {
        verbatim.map(|json| Self::parse(text(json))).unwrap_or_default()
    }

    /// The part with what is left of the object that it came from.
    pub(crate) fn beside(&self, part: impl Into<Part>) -> Part {
        let part = part.into();
        if self.0.is_empty() { part } else { part.with_verbatim(self.to_json()) }
    }

    /// What a part has beside its body.
    pub(crate) fn rest_of(part: &Part) -> Self {
        Self::of_verbatim(part.origin.as_ref().and_then(|origin| origin.verbatim.as_ref()))
    }
}

/// The text of a content that was read from the store.
pub(crate) fn text(content: &Content) -> &str {
    content.as_inline().expect("the store has read it")
}

pub(crate) fn id_of(part: &Part) -> Option<&String> {
    part.origin.as_ref()?.id.as_ref()
}

pub(crate) fn signature_of(part: &Part) -> Option<&str> {
    part.origin.as_ref()?.signature.as_ref().map(text)
}

/// The message with its origin. What the language model said has one even where nothing is in it: foldlog leaves out
/// empty texts that no provider sent.
pub(crate) fn with_origin(message: Message, origin: MessageOrigin) -> Message {
    let is_said_by_host = message.role != Role::Assistant;
    if is_said_by_host && origin == MessageOrigin::default() { message } else { message.with_origin(origin) }
}

/// What a `data:` URL holds, or what another URL names.
pub(crate) fn media_of_url(url: String, name: Option<String>) -> Media {
    let data = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
    match data.map(|(media_type, data)| (media_type.to_owned(), data.to_owned())) {
        Some((media_type, data)) => {
            Media { source: MediaSource::Base64(data.into()), media_type: Some(media_type), name }
        }
        None => Media { source: MediaSource::Url(url.into()), media_type: None, name },
    }
}

/// The URL of a media, or its `data:` URL.
pub(crate) fn url_of_media(media: &Media) -> String {
    match &media.source {
        MediaSource::Base64(data) => {
            format!("data:{};base64,{}", media.media_type.as_deref().unwrap_or_default(), text(data))
        }
        MediaSource::Url(url) => text(url).to_owned(),
        other => panic!("{other:?} has no URL"),
    }
}

#[test]
fn a_text_that_is_no_rust_string_makes_a_part_of_another_kind_and_comes_back() {
    // Half of an emoji: programs cut texts between two UTF-16 units.
    let block = r#"{"text":"\ud83c","type":"text"}"#;
    let part = Object::parse(block).into_part(|mut block| Some(Part::text(block.take::<String>("text")?)));
    assert_eq!(part, Part::other("text", block));
}
