//! Goal: a blob that an event names is there whatever is swept, and one that no event names goes. Method: puts and
//! sweeps, also beside appends that name blobs, and what is known of each blob.

use std::collections::HashSet;
use std::time::Duration;

use foldlog::testkit::Dice;
use foldlog::{BlobEncoding, BlobKind, BlobRef, Digest, ErrorKind, Sweep};
use futures::future::join_all;

use crate::common::{TallyBody, soon};
use crate::truth::{Known, Sent};
use crate::world::{At, SESSIONS, World};

/// What was ever put.
#[derive(Default)]
pub struct Blobs(Vec<StoredBlob>);

struct StoredBlob {
    blob: BlobRef,
    bytes: Vec<u8>,
    known: Known,
}

impl Blobs {
    pub fn known(&self, digest: Digest) -> Known {
        self.0.iter().find(|stored| stored.blob.digest == digest).map_or(Known::Gone, |stored| stored.known)
    }

    pub fn pick(&self, dice: &mut Dice) -> Option<BlobRef> {
        dice.pick(&self.0).map(|stored| stored.blob)
    }

    fn was_put(&mut self, bytes: Vec<u8>, known: Known) {
        let digest = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
        if known > self.known(digest) {
            self.0.retain(|stored| stored.blob.digest != digest);
            let blob =
                BlobRef { digest, bytes: bytes.len() as u64, kind: BlobKind::Bytes, encoding: BlobEncoding::Plain };
            self.0.push(StoredBlob { blob, bytes, known });
        }
    }

    /// What becomes of those that are there, and that no event names for sure.
    fn unnamed(&mut self, named: &HashSet<Digest>, known: Known) -> u64 {
        let mut changed = 0;
        for stored in self.0.iter_mut().filter(|stored| stored.known != Known::Gone) {
            let is_named = named.contains(&stored.blob.digest);
            changed += u64::from(!is_named);
            stored.known = if is_named { Known::There } else { known };
        }
        changed
    }
}

impl World {
    pub async fn put_blob(&mut self, store: usize) {
        let bytes = vec![b'b'; 1 + self.dice.below(40) as usize];
        self.trace.add(format!("put {} bytes", bytes.len()));
        let digest = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
        let names_it = |body: &TallyBody| matches!(body, TallyBody::Attached(blob) if blob.digest == digest);
        for truth in &mut self.truths {
            // An append that has not answered may be checked before this put or after it.
            let may_be_either = |sent: &Sent| sent.answer.is_none() && sent.handed.iter().any(names_it);
            truth.is_sure &= self.blobs.known(digest) == Known::There || !truth.sent.iter().any(may_be_either);
        }
        match soon(self.stores[store].as_ref().unwrap().put_bytes(bytes.clone())).await {
            Ok(_) => self.blobs.was_put(bytes, Known::There),
            Err(error) => {
                assert!(self.is_stormy, "{error:?}");
                self.blobs.was_put(bytes, Known::Perhaps);
            }
        }
    }

    /// The blobs that events name which are in the log for sure.
    fn named(&self) -> HashSet<Digest> {
        let bodies = self.truths.iter().flat_map(|truth| &truth.log);
        bodies.filter_map(|body| if let TallyBody::Attached(blob) = body { Some(blob.digest) } else { None }).collect()
    }

    pub async fn sweep_step(&mut self, store: usize) {
        if self.is_stormy {
            self.sweep_in_a_storm(store).await;
        } else if self.dice.one_in(2) {
            self.sweep_beside_appends(store).await;
        } else {
            self.settle_made().await;
            self.sweep(store).await;
        }
    }

    /// Everything is known: exactly what no event names is swept.
    pub async fn sweep(&mut self, store: usize) {
        let is_known = self.blobs.0.iter().all(|stored| stored.known != Known::Perhaps);
        let opened = self.stores[store].clone().unwrap();
        if is_known && self.dice.one_in(4) {
            self.trace.add(format!("sweep store {store} of what is old"));
            let swept = soon(opened.sweep(Sweep::default())).await.unwrap();
            assert_eq!(swept.removed, 0, "all of it was put a moment ago");
            return;
        }
        self.trace.add(format!("sweep store {store}"));
        let named = self.named();
        let swept = soon(opened.sweep(Sweep::default().grace(Duration::ZERO))).await.unwrap();
        assert_eq!(swept.in_grace, 0);
        assert!(swept.referenced >= named.len() as u64, "what events name: {} of {}", swept.referenced, named.len());
        let unnamed = self.blobs.unnamed(&named, Known::Gone);
        assert!(swept.removed <= unnamed && (!is_known || swept.removed == unnamed), "{swept} of {unnamed}");
        self.figures.swept += unnamed;
        self.look_at_blobs().await;
    }

    /// Appends and puts run beside sweeps of each store.
    async fn sweep_beside_appends(&mut self, store: usize) {
        self.trace.add("sweep beside appends".to_owned());
        self.settle_made().await;
        let sweeping: Vec<_> = self.stores.iter().flatten().cloned().collect();
        let sweeps = sweeping
            .into_iter()
            .map(|store| actix::spawn(async move { store.sweep(Sweep::default().grace(Duration::ZERO)).await }));
        let sweeps: Vec<_> = sweeps.collect();
        for _ in 0..1 + self.dice.below(4) {
            let at = At { store, session: self.dice.below(SESSIONS as u64) as usize };
            // Whether the blob of an append is there is told by its answer.
            self.blobs.unnamed(&self.named(), Known::Perhaps);
            let Some(session) = self.session(at).await else { continue };
            if let Some(blob) = self.blobs.pick(&mut self.dice) {
                let handed = vec![TallyBody::Added(self.mark()), TallyBody::Attached(blob)];
                self.send(at, &session, handed, None, None);
            }
            if self.dice.one_in(3) {
                self.put_blob(store).await;
            }
        }
        for swept in soon(join_all(sweeps)).await {
            self.figures.swept_beside += u64::from(swept.unwrap().unwrap().removed > 0);
        }
        self.blobs.unnamed(&self.named(), Known::Perhaps);
        self.settle_made().await;
        // Now the log tells what is named, and another sweep takes what is not.
        self.sweep(store).await;
    }

    async fn sweep_in_a_storm(&mut self, store: usize) {
        let opened = self.stores[store].clone().unwrap();
        let swept = soon(opened.sweep(Sweep::default().grace(Duration::ZERO))).await;
        self.trace.add(format!("sweep in a storm: {swept:?}"));
        if let Err(error) = &swept {
            self.figures.sweeps_failed += 1;
            assert!(!matches!(error.kind(), ErrorKind::CorruptStore { .. } | ErrorKind::StoreClosed), "{error:?}");
        }
        self.blobs.unnamed(&self.named(), Known::Perhaps);
    }

    /// In a calm: what sweeps have left undecided is swept, and then what must be there is there.
    pub async fn settle_blobs(&mut self) {
        let named = self.named();
        for stored in self.blobs.0.iter_mut().filter(|stored| named.contains(&stored.blob.digest)) {
            stored.known = Known::There;
        }
        if self.blobs.0.iter().any(|stored| stored.known == Known::Perhaps) {
            self.sweep(0).await;
        }
        self.look_at_blobs().await;
    }

    async fn look_at_blobs(&self) {
        let store = self.stores.iter().flatten().next().unwrap();
        for StoredBlob { blob, bytes, known } in &self.blobs.0 {
            match (known, soon(store.get_bytes(blob.digest)).await) {
                (Known::There, found) => assert_eq!(found.unwrap(), *bytes),
                (Known::Gone, Ok(_)) => panic!("swept, and there: {blob:?}"),
                _ => {}
            }
        }
    }
}
