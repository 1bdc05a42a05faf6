//! How a worker is doing: who runs and waits, how fast it goes, what is held in memory and on disk.
//!
//! A report is taken between two steps and is a value; nothing in it refers to the worker. Sums
//! only grow, so that whoever asks from time to time can take differences. Speeds are of lately, in
//! time that was spent computing: while nothing is computed they stay what they were.

use std::time::Duration;

use crate::{Held, OnDisk, SaveStats};

/// How a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Requests that have a session.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Sessions whose requests have ended, and which the next ones may go on from.
    pub idle: usize,
    /// Steps computed.
    pub steps: usize,
    /// Tokens computed in them.
    pub tokens: usize,
    /// What became of the time.
    pub pace: Pace,
    /// States in memory.
    pub held: Held,
    /// Checkpoints on disk, if there is a place for them.
    pub disk: Option<OnDisk>,
    /// What saving took from the worker.
    pub saves: SaveStats,
}

/// What became of the time of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Time spent in steps.
    pub busy: Duration,
    /// The longest step.
    pub longest: Duration,
    /// Reading prompts.
    pub prefill: Work,
    /// Writing answers: their tokens after the first, which comes with the end of the prompt.
    pub decode: Work,
}

/// One kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tokens, of all requests together.
    pub tokens: usize,
    recent_tokens: f64,
    recent_seconds: f64,
}

/// Seconds of work after which a step counts for about a third (1/e) in speeds.
const RECENT_SECONDS: f64 = 5.0;

impl Pace {
    /// A step took so long for so many tokens of prompts and of answers.
    pub(super) fn add(&mut self, prefill: usize, decode: usize, took: Duration) {
        self.busy += took;
        self.longest = self.longest.max(took);
        self.prefill.add(prefill, took);
        self.decode.add(decode, took);
    }
}

impl Work {
    /// A step counts in full for each kind of work that it did: that is how long either took.
    fn add(&mut self, tokens: usize, took: Duration) {
        if tokens == 0 {
            return;
        }
        self.tokens += tokens;
        let seconds = took.as_secs_f64();
        let left = (-seconds / RECENT_SECONDS).exp();
        self.recent_tokens = self.recent_tokens * left + tokens as f64;
        self.recent_seconds = self.recent_seconds * left + seconds;
    }

    /// Tokens per second of steps that did such work, lately; 0 if there was none.
    pub fn speed(&self) -> f64 {
        if self.recent_seconds > 0.0 { self.recent_tokens / self.recent_seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_of_lately_and_sums_those_of_all_time() {
        let (mut pace, second) = (Pace::default(), Duration::from_secs(1));
        assert_eq!(pace.prefill.speed(), 0.0);
        pace.add(100, 0, second);
        assert!((pace.prefill.speed() - 100.0).abs() < 1e-9);
        assert_eq!((pace.prefill.tokens, pace.decode.tokens, pace.decode.speed()), (100, 0, 0.0));
        // Steps without prompts leave the speed of prompts alone.
        (0..60).for_each(|_| pace.add(0, 7, second));
        assert!((pace.prefill.speed() - 100.0).abs() < 1e-9);
        // After half a minute of slower steps the faster ones are forgotten: exp(-6) < 0.3 %.
        (0..30).for_each(|_| pace.add(10, 0, second));
        assert!((pace.prefill.speed() - 10.0).abs() < 0.3, "{}", pace.prefill.speed());
        assert_eq!((pace.prefill.tokens, pace.decode.tokens), (400, 420));
        pace.add(1, 1, 3 * second);
        assert_eq!((pace.busy, pace.longest), (94 * second, 3 * second));
    }
}
