//! The fast CPU backend: within tolerance of the reference, and the same bits however it is run.

use backend::conformance::{Case, cases, run};
use backend::{Backend, CpuSimd, Level, Threads};

fn open(threads: usize, level: Level) -> Box<dyn Backend> {
    Box::new(CpuSimd::new(&Threads { count: threads, processors: Vec::new() }, level))
}

/// Every instruction set that this machine has, against the plain loops of the reference.
#[test]
fn every_level_agrees_with_the_reference() {
    for level in Level::available() {
        let failures = run(&mut || open(2, level));
        assert!(failures.is_empty(), "{}: {failures:#?}", level.name());
    }
}

fn bits(case: &Case, backend: &mut dyn Backend) -> Vec<u32> {
    case.results(backend).iter().map(|v| v.to_bits()).collect()
}

/// The arithmetic is defined to the bit: instruction sets and numbers of threads change nothing.
#[test]
fn levels_and_threads_give_the_same_bits() {
    for case in cases() {
        let want = bits(&case, &mut *open(1, Level::Portable));
        for level in Level::available() {
            for threads in [1, 2, 5] {
                let got = bits(&case, &mut *open(threads, level));
                assert!(got == want, "{}: {} with {threads} threads", case.name, level.name());
            }
        }
    }
}

/// Repacked weights are multiplied to the same bits.
#[test]
fn repacking_changes_nothing() {
    for case in cases() {
        let want = bits(&case, &mut *open(2, Level::Portable));
        for level in Level::available() {
            let threads = Threads { count: 2, processors: Vec::new() };
            let mut repacked = CpuSimd::new(&threads, level).repacking(1 << 30);
            assert!(bits(&case, &mut repacked) == want, "{}: {}", case.name, level.name());
        }
    }
}
