//! Cases of the indexer: sessions with rows in pages, some tokens each in one step.
//!
//! A [`Scene`] is made of [`Sizes`] alone, so that the same one is compared with the reference and
//! timed. Start reading at [`cases`].

use crate::conformance::{Case, Kit, Session};
use crate::{Buffer, PAGE_TOKENS, RowFormat, Step, StepLimits};

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How rows are stored.
    pub format: RowFormat,
    /// Heads of 128 channels.
    pub heads: usize,
    /// Tokens that each session may hold.
    pub context: usize,
    /// Picks of a token.
    pub top_k: usize,
    /// One session each: position of the first token, and tokens.
    pub segments: &'static [(usize, usize)],
}

/// A step of sessions with a past, ready to pick. Rows have few distinct values, so that scores are
/// far apart and ties are exact on every backend.
pub struct Scene {
    session: Session,
    step: Step,
    /// Queries.
    pub q: Buffer<f32>,
    weights: Buffer<f32>,
    /// `[T, top_k]`.
    pub picks: Buffer<u32>,
}

impl Scene {
    /// Random rows and queries.
    pub fn new(kit: &mut Kit, sizes: Sizes) -> Scene {
        let Sizes { format, heads, context, top_k, segments } = sizes;
        let mut session = Session::new(kit, format, 4, segments.len(), context);
        fill_pages(kit, &mut session, segments.len() * context.div_ceil(PAGE_TOKENS));
        let rows: usize = segments.iter().map(|s| s.1).sum();
        let limits = StepLimits { rows, segments: segments.len(), outputs: rows, context };
        let mut step = Step::reserve(kit.device(), limits).expect("a small step");
        kit.fill(&mut step, &segments.iter().map(|&(s, len)| (s, len, 1)).collect::<Vec<_>>());
        let (mut q, weights) = (kit.buffer(rows, heads * 128), kit.buffer(rows, heads));
        kit.b.round_queries(session.index.rows.layout, &mut q, rows);
        let picks = kit.empty(rows, top_k);
        Scene { session, step, q, weights, picks }
    }

    /// Picks.
    pub fn pick(&mut self, kit: &mut Kit) {
        let (rows, kv) = (self.session.index.rows, &self.session.kv);
        kit.b.index_pick(rows, &self.q, &self.weights, &self.step, kv, &mut self.picks);
    }
}

/// Random indexer rows; pages have no more than a few dozen different contents.
fn fill_pages(kit: &mut Kit, session: &mut Session, pages: usize) {
    let paged = session.index.rows;
    let blocks: Vec<Vec<u8>> = (0..pages.min(61))
        .map(|_| {
            let mut block = vec![0; paged.block_bytes()];
            for row in 0..paged.rows_per_page() {
                let mut values: Vec<f32> = (0..128).map(|_| kit.below(3) as f32 - 1.0).collect();
                paged.layout.store(&mut block, paged.rows_per_page(), row, &mut values);
            }
            block
        })
        .collect();
    for page in 0..pages {
        let block = &blocks[page % blocks.len()];
        kit.device().put_page(&mut session.kv.pages, page as u32, paged.offset, block);
    }
}

/// Packed and exact rows, few picks and many; several sessions of which some have fewer rows than
/// picks, heads that fill no tile, more rows than a block can keep, and scores that are all
/// alike.
pub fn cases() -> Vec<Case> {
    let few = Sizes {
        format: RowFormat::Packed,
        heads: 8,
        context: 1024,
        top_k: 16,
        segments: &[(20, 4), (1021, 3)],
    };
    let mixed: &[_] = &[(600, 7), (1023, 1), (90, 2), (999, 4), (100, 6)];
    let all = [
        few,
        Sizes { top_k: 200, ..few },
        Sizes { format: RowFormat::ExactF32, ..few },
        Sizes { heads: 40, top_k: 64, segments: mixed, ..few },
        Sizes { heads: 4, context: 40_000, top_k: 64, segments: &[(39_000, 2)], ..few },
        Sizes { heads: 4, context: 80_000, top_k: 512, segments: &[(79_990, 1)], ..few },
    ];
    let name = |sizes: Sizes| {
        let Sizes { format, heads, context, top_k, segments } = sizes;
        format!("index_pick {format:?}, top {top_k}, {heads} heads, {context}, {segments:?}")
    };
    let case = |sizes: Sizes| {
        Case::new(name(sizes), 0.0, move |kit: &mut Kit| {
            let mut scene = Scene::new(kit, sizes);
            scene.pick(kit);
            kit.read_picks(&scene.picks, scene.picks.rows)
        })
    };
    let alike = Sizes { context: 4096, segments: &[(4095, 1)], ..few };
    let ties = Case::new(format!("{}, all alike", name(alike)), 0.0, move |kit: &mut Kit| {
        let mut scene = Scene::new(kit, alike);
        let zeros = vec![0.0; scene.q.width];
        kit.device().upload(&mut scene.q, 0, &zeros);
        scene.pick(kit);
        kit.read_picks(&scene.picks, scene.picks.rows)
    });
    all.into_iter().map(case).chain([ties]).collect()
}
