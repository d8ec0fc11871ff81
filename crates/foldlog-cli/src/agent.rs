//! What the events and the view of the agent model say, in words. All that is given is harmless to a terminal.

mod line;
mod numbers;
mod texts;

pub(crate) use line::{content_on_a_line, line_of, media_on_a_line, own_line_of, span};
pub(crate) use numbers::{cost, name_of, tokens, used};
pub(crate) use texts::{own_texts_of, texts_of};
