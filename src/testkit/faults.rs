//! Which calls are to fail, which are to be held, and what has happened. This module, `operations` (what a store can
//! ask) and `ports` (where it asks) use each other: a fault is set on a port, and the port asks for its fault before
//! each call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, mpsc};

use futures::channel::oneshot;

use super::layered::layered;
use crate::config::StoreConfig;
use crate::port::OpenedMedium;
use crate::testkit::ports::{WatchedBlobs, WatchedMedium};
use crate::testkit::{Call, Dice, Operation, Outcome, Port};
use crate::threads::lock;

/// The most operations that are remembered: the oldest go first.
const OPERATIONS_MAX: usize = 65_536;

/// How a call is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The disk is full: nothing is done.
    DiskFull,
    /// An I/O error: nothing is done.
    Io,
    /// Another process holds the lock: nothing is done. A group that meets it waits and is tried again.
    Busy,
    /// COMMIT reports an error, and the group is not in the log. At another port: [`Fault::Io`].
    CommitLost,
    /// COMMIT reports an error, and the group is in the log all the same. At another port: the call is done, and
    /// reports an I/O error.
    CommitKept,
    /// The call panics before it does anything.
    Panic,
}

/// Records what stores ask of their logs and blobs, and fails or holds what it is told to.
///
/// Clones share everything, and one may watch several stores, on memory and on directories.
///
/// # Examples
/// ```
/// use foldlog::agent::{AgentBody, Message};
/// use foldlog::testkit::{Fault, Faults, Port};
/// use foldlog::{ErrorKind, Store, StoreConfig};
///
/// # fn main() -> Result<(), foldlog::Error> { futures::executor::block_on(async {
/// let faults = Faults::default();
/// let store = Store::open(faults.watch(StoreConfig::memory())).await?;
/// let session = store.open_session("s").await?;
///
/// faults.fail_next(Port::Commit, Fault::DiskFull);
/// let refused = session.append(AgentBody::MessageAppended(Message::user("hello")))?.await;
/// assert!(matches!(refused.unwrap_err().kind(), ErrorKind::DiskFull));
///
/// // COMMIT fails and the events are there all the same: the store finds out before it answers.
/// faults.fail_next(Port::Commit, Fault::CommitKept);
/// session.append(AgentBody::MessageAppended(Message::user("hello")))?.await?;
/// assert_eq!(session.view()?.messages.len(), 1);
/// store.close().await
/// # }) }
/// ```
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    operations: VecDeque<Operation>,
    /// How often each port was called.
    calls: HashMap<Port, u64>,
    /// The faults of single calls, by the number of the call.
    chosen: HashMap<Port, BTreeMap<u64, Fault>>,
    lasting: HashMap<Port, Fault>,
    random: Vec<Random>,
    holds: HashMap<Port, VecDeque<Hold>>,
}

struct Random {
    port: Port,
    fault: Fault,
    one_in: u64,
    dice: Dice,
}

struct Hold {
    is_wanted: Box<dyn Fn(&Call) -> bool + Send>,
    reached: oneshot::Sender<()>,
    release: mpsc::Receiver<()>,
}

impl Faults {
    /// Wraps the medium of a configuration, so that these faults stand between the store and that medium.
    #[must_use]
    pub fn watch(&self, mut config: StoreConfig) -> StoreConfig {
        let faults = self.clone();
        config.medium = layered(config.medium, move |opened| OpenedMedium {
            log: Arc::new(WatchedMedium::new(opened.log, faults.clone())),
            blobs: Arc::new(WatchedBlobs::new(opened.blobs, faults.clone())),
            ..opened
        });
        config
    }

    /// Fails the next call at a port, once.
    pub fn fail_next(&self, port: Port, fault: Fault) {
        self.fail_nth(port, 1, fault);
    }

    /// Fails the `nth` call at a port from now on, once; 1 is the next.
    pub fn fail_nth(&self, port: Port, nth: u64, fault: Fault) {
        let mut plan = lock(&self.0);
        let called = plan.calls.get(&port).copied().unwrap_or(0);
        plan.chosen.entry(port).or_default().insert(called + nth.max(1), fault);
    }

    /// Fails every call at a port until [`Faults::clear`].
    pub fn fail_all(&self, port: Port, fault: Fault) {
        lock(&self.0).lasting.insert(port, fault);
    }

    /// Fails one call in `one_in` at a port, chosen by the seed, until [`Faults::clear`].
    pub fn fail_randomly(&self, port: Port, fault: Fault, one_in: u64, seed: u64) {
        lock(&self.0).random.push(Random { port, fault, one_in, dice: Dice::new(seed) });
    }

    /// Ends every fault that is planned. What is held stays held, and what was recorded stays.
    pub fn clear(&self) {
        let mut plan = lock(&self.0);
        plan.chosen.clear();
        plan.lasting.clear();
        plan.random.clear();
    }

    /// Holds the next call at a port that nobody holds yet, until the answer is released or dropped. The store's thread
    /// waits in it: let go before the store closes.
    #[must_use = "dropping it lets the call go"]
    pub fn hold(&self, port: Port) -> Held {
        self.hold_where(port, |_| true)
    }

    /// Holds the next call at a port for which `is_wanted` is true and that nobody holds yet, as [`Faults::hold`]
    /// does. Stores also make calls of their own accord, so the next call need not be the one that a test waits for.
    #[must_use = "dropping it lets the call go"]
    pub fn hold_where(&self, port: Port, is_wanted: impl Fn(&Call) -> bool + Send + 'static) -> Held {
        let (reached_sender, reached) = oneshot::channel();
        let (sender, release) = mpsc::channel();
        let hold = Hold { is_wanted: Box::new(is_wanted), reached: reached_sender, release };
        lock(&self.0).holds.entry(port).or_default().push_back(hold);
        Held { reached, _release: sender }
    }

    /// What was asked so far, in the order of the answers: the last 65,536.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        lock(&self.0).operations.iter().cloned().collect()
    }

    /// Forgets what was recorded.
    pub fn forget(&self) {
        lock(&self.0).operations.clear();
    }

    /// How often a port was called.
    #[must_use]
    pub fn calls(&self, port: Port) -> u64 {
        lock(&self.0).calls.get(&port).copied().unwrap_or(0)
    }

    /// To be called when a call begins: waits if the call is held, and tells how the call is to fail.
    pub(super) fn begin(&self, call: &Call) -> Option<Fault> {
        let port = call.port();
        let hold = lock(&self.0).holds.get_mut(&port).and_then(|holds| {
            let wanted = holds.iter().position(|hold| (hold.is_wanted)(call))?;
            holds.remove(wanted)
        });
        if let Some(Hold { reached, release, .. }) = hold {
            // The test may not care to know, and it lets go by dropping its end.
            let _ = reached.send(());
            let _ = release.recv();
        }
        let mut plan = lock(&self.0);
        let called = plan.calls.entry(port).or_default();
        *called += 1;
        let called = *called;
        let chosen = plan.chosen.get_mut(&port).and_then(|chosen| chosen.remove(&called));
        let mut random = None;
        for plan in plan.random.iter_mut().filter(|plan| plan.port == port) {
            if plan.dice.one_in(plan.one_in) {
                random = Some(plan.fault);
            }
        }
        chosen.or(random).or_else(|| plan.lasting.get(&port).copied())
    }

    pub(super) fn record(&self, call: Call, outcome: Outcome) {
        let mut plan = lock(&self.0);
        if plan.operations.len() == OPERATIONS_MAX {
            plan.operations.pop_front();
        }
        plan.operations.push_back(Operation { call, outcome });
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = lock(&self.0);
        f.debug_struct("Faults")
            .field("calls", &plan.calls)
            .field("chosen", &plan.chosen)
            .field("lasting", &plan.lasting)
            .finish_non_exhaustive()
    }
}

/// A call that is held, or will be. Dropping it lets the call go.
#[derive(Debug)]
pub struct Held {
    reached: oneshot::Receiver<()>,
    _release: mpsc::Sender<()>,
}

impl Held {
    /// Waits until the call has come and is held. Returns at once if the call was waited for before.
    pub async fn reached(&mut self) {
        // An error means that the call was reached before: the plan outlives every store that it watches.
        let _ = (&mut self.reached).await;
    }

    /// Lets the call go on.
    pub fn release(self) {}
}
