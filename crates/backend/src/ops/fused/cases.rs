//! Cases of the fusions, with few tokens and with many.
//!
//! The second time a fusion runs, a backend may keep copies that products have asked for: so each
//! is followed by such a product, and repeated.

use gguf::Format;

use crate::RowFormat;
use crate::conformance::{Case, Kit};
use crate::ops::fused::NormWeight;
use crate::ops::hyper::{HyperMix, HyperSettings};
use crate::ops::kv::RowKind;
use crate::{Buffer, RowLayout};

const TOKENS: [usize; 4] = [1, 3, 9, 40];

/// All fusions.
pub fn cases() -> Vec<Case> {
    TOKENS.into_iter().flat_map(|t| [products(t), sums(t), heads(t), rows(t), mixes(t)]).collect()
}

/// `linear_each` with weights of several formats and sizes.
fn products(tokens: usize) -> Case {
    Case::new(format!("fused: linear_each x{tokens}"), 1e-5, move |kit| {
        let formats = [Format::Q8_0, Format::F16, Format::Q8_0, Format::F16, Format::Q2K];
        let rows = [96, 40, 33, 7, 64];
        let weights = [0, 1, 2, 3, 4].map(|i| kit.weight(formats[i], 1, rows[i], 512));
        let x = kit.whole(tokens, 512);
        let mut outs = rows.map(|rows| kit.empty(tokens, rows));
        let mut products = Vec::new();
        products.extend(weights.iter().zip(&mut outs));
        kit.b.linear_each(&x, &mut products, tokens);
        outs.iter().flat_map(|out| kit.read(out, tokens)).collect()
    })
}

/// `linear_add`.
fn sums(tokens: usize) -> Case {
    Case::new(format!("fused: linear_add x{tokens}"), 1e-5, move |kit| {
        let weight = kit.weight(Format::Q8_0, 1, 100, 2048);
        let (x, mut y) = (kit.whole(tokens, 2048), kit.buffer(tokens, 100));
        let mut product = kit.empty(tokens, 100);
        kit.b.linear_add(&weight, &x, &mut product, &mut y, tokens);
        kit.read(&y, tokens)
    })
}

fn angles(kit: &mut Kit, tokens: usize) -> Buffer<f32> {
    let frequencies: Vec<f32> = (0..32).map(|i| 10_000f32.powf(-i as f32 / 32.0)).collect();
    let frequencies = kit.filled(1, 32, &frequencies);
    let step = kit.step(&[(1000, tokens, 1)]);
    let mut angles = kit.empty(tokens, 64);
    kit.b.rope_angles(&frequencies, &step, &mut angles);
    angles
}

/// `rotate_unit`, and the way back with a product behind it, twice.
fn heads(tokens: usize) -> Case {
    let case = Case::new(format!("fused: rotate_unit x{tokens}"), 1e-5, move |kit| {
        let (angles, weight) = (angles(kit, tokens), kit.weight(Format::Q8_0, 1, 8, 4 * 512));
        let (mut x, mut out) = (kit.buffer(tokens, 4 * 512), kit.empty(tokens, 8));
        let mut all = Vec::new();
        for _ in 0..2 {
            kit.b.rotate_unit(&mut x, 512, 1e-6, &angles, tokens);
            all.extend(kit.read(&x, tokens));
            let inverse = crate::ops::rope::Direction::Inverse;
            kit.b.rotate(&mut x, 512, &angles, inverse, tokens);
            kit.b.linear(&weight, &x, &mut out, tokens);
            all.extend(kit.read(&x, tokens).into_iter().chain(kit.read(&out, tokens)));
        }
        all
    });
    case.rounded(1e-2)
}

/// `store_normed`: what is normed; then, whether what is stored is what `store_rows` stores of it.
fn rows(tokens: usize) -> Case {
    Case::new(format!("fused: store_normed x{tokens}"), 1e-5, move |kit| {
        let (angles, x, weight) =
            (angles(kit, tokens), kit.buffer(tokens, 512), kit.buffer(1, 512));
        let norm = NormWeight { weight: &weight, eps: 1e-6 };
        let mut normed = kit.empty(tokens, 512);
        let mut all = Vec::new();
        for format in [RowFormat::Packed, RowFormat::ExactF32] {
            let kind = RowKind::Attention { plain: 448, rotary: 64 };
            let layout = RowLayout { kind, format };
            let mut block = || kit.device().row_block(layout, tokens).expect("a small block");
            let (mut fresh, mut again) = (block(), block());
            kit.b.store_normed(&x, norm, &angles, &mut normed, &mut fresh, tokens);
            kit.b.store_rows(&normed, &mut again, tokens);
            let (fresh, again) = (kit.read(&fresh.bytes, 1), kit.read(&again.bytes, 1));
            all.extend(kit.read(&normed, tokens));
            all.push(f32::from(u8::from(fresh == again)));
        }
        all
    })
}

/// `hyper_mix_norm` with a product behind it, twice.
fn mixes(tokens: usize) -> Case {
    let settings = HyperSettings { streams: 4, iterations: 20, eps: 1e-6, rms_eps: 1e-6 };
    let case = Case::new(format!("fused: hyper_mix_norm x{tokens}"), 1e-4, move |kit| {
        let mix = HyperMix {
            matrix: kit.weight(Format::F16, 1, 24, 4 * 256),
            base: kit.buffer(1, 24),
            scale: kit.buffer(1, 3),
        };
        let (streams, weight) = (kit.buffer(tokens, 4 * 256), kit.buffer(1, 256));
        let norm = NormWeight { weight: &weight, eps: 1e-6 };
        let (mut gates, mut x) = (kit.empty(tokens, 20), kit.empty(tokens, 256));
        let (mut normed, mut out) = (kit.empty(tokens, 256), kit.empty(tokens, 8));
        let matrix = kit.weight(Format::Q8_0, 1, 8, 256);
        let mut all = Vec::new();
        for _ in 0..2 {
            let (g, x) = (&mut gates, &mut x);
            kit.b.hyper_mix_norm(&mix, settings, &streams, g, x, norm, &mut normed, tokens);
            kit.b.linear(&matrix, &normed, &mut out, tokens);
            for buffer in [&*g, &*x, &normed, &out] {
                all.extend(kit.read(buffer, tokens));
            }
        }
        all
    });
    case.rounded(1e-2)
}
