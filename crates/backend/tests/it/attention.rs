//! Attention and the indexer beyond their cases: damaged numbers are seen on every backend, and how
//! long both take on a CUDA device at the sizes of the published model.

use backend::conformance::Kit;
use backend::cuda::{Cuda, CudaOptions};
use backend::ops::index::{DAMAGED, NO_PICK};
use backend::ops::{attend, index};
use backend::{Backend, Buffer, CpuSimd, Level, RowFormat, Threads, open_reference};

/// The middle one of three tokens has queries that are no numbers: it has the one pick that says
/// so, and what it attends to is NaN. Its neighbours do not notice.
fn damage_is_seen(b: &mut dyn Backend, format: RowFormat) {
    const TOP_K: usize = 16;
    let kit = &mut Kit::new(b);
    let (heads, context, segments) = (8, 1024, &[(500, 3)]);
    let sizes = index::Sizes { format, heads, context, top_k: TOP_K, segments };
    let mut scene = index::Scene::new(kit, sizes);
    kit.device().upload(&mut scene.q, 1, &[f32::NAN; 8 * 128]);
    scene.pick(kit);
    kit.b.submit().expect("a device that works");
    let picks = kit.device().download(&scene.picks, 0, 3);
    assert_eq!(picks[TOP_K], DAMAGED);
    assert!(picks[TOP_K + 1..2 * TOP_K].iter().all(|&pick| pick == NO_PICK));
    assert!(picks[..TOP_K].iter().chain(&picks[2 * TOP_K..]).all(|&pick| pick < 126));

    let reach = attend::Reach::Picked;
    let sizes = attend::Sizes { format, reach, heads, context, top_k: TOP_K, segments };
    let mut scene = attend::Scene::new(kit, sizes);
    kit.device().upload(&mut scene.picks, 0, &picks);
    scene.attend(kit);
    let out = kit.read(&scene.out, 3);
    let (before, rest) = out.split_at(heads * 512);
    let (damaged, after) = rest.split_at(heads * 512);
    assert!(damaged.iter().all(|v| v.is_nan()));
    assert!(before.iter().chain(after).all(|v| v.is_finite()));
}

#[test]
fn damage_is_seen_on_every_backend() {
    for format in [RowFormat::Packed, RowFormat::ExactF32] {
        damage_is_seen(&mut *open_reference(), format);
        let threads = Threads { count: 2, processors: Vec::new() };
        damage_is_seen(&mut CpuSimd::new(&threads, Level::Portable), format);
        if let Some(mut cuda) = open() {
            damage_is_seen(&mut cuda, format);
        }
    }
}

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

/// Angles of tokens, as they may be.
fn angles(kit: &mut Kit, tokens: usize) -> Buffer<f32> {
    let turns: Vec<f32> = (0..tokens * 64).map(|i| (i / 2) as f32 * 0.1).collect();
    let angles: Vec<f32> =
        turns.iter().enumerate().map(|(i, t)| if i % 2 == 0 { t.cos() } else { t.sin() }).collect();
    kit.filled(tokens, 64, &angles)
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

/// Attention of decoding steps, by itself and with all that comes before and after it.
#[test]
#[ignore = "a measurement"]
fn kept_attention_times() {
    const LOADS: [Load; 7] = [
        ("1 token at 2k of 4k", 4_096, &[(2_047, 1)]),
        ("1 token at 64k of 64k", 65_536, &[(65_000, 1)]),
        ("1 token at 200k of 256k", 262_144, &[(200_000, 1)]),
        ("2 sessions at 2k of 4k", 4_096, &[(2_047, 1); 2]),
        ("4 sessions at 2k of 4k", 4_096, &[(2_047, 1); 4]),
        ("8 sessions at 2k of 4k", 4_096, &[(2_047, 1); 8]),
        ("16 sessions at 2k of 4k", 4_096, &[(2_047, 1); 16]),
    ];
    for (name, context, segments) in LOADS {
        for reach in [attend::Reach::Window, attend::Reach::Picked, attend::Reach::All] {
            let Some(mut cuda) = open() else { return println!("skipped: no device") };
            let kit = &mut Kit::new(&mut cuda);
            let format = RowFormat::Packed;
            let sizes = attend::Sizes { format, reach, heads: 64, context, top_k: 512, segments };
            let mut scene = attend::Scene::new(kit, sizes);
            let angles = angles(kit, segments.len());
            let name = format!("{name}, {reach:?}");
            measure(kit, &name, 50, |kit| scene.attend(kit));
            measure(kit, &format!("{name}, kept"), 50, |kit| scene.attend_keep(kit, &angles));
        }
    }
}
