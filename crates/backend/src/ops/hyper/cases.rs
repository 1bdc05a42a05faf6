//! Cases of the hyper-connections.

use gguf::Format;

use crate::conformance::{Case, Kit};
use crate::ops::hyper::{HyperMix, HyperSettings};

const SETTINGS: HyperSettings =
    HyperSettings { streams: 4, iterations: 20, eps: 1e-6, rms_eps: 1e-6 };

fn mix(kit: &mut Kit, width: usize, scales: usize) -> HyperMix {
    HyperMix {
        matrix: kit.weight(Format::F16, 1, width, 4 * 256),
        base: kit.buffer(1, width),
        scale: kit.buffer(1, scales),
    }
}

/// Read and gates, write back, and the head's read of chosen rows.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("hyper_mix", 1e-4, |kit| {
            let (mix, streams) = (mix(kit, 24, 3), kit.buffer(9, 4 * 256));
            let (mut gates, mut x) = (kit.empty(9, 20), kit.empty(9, 256));
            kit.b.hyper_mix(&mix, SETTINGS, &streams, &mut gates, &mut x, 9);
            let mut out = kit.read(&gates, 9);
            out.extend(kit.read(&x, 9));
            out
        }),
        Case::new("hyper_mix of many tokens", 1e-4, |kit| {
            let matrix = kit.weight(Format::F16, 1, 24, 4 * 2048);
            let mix = HyperMix { matrix, base: kit.buffer(1, 24), scale: kit.buffer(1, 3) };
            let streams = kit.buffer(18, 4 * 2048);
            let (mut gates, mut x) = (kit.empty(18, 20), kit.empty(18, 2048));
            kit.b.hyper_mix(&mix, SETTINGS, &streams, &mut gates, &mut x, 18);
            let mut out = kit.read(&gates, 18);
            out.extend(kit.read(&x, 18));
            out
        }),
        // Streams that 16-bit numbers could not hold, or only as zeros.
        Case::new("hyper_mix of large and small streams", 1e-4, |kit| {
            const SIZES: [f32; 4] = [1e-4, 1.0, 1e6, 1e10];
            let mix = mix(kit, 24, 3);
            let numbers = SIZES.map(|size| kit.numbers(4 * 256).into_iter().map(move |v| size * v));
            let numbers: Vec<f32> = numbers.into_iter().flatten().collect();
            let streams = kit.filled(4, 4 * 256, &numbers);
            let (mut gates, mut x) = (kit.empty(4, 20), kit.empty(4, 256));
            kit.b.hyper_mix(&mix, SETTINGS, &streams, &mut gates, &mut x, 4);
            let mut out = kit.read(&gates, 4);
            let rows = kit.read(&x, 4);
            let sized = rows.chunks(256).zip(SIZES);
            out.extend(sized.flat_map(|(row, size)| row.iter().map(move |v| v / size)));
            out
        }),
        // One value that is no number spoils its token, and no other: 1 for what is none.
        Case::new("hyper_mix of what is not a number", 0.0, |kit| {
            let mix = mix(kit, 24, 3);
            let mut numbers = kit.numbers(3 * 4 * 256);
            numbers[4 * 256 + 700] = f32::NAN;
            let streams = kit.filled(3, 4 * 256, &numbers);
            let (mut gates, mut x) = (kit.empty(3, 20), kit.empty(3, 256));
            kit.b.hyper_mix(&mix, SETTINGS, &streams, &mut gates, &mut x, 3);
            let mut out = kit.read(&gates, 3);
            out.extend(kit.read(&x, 3));
            out.iter().map(|v| f32::from(u8::from(v.is_nan()))).collect()
        }),
        Case::new("hyper_spread", 1e-5, |kit| {
            let (gates, y) = (kit.buffer(9, 20), kit.buffer(9, 256));
            let mut streams = kit.buffer(9, 4 * 256);
            kit.b.hyper_spread(&gates, &y, &mut streams, 9);
            kit.read(&streams, 9)
        }),
        Case::new("hyper_head", 1e-5, |kit| {
            let (mix, streams) = (mix(kit, 4, 1), kit.buffer(9, 4 * 256));
            let step = kit.step(&[(0, 4, 1), (7, 5, 3)]);
            let mut x = kit.empty(4, 256);
            kit.b.hyper_head(&mix, SETTINGS, &streams, &step, &mut x);
            kit.read(&x, 4)
        }),
    ]
}
