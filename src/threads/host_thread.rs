//! A thread with an actix system of its own, so that an actor on it depends on nobody else's system, and the thread can
//! be joined.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use actix::{Arbiter, ArbiterHandle, System};

pub(crate) struct HostThread {
    system: System,
    arbiter: ArbiterHandle,
    thread: JoinHandle<()>,
}

impl HostThread {
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runner = System::new();
            // The receiver waits below.
            let _ = sender.send((System::current(), Arbiter::current()));
            if let Err(error) = runner.run() {
                log::error!("a foldlog thread ended with an error: {error}");
            }
        })?;
        let (system, arbiter) = receiver.recv().map_err(io::Error::other)?;
        Ok(Self { system, arbiter, thread })
    }

    pub(crate) fn arbiter(&self) -> &ArbiterHandle {
        &self.arbiter
    }

    /// Ends the system and waits for the thread. What its actors had to do must be done already.
    pub(crate) fn stop(self) {
        self.system.stop();
        if self.thread.join().is_err() {
            log::error!("a foldlog thread panicked");
        }
    }
}
