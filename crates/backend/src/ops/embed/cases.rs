//! Cases of the token embedding.

use gguf::Format;

use crate::conformance::Case;

/// Plain and block formats, one stream and four.
pub fn cases() -> Vec<Case> {
    let formats = [Format::F32, Format::F16, Format::Q8_0];
    let all = formats.into_iter().flat_map(|format| [(format, 1), (format, 4)]);
    all.map(|(format, streams)| {
        Case::new(format!("embed {} x{streams}", format.name()), 0.0, move |kit| {
            let table = kit.weight(format, 1, 64, 256);
            let step = kit.step(&[(0, 5, 1), (9, 2, 1)]);
            let mut out = kit.empty(7, 256 * streams);
            kit.b.embed(&table, &step, &mut out);
            kit.read(&out, 7)
        })
    })
    .collect()
}
