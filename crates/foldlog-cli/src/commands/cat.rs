//! `foldlog cat DIGEST`: the bytes of a blob.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use foldlog::Digest;
use serde::Serialize;

use crate::directory::Directory;
use crate::failure::{Exit, Failure};
use crate::terminal::{Output, bytes, escaped_lines};

#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal, text is shown with its control characters escaped, and bytes that are no text are \
refused. Elsewhere the bytes are written as they are."
)]
pub(crate) struct Cat {
    /// The digest of the blob: 64 hex digits, as `show` and `log` tell them
    digest: Digest,
}

/// A blob in JSON: `text` if it is text, else `base64`.
#[derive(Serialize)]
struct Shown<'a> {
    v: u8,
    digest: Digest,
    bytes: usize,
    text: Option<&'a str>,
    base64: Option<String>,
}

impl Cat {
    pub(crate) fn run(&self, directory: &Directory, output: &mut Output<'_>) -> Result<Exit, Failure> {
        let blob = directory.read(directory.untyped.get_bytes(self.digest))?;
        let text = str::from_utf8(&blob).ok();
        if output.is_json {
            let base64 = text.is_none().then(|| BASE64_STANDARD.encode(&blob));
            output.json(&Shown { v: 1, digest: self.digest, bytes: blob.len(), text, base64 })?;
        } else if !output.is_terminal() {
            output.bytes(&blob)?;
        } else if let Some(text) = text {
            for line in escaped_lines(text) {
                output.line(line)?;
            }
        } else {
            let (size, digest) = (bytes(blob.len() as u64), self.digest);
            return Err(Failure::Usage(format!(
                "the blob is {size} that are no text: write them to a file, `foldlog cat {digest} > FILE`"
            )));
        }
        Ok(Exit::Done)
    }
}
