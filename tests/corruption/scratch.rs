use crate::common::*;
use foldlog::StoreConfig;
#[actix::test]
async fn scratch_verify_many() {
    let root = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig::directory(root.path().join("s"))).await;
    let n = number_of("N").unwrap_or(10_000);
    let mut receipts = Vec::new();
    for i in 0..n {
        let session = store.open_session(&format!("s{i:06}")).await.unwrap();
        receipts.push(session.append_batch(vec![TallyBody::Added(1), TallyBody::Added(2)]).unwrap());
        if i % 200 == 199 { for r in receipts.drain(..) { r.await.unwrap(); } }
    }
    for r in receipts.drain(..) { r.await.unwrap(); }
    let t = std::time::Instant::now();
    let v = store.verify().await.unwrap();
    println!("VERIFY {n} sessions {:?} {v}", t.elapsed());
    let _ = store.close().await;
}
