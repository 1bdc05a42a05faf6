//! Cases of the matrix products: every format, for as many tokens as each way of multiplying takes,
//! whole and by groups.
//!
//! Where a backend rounds activations and the numbers are such that rounding changes nothing, it is
//! held as strictly as one that does not. In tiles there are no such numbers: scales are rounded.

use gguf::Format;

use crate::conformance::Case;

/// Every decodable format, for one token and for many, with row counts that are no multiple of any
/// tile; the grouped product of the attention output.
pub fn cases() -> Vec<Case> {
    let formats = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Iq2Xxs,
        Format::Mxfp4,
    ];
    let mut cases = Vec::new();
    for format in formats {
        for tokens in [1, 5, 67] {
            let name = format!("linear {} x{tokens}", format.name());
            let case = Case::new(name, 1e-5, move |kit| {
                let (weight, x) = (kit.weight(format, 1, 75, 512), kit.buffer(tokens, 512));
                let mut out = kit.empty(tokens, 75);
                kit.b.linear(&weight, &x, &mut out, tokens);
                kit.read(&out, tokens)
            });
            cases.push(case.rounded(1e-2));
            // Where rounding activations changes nothing, everything else must be exact. More than
            // one stretch of columns, and a stretch that is not full.
            let name = format!("linear {} x{tokens}, whole activations", format.name());
            cases.push(Case::new(name, 1e-5, move |kit| {
                let (weight, x) = (kit.weight(format, 1, 19, 1280), kit.whole(tokens, 1280));
                let mut out = kit.empty(tokens, 19);
                kit.b.linear(&weight, &x, &mut out, tokens);
                kit.read(&out, tokens)
            }));
        }
    }
    cases.extend(many());
    cases.extend(several());
    cases.extend([(1, 2048), (3, 1024), (1, 96)].map(in_a_row));
    cases.push(Case::new("linear_grouped Q8_0, 8 groups", 1e-5, |kit| {
        let (weight, x) = (kit.weight(Format::Q8_0, 1, 8 * 24, 128), kit.whole(3, 8 * 128));
        let mut out = kit.empty(3, 8 * 24);
        kit.b.linear_grouped(&weight, 8, &x, &mut out, 3);
        kit.read(&out, 3)
    }));
    cases
}

/// Fewer tokens than fill a tile. Up to four tokens: one to all warps for a row, more rows than
/// wait at once, warps without one, groups. More: one to all stretches of columns for a warp,
/// strips of rows and tiles of tokens that are not full, several tiles, groups.
fn several() -> Vec<Case> {
    let shapes = [
        (1, 20_000, 1, 1024),
        (1, 3_000, 1, 2048),
        (1, 75, 1, 8192),
        (1, 300, 1, 7168),
        (1, 8 * 1100, 8, 1024),
        (1, 3 * 5, 3, 4096),
        (2, 600, 1, 4096),
        (3, 8 * 50, 8, 1024),
        (4, 20_000, 1, 1024),
        (5, 40, 1, 128),
        (8, 300, 1, 1024),
        (9, 75, 1, 2048),
        (16, 33, 1, 8192),
        (11, 8 * 48, 8, 1024),
        (40, 70, 1, 4096),
        (12, 3 * 20, 3, 512),
    ];
    let formats = [Format::F16, Format::Bf16, Format::Q8_0];
    formats.iter().flat_map(|&format| shapes.map(|shape| product(format, shape))).collect()
}

/// A product by groups, and one of its results, twice: the second time rounded copies of them are
/// wanted. As many rows of a group as make every processor round whole blocks of them.
fn in_a_row((tokens, rows): (usize, usize)) -> Case {
    let name = format!("linear_grouped Q8_0 x{tokens}, {rows} rows, then linear");
    let case = Case::new(name, 1e-5, move |kit| {
        let (groups, cols) = (4, 1024);
        let first = kit.weight(Format::Q8_0, 1, groups * rows, cols);
        let second = kit.weight(Format::Q8_0, 1, 16, groups * rows);
        let mut low = kit.empty(tokens, groups * rows);
        let (mut out, mut all) = (kit.empty(tokens, 16), Vec::new());
        for _ in 0..2 {
            let x = kit.whole(tokens, groups * cols);
            kit.b.linear_grouped(&first, groups, &x, &mut low, tokens);
            kit.b.linear(&second, &low, &mut out, tokens);
            all.extend(kit.read(&low, tokens).into_iter().chain(kit.read(&out, tokens)));
        }
        all
    });
    case.rounded(1e-2)
}

/// A product by groups: tokens, rows, groups, columns.
fn product(format: Format, (tokens, rows, groups, cols): (usize, usize, usize, usize)) -> Case {
    let name = format!("linear {} x{tokens}, {rows} x {cols}, {groups}", format.name());
    Case::new(name, 1e-5, move |kit| {
        let weight = kit.weight(format, 1, rows, cols);
        // Float formats take activations as they are, so those have all their bits.
        let x = match format {
            Format::F16 | Format::Bf16 => kit.buffer(tokens, groups * cols),
            _ => kit.whole(tokens, groups * cols),
        };
        let mut out = kit.empty(tokens, rows);
        kit.b.linear_grouped(&weight, groups, &x, &mut out, tokens);
        kit.read(&out, tokens)
    })
}

/// As many results as tiles are made for: more tokens and rows than a tile has, and last tiles that
/// are full in neither; columns that fill no stage; groups of whole tiles, and of parts; more tiles
/// than there are processors. Backends that round may multiply quantized weights in BF16 there:
/// weights, their scales and activations change by 1/512 at most.
fn many() -> Vec<Case> {
    let formats = [
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q2K,
        Format::Q4K,
        Format::Iq2Xxs,
        Format::Mxfp4,
    ];
    let shapes = formats.into_iter().flat_map(|format| {
        [
            (70, 1100, 1, 256),
            (201, 390, 1, 512),
            (201, 3 * 128, 3, 256),
            (300, 6 * 64, 6, 768),
            (17, 4100, 1, 1280),
        ]
        .map(|shape| (format, shape))
    });
    let others = [
        (Format::Q8_0, (201, 390, 1, 352)),
        (Format::Mxfp4, (201, 390, 1, 96)),
        (Format::Q8_0, (129, 1040, 1, 128)),
        (Format::Mxfp4, (81, 1040, 1, 384)),
        (Format::Iq2Xxs, (1100, 4200, 1, 256)),
    ];
    let mut cases: Vec<Case> = shapes
        .chain(others)
        .map(|(format, shape)| {
            let case = product(format, shape);
            let float = matches!(format, Format::F16 | Format::Bf16);
            if float { case } else { case.rounded(5e-3) }
        })
        .collect();
    let formats = [Format::F16, Format::Q8_0, Format::Q2K, Format::Iq2Xxs, Format::Mxfp4];
    cases.extend(formats.map(not_finite));
    cases.push(magnitudes());
    // Columns of whole stages, and of none; a last tile of one row.
    cases.extend([(150, 513, 1, 192), (200, 390, 1, 96)].map(|shape| product(Format::F16, shape)));
    cases
}

/// Tokens of very large and of very small numbers, and one of zeros: their results are compared as
/// if all were of the same size.
fn magnitudes() -> Case {
    const TOKENS: usize = 140;
    Case::new("linear F16, tokens of all magnitudes", 1e-5, |kit| {
        let weight = kit.weight(Format::F16, 1, 530, 512);
        // From 2^-105 to 2^103.
        let size = |token: usize| 2f32.powi(token as i32 * 3 / 2 - 105);
        let mut numbers = kit.numbers(TOKENS * 512);
        for (token, row) in numbers.chunks_mut(512).enumerate() {
            // Among numbers of one size some that are much smaller.
            row.iter_mut().step_by(3).for_each(|v| *v *= 1e-6);
            row.iter_mut().for_each(|v| *v *= if token == 100 { 0.0 } else { size(token) });
        }
        let (x, mut out) = (kit.filled(TOKENS, 512, &numbers), kit.empty(TOKENS, 530));
        kit.b.linear(&weight, &x, &mut out, TOKENS);
        let results = kit.read(&out, TOKENS);
        results.iter().enumerate().map(|(i, v)| v / size(i / 530)).collect()
    })
}

/// One token of many has a number that is none: its results are none, and all others are as they
/// would be without it.
fn not_finite(format: Format) -> Case {
    const TOKENS: usize = 140;
    let name = format!("linear {} x{TOKENS}, one of them not a number", format.name());
    let case = Case::new(name, 1e-5, move |kit| {
        let weight = kit.weight(format, 1, 530, 512);
        let mut numbers = kit.numbers(TOKENS * 512);
        numbers[77 * 512 + 300] = f32::NAN;
        let (x, mut out) = (kit.filled(TOKENS, 512, &numbers), kit.empty(TOKENS, 530));
        kit.b.linear(&weight, &x, &mut out, TOKENS);
        let results = kit.read(&out, TOKENS);
        // None is nothing here, which results are not.
        results.into_iter().map(|v| if v.is_nan() { 0.0 } else { v }).collect()
    });
    case.rounded(5e-3)
}
