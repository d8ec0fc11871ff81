//! Goal: a directory of format 2 that a build made which could neither delete, redact, sweep nor back up keeps what it
//! has, and gains all of it. Method: directories that such a build has made, in `tests/data`, are copied and opened.

use std::path::Path;
use std::time::Duration;

use foldlog::{Describe, Redact, RetainMode, Retention, Store, StoreConfig, Sweep};

use super::formats::{copy_of, rows, texts};
use crate::common::*;

/// Closed in order, and killed with all of its events in the write-ahead log. Both have sessions `kept`, `old`,
/// `shared` and `secret`, a blob that `secret` and `shared` name, one of `secret` alone, one of `old` alone, and one
/// that no event names; stored views of `kept` and `secret`.
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
        let folded = soon(kept.recovery()).await.unwrap().events;
        assert_eq!(folded, said.len() as u64, "{name}: its stored view is of an older schema");
        soon(store.close()).await.unwrap();
        assert_eq!(rows(directory.path()), before, "{name}");
    }
}

/// What a secret was planted as, in texts, arguments, an append key and a blob of session `secret`.
const SECRET: &str = "sk-planted-7f3a91c05e";

fn has_bytes(directory: &Path, text: &str) -> bool {
    let has = |path| std::fs::read(path).unwrap().windows(text.len()).any(|found| found == text.as_bytes());
    files_below(directory).into_iter().any(has)
}

#[actix::test]
async fn a_directory_of_an_older_build_of_format_2_gains_what_came_later() {
    for name in OF_FORMAT_2 {
        let directory = copy_of(name);
        let others = tempfile::tempdir().unwrap();
        let (backup, restored) = (others.path().join("backup"), others.path().join("restored"));
        assert!(has_bytes(directory.path(), SECRET));
        let store = soon(Store::open(StoreConfig::directory(directory.path()))).await.unwrap();
        let secret = soon(store.resume_session("secret")).await.unwrap();
        soon(secret.describe(Describe::new().title("described")).unwrap()).await.unwrap();
        let named: Vec<_> = (1..=secret.view().unwrap().head().get() - 1).map(at).collect();
        soon(secret.redact(Redact::new(named))).await.unwrap();
        soon(store.delete_session("old")).await.unwrap();
        assert!(soon(store.erase_deleted()).await.unwrap().is_complete());
        // The blob that no event names, that of the deleted session, and that of the redacted one.
        let swept = soon(store.sweep(Sweep::default().grace(Duration::ZERO))).await.unwrap();
        assert_eq!((swept.removed, swept.referenced), (3, 1), "{name}: {swept}");
        soon(store.backup(&backup)).await.unwrap();
        soon(Store::restore(&backup, &restored)).await.unwrap();
        let retention = Retention::new().sessions_max(0).unfinished_too();
        let retained = soon(store.retain(&retention, RetainMode::DryRun)).await.unwrap();
        assert_eq!(retained.sessions.len(), 3, "{name}");
        assert!(soon(store.verify()).await.unwrap().is_sound(), "{name}");
        soon(store.close()).await.unwrap();

        for place in [directory.path(), &backup, &restored] {
            assert!(!has_bytes(place, SECRET), "{name}: {}", place.display());
            assert!(!has_bytes(place, "of a session that is old"), "{name}: {}", place.display());
            if place != backup {
                let store = soon(Store::open(StoreConfig::directory(place))).await.unwrap();
                assert!(soon(store.verify()).await.unwrap().is_sound(), "{name}: {}", place.display());
                let secret = soon(store.resume_session("secret")).await.unwrap();
                assert_eq!(secret.view().unwrap().core().title, "described");
                soon(store.close()).await.unwrap();
            }
        }
    }
}
