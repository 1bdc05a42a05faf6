//! Cases of the indexer.

use crate::RowFormat;
use crate::conformance::{Case, Kit, Session};

/// Picks of two sessions, one with fewer rows than `top_k`, one with more. Rows have few distinct
/// values, so that scores are far apart and ties are exact on every backend.
fn picks(kit: &mut Kit, format: RowFormat, top_k: usize) -> Vec<f32> {
    const CONTEXT: usize = 1024;
    const HEADS: usize = 8;
    let mut session = Session::new(kit, format, 4, 2, CONTEXT);
    let paged = session.index.rows;
    let pages = 2 * CONTEXT / crate::PAGE_TOKENS;
    let mut block = vec![0; paged.block_bytes()];
    for page in 0..pages {
        for row in 0..paged.rows_per_page() {
            let mut values: Vec<f32> = (0..128).map(|_| kit.below(3) as f32 - 1.0).collect();
            paged.layout.store(&mut block, paged.rows_per_page(), row, &mut values);
        }
        kit.device().put_page(&mut session.kv.pages, page as u32, paged.offset, &block);
    }
    let step = kit.step(&[(20, 4, 1), (CONTEXT - 3, 3, 1)]);
    let (mut q, weights) = (kit.buffer(7, HEADS * 128), kit.buffer(7, HEADS));
    kit.b.round_queries(paged.layout, &mut q, 7);
    let mut picks = kit.empty(7, top_k);
    kit.b.index_pick(paged, &q, &weights, &step, &session.kv, &mut picks);
    kit.read_picks(&picks, 7)
}

/// Packed and exact rows, few picks and many.
pub fn cases() -> Vec<Case> {
    let all = [(RowFormat::Packed, 16), (RowFormat::Packed, 200), (RowFormat::ExactF32, 16)];
    let case = |(format, top_k)| {
        let name = format!("index_pick {format:?}, top {top_k}");
        Case::new(name, 0.0, move |kit: &mut Kit| picks(kit, format, top_k))
    };
    all.into_iter().map(case).collect()
}
