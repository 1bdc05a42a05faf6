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
