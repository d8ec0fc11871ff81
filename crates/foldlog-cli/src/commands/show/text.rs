//! Long texts: resolved from their blobs, and shortened.

use foldlog::agent::Agent;
use foldlog::{BlobKind, BlobRef, Content, ReadOnlyStore};
use futures::executor::block_on;

use crate::agent::content_on_a_line;
use crate::terminal::{bytes, counted, escaped, escaped_lines, shortened};

const LINES_MAX: usize = 20;
const CHARACTERS_MAX: usize = 500;
/// A larger blob is only read if the whole text was asked for.
const BLOB_BYTES_MAX: u64 = 1 << 20;

/// Reads texts of a session.
pub(super) struct Texts<'a> {
    pub(super) store: &'a ReadOnlyStore<Agent>,
    pub(super) full: bool,
}

impl Texts<'_> {
    /// The lines of a content, with a note of what was left out.
    pub(super) fn lines(&self, content: &Content) -> Vec<String> {
        match content {
            Content::Inline(text) => self.of_text(text),
            Content::Blob(blob) => self.of_blob(blob, content),
        }
    }

    fn of_blob(&self, blob: &BlobRef, content: &Content) -> Vec<String> {
        let is_text = matches!(blob.kind, BlobKind::Text | BlobKind::Json);
        if !is_text || blob.bytes > BLOB_BYTES_MAX && !self.full {
            return vec![content_on_a_line(content)];
        }
        match block_on(self.store.read_content(content)) {
            Ok(text) => {
                let mut lines = self.of_text(&text);
                if !self.full && !self.is_short(&text) {
                    lines.push(format!("all of it: foldlog cat {}", blob.digest));
                }
                lines
            }
            // The rest of the session is still worth reading.
            Err(error) => vec![format!("{}: {}", content_on_a_line(content), escaped(&error.to_string()))],
        }
    }

    fn is_short(&self, text: &str) -> bool {
        text.lines().nth(LINES_MAX).is_none() && text.lines().all(|line| line.chars().nth(CHARACTERS_MAX).is_none())
    }

    fn of_text(&self, text: &str) -> Vec<String> {
        if self.full {
            return escaped_lines(text).collect();
        }
        let lines = text.lines().take(LINES_MAX);
        let mut shown: Vec<_> = lines.flat_map(|line| escaped_line(&shortened(line, CHARACTERS_MAX))).collect();
        let left = text.lines().skip(LINES_MAX);
        let (lines_left, bytes_left) = left.fold((0, 0), |(lines, size), line| (lines + 1, size + line.len() as u64));
        if lines_left > 0 {
            shown.push(format!("… {} more, {}: --full shows all", counted(lines_left, "line"), bytes(bytes_left)));
        }
        shown
    }
}

/// A line, harmless. An empty line stays one.
fn escaped_line(line: &str) -> Vec<String> {
    if line.is_empty() { vec![String::new()] } else { escaped_lines(line).collect() }
}
