//! Takes turns: players on threads of their own, of which one at a time takes one step, in an order that the test
//! chooses.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

thread_local! {
    /// Which player this thread is.
    static PLAYER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Where a player stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Running,
    /// Before a step; a commit can begin only if no other player is within one.
    Before {
        is_commit: bool,
    },
    Done,
}

#[derive(Default)]
struct Table {
    players: Vec<Stand>,
    committing: Option<usize>,
    /// The test has failed: everybody ends.
    is_over: bool,
}

#[derive(Default)]
pub(super) struct Turns {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Turns {
    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the player of this thread before a step, until it has the turn.
    pub(super) fn step(&self) {
        self.stop(false);
    }

    /// A step that holds off all other commits until it has ended.
    pub(super) fn commit<T>(&self, commit: impl FnOnce() -> T) -> T {
        let player = self.stop(true);
        let done = commit();
        if player.is_some() {
            self.lock().committing = None;
        }
        done
    }

    fn stop(&self, is_commit: bool) -> Option<usize> {
        let player = PLAYER.get()?;
        let mut table = self.lock();
        table.players[player] = Stand::Before { is_commit };
        self.changed.notify_all();
        while table.players[player] != Stand::Running {
            assert!(!table.is_over, "the test has failed");
            table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        if is_commit {
            table.committing = Some(player);
        }
        Some(player)
    }

    /// Runs the players. `choose` is given those who can take the next step, and who took the last.
    pub(super) fn play(
        &self,
        players: Vec<Box<dyn FnOnce() + Send + '_>>,
        mut choose: impl FnMut(&[usize], Option<usize>) -> usize,
    ) {
        *self.lock() = Table { players: vec![Stand::Running; players.len()], ..Table::default() };
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (player, play) in players.into_iter().enumerate() {
                threads.push(scope.spawn(move || {
                    PLAYER.set(Some(player));
                    self.stop(false);
                    let played = catch_unwind(AssertUnwindSafe(play));
                    let mut table = self.lock();
                    table.players[player] = Stand::Done;
                    if table.committing == Some(player) {
                        table.committing = None;
                    }
                    self.changed.notify_all();
                    played
                }));
            }
            let mut last = None;
            loop {
                let mut table = self.lock();
                while table.players.contains(&Stand::Running) {
                    table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
                }
                let free = table.committing.is_none();
                let can = |(player, stand): (usize, &Stand)| match stand {
                    Stand::Before { is_commit } if free || !is_commit => Some(player),
                    _ => None,
                };
                let able: Vec<_> = table.players.iter().enumerate().filter_map(can).collect();
                if able.is_empty() {
                    assert!(table.players.iter().all(|stand| *stand == Stand::Done), "nobody can take a step");
                    break;
                }
                let chosen = catch_unwind(AssertUnwindSafe(|| choose(&able, last)));
                let next = chosen.unwrap_or_else(|panic| {
                    table.is_over = true;
                    self.changed.notify_all();
                    drop(std::mem::take(&mut threads));
                    std::panic::resume_unwind(panic)
                });
                last = Some(next);
                table.players[next] = Stand::Running;
                self.changed.notify_all();
            }
            for thread in threads {
                thread.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
}

/// Tries every order in which the turn changes at most so many times before a player is done or has to wait. `play` is
/// given what chooses. Gives how many orders there were.
pub(super) fn every_order(
    changes_max: usize,
    mut play: impl FnMut(&mut dyn FnMut(&[usize], Option<usize>) -> usize),
) -> usize {
    let mut orders = 0;
    let mut left: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(prefix) = left.pop() {
        // What could have been chosen instead, beside how often the turn had changed by then.
        let mut chosen: Vec<usize> = Vec::new();
        let mut others: Vec<(usize, usize)> = Vec::new();
        let mut changes = 0;
        play(&mut |able, last| {
            let stays = last.filter(|last| able.contains(last));
            let at = chosen.len();
            let choice = prefix.get(at).copied().unwrap_or_else(|| stays.unwrap_or(able[0]));
            assert!(able.contains(&choice), "the same order gives the same steps");
            let costs = |player: usize| usize::from(stays.is_some_and(|stays| stays != player));
            if at >= prefix.len() {
                let more = able.iter().filter(|other| **other != choice && changes + costs(**other) <= changes_max);
                others.extend(more.map(|other| (at, *other)));
            }
            changes += costs(choice);
            chosen.push(choice);
            choice
        });
        orders += 1;
        left.extend(others.into_iter().map(|(at, other)| {
            let mut order = chosen[..at].to_vec();
            order.push(other);
            order
        }));
    }
    orders
}
