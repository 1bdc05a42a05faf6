//! Cases of the matrix products.

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
    cases.push(Case::new("linear_grouped Q8_0, 8 groups", 1e-5, |kit| {
        let (weight, x) = (kit.weight(Format::Q8_0, 1, 8 * 24, 128), kit.whole(3, 8 * 128));
        let mut out = kit.empty(3, 8 * 24);
        kit.b.linear_grouped(&weight, 8, &x, &mut out, 3);
        kit.read(&out, 3)
    }));
    cases.extend(tiled());
    cases
}

/// Many tokens, as a backend with tiles of tokens and rows computes them.
fn tiled() -> Vec<Case> {
    let mut cases = Vec::new();
    // More tokens and rows than a tile has, and a last tile that is not full in either.
    for format in
        [Format::Bf16, Format::Q8_0, Format::Q2K, Format::Q4K, Format::Iq2Xxs, Format::Mxfp4]
    {
        for (tokens, rows) in [(70, 130), (201, 260)] {
            let name = format!("linear {} x{tokens}, {rows} rows", format.name());
            cases.push(Case::new(name, 1e-5, move |kit| {
                let (weight, x) = (kit.weight(format, 1, rows, 768), kit.whole(tokens, 768));
                let mut out = kit.empty(tokens, rows);
                kit.b.linear(&weight, &x, &mut out, tokens);
                kit.read(&out, tokens)
            }));
        }
    }
    // Columns that are no multiple of a stage; groups of whole tiles.
    cases.push(Case::new("linear Q8_0 x70, 352 columns", 1e-5, |kit| {
        let (weight, x) = (kit.weight(Format::Q8_0, 1, 130, 352), kit.whole(70, 352));
        let mut out = kit.empty(70, 130);
        kit.b.linear(&weight, &x, &mut out, 70);
        kit.read(&out, 70)
    }));
    for format in [Format::Q8_0, Format::F16] {
        cases.push(Case::new(
            format!("linear_grouped {} x70, 3 groups", format.name()),
            1e-5,
            move |kit| {
                let (weight, x) = (kit.weight(format, 1, 3 * 128, 256), kit.whole(70, 3 * 256));
                let mut out = kit.empty(70, 3 * 128);
                kit.b.linear_grouped(&weight, 3, &x, &mut out, 70);
                kit.read(&out, 70)
            },
        ));
    }
    cases
}
