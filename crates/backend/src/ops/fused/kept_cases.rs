//! Cases of `keep`: latents and compressors over a few steps of sessions that are at different
//! places of their windows. What they leave is read back in whole: rows of this step, rows of all
//! pages, frontiers. How compressors do with longer pieces is in their own cases.

use gguf::Format;

use crate::conformance::{Case, Kit, Session};
use crate::ops::compress::{Compressor, CompressorPlace};
use crate::ops::fused::{Fed, NormWeight, Normed};
use crate::{Buffer, PAGE_TOKENS, RowFormat};

/// Segments of a step: position of the first token, tokens, outputs.
type Segments = &'static [(usize, usize, usize)];

/// Windows that close and do not, of one session and of two; a step of many tokens.
const STEPS: [&[Segments]; 3] = [
    &[
        &[(0, 1, 1), (126, 1, 1)],
        &[(1, 5, 1), (127, 1, 1)],
        &[(6, 1, 1), (128, 4, 1)],
        &[(7, 12, 1), (132, 4, 1)],
    ],
    &[&[(126, 1, 1)], &[(127, 1, 1)], &[(128, 1, 1)]],
    &[&[(100, 30, 1)], &[(130, 1, 1)]],
];
const CONTEXT: usize = 256;

/// Layers of every kind: two compressors, one, none.
pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for format in [RowFormat::Packed, RowFormat::ExactF32] {
        for steps in STEPS {
            all.extend([(4, 2), (4, 1), (128, 1), (4, 0)].map(|(ratio, count)| {
                let name = format!("fused: keep, {format:?}, {count} of ratio {ratio}, {steps:?}");
                // Packed rows may differ by one code where rounding is on an edge.
                let tolerance = if format == RowFormat::Packed { 0.07 } else { 1e-5 };
                let run = move |kit: &mut Kit| keep(kit, format, ratio, count, steps);
                Case::new(name, tolerance, run).rounded(tolerance.max(1e-2))
            }));
        }
    }
    all
}

/// Learned parts of a compressor.
struct Learned {
    ape: Buffer<f32>,
    norm: Buffer<f32>,
    place: CompressorPlace,
}

/// What is normed, a product with the latents, the rows of all pages, and what waits in frontiers.
fn keep(
    kit: &mut Kit,
    format: RowFormat,
    ratio: usize,
    count: usize,
    steps: &[Segments],
) -> Vec<f32> {
    let sessions = steps[0].len();
    let mut session = Session::new(kit, format, ratio, sessions, CONTEXT);
    let learned: Vec<_> = [session.rows, session.index][..count]
        .iter()
        .map(|&place| Learned {
            ape: kit.buffer(ratio, place.width()),
            norm: kit.buffer(1, place.rows.layout.width()),
            place,
        })
        .collect();
    let (norms, matrix) =
        ([kit.buffer(1, 1024), kit.buffer(1, 512)], kit.weight(Format::Q8_0, 1, 8, 1024));
    let frequencies: Vec<f32> = (0..32).map(|i| 10_000f32.powf(-i as f32 / 32.0)).collect();
    let frequencies = kit.filled(1, 32, &frequencies);
    let mut step = kit.step(&vec![(0, CONTEXT, 1); sessions]);
    let layout = session.ring.layout;
    let mut all = Vec::new();
    // Buffers of the largest step, whose first rows are used, as a model has them.
    let tokens = steps.iter().map(|step| step.iter().map(|s| s.1).sum()).max().unwrap_or(0);
    let (mut latent, mut normed) = (kit.empty(tokens, 1024), kit.empty(tokens, 512));
    let (mut angles, mut out) = (kit.empty(tokens, 64), kit.empty(tokens, 8));
    let mut fresh = kit.device().row_block(layout, tokens).expect("a small block");
    for segments in steps {
        kit.fill(&mut step, segments);
        let (query, row) = (kit.buffer(step.rows, 1024), kit.buffer(step.rows, 512));
        let brought: Vec<_> = learned
            .iter()
            .map(|l| [(); 2].map(|()| kit.buffer(step.rows, l.place.width())))
            .collect();
        kit.b.rope_angles(&frequencies, &step, &mut angles);
        let norm = |i: usize| NormWeight { weight: &norms[i], eps: 1e-6 };
        let fed: Vec<_> = learned
            .iter()
            .zip(&brought)
            .map(|(Learned { ape, norm, place }, [values, gates])| {
                let (frequencies, place) = (&frequencies, *place);
                let compressor = Compressor { ape, norm, frequencies, rms_eps: 1e-6, place };
                Fed { compressor, values, gates }
            })
            .collect();
        let query = Normed { x: &query, norm: norm(0), out: &mut latent };
        let row = Normed { x: &row, norm: norm(1), out: &mut normed };
        kit.b.keep(query, row, &angles, &mut fresh, &fed, &step, &mut session.kv);
        kit.b.linear(&matrix, &latent, &mut out, step.rows);
        for buffer in [&latent, &normed, &out] {
            all.extend(kit.read(buffer, step.rows));
        }
        let bytes = kit.read(&fresh.bytes, 1);
        for i in 0..step.rows {
            let mut row = vec![0.0; layout.width()];
            layout.load(&bytes, fresh.rows, i, &mut row);
            all.extend(row);
        }
    }
    for l in &learned {
        all.extend(rows(kit, &session, &l.place, sessions));
        all.extend(frontiers(kit, &session, &l.place, sessions));
    }
    all
}

/// Every row of every page, decoded.
fn rows(kit: &mut Kit, session: &Session, place: &CompressorPlace, sessions: usize) -> Vec<f32> {
    let paged = place.rows;
    let mut all = Vec::new();
    for page in 0..sessions * CONTEXT / PAGE_TOKENS {
        let bytes = kit.device().page(&session.kv.pages, page as u32);
        for i in 0..paged.rows_per_page() {
            let mut row = vec![0.0; paged.layout.width()];
            paged.layout.load(&bytes[paged.offset..], paged.rows_per_page(), i, &mut row);
            all.extend(row);
        }
    }
    all
}

/// The frontiers of all sessions.
fn frontiers(
    kit: &mut Kit,
    session: &Session,
    place: &CompressorPlace,
    sessions: usize,
) -> Vec<f32> {
    let bytes = place.frontier..place.frontier + place.frontier_bytes();
    let mut all = Vec::new();
    for slot in 0..sessions {
        let page = kit.device().page(&session.kv.slots, slot as u32);
        let floats = page[bytes.clone()].as_chunks::<4>().0;
        all.extend(floats.iter().map(|float| f32::from_ne_bytes(*float)));
    }
    all
}
