//! Goal: a store that is killed while it makes its directory leaves one that the next store opens, whoever is there at the
//! time. Method: children are killed at random moments of their first open; `FOLDLOG_SEED` repeats the choices.

use std::path::Path;
use std::time::Duration;

use foldlog::StoreConfig;

use crate::child::{Neighbour, hear, tell};
use crate::support::random::Random;
use crate::support::{ProbeBody, append, look, open, usable, watchdog, within};

/// Opens the directory and appends to a session of its own.
pub(crate) async fn create(directory: &Path, name: &str) {
    tell("ready");
    hear().unwrap();
    let store = open(&StoreConfig::directory(directory)).await;
    tell("opened");
    let session = within(store.open_session(name)).await.unwrap();
    append(&session, ProbeBody::Added(1)).await.unwrap();
    tell("appended");
    hear();
    within(store.close()).await.unwrap();
}

#[actix::test]
async fn a_directory_whose_makers_are_killed_is_opened_by_the_next() {
    const MAKERS: [&str; 3] = ["a", "b", "c"];
    let _watchdog = watchdog();
    let mut random = Random::seeded();
    let (mut unmade, mut made) = (0, 0);
    for round in 0..25 {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        // The last of them is let live in every third round.
        let mut makers: Vec<_> = MAKERS.iter().map(|name| Neighbour::start("create", name, &root)).collect();
        for maker in &makers {
            maker.expect("ready");
        }
        for maker in &mut makers {
            maker.command("go");
        }
        let survivor = (round % 3 == 0).then(|| makers.pop().unwrap());
        for maker in &mut makers {
            // The moment is random: there is nothing to wait for.
            std::thread::sleep(Duration::from_micros(random.below(12_000)));
            maker.strike();
        }
        let mut acknowledged = Vec::new();
        for (maker, name) in makers.into_iter().zip(MAKERS) {
            let told = maker.kill();
            unmade += u32::from(told.is_empty());
            made += u32::from(!told.is_empty());
            if told.iter().any(|line| line == "appended") {
                acknowledged.push(name);
            }
        }
        let store = open(&StoreConfig::directory(&root)).await;
        if let Some(survivor) = survivor {
            survivor.expect("opened");
            survivor.expect("appended");
            acknowledged.push("c");
            assert!(survivor.end().1.success());
        }
        for name in acknowledged {
            assert_eq!(look(&store, name).await.0.sum, 1, "round {round}");
        }
        usable(&store, "d").await;
        within(store.close()).await.unwrap();
        let store = open(&StoreConfig::directory(&root)).await;
        assert_eq!(std::fs::read_dir(root.join("owners")).unwrap().count(), 1, "round {round}");
        assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 1, "round {round}");
        within(store.close()).await.unwrap();
    }
    println!("{unmade} were killed before they had opened, {made} after");
    assert!(unmade > 0, "no kill came early enough");
}
