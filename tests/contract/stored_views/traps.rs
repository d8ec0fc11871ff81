//! Goal: a model that panics over the bytes of a view, or does not take them, loses nothing. Method: traps in the
//! functions that encode and decode views.

use foldlog::Store;

use super::open;
use crate::common::tally::{Place, Switch};
use crate::common::*;

/// Stores no view before it is closed.
async fn open_lazily(disk: &TestDisk) -> Store<Tally> {
    open(disk, |config| config.snapshots.every_events = u64::MAX).await
}

#[actix::test]
async fn a_model_that_panics_over_the_bytes_of_a_view_loses_nothing() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        let decoding = Switch::off();
        let store = open_lazily(&disk).await;
        let session = store.open_session("s").await.unwrap();
        session.append_batch(vec![TallyBody::Added(50), decoding.trap(Place::DecodeView)]).unwrap().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, 1);
        decoding.turn_on();
        let store = open_lazily(&disk).await;
        let session = store.open_session("s").await.unwrap();
        assert_eq!((session.view().unwrap().sum, store.stats().snapshot_fallbacks), (50, 1));
        let encoding = Switch::on().trap(Place::EncodeView);
        session.append_batch(vec![TallyBody::Added(50), encoding]).unwrap().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.stats().snapshots_written, 0);
        let store = open::<Tally>(&disk, |_| ()).await;
        assert_eq!(store.open_session("s").await.unwrap().view().unwrap().sum, 100);
        store.close().await.unwrap();
    }
}

#[actix::test]
async fn a_view_that_does_not_come_back_from_its_bytes_is_not_stored() {
    for disk in [TestDisk::directory(), TestDisk::memory()] {
        for place in [Place::DecodeView, Place::DecodeViewFails, Place::DecodeViewChanges] {
            let name = format!("{place:?}");
            let store = open_lazily(&disk).await;
            let session = store.open_session(&name).await.unwrap();
            let trap = Switch::on().trap(place);
            session.append_batch(vec![TallyBody::Added(70), trap]).unwrap().await.unwrap();
            store.close().await.unwrap();
            assert_eq!(store.stats().snapshots_written, 0, "{name}");
            let store = open::<Tally>(&disk, |_| ()).await;
            let session = store.open_session(&name).await.unwrap();
            assert_eq!((session.view().unwrap().sum, store.stats().snapshot_fallbacks), (70, 0));
            store.close().await.unwrap();
        }
    }
}
