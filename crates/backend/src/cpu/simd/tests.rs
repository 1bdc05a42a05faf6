//! The levels against each other and the fast backend against the reference.

use crate::conformance::cases;
use crate::{Cpu, CpuSimd, Level, Threads};

/// The families named below are within their tolerances of the reference; every case has the same bits on every level and number of
/// threads.
#[test]
fn every_level_and_thread_count_gives_the_same_bits() {
    for case in cases() {
        let results = |level, count| {
            let threads = Threads { count, processors: Vec::new() };
            case.results(&mut CpuSimd::new(&threads, level))
        };
        let want = results(Level::Portable, 1);
        // Products round activations to 8 bits: their tolerances are another matter.
        if ["hyper", "norm", "rope", "rotate", "embed"]
            .iter()
            .any(|family| case.name.contains(family))
        {
            let reference = case.results(&mut Cpu::new());
            case.compare(&want, &reference).unwrap_or_else(|message| panic!("{message}"));
        }
        for level in Level::available() {
            for count in [1, 3] {
                let same = results(level, count)
                    .iter()
                    .zip(&want)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {} on {count} threads", case.name, level.name());
            }
        }
    }
}
