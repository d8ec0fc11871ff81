//! Goal: a repeated backup costs what is new, and not what is there. Method: count the operations on the disk of the
//! copy.

use super::*;
use foldlog::testkit::TestDisk as CountingDisk;

#[actix::test]
async fn a_repeated_backup_with_a_hundredth_new_takes_less_than_a_tenth_of_the_operations() {
    const SESSIONS: u64 = 300;
    let places = Places::new();
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    let grow = async |n: u64| {
        let session = store.open_session(format!("s{n}")).await.unwrap();
        let blob = store.put_bytes(format!("{n} {}", session.view().unwrap().head()).repeat(900).into_bytes()).await;
        let mut batch = vec![TallyBody::Attached(blob.unwrap())];
        batch.extend((0..60).map(|it| TallyBody::Noted(format!("{n} {it} {}", "x".repeat(120)))));
        soon(session.append_batch(batch).unwrap()).await.unwrap();
    };
    for n in 0..SESSIONS {
        grow(n).await;
    }
    let disk = CountingDisk::volatile().unwrap();
    let source = Store::<Tally>::open_model_read_only(disk.beside(places.path("store"))).await.unwrap();
    let backup = async || {
        let (before, began) = (disk.operations(), std::time::Instant::now());
        let made = soon(source.backup(disk.path())).await.unwrap();
        println!("{made}: {} operations, {:?}", disk.operations() - before, began.elapsed());
        disk.operations() - before
    };
    let first = backup().await;
    for n in 0..SESSIONS / 100 {
        grow(n).await;
    }
    let second = backup().await;
    assert!(second * 10 < first, "{second} of {first}");
    soon(source.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}
