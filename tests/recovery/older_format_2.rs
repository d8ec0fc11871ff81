//! Goal: a directory of format 2 that a build made which could neither delete, redact, sweep nor back up keeps what it has,
//! and gains all of it. Method: directories that such a build has made, in `tests/data`, are copied and opened.

use foldlog::{Store, StoreConfig};

use super::formats::{copy_of, rows, texts};
use crate::common::*;

/// Closed in order, and killed with all of its events in the write-ahead log. Both have sessions `kept`, `old`, `shared` and
/// `secret`, a blob that `secret` and `shared` name, one of `secret` alone, one of `old` alone, and one that no event
/// names; stored views of `kept` and `secret`.
const OF_FORMAT_2: [&str; 2] = ["format-2/closed", "format-2/killed"];

#[actix::test]
async fn a_directory_of_an_older_build_of_format_2_opens_and_no_record_is_rewritten() {
    for name in OF_FORMAT_2 {
        let directory = copy_of(name);
        let before = rows(directory.path());
        let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
        assert!(soon(store.verify()).await.unwrap().is_sound(), "{name}");
        let kept = soon(store.resume_session("kept")).await.unwrap();
        let mut said: Vec<_> = (0..60).map(|n| format!("message {n} that is kept")).collect();
        if name.ends_with("killed") {
            said.push("the last message that is kept".to_owned());
        }
        assert_eq!(texts(&store, &kept).await, said);
        assert_eq!(
            soon(kept.recovery()).await.unwrap().events,
            said.len() as u64 - 60,
            "{name}: its stored view is used"
        );
        soon(store.close()).await.unwrap();
        assert_eq!(rows(directory.path()), before, "{name}");
    }
}
