//! How much of the model is there, while it is being loaded.
//!
//! Whoever opens the model says how many bytes there will be and counts them as they come; the
//! server tells who asks early. Nothing here is exact: devices are opened and pages reserved before
//! and after the weights, so that all bytes may be there a moment before the model answers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A model on its way. May be told of from any thread.
#[derive(Debug, Default)]
pub struct Loading {
    expected: OnceLock<(u64, Instant)>,
    loaded: AtomicU64,
}

/// Seconds after which a client had better ask again, at least and at most.
const AGAIN_SECONDS: (f64, f64) = (1.0, 60.0);

impl Loading {
    /// So many bytes will be there in all. Said once, before any of them is.
    pub fn expect(&self, bytes: u64) {
        self.expected.get_or_init(|| (bytes, Instant::now()));
    }

    /// So many more are there.
    pub fn add(&self, bytes: u64) {
        self.loaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that are there, and that are expected in all; 0 of 0 before anybody knows.
    pub fn bytes(&self) -> (u64, u64) {
        let expected = self.expected.get().map_or(0, |(bytes, _)| *bytes);
        (self.loaded.load(Ordering::Relaxed).min(expected), expected)
    }

    /// How much that is, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        let (loaded, expected) = self.bytes();
        if expected == 0 { 0.0 } else { loaded as f64 / expected as f64 }
    }

    /// Seconds after which asking again makes sense: what is left if it goes on as it began.
    pub fn again(&self) -> u64 {
        let (least, most) = AGAIN_SECONDS;
        let Some((_, began)) = self.expected.get() else { return least as u64 };
        left(self.fraction(), began.elapsed().as_secs_f64()).clamp(least, most).ceil() as u64
    }
}

/// Seconds that are left when `fraction` of the work took `seconds`.
fn left(fraction: f64, seconds: f64) -> f64 {
    if fraction > 0.0 { seconds * (1.0 - fraction) / fraction } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_a_fraction_and_a_wait() {
        let loading = Loading::default();
        assert_eq!((loading.bytes(), loading.fraction(), loading.again()), ((0, 0), 0.0, 1));
        loading.expect(80_000_000_000);
        loading.add(20_000_000_000);
        assert_eq!(loading.fraction(), 0.25);
        // Some files say less than they hold, and nobody is told more than all.
        loading.add(70_000_000_000);
        assert_eq!((loading.fraction(), loading.again()), (1.0, 1));
        assert_eq!((left(0.25, 10.0), left(1.0, 10.0), left(0.0, 10.0)), (30.0, 0.0, 10.0));
    }
}
