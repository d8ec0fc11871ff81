//! How far a command is: a bar with rate and time left, on a terminal only, once a second has gone by.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A command that ends sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is shown that something goes on.
const TICK: Duration = Duration::from_millis(200);

/// Counts how many things there are to be done.
type Count<'a> = Box<dyn FnOnce() -> u64 + Send + 'a>;

/// A bar on standard error.
pub(crate) struct Progress<'a> {
    what: &'static str,
    /// Called when the bar is made: nobody else needs the total.
    count: Option<Count<'a>>,
    total: u64,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// Begins work on things, such as `events`. If a bar is shown, `count` tells how many there are. It is called
    /// within [`set`](Self::set).
    pub(crate) fn new(what: &'static str, count: impl FnOnce() -> u64 + Send + 'a) -> Self {
        Self { what, count: Some(Box::new(count)), total: 0, begun: Instant::now(), bar: None }
    }

    /// So many of them are done.
    pub(crate) fn set(&mut self, done: u64) {
        if self.bar.is_none() && (self.begun.elapsed() < PATIENCE || !std::io::stderr().is_terminal()) {
            return;
        }
        if let Some(count) = self.count.take() {
            self.total = count();
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr_with_hz(5));
            let template = format!("{{bar:30}} {{pos}}/{{len}} {}  {{per_sec}}  {{eta}} left", self.what);
            let bar = match ProgressStyle::with_template(&template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            };
            bar.with_elapsed(self.begun.elapsed())
        });
        // More may have come since the total was counted.
        if done > self.total {
            self.total = done;
            bar.set_length(done);
        }
        bar.set_position(done);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Waits for something that does not tell how far it is. On a terminal, after a second, the time that has gone by is
/// shown.
pub(crate) fn waiting<T>(what: &'static str, call: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return call();
    }
    std::thread::scope(|scope| {
        let (is_done, waits) = channel::<()>();
        let shown = std::thread::Builder::new().spawn_scoped(scope, move || show_waiting(what, &waits));
        let result = call();
        drop(is_done);
        // It only shows something: without a thread for it, nothing is shown.
        drop(shown);
        result
    })
}

fn show_waiting(what: &'static str, is_done: &Receiver<()>) {
    let waits = |time| is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !waits(PATIENCE) {
        return;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5)).with_elapsed(PATIENCE);
    let bar = match ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        Ok(style) => bar.with_style(style).with_message(what),
        Err(_) => bar,
    };
    while waits(TICK) {
        bar.tick();
    }
    bar.finish_and_clear();
}
