//! The way to a terminal, a pipe or a file.

mod escape;
mod json;
mod output;
mod progress;
mod words;

pub(crate) use escape::{escaped, escaped_lines};
pub(crate) use output::{Output, Style, say, say_error};
pub(crate) use progress::{Progress, waiting};
pub(crate) use words::{bytes, count, counted, duration, shortened, time};
