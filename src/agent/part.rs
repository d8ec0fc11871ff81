//! What a message consists of.

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::id::BlobRef;

/// A part of a message: what it says, and what the provider sent with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What the part says.
    pub body: PartBody,
    /// What the provider sent with this part, and must get back.
    pub origin: Option<Box<PartOrigin>>,
}

/// What a part of a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartBody {
    /// Text to read. Its citations or annotations are in [`PartOrigin::verbatim`].
    Text(Content),
    /// What the language model thought before it spoke, or a summary of that. Its signature or encrypted form is in
    /// [`PartOrigin::signature`].
    Thought(Content),
    /// A tool to call.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// An image, a sound, a document.
    Media(Media),
    /// What the language model said instead of an answer.
    Refusal(Content),
    /// A thought that the provider shows only in this form, which it alone can read.
    RedactedThought(Content),
    /// A part of any other kind.
    Other {
        /// The provider's name for this kind of part.
        kind: String,
        /// The whole part: JSON text, byte for byte as it was sent.
        json: Content,
    },
}

/// What a provider sent with a part.
///
/// foldlog never reads or rewrites the texts in it. What is large belongs into a blob:
/// [`Store::intern_text`](crate::Store::intern_text).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOrigin {
    /// The provider's id of the part or item. The id of a tool call, which its result names, is [`ToolCall::id`].
    pub id: Option<String>,
    /// What the provider has signed or encrypted, and wants back unchanged.
    pub signature: Option<Content>,
    /// JSON text, byte for byte as it was sent: the members that have no field here, or the whole part, as the host
    /// likes it.
    pub verbatim: Option<Content>,
}

/// A tool to call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id of the call, which the result names. It need not be unique: a result belongs to the nearest unanswered
    /// call of its id before it. Empty where the provider gives none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the language model wrote them: JSON text, or what should have been, never rewritten.
    pub arguments: Content,
    /// Who runs the tool, and what the arguments are.
    pub kind: ToolKind,
}

/// Who runs a tool, and what its arguments are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolKind {
    /// The host runs the tool. The arguments are JSON.
    #[default]
    Function,
    /// The host runs the tool. The arguments are free text.
    Custom,
    /// The provider runs the tool. The result, if there is one, is a part of the same answer; the host owes none.
    Provider,
    /// The host runs a tool of a kind that the provider names, such as a shell.
    Other(String),
}

/// What a tool answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the tool call.
    pub call_id: String,
    /// The tool, where the provider wants its name again.
    pub name: Option<String>,
    /// The answer, in order.
    pub parts: Vec<ResultPart>,
    /// Whether the tool failed; `None` where nobody said.
    pub is_error: Option<bool>,
}

impl ToolResult {
    /// A result of one text.
    #[must_use]
    pub fn text(call_id: impl Into<String>, text: impl Into<Content>) -> Self {
        Self { call_id: call_id.into(), parts: vec![ResultPart::Text(text.into())], ..Self::default() }
    }
}

/// A part of a tool's result. It is an enum of its own, since a body must not be recursive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResultPart {
    /// Text to read.
    Text(Content),
    /// JSON text, byte for byte as it was sent.
    Json(Content),
    /// An image, a sound, a document.
    Media(Media),
    /// A part of any other kind.
    Other {
        /// The provider's name for this kind of part.
        kind: String,
        /// The whole part: JSON text, byte for byte as it was sent.
        json: Content,
    },
}

/// An image, a sound, a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Where the bytes are.
    pub source: MediaSource,
    /// The media type, such as `image/png`, where it is known.
    pub media_type: Option<String>,
    /// The name of the file, or the title.
    pub name: Option<String>,
}

/// Where the bytes of a [`Media`] are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MediaSource {
    /// A blob of the store.
    Blob(BlobRef),
    /// A URL or a path.
    Url(Content),
    /// The provider's id of a file that it holds.
    FileId(String),
    /// The bytes in base64, where encoding them anew would give another text.
    Base64(Content),
}

impl Media {
    /// Bytes that are in a blob.
    #[must_use]
    pub fn blob(media_type: impl Into<String>, blob: BlobRef) -> Self {
        Self { source: MediaSource::Blob(blob), media_type: Some(media_type.into()), name: None }
    }
}

impl Part {
    /// Text to read.
    #[must_use]
    pub fn text(text: impl Into<Content>) -> Self {
        PartBody::Text(text.into()).into()
    }

    /// What the language model thought before it spoke.
    #[must_use]
    pub fn thought(text: impl Into<Content>) -> Self {
        PartBody::Thought(text.into()).into()
    }

    /// A tool to call, with the arguments as the language model wrote them.
    #[must_use]
    pub fn tool_call(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<Content>) -> Self {
        let (id, name, arguments) = (id.into(), name.into(), arguments.into());
        ToolCall { id, name, arguments, kind: ToolKind::Function }.into()
    }

    /// What a tool answered: one text.
    #[must_use]
    pub fn tool_result(call_id: impl Into<String>, text: impl Into<Content>) -> Self {
        ToolResult::text(call_id, text).into()
    }

    /// An image, a sound, a document, whose bytes are in a blob.
    #[must_use]
    pub fn media(media_type: impl Into<String>, blob: BlobRef) -> Self {
        Media::blob(media_type, blob).into()
    }

    /// A part of a kind that has no variant: its whole JSON text, which goes back as it came.
    #[must_use]
    pub fn other(kind: impl Into<String>, json: impl Into<Content>) -> Self {
        PartBody::Other { kind: kind.into(), json: json.into() }.into()
    }

    /// The part with the provider's id of it.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.origin.get_or_insert_default().id = Some(id.into());
        self
    }

    /// The part with what the provider has signed or encrypted.
    #[must_use]
    pub fn with_signature(mut self, signature: impl Into<Content>) -> Self {
        self.origin.get_or_insert_default().signature = Some(signature.into());
        self
    }

    /// The part with JSON text that goes back to the provider as it came.
    #[must_use]
    pub fn with_verbatim(mut self, json: impl Into<Content>) -> Self {
        self.origin.get_or_insert_default().verbatim = Some(json.into());
        self
    }

    /// The text, if the part is text to read.
    #[must_use]
    pub fn as_text(&self) -> Option<&Content> {
        match &self.body {
            PartBody::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The call, if the part is a tool to call.
    #[must_use]
    pub fn as_tool_call(&self) -> Option<&ToolCall> {
        match &self.body {
            PartBody::ToolCall(call) => Some(call),
            _ => None,
        }
    }

    /// The result, if the part is what a tool answered.
    #[must_use]
    pub fn as_tool_result(&self) -> Option<&ToolResult> {
        match &self.body {
            PartBody::ToolResult(result) => Some(result),
            _ => None,
        }
    }
}

macro_rules! part_from {
    ($($body:ident),*) => {
        $(impl From<$body> for Part {
            fn from(body: $body) -> Self {
                PartBody::$body(body).into()
            }
        })*
    };
}
part_from!(ToolCall, ToolResult, Media);

impl From<PartBody> for Part {
    fn from(body: PartBody) -> Self {
        Self { body, origin: None }
    }
}
