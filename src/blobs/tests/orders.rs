//! Puts, appends and sweeps of three stores on one medium, in every order.

use std::sync::Mutex;
use std::time::Duration;

use super::peers::{Peer, PeerLog, Scene, Without};
use super::turns::every_order;
use crate::blobs::put::PutLog;
use crate::codec;
use crate::port::{Put, SweepDone, SweepStep};

/// What an order has shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    orders: usize,
    /// Events that name a blob which is not there.
    dangling: usize,
    /// Appends that were refused right after a put had answered.
    refused: usize,
    /// Blobs that are listed still.
    listed: usize,
}

/// A host puts a blob that is there and names it, while another store sweeps.
fn put_and_append(scene: &Scene, changes_max: usize) -> Seen {
    let mut seen = Seen::default();
    seen.orders = every_order(changes_max, |choose| {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let appended = Mutex::new(false);
        let host = || {
            let Put { digest, bytes, .. } = scene.host.put(&bytes);
            *appended.lock().unwrap() = scene.host.append(digest, bytes);
        };
        let sweeper = || {
            scene.sweeper.sweep();
        };
        scene.turns.play(vec![Box::new(host), Box::new(sweeper)], choose);
        let is_appended = *appended.lock().unwrap();
        seen.refused += usize::from(!is_appended);
        seen.dangling += usize::from(is_appended && !scene.host.has(&digest));
        seen.listed += usize::from(scene.host.is_listed(&digest));
        if !is_appended || !scene.host.has(&digest) {
            scene.clear(&digest);
        }
    });
    seen
}

/// A host names a blob that it has put long ago, another host puts it again, and a third store sweeps.
fn append_beside_a_put(scene: &Scene, changes_max: usize) -> Seen {
    let mut seen = Seen::default();
    seen.orders = every_order(changes_max, |choose| {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let appended = Mutex::new(false);
        let host = || *appended.lock().unwrap() = scene.host.append(digest, bytes.len() as u64);
        let other = || {
            scene.other.put(&bytes);
        };
        let sweeper = || {
            scene.sweeper.sweep();
        };
        scene.turns.play(vec![Box::new(host), Box::new(other), Box::new(sweeper)], choose);
        let is_appended = *appended.lock().unwrap();
        seen.dangling += usize::from(is_appended && !scene.host.has(&digest));
        // What the other host has put is there for its grace time, whatever became of the append.
        seen.refused += usize::from(!scene.host.has(&digest));
        seen.listed += usize::from(scene.host.is_listed(&digest));
        if !is_appended || !scene.host.has(&digest) {
            scene.clear(&digest);
        }
    });
    seen
}

/// A host names a blob that it has put long ago, while two stores sweep.
fn append_beside_two_sweeps(scene: &Scene, changes_max: usize) -> Seen {
    let mut seen = Seen::default();
    seen.orders = every_order(changes_max, |choose| {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let appended = Mutex::new(false);
        let host = || *appended.lock().unwrap() = scene.host.append(digest, bytes.len() as u64);
        let [one, two] = [&scene.sweeper, &scene.other].map(|peer| {
            move || {
                peer.sweep();
            }
        });
        scene.turns.play(vec![Box::new(host), Box::new(one), Box::new(two)], choose);
        let is_appended = *appended.lock().unwrap();
        seen.dangling += usize::from(is_appended && !scene.host.has(&digest));
        seen.listed += usize::from(scene.host.is_listed(&digest));
        if !is_appended || !scene.host.has(&digest) {
            scene.clear(&digest);
        }
    });
    seen
}

/// How many changes of turn are tried: all that there are would take hours on a directory.
fn changes_max(usual: usize) -> usize {
    let asked = std::env::var("FOLDLOG_ORDERS").ok().and_then(|changes| changes.parse().ok());
    asked.unwrap_or(usual)
}

fn assert_nothing_lost(seen: &Seen, at_least: usize) {
    println!("{seen:?}");
    assert!(seen.orders >= at_least, "{seen:?}");
    assert_eq!((seen.dangling, seen.refused, seen.listed), (0, 0, 0), "{seen:?}");
}

#[test]
fn whatever_the_order_a_blob_that_was_put_stays_and_its_append_is_taken_in_memory() {
    assert_nothing_lost(&put_and_append(&Scene::memory(), changes_max(6)), 100);
}

#[test]
fn whatever_the_order_a_blob_that_was_put_stays_and_its_append_is_taken() {
    assert_nothing_lost(&put_and_append(&Scene::directory(), changes_max(3)), 200);
}

#[test]
fn whatever_the_order_no_event_names_a_blob_that_is_swept_and_put_again_in_memory() {
    assert_nothing_lost(&append_beside_a_put(&Scene::memory(), changes_max(3)), 100);
}

#[test]
fn whatever_the_order_no_event_names_a_blob_that_is_swept_and_put_again() {
    assert_nothing_lost(&append_beside_a_put(&Scene::directory(), changes_max(2)), 200);
}

#[test]
fn whatever_the_order_two_sweeps_remove_no_blob_that_an_event_names() {
    assert_nothing_lost(&append_beside_two_sweeps(&Scene::memory(), changes_max(3)), 100);
    assert_nothing_lost(&append_beside_two_sweeps(&Scene::directory(), changes_max(2)), 100);
}

#[test]
fn with_each_protection_left_out_an_order_is_found_that_loses_something() {
    let without = |scene: Scene, without| {
        *scene.without.lock().unwrap() = without;
        scene
    };
    let refused = put_and_append(&without(Scene::directory(), Without::Touch), 2).refused;
    assert!(refused > 0, "an untouched file is removed right after its put");
    let seen = put_and_append(&without(Scene::memory(), Without::LookAtTheList), 3);
    assert!(seen.refused > 0, "{seen:?}");
    for left_out in [Without::List, Without::SecondReading] {
        let seen = append_beside_two_sweeps(&without(Scene::memory(), left_out), 2);
        assert!(seen.dangling > 0, "{left_out:?}: {seen:?}");
    }
    let seen = append_beside_two_sweeps(&without(Scene::unswept_directory(), Without::Count), 2);
    assert!(seen.dangling > 0, "{seen:?}");
}

/// Without a grace time, so that nothing else keeps the blob.
#[test]
fn a_sweep_removes_no_blob_that_another_sweep_has_listed_since() {
    for scene in [Scene::memory(), Scene::directory()] {
        let bytes = scene.old_blob();
        let digest = codec::digest(&bytes);
        let (blobs, grace) = (vec![digest], Duration::ZERO);
        let list = |peer: &Peer| match PeerLog(peer).step(SweepStep::List { blobs: blobs.clone(), grace }).unwrap() {
            SweepDone::Listed { listing, .. } => listing,
            other => panic!("{other:?}"),
        };
        let first = list(&scene.sweeper);
        let put = scene.host.put(&bytes);
        assert!(!scene.host.is_listed(&digest) && scene.host.append(digest, put.bytes));
        // The second sweep has not read yet that an event names it.
        let second = list(&scene.other);
        let remove = |listing| SweepStep::Remove { listing, blobs: blobs.clone(), grace };
        let done = PeerLog(&scene.sweeper).step(remove(first)).unwrap();
        assert!(matches!(done, SweepDone::Removed { left } if left == blobs));
        assert!(scene.host.has(&digest));
        let unlist = |listing| SweepStep::Unlist { blobs: vec![(digest, listing)] };
        assert!(matches!(PeerLog(&scene.sweeper).step(unlist(first)).unwrap(), SweepDone::Unlisted(0)));
        assert!(matches!(PeerLog(&scene.other).step(unlist(second)).unwrap(), SweepDone::Unlisted(1)));
    }
}
