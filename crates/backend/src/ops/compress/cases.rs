//! Cases of the compressors.

use crate::RowFormat;
use crate::conformance::{Case, Kit, Session};
use crate::ops::compress::{Compressor, CompressorPlace};

/// What is compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Attention,
    Indexer,
    /// A gate of attention is NaN.
    Damaged,
}

/// Feeds two sessions in uneven pieces and returns the rows of the second one.
fn rows(kit: &mut Kit, what: What, format: RowFormat, ratio: usize) -> Vec<f32> {
    let mut session = Session::new(kit, format, ratio, 2, 384);
    let place = if what == What::Indexer { session.index } else { session.rows };
    let (width, dim) = (place.width(), place.rows.layout.width());
    let frequencies: Vec<f32> = (0..32).map(|i| 10_000f32.powf(-i as f32 / 32.0)).collect();
    let frequencies = kit.filled(1, 32, &frequencies);
    let (ape, norm) = (kit.buffer(ratio, width), kit.buffer(1, dim));
    let mut step = kit.step(&[(0, 256, 1), (256, 128, 1)]);
    for segments in
        [[(0, 5, 1), (0, 130, 1)], [(5, 123, 1), (130, 1, 1)], [(128, 1, 1), (131, 190, 1)]]
    {
        kit.fill(&mut step, &segments);
        let (values, mut gates) = (kit.buffer(step.rows, width), kit.buffer(step.rows, width));
        if what == What::Damaged {
            let row = vec![f32::NAN; width];
            kit.device().upload(&mut gates, 5, &row);
        }
        let compressor =
            Compressor { ape: &ape, norm: &norm, frequencies: &frequencies, rms_eps: 1e-6, place };
        kit.b.compress(&compressor, &values, &gates, &step, &mut session.kv);
    }
    kit.b.submit().expect("the device works");
    let mut rows = read_rows(kit, &session, &place, 321 / ratio);
    // That there is a NaN is compared, not which one.
    rows.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = -9.0);
    rows
}

/// The first `count` rows of the second of two sessions, decoded.
fn read_rows(kit: &mut Kit, session: &Session, place: &CompressorPlace, count: usize) -> Vec<f32> {
    let layout = place.rows.layout;
    let mut out = vec![0.0; count * layout.width()];
    for (row, out) in out.chunks_exact_mut(layout.width()).enumerate() {
        let (entry, index) = place.rows.place(row);
        // As `Kit::fill` deals pages: three per session, in reverse order, interleaved.
        let page = kit.device().page(&session.kv.pages, (2 - entry as u32) * 2 + 1);
        layout.load(&page[place.rows.offset..], place.rows.rows_per_page(), index, out);
    }
    out
}

/// Both ratios; packed rows may differ by one code where rounding is on an edge.
pub fn cases() -> Vec<Case> {
    let all = [
        (What::Attention, RowFormat::ExactF32, 4, 1e-5),
        (What::Attention, RowFormat::ExactF32, 128, 1e-5),
        (What::Attention, RowFormat::Packed, 4, 0.07),
        (What::Attention, RowFormat::Packed, 128, 0.07),
        (What::Indexer, RowFormat::ExactF32, 4, 1e-5),
        (What::Damaged, RowFormat::ExactF32, 4, 1e-5),
    ];
    let case = |(what, format, ratio, tolerance)| {
        let name = format!("compress {what:?} {format:?}, ratio {ratio}");
        Case::new(name, tolerance, move |kit: &mut Kit| rows(kit, what, format, ratio))
    };
    all.into_iter().map(case).collect()
}
