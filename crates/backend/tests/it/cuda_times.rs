//! How long attention and the indexer take on a CUDA device at the sizes of the published model:
//! 64 heads of 512 channels, 512 picks, 64 heads of the indexer. A measurement, not a test.

use backend::RowFormat;
use backend::conformance::Kit;
use backend::cuda::{Cuda, CudaOptions};
use backend::ops::{attend, index};

/// Positions and tokens of sessions; name.
type Load = (&'static str, usize, &'static [(usize, usize)]);

const LOADS: [Load; 8] = [
    ("1 token at 2k of 64k", 65_536, &[(2_047, 1)]),
    ("1 token at 64k of 64k", 65_536, &[(65_000, 1)]),
    ("1 token at 200k of 256k", 262_144, &[(200_000, 1)]),
    ("4 tokens at 64k of 64k", 65_536, &[(65_000, 4)]),
    ("16 sessions at 2k of 16k", 16_384, &[(2_047, 1); 16]),
    ("16 sessions at 64k of 64k", 65_536, &[(65_000, 1); 16]),
    ("2048 tokens at 8k of 16k", 16_384, &[(8_192, 2_048)]),
    ("4096 tokens at 60k of 64k", 65_536, &[(61_000, 4_096)]),
];

fn open() -> Option<Cuda> {
    let compiler = std::env::var_os("DWARFSTAR_NVRTC").map(Into::into);
    Cuda::open(CudaOptions { compiler, ..CudaOptions::default() }).ok()
}

/// Runs `work` once, then `times` times, and prints the mean of each kernel.
fn measure(kit: &mut Kit, name: &str, times: usize, mut work: impl FnMut(&mut Kit)) {
    work(kit);
    kit.b.submit().expect("a device that works");
    kit.device().profile();
    for _ in 0..times {
        work(kit);
    }
    kit.b.submit().expect("a device that works");
    for time in kit.device().profile() {
        // The smallest time of a launch is not known; the mean of many is close.
        let each = time.seconds / times as f64 * 1e6;
        println!("{name:40} {:24} {each:10.1} us", time.name);
    }
}

#[test]
#[ignore = "a measurement"]
fn attention_times() {
    for (name, context, segments) in LOADS {
        let tokens: usize = segments.iter().map(|s| s.1).sum();
        let times = if tokens > 100 { 5 } else { 50 };
        let format = RowFormat::Packed;
        for reach in [attend::Reach::Picked, attend::Reach::All] {
            let Some(mut cuda) = open() else { return println!("skipped: no device") };
            let kit = &mut Kit::new(&mut cuda);
            let sizes = attend::Sizes { format, reach, heads: 64, context, top_k: 512, segments };
            let mut scene = attend::Scene::new(kit, sizes);
            measure(kit, &format!("{name}, {reach:?}"), times, |kit| scene.attend(kit));
        }
        let Some(mut cuda) = open() else { return };
        let kit = &mut Kit::new(&mut cuda);
        let sizes = index::Sizes { format, heads: 64, context, top_k: 512, segments };
        let mut scene = index::Scene::new(kit, sizes);
        measure(kit, name, times, |kit| scene.pick(kit));
    }
}
