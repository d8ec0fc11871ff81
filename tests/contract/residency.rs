//! Goal: a session that was emptied is the session it was: in order, with nothing lost, and nobody notices. Method:
//! sessions are emptied on demand and by tiny limits, before, between and during every call; both media.

mod calls;
mod ends;
mod limits;
mod races;
mod views;

use foldlog::{Session, SessionModel, Store};

/// Empties what is idle, which must be this many sessions.
fn empty<M: SessionModel>(store: &Store<M>, sessions: u64) {
    let before = store.stats();
    assert_eq!(store.empty_idle_sessions(), sessions);
    let after = store.stats();
    assert_eq!(after.sessions_emptied - before.sessions_emptied, sessions);
    assert_eq!(before.sessions_resident - after.sessions_resident, sessions);
}

/// Empties the store's one session.
async fn empty_one<M: SessionModel>(session: &Session<M>) {
    // Its actor may not have heard yet that it has woken.
    session.recovery().await.unwrap();
    empty(session.store(), 1);
    assert_eq!(session.store().stats().resident_bytes, 0);
}
