//! The fast CPU backend: within tolerance of the reference, and the same bits however it is run.

use backend::conformance::{Case, cases, run};
use backend::{Backend, CpuSimd, Level, Threads};
use gguf::Format;

fn open(threads: usize, level: Level) -> Box<dyn Backend> {
    Box::new(CpuSimd::new(&Threads { count: threads, processors: Vec::new() }, level))
}

/// Every instruction set that this machine has, against the plain loops of the reference.
#[test]
fn every_level_agrees_with_the_reference() {
    for level in Level::available() {
        let failures = run(&cases(), &mut || open(2, level));
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

/// A token alone, which some formats multiply another way, has the bits that it has among others.
#[test]
fn one_token_has_the_bits_of_many() {
    let formats = [
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q2K,
        Format::Q4K,
        Format::Iq2Xxs,
        Format::Mxfp4,
    ];
    let (tokens, rows) = (5, 37);
    for format in formats {
        // Columns beyond the last whole vector, where the format allows it.
        let cols = if matches!(format, Format::F16 | Format::Bf16) { 1301 } else { 1280 };
        let case = Case::new("one token and many", 0.0, move |kit| {
            let (weight, x) = (kit.weight(format, 1, rows, cols), kit.numbers(tokens * cols));
            let (all, mut out) = (kit.filled(tokens, cols, &x), kit.empty(tokens, rows));
            kit.b.linear(&weight, &all, &mut out, tokens);
            let mut results = kit.read(&out, tokens);
            for x in x.chunks_exact(cols) {
                let (one, mut out) = (kit.filled(1, cols, x), kit.empty(1, rows));
                kit.b.linear(&weight, &one, &mut out, 1);
                results.extend(kit.read(&out, 1));
            }
            results
        });
        for level in Level::available() {
            let bits = bits(&case, &mut *open(2, level));
            let (many, one) = bits.split_at(tokens * rows);
            assert!(many == one, "{format}: {}", level.name());
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
