//! How often a store is asked for what another process has appended.

use std::time::Duration;

/// While events come, the next is seen within a few milliseconds of its commit.
const WAIT_MIN: Duration = Duration::from_millis(2);
/// When none come, asking costs nothing that can be measured.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Asks often while there is something, and rarely when there is not.
pub(super) struct Pace {
    wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { wait: WAIT_MIN }
    }
}

impl Pace {
    /// There was something.
    pub(super) fn quicken(&mut self) {
        self.wait = WAIT_MIN;
    }

    /// There was nothing: waits, and longer from time to time.
    pub(super) fn wait(&mut self) {
        std::thread::sleep(self.next());
    }

    fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait + wait / 4).min(WAIT_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_makes_it_quick_again_and_silence_makes_it_slow() {
        let mut pace = Pace::default();
        let waits: Vec<_> = (0..40).map(|_| pace.next()).collect();
        assert_eq!((waits.first(), waits.last()), (Some(&WAIT_MIN), Some(&WAIT_MAX)));
        assert!(waits.is_sorted());
        // After a tenth of a second of silence, the next event is still seen within 20 ms and a bit.
        let mut silence = Duration::ZERO;
        let wait = waits.iter().find(|wait| {
            silence += **wait;
            silence > Duration::from_millis(100)
        });
        assert!(wait.is_some_and(|wait| *wait <= Duration::from_millis(25)), "{wait:?}");
        pace.quicken();
        assert_eq!(pace.next(), WAIT_MIN);
    }
}
