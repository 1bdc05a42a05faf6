//! Cases of the experts: the published recipes, few tokens and many, the shared expert's parts.
//!
//! Products with quantized weights differ by what rounding activations costs, where a backend does
//! that; inner rows are compared on tokens that rounding does not change.

use gguf::Format;

use crate::Buffer;
use crate::conformance::{Case, Kit};
use crate::ops::experts::ExpertWeights;

/// Nine tokens choose two of five experts; one expert is chosen by nobody, one by all.
fn experts(kit: &mut Kit, gate: Format, down: Format, d: usize) -> Vec<f32> {
    const ROWS: usize = 9;
    let weights = ExpertWeights {
        gate: kit.weight(gate, 5, 512, d),
        up: kit.weight(gate, 5, 512, d),
        down: kit.weight(down, 5, d, 512),
    };
    let picks: Vec<u32> = (0..ROWS as u32).flat_map(|t| [2, [0, 1, 4][t as usize % 3]]).collect();
    let (x, picks) = (kit.buffer(ROWS, d), kit.filled(ROWS, 2, &picks));
    let (shares, mut y) = (kit.buffer(ROWS, 2), kit.empty(ROWS, d));
    kit.b.experts(&weights, 0.5, &x, &picks, &shares, &mut y, ROWS);
    kit.read(&y, ROWS)
}

/// The inner rows of eleven tokens, of which each chooses two of five experts. Rounding to 8 bits
/// does not change these tokens, so every backend computes them in floats.
fn inner(kit: &mut Kit, format: Format, d: usize) -> Vec<f32> {
    const ROWS: usize = 11;
    let weights = ExpertWeights {
        gate: kit.weight(format, 5, 272, d),
        up: kit.weight(format, 5, 272, d),
        down: kit.weight(Format::F16, 5, d, 272),
    };
    let picks: Vec<u32> = (0..ROWS as u32).flat_map(|t| [[4, 1, 0][t as usize % 3], 2]).collect();
    let (x, picks) = (kit.whole(ROWS, d), kit.filled(ROWS, 2, &picks));
    let (shares, mut inner) = (kit.buffer(ROWS, 2), kit.empty(ROWS, 2 * 272));
    kit.b.expert_inner(&weights, 0.5, &x, &picks, &shares, &mut inner, ROWS);
    kit.read(&inner, ROWS)
}

/// One token with more experts than are on their way at once.
fn one(kit: &mut Kit) -> Vec<f32> {
    let weights = ExpertWeights {
        gate: kit.weight(Format::Iq2Xxs, 9, 256, 1024),
        up: kit.weight(Format::Iq2Xxs, 9, 256, 1024),
        down: kit.weight(Format::Q2K, 9, 1024, 256),
    };
    let (x, picks) = (kit.buffer(1, 1024), kit.filled(1, 8, &[8, 0, 3, 1, 7, 2, 6, 5]));
    let (shares, mut y) = (kit.buffer(1, 8), kit.empty(1, 1024));
    kit.b.experts(&weights, 0.5, &x, &picks, &shares, &mut y, 1);
    kit.read(&y, 1)
}

/// Formats and sizes of a layer of eleven experts: of the first two matrices and of the last.
#[derive(Clone, Copy)]
struct Sizes {
    formats: [Format; 2],
    d: usize,
    inner: usize,
    tokens: usize,
}

/// So many tokens choose three of eleven experts, not all of them different ones.
fn chosen(kit: &mut Kit, sizes: Sizes, x: &Buffer<f32>) -> Vec<f32> {
    let Sizes { formats, d, inner, tokens } = sizes;
    let weights = ExpertWeights {
        gate: kit.weight(formats[0], 11, inner, d),
        up: kit.weight(formats[0], 11, inner, d),
        down: kit.weight(formats[1], 11, d, inner),
    };
    let picks: Vec<u32> =
        (0..tokens as u32).flat_map(|t| [t % 11, 10 - t % 5, 3 + t % 2]).collect();
    let (picks, shares) = (kit.filled(tokens, 3, &picks), kit.buffer(tokens, 3));
    let mut y = kit.empty(tokens, d);
    kit.b.experts(&weights, 0.5, x, &picks, &shares, &mut y, tokens);
    kit.read(&y, tokens)
}

/// Layers of IQ2_XXS for few tokens: one has an odd number of chunks, and one inner rows that end
/// between the stretches that blocks take.
fn few() -> Vec<Case> {
    let lattice =
        |last, d, inner, tokens| Sizes { formats: [Format::Iq2Xxs, last], d, inner, tokens };
    let sizes = [
        lattice(Format::Q2K, 4096, 256, 1),
        lattice(Format::Q2K, 3072, 512, 2),
        lattice(Format::Q2K, 2048, 256, 16),
        lattice(Format::Q8_0, 1024, 288, 5),
        lattice(Format::F16, 1024, 272, 3),
    ];
    let case = |sizes: Sizes| {
        let Sizes { formats: [_, last], d, inner, tokens } = sizes;
        let name = format!("experts IQ2_XXS {}, {d} to {inner} x{tokens}", last.name());
        let run = move |kit: &mut Kit| {
            let x = kit.whole(tokens, d);
            chosen(kit, sizes, &x)
        };
        Case::new(name, 1e-5, run).rounded(1e-2)
    };
    sizes.into_iter().map(case).collect()
}

/// What is not a number makes a token's results that, and no other token's.
fn spoilt(kit: &mut Kit) -> Vec<f32> {
    let formats = [Format::Iq2Xxs, Format::Q2K];
    let mut x = kit.numbers(3 * 1024);
    x[1024 + 700] = f32::NAN;
    let x = kit.filled(3, 1024, &x);
    let y = chosen(kit, Sizes { formats, d: 1024, inner: 256, tokens: 3 }, &x);
    y.iter().map(|v| f32::from(u8::from(v.is_nan()))).collect()
}

/// Many tokens, enough for more than one tile of an expert that most choose; others are chosen by a
/// few, one by nobody.
fn many(kit: &mut Kit, gate: Format, down: Format) -> Vec<f32> {
    const ROWS: usize = 150;
    let weights = ExpertWeights {
        gate: kit.weight(gate, 7, 256, 512),
        up: kit.weight(gate, 7, 256, 512),
        down: kit.weight(down, 7, 512, 256),
    };
    let choose = |t: usize| match t % 25 {
        0 => [6, 4, 0],
        3 | 8 | 9 => [1, 4, 2],
        _ => [2, [0, 1, 4][t % 3], 6],
    };
    let picks: Vec<u32> = (0..ROWS).flat_map(choose).collect();
    let (x, picks) = (kit.buffer(ROWS, 512), kit.filled(ROWS, 3, &picks));
    let (shares, mut y) = (kit.buffer(ROWS, 3), kit.empty(ROWS, 512));
    kit.b.experts(&weights, 0.5, &x, &picks, &shares, &mut y, ROWS);
    kit.read(&y, ROWS)
}

/// More tiles of pairs and rows than there are processors: forty experts, of which each token
/// chooses three. A number that is none stays with its token.
fn forty(kit: &mut Kit, gate: Format, down: Format) -> Vec<f32> {
    const ROWS: usize = 61;
    let weights = ExpertWeights {
        gate: kit.weight(gate, 40, 1024, 256),
        up: kit.weight(gate, 40, 1024, 256),
        down: kit.weight(down, 40, 256, 1024),
    };
    let picks: Vec<u32> = (0..ROWS as u32).flat_map(|t| [t % 37, 39, 37 + t % 2]).collect();
    let mut numbers = kit.numbers(ROWS * 256);
    numbers[20 * 256 + 130] = f32::NAN;
    let (x, picks) = (kit.filled(ROWS, 256, &numbers), kit.filled(ROWS, 3, &picks));
    let (shares, mut y) = (kit.buffer(ROWS, 3), kit.empty(ROWS, 256));
    kit.b.experts(&weights, 0.5, &x, &picks, &shares, &mut y, ROWS);
    kit.read(&y, ROWS).into_iter().map(|v| if v.is_nan() { 0.0 } else { v }).collect()
}

/// The published recipes; the shared expert's parts.
pub fn cases() -> Vec<Case> {
    let recipes = [
        (Format::Iq2Xxs, Format::Q2K),
        (Format::Q4K, Format::Q4K),
        (Format::Mxfp4, Format::Mxfp4),
        (Format::F32, Format::Q8_0),
    ];
    let case = |(gate, down): (Format, Format)| {
        let name = format!("experts {} {}", gate.name(), down.name());
        Case::new(name, 1e-5, move |kit: &mut Kit| experts(kit, gate, down, 256)).rounded(1e-2)
    };
    let many = |(gate, down): (Format, Format)| {
        let name = format!("experts {} {} x150", gate.name(), down.name());
        Case::new(name, 1e-5, move |kit: &mut Kit| many(kit, gate, down)).rounded(1e-2)
    };
    let mut cases: Vec<Case> = recipes.into_iter().map(case).collect();
    let wide = |kit: &mut Kit| experts(kit, Format::Iq2Xxs, Format::Q2K, 2048);
    cases.push(Case::new("experts IQ2_XXS Q2_K, 2,048 wide", 1e-5, wide).rounded(1e-2));
    cases.push(Case::new("eight experts of one token", 1e-5, one).rounded(1e-2));
    cases.extend(few());
    cases.push(Case::new("experts of what is not a number", 0.0, spoilt));
    cases.extend(recipes.into_iter().map(many));
    for (gate, down) in recipes.into_iter().take(3) {
        let name = format!("experts {} {} x61, forty", gate.name(), down.name());
        let run = move |kit: &mut Kit| forty(kit, gate, down);
        cases.push(Case::new(name, 1e-5, run).rounded(1e-2));
    }
    for (format, d) in [(Format::Iq2Xxs, 1024), (Format::Mxfp4, 256), (Format::F16, 256)] {
        let name = format!("inner rows of experts {}", format.name());
        cases.push(Case::new(name, 1e-5, move |kit: &mut Kit| inner(kit, format, d)));
    }
    cases.push(Case::new("swiglu and add", 1e-6, |kit| {
        let big = |v: Vec<f32>| v.into_iter().map(|v| v * 20.0).collect::<Vec<_>>();
        let (gate, up) = (big(kit.numbers(4 * 96)), big(kit.numbers(4 * 96)));
        let (gate, up) = (kit.filled(4, 96, &gate), kit.filled(4, 96, &up));
        let (mut inner, mut y) = (kit.empty(4, 96), kit.buffer(4, 96));
        kit.b.swiglu(&gate, &up, 10.0, &mut inner, 4);
        kit.b.add(&inner, &mut y, 4);
        kit.read(&y, 4)
    }));
    cases
}
