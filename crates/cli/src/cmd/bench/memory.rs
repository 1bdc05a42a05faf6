//! How fast memory can be read here and now, by as many threads as compute; and bringing weights
//! there.
//!
//! Each thread sums its share of a buffer that no cache holds. Sums are of 64-bit words, which the
//! compiler turns into the widest loads that it may use, so the sum costs less than the reading.
//! Nothing here knows what weights are for.

use std::hint::black_box;
use std::time::Instant;

use gguf::File;
use rayon::prelude::*;
use serde::Serialize;

use super::report::Spread;
use crate::interrupt;
use crate::progress::Progress;

/// Larger than any cache.
const BUFFER_BYTES: usize = 1 << 30;

/// What is read where memory is short; still larger than most caches.
const BUFFER_BYTES_MIN: usize = 64 << 20;

/// Times that count, after one that does not.
const TIMES: usize = 7;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Bytes of the buffer.
    pub buffer_bytes: usize,
    /// Threads that read it; 0 for the memory of a device.
    pub threads: usize,
    /// How fast they did.
    pub bytes_per_second: Spread,
}

impl Memory {
    /// Of a device, as it says.
    pub fn of_device(speed: f64) -> Memory {
        let bytes_per_second = Spread { median: speed, min: speed, max: speed };
        Memory { buffer_bytes: BUFFER_BYTES, threads: 0, bytes_per_second }
    }

    /// Whether it is not the processor's.
    pub fn is_device(&self) -> bool {
        self.threads == 0
    }
}

/// Measures, with at most a quarter of the available bytes.
pub fn measure(available: Option<usize>) -> Memory {
    let quarter = available.map_or(usize::MAX, |bytes| bytes / 4);
    let buffer_bytes = quarter.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES).next_multiple_of(8);
    let threads = rayon::current_num_threads();
    let mut words = vec![0u64; buffer_bytes / 8];
    let share = words.len().div_ceil(threads);
    // Written once, so that every page is there, and near the thread that reads it.
    words.par_chunks_mut(share).for_each(|words| words.fill(1));
    let rates = (0..=TIMES).map(|_| {
        let start = Instant::now();
        let sum: u64 = black_box(&words).par_chunks(share).with_max_len(1).map(sum).sum();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(sum, words.len() as u64, "every word was read");
        buffer_bytes as f64 / seconds.max(1e-9)
    });
    let rates: Vec<f64> = rates.collect();
    Memory { buffer_bytes, threads, bytes_per_second: Spread::of(rates[1..].iter().copied()) }
}

/// Bytes of a file that one task touches.
const TASK_BYTES: usize = 16 << 20;

/// The smallest page of any system that we know.
const PAGE_BYTES: usize = 4096;

/// Brings all weights from the disk and maps their pages, so that figures do not depend on which
/// experts were used before. `false`: Ctrl+C.
pub fn touch(file: &File, progress: &Progress) -> bool {
    file.tensors().iter().all(|tensor| {
        file.bytes(tensor).par_chunks(TASK_BYTES).all(|bytes| {
            let touched = bytes.iter().step_by(PAGE_BYTES).fold(0u8, |sum, byte| sum ^ byte);
            black_box(touched);
            progress.add(bytes.len() as u64);
            !interrupt::requested()
        })
    })
}

fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}
