//! Cases of the fusions, with few tokens and with many.
//!
//! The second time a fusion runs, a backend may keep copies that products have asked for: so each
//! is followed by such a product, and repeated.

use gguf::Format;

use crate::RowFormat;
use crate::conformance::{Case, Kit};
use crate::ops::attend::{Reach, Scene, Sizes};
use crate::ops::experts::ExpertWeights;
use crate::ops::fused::{Chosen, Gated, Mixture, NormWeight, Normed};
use crate::ops::hyper::{HyperMix, HyperSettings};
use crate::ops::index::{DAMAGED, NO_PICK};
use crate::ops::kv::RowKind;
use crate::ops::route::Choice;
use crate::{Buffer, RowLayout};

const TOKENS: [usize; 4] = [1, 3, 9, 40];

/// All fusions.
pub fn cases() -> Vec<Case> {
    let of = |t| {
        let turns = turns(t, Format::F16, 256);
        [
            products(t, 5),
            products(t, 4),
            sums(t),
            latents(t),
            heads(t),
            queries(t),
            choices(t),
            mixes(t),
            turns,
        ]
    };
    let mut all: Vec<Case> = TOKENS.into_iter().flat_map(of).collect();
    // Channels that are no multiple of a block's threads; streams of another format.
    // As many tokens as share processors; several columns for a thread.
    all.extend([
        turns(16, Format::F16, 1792),
        turns(2, Format::F16, 1792),
        turns(1, Format::F32, 512),
    ]);
    all.extend([layers(1, 1024), layers(1, 4096), layers(2, 4096), layers(3, 1024)]);
    // A layer of experts: few tokens of each number that is special, and many; other formats.
    let lattice = [Format::Iq2Xxs, Format::Q2K, Format::Q8_0];
    all.extend([1, 2, 3, 4, 5, 16, 40].map(|t| mixtures(t, lattice, [1024, 256, 288])));
    all.extend([
        mixtures(2, lattice, [4096, 512, 2048]),
        mixtures(1, [Format::Q4K, Format::Q4K, Format::Q8_0], [512, 256, 256]),
        mixtures(3, [Format::F16, Format::F16, Format::Q8_0], [256, 96, 64]),
        mixtures(2, [Format::Iq2Xxs, Format::Q2K, Format::F16], [1024, 256, 96]),
    ]);
    // Ends of rings, several tokens of one session, a session's first tokens; many tokens.
    all.extend([
        kept(Reach::Picked, 16, &[(127, 2), (3, 1), (600, 1)]),
        kept(Reach::Window, 4, &[(128, 5)]),
        kept(Reach::All, 33, &[(300, 140), (900, 1), (1, 2)]),
    ]);
    // Alone in their segments: as many heads as fill processors, groups of heads that are not full,
    // fewer keys than blocks, more than one turn of keys.
    all.extend([
        kept(Reach::Picked, 64, &[(1000, 1)]),
        kept(Reach::Picked, 64, &[(1, 1), (1000, 1)]),
        kept(Reach::Picked, 24, &[(700, 1), (10, 1), (255, 1)]),
        kept(Reach::Window, 5, &[(2, 1)]),
        kept(Reach::All, 64, &[(1022, 1), (127, 1), (1023, 1), (500, 1)]),
        kept(Reach::All, 9, &[(131_000, 1)]),
        kept(Reach::All, 16, &[(131_069, 2)]),
    ]);
    all.extend([
        damaged(16, &[(600, 1)]),
        damaged(16, &[(600, 1), (601, 1), (9, 1)]),
        damaged(64, &[(600, 1), (700, 68)]),
        projected(Reach::Picked, 64, &[(500, 64), (3, 9)]),
        projected(Reach::All, 40, &[(200, 70)]),
        projected(Reach::Window, 16, &[(200, 3)]),
    ]);
    all.extend(super::kept_cases::cases());
    all
}

/// `linear_each` with so many weights of several sizes: the first four of two formats, the last of
/// another.
fn products(tokens: usize, count: usize) -> Case {
    Case::new(format!("fused: linear_each x{tokens}, {count}"), 1e-5, move |kit| {
        let formats = [Format::Q8_0, Format::F16, Format::Q8_0, Format::F16, Format::Q2K];
        let rows = [96, 40, 33, 7, 64];
        let weights = [0, 1, 2, 3, 4].map(|i| kit.weight(formats[i], 1, rows[i], 512));
        let x = kit.whole(tokens, 512);
        let mut outs = rows.map(|rows| kit.empty(tokens, rows));
        let mut products = Vec::new();
        products.extend(weights.iter().zip(&mut outs).take(count));
        kit.b.linear_each(&x, &mut products, tokens);
        outs.iter().take(count).flat_map(|out| kit.read(out, tokens)).collect()
    })
}

/// `linear_each` as the layers of the model have it, for a few tokens: two formats, each with so
/// many rows that processors take turns, the second matrix of a format beginning within a turn.
fn layers(tokens: usize, cols: usize) -> Case {
    let name = format!("fused: linear_each x{tokens} of two formats, {cols} columns");
    Case::new(name, 1e-5, move |kit| {
        let formats = [Format::F16, Format::Q8_0, Format::F16, Format::Q8_0];
        let rows = [2_001, 1_507, 70, 4];
        let weights = [0, 1, 2, 3].map(|i| kit.weight(formats[i], 1, rows[i], cols));
        let x = kit.whole(tokens, cols);
        let mut outs = rows.map(|rows| kit.empty(tokens, rows));
        let mut products: Vec<_> = weights.iter().zip(&mut outs).collect();
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

/// `latents`: what is normed, a product with the latents; then, whether what is stored is what
/// `store_rows` stores of the row. Twice.
fn latents(tokens: usize) -> Case {
    let case = Case::new(format!("fused: latents x{tokens}"), 1e-5, move |kit| {
        let (angles, matrix) = (angles(kit, tokens), kit.weight(Format::Q8_0, 1, 8, 1024));
        let (query, row) = (kit.buffer(tokens, 1024), kit.buffer(tokens, 512));
        let weights = [kit.buffer(1, 1024), kit.buffer(1, 512)];
        let (mut latent, mut normed) = (kit.empty(tokens, 1024), kit.empty(tokens, 512));
        let (mut out, mut all) = (kit.empty(tokens, 8), Vec::new());
        for format in [RowFormat::Packed, RowFormat::ExactF32] {
            let kind = RowKind::Attention { plain: 448, rotary: 64 };
            let layout = RowLayout { kind, format };
            let mut block = || kit.device().row_block(layout, tokens).expect("a small block");
            let (mut fresh, mut again) = (block(), block());
            let norm = |i: usize| NormWeight { weight: &weights[i], eps: 1e-6 };
            let query = Normed { x: &query, norm: norm(0), out: &mut latent };
            let row = Normed { x: &row, norm: norm(1), out: &mut normed };
            kit.b.latents(query, row, &angles, &mut fresh, tokens);
            kit.b.linear(&matrix, &latent, &mut out, tokens);
            kit.b.store_rows(&normed, &mut again, tokens);
            let (fresh, again) = (kit.read(&fresh.bytes, 1), kit.read(&again.bytes, 1));
            for buffer in [&normed, &latent, &out] {
                all.extend(kit.read(buffer, tokens));
            }
            all.push(f32::from(u8::from(fresh == again)));
        }
        all
    });
    case.rounded(1e-2)
}

/// `rotate_round` of whole numbers, whose rounding a last bit does not change.
fn queries(tokens: usize) -> Case {
    Case::new(format!("fused: rotate_round x{tokens}"), 1e-5, move |kit| {
        let frequencies = kit.filled(1, 32, &[0f32; 32]);
        let step = kit.step(&[(0, tokens, 1)]);
        let (turning, mut still) = (angles(kit, tokens), kit.empty(tokens, 64));
        kit.b.rope_angles(&frequencies, &step, &mut still);
        let mut all = Vec::new();
        for (format, angles) in [(RowFormat::Packed, &still), (RowFormat::ExactF32, &turning)] {
            let layout = RowLayout { kind: RowKind::Indexer { dim: 128 }, format };
            let mut q = kit.whole(tokens, 3 * 128);
            kit.b.rotate_round(layout, &mut q, angles, tokens);
            all.extend(kit.read(&q, tokens));
        }
        all
    })
}

/// `attend_keep`, with a product behind it, twice: few tokens, and many.
fn kept(reach: Reach, heads: usize, segments: &'static [(usize, usize)]) -> Case {
    let name = format!("fused: attend_keep, {reach:?}, {heads} heads, {segments:?}");
    let case = Case::new(name, 1e-5, move |kit| {
        let format = RowFormat::Packed;
        let ends = segments.iter().map(|&(start, len)| start + len);
        let context = ends.max().unwrap_or(0).max(1024);
        let sizes = Sizes { format, reach, heads, context, top_k: 512, segments };
        let mut scene = Scene::new(kit, sizes);
        let tokens: usize = segments.iter().map(|segment| segment.1).sum();
        let angles = angles(kit, tokens);
        let matrix = kit.weight(Format::Q8_0, 1, 8, heads * 512);
        let (mut out, mut all) = (kit.empty(tokens, 8), Vec::new());
        for _ in 0..2 {
            scene.renew(kit);
            scene.attend_keep(kit, &angles);
            kit.b.linear(&matrix, &scene.out, &mut out, tokens);
            all.extend(kit.read(&scene.out, tokens));
            all.extend(kit.read(&out, tokens).iter().map(|v| v / 64.0));
            all.extend(scene.rings(kit).iter().map(|byte| byte / 64.0));
        }
        all
    });
    case.rounded(1e-2)
}

/// `attend_keep` where scores of a token are no numbers, and then where one of its queries is none:
/// what is NaN, and nothing else.
fn damaged(heads: usize, segments: &'static [(usize, usize)]) -> Case {
    let name = format!("fused: attend_keep, damaged, {heads} heads, {segments:?}");
    Case::new(name, 1e-5, move |kit| {
        let (format, reach) = (RowFormat::Packed, Reach::Picked);
        let tokens: usize = segments.iter().map(|segment| segment.1).sum();
        let mut all = Vec::new();
        for damaged_picks in [true, false] {
            let sizes = Sizes { format, reach, heads, context: 1024, top_k: 32, segments };
            let mut scene = Scene::new(kit, sizes);
            let angles = angles(kit, tokens);
            if damaged_picks {
                let picks: Vec<u32> = [DAMAGED].into_iter().chain([NO_PICK; 31]).collect();
                kit.device().upload(&mut scene.picks, 0, &picks);
            } else {
                scene.damage_query(0, 700);
            }
            scene.renew(kit);
            scene.attend_keep(kit, &angles);
            let seen = |v: f32| if v.is_nan() { -9.0 } else { v };
            all.extend(kit.read(&scene.out, tokens).into_iter().map(seen));
        }
        all
    })
}

/// `attend_project`, twice: as few tokens, and as many as may have heads in BF16 alone, which costs
/// them half of a step of 2^-8.
fn projected(reach: Reach, heads: usize, segments: &'static [(usize, usize)]) -> Case {
    let name = format!("fused: attend_project, {reach:?}, {heads} heads, {segments:?}");
    let case = Case::new(name, 1e-5, move |kit| {
        let sizes =
            Sizes { format: RowFormat::Packed, reach, heads, context: 1024, top_k: 128, segments };
        let mut scene = Scene::new(kit, sizes);
        let tokens: usize = segments.iter().map(|segment| segment.1).sum();
        let angles = angles(kit, tokens);
        let (groups, rows) = (heads / 8, 128);
        let matrix = kit.weight(Format::Q8_0, 1, groups * rows, 8 * 512);
        let (mut out, mut all) = (kit.empty(tokens, groups * rows), Vec::new());
        for _ in 0..2 {
            scene.renew(kit);
            scene.attend_project(kit, &angles, (&matrix, groups), &mut out);
            all.extend(kit.read(&out, tokens).iter().map(|v| v / 64.0));
            all.extend(scene.rings(kit).iter().map(|byte| byte / 64.0));
        }
        all
    });
    case.rounded(1e-2)
}

/// `route_swiglu` with a product behind it, twice.
fn choices(tokens: usize) -> Case {
    let case = Case::new(format!("fused: route_swiglu x{tokens}"), 1e-5, move |kit| {
        let (logits, bias) = (kit.buffer(tokens, 100), kit.buffer(1, 100));
        let (gate, up) = (kit.buffer(tokens, 288), kit.buffer(tokens, 288));
        let (mut inner, mut out) = (kit.empty(tokens, 288), kit.empty(tokens, 8));
        let (mut picks, mut shares) = (kit.empty(tokens, 6), kit.empty(tokens, 6));
        let matrix = kit.weight(Format::Q8_0, 1, 8, 288);
        let step = kit.step(&[(0, tokens, 1)]);
        let mut all = Vec::new();
        for _ in 0..2 {
            let shared = Gated { gate: &gate, up: &up, clamp: 0.7, out: &mut inner };
            let (choice, p, s) = (Choice::Bias(&bias), &mut picks, &mut shares);
            kit.b.route_swiglu(&logits, &choice, 1.5, &step, p, s, shared);
            kit.b.linear(&matrix, &inner, &mut out, tokens);
            all.extend(kit.read_picks(&picks, tokens).iter().map(|pick| pick / 100.0));
            for buffer in [&shares, &inner, &out] {
                all.extend(kit.read(buffer, tokens));
            }
        }
        all
    });
    case.rounded(1e-2)
}

/// `mixture` by scores and then by a table, with a product behind it: experts of two formats, a
/// shared one of a third, of sizes `[D, F, shared F]`.
fn mixtures(tokens: usize, formats: [Format; 3], [d, inner, shared]: [usize; 3]) -> Case {
    let names = formats.map(|format| format.name());
    let name = format!("fused: mixture x{tokens}, {names:?}, {d} to {inner} and {shared}");
    let case = Case::new(name, 1e-5, move |kit| {
        let experts = ExpertWeights {
            gate: kit.weight(formats[0], 9, inner, d),
            up: kit.weight(formats[0], 9, inner, d),
            down: kit.weight(formats[1], 9, d, inner),
        };
        let (down, matrix) =
            (kit.weight(formats[2], 1, d, shared), kit.weight(Format::Q8_0, 1, 8, d));
        let table: Vec<u32> = (0..64).flat_map(|id| [id % 9, (id + 4) % 9, (id + 7) % 9]).collect();
        let (table, bias) = (kit.filled(64, 3, &table), kit.buffer(1, 9));
        let (x, logits) = (kit.buffer(tokens, d), kit.buffer(tokens, 9));
        let (gate, up) = (kit.buffer(tokens, shared), kit.buffer(tokens, shared));
        let (mut activation, mut product) = (kit.empty(tokens, shared), kit.empty(tokens, d));
        let (mut picks, mut shares) = (kit.empty(tokens, 3), kit.empty(tokens, 3));
        let (mut y, mut out) = (kit.buffer(tokens, d), kit.empty(tokens, 8));
        let step = kit.step(&[(0, tokens, 1)]);
        let mut all = Vec::new();
        for choice in [Choice::Bias(&bias), Choice::Table(&table)] {
            let (picked, shares_of) = (&mut picks, &mut shares);
            let chosen = Chosen {
                logits: &logits,
                choice: &choice,
                scale: 1.5,
                picks: picked,
                shares: shares_of,
            };
            let gated = Gated { gate: &gate, up: &up, clamp: 0.7, out: &mut activation };
            let mixture = Mixture { experts: &experts, down: &down };
            kit.b.mixture(mixture, &x, chosen, gated, &mut product, &mut y, &step);
            kit.b.linear(&matrix, &y, &mut out, tokens);
            all.extend(kit.read_picks(&picks, tokens).iter().map(|pick| pick / 9.0));
            for buffer in [&shares, &y, &out] {
                all.extend(kit.read(buffer, tokens));
            }
        }
        all
    });
    case.rounded(1e-2)
}

/// `hyper_turn` with a product behind it, twice, so that its gates and streams are used again.
fn turns(tokens: usize, format: Format, width: usize) -> Case {
    let settings = HyperSettings { streams: 4, iterations: 20, eps: 1e-6, rms_eps: 1e-6 };
    let name = format!("fused: hyper_turn x{tokens}, {format}, {width} channels");
    let case = Case::new(name, 1e-4, move |kit| {
        let mix = HyperMix {
            matrix: kit.weight(format, 1, 24, 4 * width),
            base: kit.buffer(1, 24),
            scale: kit.buffer(1, 3),
        };
        let (y, weight) = (kit.buffer(tokens, width), kit.buffer(1, width));
        let (mut streams, mut gates) = (kit.buffer(tokens, 4 * width), kit.buffer(tokens, 20));
        let norm = NormWeight { weight: &weight, eps: 1e-6 };
        let (mut x, mut normed) = (kit.empty(tokens, width), kit.empty(tokens, width));
        let (mut out, matrix) = (kit.empty(tokens, 8), kit.weight(Format::Q8_0, 1, 8, width));
        let mut all = Vec::new();
        for _ in 0..2 {
            let (h, g, n) = (&mut streams, &mut gates, &mut normed);
            kit.b.hyper_turn(&mix, settings, &y, h, g, &mut x, norm, n, tokens);
            kit.b.linear(&matrix, &normed, &mut out, tokens);
            for buffer in [&streams, &gates, &x, &normed, &out] {
                all.extend(kit.read(buffer, tokens));
            }
        }
        all
    });
    case.rounded(1e-2)
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
