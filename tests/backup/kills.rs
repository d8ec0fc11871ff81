//! Goal: a process that is killed while it makes a backup leaves the backup of before, or a directory that no store
//! takes for one. Method: a child appends and backs up over and over, and tells what it has; it is killed at a random
//! line. `FOLDLOG_KILLS` says how often.

use super::*;
use crate::common::child::{Child, tell};
use foldlog::{BackupOptions, ErrorKind};

/// The child: appends beside backups until it is killed.
pub(super) async fn back_up_until_killed(directory: &Path, life: &str) {
    let store = open(&StoreConfig::directory(directory.join("store"))).await;
    let session = store.open_session("s").await.unwrap();
    let writer = session.clone();
    let life = life.to_owned();
    actix::spawn(async move {
        for n in 0.. {
            let blob = writer.store().put_bytes(format!("{life} {n}").repeat(90).into_bytes()).await.unwrap();
            append(&writer, TallyBody::Attached(blob)).await.unwrap();
        }
    });
    loop {
        let head = session.view().unwrap().head();
        let options = BackupOptions::default().on_progress(|copied| tell(format!("copied {}", copied.events)));
        store.backup_with(directory.join("b"), options).await.unwrap();
        tell(format!("done {head}"));
    }
}

#[actix::test]
async fn a_kill_while_a_backup_is_made_leaves_the_one_before_or_none() {
    let mut dice = seeded_dice();
    let (mut unfinished, mut whole_ones) = (0, 0);
    let places = Places::new();
    let mut done = None;
    let lives = number_of("FOLDLOG_KILLS").unwrap_or(12);
    for life in 0..lives {
        if life % 3 == 0 {
            done = None;
            drop(std::fs::remove_dir_all(places.path("b")));
        }
        let child = Child::with_task("backups", &life.to_string(), places.0.path());
        let note = |line: &str, done: &mut Option<u64>| {
            if let Some(head) = line.strip_prefix("done ") {
                *done = Some(head.parse().unwrap());
            }
        };
        for _ in 0..=dice.below(12) {
            note(&child.next().expect("it goes on until it is killed"), &mut done);
        }
        for line in child.kill().lines {
            note(&line, &mut done);
        }
        let opened = Store::<Tally>::open_model_read_only(StoreConfig::directory(places.path("b"))).await;
        match opened {
            Ok(store) => {
                soon(store.close()).await.unwrap();
                let copy = whole_of(&places.path("b")).await;
                let there = whole_of(&places.path("store")).await;
                let (copied, there) = (&copy["s"].events, &there["s"].events);
                assert!(copied.len() as u64 >= done.unwrap_or(0), "{} of {done:?}", copied.len());
                assert_eq!(copied[..], there[..copied.len()]);
                whole_ones += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::UnsuitablePlace { .. } | ErrorKind::NoStore { .. }),
                    "{error}"
                );
                assert_eq!(done, None, "a backup that was answered is gone: {error}");
                unfinished += 1;
            }
        }
        // Whatever is left, the next backup makes it whole.
        let store = read_only(&places.path("store")).await;
        soon(store.backup(places.path("b"))).await.unwrap();
        assert_eq!(whole_of(&places.path("b")).await, whole(&store).await);
        done = Some(whole(&store).await["s"].events.len() as u64);
        soon(store.close()).await.unwrap();
    }
    println!("{unfinished} unfinished, {whole_ones} whole");
    assert!(whole_ones > 0 || lives < 2, "no backup was whole");
    // Of twelve lives four begin without a backup, and all four may get as far as to have one.
    assert!(unfinished > 0 || lives < 100, "no first backup was cut off");
}
