//! Subscriber actors that report what they get over a channel.

use std::sync::mpsc;

use actix::prelude::*;
use foldlog::{Delivery, Item, SessionModel};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

use super::{PATIENCE, soon};

/// What a subscriber actor got, in its order.
pub struct Received<M: SessionModel>(UnboundedReceiver<Item<M>>);

impl<M: SessionModel> Received<M> {
    /// The next item.
    pub async fn next(&mut self) -> Item<M> {
        soon(self.0.next()).await.expect("the subscriber is alive")
    }

    /// The next `count` items, in short: see [`short`].
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(short(&self.next().await));
        }
        taken
    }

    /// All items up to the end of the subscription, in short.
    pub async fn until_ended(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            match self.next().await {
                Item::Ended => return taken,
                item => taken.push(short(&item)),
            }
        }
    }

    /// All items up to the end of the subscriber itself, which ends once nobody holds its address.
    pub async fn until_forgotten(mut self) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(item) = soon(self.0.next()).await {
            taken.push(short(&item));
        }
        taken
    }

    /// The items that are there already, in short.
    pub fn so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).map(|item| short(&item)).collect()
    }
}

/// An item as a test writes it: `3`, `transient`, `gap 6..8 (2 transients)`, `ended`.
pub fn short<M: SessionModel>(item: &Item<M>) -> String {
    match item {
        Item::Event(event) => event.id().to_string(),
        Item::Transient(_) => "transient".to_owned(),
        Item::Gap(gap) => format!("gap {}..{} ({} transients)", gap.after, gap.through, gap.transients),
        Item::Ended => "ended".to_owned(),
        other => panic!("an item of an unknown kind: {other:?}"),
    }
}

struct Collector<M: SessionModel>(UnboundedSender<Item<M>>);

impl<M: SessionModel> Actor for Collector<M> {
    type Context = Context<Self>;
}

impl<M: SessionModel> Handler<Delivery<M>> for Collector<M> {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<M>, _: &mut Context<Self>) {
        // The test may have seen enough.
        let _ = self.0.unbounded_send(delivery.item().clone());
    }
}

/// A subscriber that takes everything at once.
pub fn collector<M: SessionModel>() -> (Recipient<Delivery<M>>, Received<M>) {
    let (sender, receiver) = unbounded();
    (Collector(sender).start().recipient(), Received(receiver))
}

struct Gated<M: SessionModel> {
    report: UnboundedSender<Item<M>>,
    gate: mpsc::Receiver<()>,
}

impl<M: SessionModel> Actor for Gated<M> {
    type Context = Context<Self>;
}

impl<M: SessionModel> Handler<Delivery<M>> for Gated<M> {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<M>, _: &mut Context<Self>) {
        let _ = self.report.unbounded_send(delivery.item().clone());
        // An error means that the gate is open for good.
        if let Err(mpsc::RecvTimeoutError::Timeout) = self.gate.recv_timeout(PATIENCE) {
            panic!("nobody opened the gate");
        }
    }
}

/// Holds a gated subscriber back: it reports each item, then blocks its thread until it may pass.
pub struct Gate {
    sender: Option<mpsc::Sender<()>>,
    arbiter: Arbiter,
}

impl Gate {
    /// Lets one delivery end.
    pub fn pass(&self) {
        self.sender.as_ref().expect("the gate is not open").send(()).expect("the subscriber is alive");
    }

    /// Lets all deliveries end, those to come too.
    pub fn open(&mut self) {
        self.sender = None;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        self.arbiter.stop();
    }
}

/// A subscriber on a thread of its own that blocks in each delivery until told.
pub fn gated<M: SessionModel>() -> (Recipient<Delivery<M>>, Received<M>, Gate) {
    let (report, received) = unbounded();
    let (sender, gate) = mpsc::channel();
    let arbiter = Arbiter::new();
    let address = Gated::start_in_arbiter(&arbiter.handle(), move |_| Gated { report, gate });
    (address.recipient(), Received(received), Gate { sender: Some(sender), arbiter })
}
