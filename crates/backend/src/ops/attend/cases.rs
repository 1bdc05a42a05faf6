//! Cases of attention: sessions with rows in rings and pages, some tokens each in one step.
//!
//! A [`Scene`] is made of [`Sizes`] alone, so that the same one is compared with the reference and
//! timed. Start reading at [`cases`].

use crate::conformance::{Case, Kit, Session};
use crate::ops::attend::{Beyond, Visible};
use crate::ops::fused::Projected;
use crate::ops::index::NO_PICK;
use crate::ops::kv::{PagedRows, RowBlock};
use crate::{Buffer, PAGE_TOKENS, RowFormat, Step, StepLimits, Weight};

/// What is seen beyond the window.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// Nothing.
    Window,
    /// Every compressed row.
    All,
    /// Picked rows.
    Picked,
}

impl Reach {
    fn beyond(self, paged: PagedRows, picks: &Buffer<u32>) -> Beyond<'_> {
        match self {
            Reach::Window => Beyond::Nothing,
            Reach::All => Beyond::All(paged),
            Reach::Picked => Beyond::Picked(paged, picks),
        }
    }
}

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How rows are stored.
    pub format: RowFormat,
    /// What is seen beyond the window.
    pub reach: Reach,
    /// Heads of 512 channels.
    pub heads: usize,
    /// Tokens that each session may hold.
    pub context: usize,
    /// Picks of a token.
    pub top_k: usize,
    /// One session each: position of the first token, which is not 0, and tokens.
    pub segments: &'static [(usize, usize)],
}

/// A step of sessions with a past, ready to attend.
pub struct Scene {
    session: Session,
    step: Step,
    fresh: RowBlock,
    /// `[T, top_k]`.
    pub picks: Buffer<u32>,
    q: Buffer<f32>,
    /// What the queries are, however often they are turned.
    queries: Vec<f32>,
    sinks: Buffer<f32>,
    reach: Reach,
    /// `[T, H·512]`.
    pub out: Buffer<f32>,
}

impl Scene {
    /// Random rows in rings and pages, random queries.
    pub fn new(kit: &mut Kit, sizes: Sizes) -> Scene {
        let Sizes { format, reach, heads, context, segments, .. } = sizes;
        let ratio = if matches!(reach, Reach::Picked) { 4 } else { 128 };
        let mut session = Session::new(kit, format, ratio, segments.len(), context);
        fill_pages(kit, &mut session, segments.len() * context.div_ceil(PAGE_TOKENS));
        let rows: usize = segments.iter().map(|s| s.1).sum();
        let window = session.ring.rows;
        let layout = session.ring.layout;
        let past: Vec<_> =
            segments.iter().map(|&(start, _)| window_before(start, window)).collect();
        let past = kit.step(&past);
        let capacity = rows.max(past.rows) + 3;
        let mut fresh = kit.device().row_block(layout, capacity).expect("a small block");
        let x = kit.buffer(past.rows, 512);
        kit.b.store_rows(&x, &mut fresh, past.rows);
        kit.b.keep_window(&fresh, session.ring, &past, &mut session.kv);

        let limits = StepLimits { rows, segments: segments.len(), outputs: rows, context };
        let mut step = Step::reserve(kit.device(), limits).expect("a small step");
        kit.fill(&mut step, &segments.iter().map(|&(s, len)| (s, len, 1)).collect::<Vec<_>>());
        let x = kit.buffer(rows, 512);
        kit.b.store_rows(&x, &mut fresh, rows);
        let picks = picks(kit, sizes);
        let queries = kit.numbers(rows * heads * 512);
        let (q, sinks) = (kit.filled(rows, heads * 512, &queries), kit.buffer(1, heads));
        let out = kit.empty(rows, heads * 512);
        Scene { session, step, fresh, picks, q, queries, sinks, reach, out }
    }

    /// Makes a channel of a token's queries no number.
    pub fn damage_query(&mut self, token: usize, channel: usize) {
        self.queries[token * self.q.width + channel] = f32::NAN;
    }

    /// Attends.
    pub fn attend(&mut self, kit: &mut Kit) {
        let beyond = self.reach.beyond(self.session.rows.rows, &self.picks);
        let visible = Visible { fresh: &self.fresh, ring: self.session.ring, beyond };
        let (q, kv) = (&self.q, &self.session.kv);
        kit.b.attend(q, &self.sinks, &visible, &self.step, kv, &mut self.out);
    }
}

impl Scene {
    /// Queries as they were.
    pub fn renew(&mut self, kit: &mut Kit) {
        kit.device().upload(&mut self.q, 0, &self.queries);
    }

    /// Norms and rotates queries, attends, keeps the rows of the step, and rotates heads back.
    pub fn attend_keep(&mut self, kit: &mut Kit, angles: &Buffer<f32>) {
        let beyond = self.reach.beyond(self.session.rows.rows, &self.picks);
        let visible = Visible { fresh: &self.fresh, ring: self.session.ring, beyond };
        let (q, kv, out) = (&mut self.q, &mut self.session.kv, &mut self.out);
        kit.b.attend_keep(q, 1e-6, &self.sinks, &visible, angles, &self.step, kv, out);
    }

    /// The same, and a product of the heads, in as many groups, to `out`.
    pub fn attend_project(
        &mut self,
        kit: &mut Kit,
        angles: &Buffer<f32>,
        (weight, groups): (&Weight, usize),
        out: &mut Buffer<f32>,
    ) {
        let beyond = self.reach.beyond(self.session.rows.rows, &self.picks);
        let visible = Visible { fresh: &self.fresh, ring: self.session.ring, beyond };
        let (q, kv, heads) = (&mut self.q, &mut self.session.kv, &mut self.out);
        let to = Projected { heads, weight, groups, out };
        kit.b.attend_project(q, 1e-6, &self.sinks, &visible, angles, &self.step, kv, to);
    }

    /// The bytes of the rings of all sessions, as numbers.
    pub fn rings(&self, kit: &mut Kit) -> Vec<f32> {
        kit.b.submit().expect("the device works");
        let ring = self.session.ring;
        let bytes = ring.offset..ring.offset + ring.layout.block_bytes(ring.rows);
        let page = |slot| kit.device().page(&self.session.kv.slots, slot as u32);
        let pages: Vec<_> = (0..self.step.segments).map(page).collect();
        pages.iter().flat_map(|page| page[bytes.clone()].iter().map(|&b| f32::from(b))).collect()
    }
}

/// The segment that leaves the whole window before a position in the ring.
fn window_before(start: usize, window: usize) -> (usize, usize, usize) {
    let tokens = start.min(window);
    (start - tokens, tokens, 1)
}

/// Random rows of attention; pages have no more than a few dozen different contents.
fn fill_pages(kit: &mut Kit, session: &mut Session, pages: usize) {
    let paged: PagedRows = session.rows.rows;
    let blocks: Vec<Vec<u8>> = (0..pages.min(61))
        .map(|_| {
            let mut block = vec![0; paged.block_bytes()];
            for row in 0..paged.rows_per_page() {
                let mut values = kit.numbers(512);
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

/// Picks spread over what is closed, as many as there may be; every third token has half of them.
fn picks(kit: &mut Kit, sizes: Sizes) -> Buffer<u32> {
    let Sizes { top_k, segments, .. } = sizes;
    let positions = segments.iter().flat_map(|&(start, len)| start..start + len);
    let mut picks = Vec::new();
    for (t, position) in positions.enumerate() {
        let closed = (position + 1) / 4;
        let all = closed.min(top_k);
        let used = if t % 3 == 2 { all.div_ceil(2) } else { all };
        picks.extend((0..used).map(|i| (i * closed / used) as u32));
        picks.extend(std::iter::repeat_n(NO_PICK, top_k - used));
    }
    kit.filled(picks.len() / top_k, top_k, &picks)
}

/// Every reach in packed and exact rows; then sizes that a device cuts differently: many tokens of
/// several sessions, heads and keys that fill no tile, two groups of heads, few tokens that see
/// much.
pub fn cases() -> Vec<Case> {
    let few = Sizes {
        format: RowFormat::Packed,
        reach: Reach::Window,
        heads: 16,
        context: 512,
        top_k: 32,
        segments: &[(100, 5), (500, 3)],
    };
    let reaches = [Reach::Window, Reach::All, Reach::Picked].into_iter();
    let mut all: Vec<Sizes> = reaches
        .flat_map(|reach| {
            let formats = [RowFormat::Packed, RowFormat::ExactF32].into_iter();
            formats.map(move |format| Sizes { reach, format, ..few })
        })
        .collect();
    let (picked, decode) = (Reach::Picked, &[(5, 1), (1500, 1), (2047, 1)]);
    let decode = Sizes { reach: picked, context: 2048, top_k: 512, segments: decode, ..few };
    let prefill: &[_] = &[(300, 131), (900, 1), (1, 2)];
    let prefill =
        Sizes { reach: picked, heads: 33, context: 1024, top_k: 72, segments: prefill, ..few };
    let long =
        Sizes { reach: Reach::All, context: 16_384, segments: &[(16_000, 1), (9_000, 2)], ..few };
    let groups: &[_] = &[(1, 40), (60, 70), (3000, 30)];
    let groups = Sizes { reach: Reach::All, heads: 70, context: 4096, segments: groups, ..few };
    all.extend([
        Sizes { heads: 5, format: RowFormat::RoundedF32, ..decode },
        Sizes { heads: 24, ..decode },
        Sizes { context: 65_536, ..decode },
        prefill,
        long,
        groups,
    ]);
    let case = |sizes: Sizes| {
        let Sizes { reach, format, heads, context, segments, .. } = sizes;
        let name = format!("attend {reach:?}, {format:?}, {heads} heads, {context}, {segments:?}");
        Case::new(name, 1e-5, move |kit: &mut Kit| {
            let mut scene = Scene::new(kit, sizes);
            scene.attend(kit);
            kit.read(&scene.out, scene.out.rows)
        })
    };
    all.into_iter().map(case).collect()
}
