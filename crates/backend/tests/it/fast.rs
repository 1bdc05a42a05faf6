//! The fast CPU backend: within tolerance of the reference, and the same bits however it is run.

use backend::conformance::{Case, cases, run};
use backend::{Backend, CpuSimd, Level, Threads};
use gguf::Format;

fn fast(threads: usize, level: Level) -> CpuSimd {
    CpuSimd::new(&Threads { count: threads, processors: Vec::new() }, level)
}

fn open(threads: usize, level: Level) -> Box<dyn Backend> {
    Box::new(fast(threads, level))
}

/// Against the plain loops of the reference. One instruction set is enough: all have the same bits.
#[test]
fn fast_kernels_agree_with_the_reference() {
    let failures = run(&cases(), &mut || open(2, Level::Portable));
    assert!(failures.is_empty(), "{failures:#?}");
}

fn bits(case: &Case, backend: &mut dyn Backend) -> Vec<u32> {
    case.results(backend).iter().map(|v| v.to_bits()).collect()
}

/// The arithmetic is defined to the bit: instruction sets, numbers of threads and repacked weights
/// change nothing.
#[test]
fn levels_threads_and_repacking_give_the_same_bits() {
    let best = Level::available().pop().expect("plain Rust runs everywhere");
    for case in cases() {
        let want = bits(&case, &mut *open(1, Level::Portable));
        let check = |level: Level, threads, backend: &mut dyn Backend, how| {
            let same = bits(&case, backend) == want;
            assert!(same, "{}: {} with {threads} threads, {how}", case.name, level.name());
        };
        check(best, 1, &mut *open(1, best), "as stored");
        for level in Level::available() {
            check(level, 5, &mut *open(5, level), "as stored");
            check(level, 2, &mut fast(2, level).repacking(1 << 30), "repacked");
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
