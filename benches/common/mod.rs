//! What every benchmark needs.

use tempfile::TempDir;

/// A new directory on the disk that holds the build, removed when dropped: the system's own may be in memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build")
}

/// A text that makes an event of about 300 encoded bytes. Cheap, since making it is in the time of the append.
pub(crate) fn text(number: u64) -> String {
    let mut text = String::with_capacity(280);
    text.push_str(&TEXT[..260]);
    text.push_str(&number.to_string());
    text
}

const TEXT: &str = "The invoice names an address that the customer left two years ago. I looked up the account, compared \
    it with the order, and found that the change of address was confirmed by letter but never entered. I have entered \
    it now, and a corrected invoice is on its way; nothing else in the account is affected by this.";
