//! Cases of the indexer: sessions with rows in pages, some tokens each in one step.
//!
//! A [`Scene`] is made of [`Sizes`] alone, so that the same one is compared with the reference and
//! timed. Start reading at [`cases`].

use super::{DAMAGED, NO_PICK};
use crate::conformance::{Case, Kit, Session};
use crate::ops::kv::PagedRows;
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

/// How the scores of a session's rows follow each other.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// As rows and queries happen to be.
    Random,
    /// All the same.
    Alike,
    /// In some dozen steps of equal scores, the largest last.
    Rising,
    /// The largest first.
    Falling,
    /// Random, and one row of every session, so many tenths behind its first, is not a number.
    Damaged(usize),
}

/// Steps of [`Order::Rising`], each half of the next.
const STEPS: usize = 40;

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

    /// Rows and queries whose scores are in an order.
    fn ordered(kit: &mut Kit, sizes: Sizes, order: Order) -> Scene {
        let mut scene = Scene::new(kit, sizes);
        match order {
            Order::Random => (),
            Order::Alike => {
                let zeros = vec![0.0; scene.weights.rows * scene.weights.width];
                kit.device().upload(&mut scene.weights, 0, &zeros);
            }
            Order::Rising => scene.step_by(kit, sizes, |part| part),
            Order::Falling => scene.step_by(kit, sizes, |part| 1.0 - part),
            Order::Damaged(tenths) => scene.damage(kit, sizes, tenths),
        }
        scene
    }

    /// Rows that are all one, with queries that are the same, times a power of two that `size`
    /// says: from 0 to 1 for rows from 0 to 1.
    fn step_by(&mut self, kit: &mut Kit, sizes: Sizes, size: impl Fn(f32) -> f32) {
        let paged = self.session.index.rows;
        let (sessions, pages) = (sizes.segments.len(), sizes.context.div_ceil(PAGE_TOKENS));
        let one: Vec<f32> = (0..128).map(|_| kit.below(3) as f32 - 1.0).collect();
        let (per_page, all) = (paged.rows_per_page(), pages * paged.rows_per_page());
        for page in 0..pages {
            let mut block = vec![0; paged.block_bytes()];
            for row in 0..per_page {
                let part = (page * per_page + row) as f32 / all as f32;
                let times = ((size(part) * STEPS as f32) as i32 - STEPS as i32 / 2) as f32;
                let mut values: Vec<f32> = one.iter().map(|v| v * times.exp2()).collect();
                paged.layout.store(&mut block, per_page, row, &mut values);
            }
            for session in 0..sessions {
                let to = page_of(page, session, pages, sessions);
                kit.device().put_page(&mut self.session.kv.pages, to, paged.offset, &block);
            }
        }
        let (tokens, heads) = (self.q.rows, sizes.heads);
        kit.device().upload(&mut self.q, 0, &one.repeat(tokens * heads));
        kit.b.round_queries(paged.layout, &mut self.q, tokens);
        kit.device().upload(&mut self.weights, 0, &vec![1.0; tokens * heads]);
    }

    /// Every session has other rows in the page of its damaged one.
    fn damage(&mut self, kit: &mut Kit, sizes: Sizes, tenths: usize) {
        let paged = self.session.index.rows;
        let (sessions, pages) = (sizes.segments.len(), sizes.context.div_ceil(PAGE_TOKENS));
        for (session, &(start, tokens)) in sizes.segments.iter().enumerate() {
            let last = (start + tokens) / paged.ratio;
            let damaged = (last * tenths / 10).min(last.saturating_sub(1));
            let mut block = random_block(kit, paged);
            let row = damaged % paged.rows_per_page();
            paged.layout.store(&mut block, paged.rows_per_page(), row, &mut [f32::NAN; 128]);
            let to = page_of(damaged / paged.rows_per_page(), session, pages, sessions);
            kit.device().put_page(&mut self.session.kv.pages, to, paged.offset, &block);
        }
    }

    /// Picks.
    pub fn pick(&mut self, kit: &mut Kit) {
        let (rows, kv) = (self.session.index.rows, &self.session.kv);
        kit.b.index_pick(rows, &self.q, &self.weights, &self.step, kv, &mut self.picks);
    }
}

/// The page of a session's `page`th; see [`Kit::fill`].
fn page_of(page: usize, session: usize, pages: usize, sessions: usize) -> u32 {
    ((pages - 1 - page) * sessions + session) as u32
}

/// Random indexer rows; pages have no more than a few dozen different contents.
fn fill_pages(kit: &mut Kit, session: &mut Session, pages: usize) {
    let paged = session.index.rows;
    let blocks: Vec<Vec<u8>> = (0..pages.min(61)).map(|_| random_block(kit, paged)).collect();
    for page in 0..pages {
        let block = &blocks[page % blocks.len()];
        kit.device().put_page(&mut session.kv.pages, page as u32, paged.offset, block);
    }
}

/// Rows of a page.
fn random_block(kit: &mut Kit, paged: PagedRows) -> Vec<u8> {
    let mut block = vec![0; paged.block_bytes()];
    for row in 0..paged.rows_per_page() {
        let mut values: Vec<f32> = (0..128).map(|_| kit.below(3) as f32 - 1.0).collect();
        paged.layout.store(&mut block, paged.rows_per_page(), row, &mut values);
    }
    block
}

/// Packed and exact rows, few picks and many; several sessions of which some have fewer rows than
/// picks, or as many, or one more; heads that fill no tile, more rows than a block can keep; one
/// token and many, each with scores in every order.
pub fn cases() -> Vec<Case> {
    let few = Sizes {
        format: RowFormat::Packed,
        heads: 8,
        context: 1024,
        top_k: 16,
        segments: &[(20, 4), (1021, 3)],
    };
    let mixed: &[_] = &[(600, 7), (1023, 1), (90, 2), (999, 4), (100, 6)];
    let edges: &[_] = &[(2047, 1), (2051, 1), (2043, 9), (3000, 1), (511, 4)];
    let all = [
        few,
        Sizes { top_k: 200, ..few },
        Sizes { format: RowFormat::ExactF32, ..few },
        Sizes { heads: 40, top_k: 64, segments: mixed, ..few },
        Sizes { heads: 100, context: 4096, top_k: 512, segments: edges, ..few },
        Sizes { heads: 4, context: 40_000, top_k: 64, segments: &[(39_000, 2)], ..few },
        Sizes { heads: 4, context: 80_000, top_k: 512, segments: &[(79_990, 1)], ..few },
        Sizes { heads: 4, context: 40_000, top_k: 512, segments: &[(12_000, 270)], ..few },
    ];
    let random = all.into_iter().map(|sizes| case(sizes, Order::Random));
    let steps: [&[(usize, usize)]; 4] = [
        &[(29_990, 1), (60, 1)],
        &[(9_000, 1), (29_000, 8), (5_000, 3), (60, 2), (20_000, 2)],
        &[(9_000, 30), (29_900, 70)],
        &[(5_000, 620), (3, 300), (3_000, 400)],
    ];
    let orders = [Order::Alike, Order::Rising, Order::Falling]
        .into_iter()
        .chain([0, 5, 10].map(Order::Damaged));
    let ordered = orders.flat_map(|order| {
        steps.map(|segments| case(Sizes { context: 30_000, heads: 2, segments, ..few }, order))
    });
    random.chain(ordered).collect()
}

/// Picks of a scene.
fn case(sizes: Sizes, order: Order) -> Case {
    let Sizes { format, heads, context, top_k, segments } = sizes;
    let name = format!(
        "index_pick {format:?}, {order:?}, top {top_k}, {heads} heads, {context}, {segments:?}"
    );
    Case::new(name, 0.0, move |kit: &mut Kit| {
        let mut scene = Scene::ordered(kit, sizes, order);
        scene.pick(kit);
        let picks = kit.read(&scene.picks, scene.picks.rows);
        picks.into_iter().map(number_of).collect()
    })
}

/// A pick as a number that says which of the two marks it is, if it is one: as floats they are the
/// same.
fn number_of(pick: u32) -> f32 {
    match pick {
        NO_PICK => -1.0,
        DAMAGED => -2.0,
        row => row as f32,
    }
}
