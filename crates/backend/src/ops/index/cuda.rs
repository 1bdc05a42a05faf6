//! The indexer on CUDA: which rows are picked, in one launch.
//!
//! Packed rows are scored on tensor cores (`tile.cuh`). With few tokens all blocks share the rows
//! of each, and the last to end selects (`parts.cu`); with many a block walks all rows that its
//! tokens see and keeps candidates, so that scores are never written (`walk.cu`). Other rows, which
//! no published model needs, are scored by plain sums (`score.cu`) and selected from by a second
//! kernel (`pick.cu`), some tokens after the other.

use super::Index;
use crate::cuda::driver::Address;
use crate::cuda::kernels::{Unit, Values};
use crate::cuda::{COMMON, Cuda, ROWS, units, values, words};
use crate::ops::kv::cuda::{KV, LAYOUT, LAYOUT_HEADS, layout_heads_values, layout_values};
use crate::ops::kv::{PagedRows, RowFormat, RowKind, RowLayout};
use crate::{Buffer, KvPools, PAGE_TOKENS, Step};

/// Scores as whole numbers.
const KEYS: &str = include_str!("keys.cuh");
/// The largest of them.
const SELECT: &str = include_str!("select.cuh");
/// Scores on tensor cores.
const TILE: &str = include_str!("tile.cuh");

/// Rows of one layout that are picked for few tokens.
pub static PARTS: Unit = Unit {
    family: "index",
    name: "pick_parts",
    source: &[
        COMMON,
        ROWS,
        units::SHARED,
        units::SLOTS,
        units::MMA,
        KEYS,
        SELECT,
        TILE,
        include_str!("parts.cu"),
    ],
    parameters: LAYOUT_HEADS,
    kernels: &["pick_parts"],
};

/// Rows of one layout that are picked for many tokens.
pub static WALK: Unit = Unit {
    family: "index",
    name: "pick_walk",
    source: &[
        COMMON,
        ROWS,
        units::SHARED,
        units::SLOTS,
        units::MMA,
        KEYS,
        "#define THREADS 256\n",
        TILE,
        include_str!("walk.cu"),
    ],
    parameters: LAYOUT_HEADS,
    kernels: &["pick_walk"],
};

/// Scores of rows of one layout, by plain sums.
pub static SCORE: Unit = Unit {
    family: "index",
    name: "score",
    source: &[COMMON, ROWS, KEYS, include_str!("score.cu")],
    parameters: LAYOUT,
    kernels: &["score"],
};

/// The selection from them.
pub static PICK: Unit = Unit {
    family: "index",
    name: "pick",
    source: &[COMMON, KEYS, SELECT, include_str!("pick.cu")],
    parameters: &[],
    kernels: &["pick"],
};

/// Most bytes of scores of the plain kernel that are kept at once.
const SCORES_MAX: usize = 64 << 20;
/// Keys of a token that a selection keeps in shared memory: those of 64k tokens.
const KEPT_MAX: usize = 16 << 10;
/// Rows of a block of the plain kernel.
const PLAIN_ROWS: usize = 32;
/// Channels of rows that tensor cores can score, and of what heads are padded to a multiple.
const TILE_WIDTH: usize = 128;
const TILE_HEADS: usize = 64;
/// Threads of a block that selects.
const SELECTING: u32 = 512;
/// Shared memory of the selection besides what it is given.
const SELECT_BYTES: usize = 8 << 10;
/// Most bytes of keys that blocks of `parts.cu` leave to the last of a token.
const PARTS_MAX: usize = 64 << 20;
/// Rows that a group of its warps scores at once, the stretches of keys that are counted, and the
/// candidates that are kept, or fewer where there is less memory.
const GROUP_ROWS: usize = 64;
const STRETCHES: usize = 4096;
const CANDIDATES: [usize; 2] = [16 << 10, 6 << 10];
/// Threads of a block that walks, rows at once, and blocks wanted on one multiprocessor.
const WALKING: u32 = 256;
const WALK_ROWS: usize = 256;
const WALK_BLOCKS: usize = 2;
/// Shared memory of one besides what it is given.
const WALK_BYTES: usize = 1 << 10;
/// Most tokens that a block walks for, and candidates of one beyond those that are picked.
const WALK_TOKENS: usize = 4;
const BEYOND: usize = 512;
/// Arguments that kernels which score have in common, and most of one.
const COMMON_ARGS: usize = 13;
const ARGS_MAX: usize = 20;

/// What every kernel that scores is given.
struct Job {
    /// Arguments up to the scale of scores.
    args: [u64; COMMON_ARGS],
    layout: RowLayout,
    positions: Address,
    picks: Address,
    tokens: usize,
    heads: usize,
    top_k: usize,
    ratio: usize,
    /// Rows of a session with as many tokens as one may have, as a multiple of four.
    rows: usize,
}

impl Cuda {
    /// Rounds the heads of queries, after they are rotated by angles, if there are some.
    pub(crate) fn round_heads(
        &mut self,
        layout: RowLayout,
        q: &mut Buffer<f32>,
        angles: Option<&Buffer<f32>>,
        rows: usize,
    ) {
        let heads = q.width / layout.width();
        let (angles, pairs) = angles.map_or((0, 0), |angles| (self.at(angles), angles.width / 2));
        let all = rows * heads;
        let args = words![self.edit(q), angles, all, heads, pairs];
        // A warp takes a head of so many channels, and a block four of them.
        let by_warp = layout.kind == RowKind::Indexer { dim: 128 };
        let blocks = if by_warp { all.div_ceil(4) } else { all };
        self.record((&KV, layout_values(layout), "round_heads"), [blocks, 1, 1], 128, args);
    }
}

impl Index for Cuda {
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        if layout.format == RowFormat::ExactF32 {
            return;
        }
        self.round_heads(layout, q, None, rows);
    }

    fn index_pick_raw(
        &mut self,
        paged: PagedRows,
        q: &Buffer<f32>,
        weights: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
        picks: &mut Buffer<u32>,
    ) {
        let (heads, top_k, ratio) = (weights.width, picks.width, paged.ratio);
        let (pages, page_bytes) = self.pages(&kv.pages);
        assert!(page_bytes.is_multiple_of(16), "pages of {page_bytes} bytes");
        let (positions, owners) = (self.at(&step.positions), self.at(&step.owners));
        let (table, width) = (self.at(&step.page_table), step.page_table.width);
        let (page_bytes, offset) = (page_bytes as u64, paged.offset as u64);
        let scale = 1.0 / ((heads * paged.layout.width()) as f32).sqrt();
        let (q, weights, picks) = (self.at(q), self.at(weights), self.edit(picks));
        let args = *words![
            q, weights, positions, owners, table, width, pages, page_bytes, offset, ratio, heads,
            top_k, scale
        ];
        let rows = (width * PAGE_TOKENS / ratio).next_multiple_of(4);
        let (layout, tokens) = (paged.layout, step.rows);
        let job = Job { args, layout, positions, picks, tokens, heads, top_k, ratio, rows };
        let tile = layout.format == RowFormat::Packed && layout.width() == TILE_WIDTH;
        if !(tile && (self.pick_parts(&job) || self.pick_walk(&job))) {
            self.pick_plain(&job);
        }
    }
}

impl Job {
    /// All arguments of a kernel, if these are its last; beyond them zeros.
    fn args(&self, last: &[u64]) -> [u64; ARGS_MAX] {
        let mut args = [0; ARGS_MAX];
        args[..COMMON_ARGS].copy_from_slice(&self.args);
        args[COMMON_ARGS..][..last.len()].copy_from_slice(last);
        args
    }

    /// Heads of a query in shared memory.
    fn padded_heads(&self) -> usize {
        self.heads.next_multiple_of(TILE_HEADS)
    }

    /// Bytes of a query there, and of its weights.
    fn query_bytes(&self) -> usize {
        self.padded_heads() * (2 * TILE_WIDTH + 4)
    }

    /// What kernels on tensor cores are compiled for.
    fn values(&self) -> Values {
        layout_heads_values(self.layout, self.padded_heads())
    }
}

impl Cuda {
    /// Picks for few tokens, if what blocks leave to each other and keep has a place.
    fn pick_parts(&mut self, job: &Job) -> bool {
        let &Job { tokens, rows, .. } = job;
        let shared = |kept: usize| job.query_bytes() + 4 * STRETCHES + 8 * kept;
        let fits = |kept: &usize| self.has_shared(1, shared(*kept) + SELECT_BYTES);
        let Some(room) = CANDIDATES.into_iter().find(fits) else { return false };
        if tokens > 2 * self.processors() {
            return false;
        }
        let at_once = (PARTS_MAX / (4 * rows)).clamp(1, tokens);
        let keys = self.scratch("keys", 4 * at_once * rows);
        let counts = self.scratch("key counts", 4 * at_once * (STRETCHES + 1));
        let ended = counts + (4 * at_once * STRETCHES) as Address;
        for first in (0..tokens).step_by(at_once) {
            let count = at_once.min(tokens - first);
            let parts = (self.processors() / count).clamp(1, rows.div_ceil(GROUP_ROWS));
            let args = job.args(words![job.picks, keys, counts, ended, rows, room, first]);
            let kernel = (&PARTS, job.values(), "pick_parts");
            self.record_shared(kernel, [parts, count, 1], (SELECTING, shared(room)), &args);
        }
        true
    }

    /// Picks for many tokens, if there is a place for the candidates of one.
    fn pick_walk(&mut self, job: &Job) -> bool {
        let room = (job.top_k + BEYOND).next_multiple_of(WALK_ROWS);
        let shared =
            |each: usize| WALK_TOKENS * (job.query_bytes() + 8 * WALK_ROWS) + each * 8 * room;
        let wanted = (job.tokens / (WALK_BLOCKS * self.processors())).clamp(1, WALK_TOKENS);
        let fits = |each: &usize| self.has_shared(1, shared(*each) + WALK_BYTES);
        let Some(each) = (1..=wanted).rev().find(fits) else { return false };
        let args = job.args(words![job.picks, job.tokens, each, room]);
        let kernel = (&WALK, job.values(), "pick_walk");
        let grid = [job.tokens.div_ceil(each), 1, 1];
        self.record_shared(kernel, grid, (WALKING, shared(each)), &args);
        true
    }

    /// Picks among rows of any layout, for so many tokens at once that their scores fit where the
    /// selection finds them without going to memory.
    fn pick_plain(&mut self, job: &Job) {
        let &Job { positions, picks, tokens, top_k, ratio, rows, .. } = job;
        let at_once = (SCORES_MAX / (4 * rows)).clamp(1, tokens);
        let keys = self.scratch("scores", at_once * rows * 4);
        let room = rows.min(KEPT_MAX);
        for first in (0..tokens).step_by(at_once) {
            let count = at_once.min(tokens - first);
            let args = job.args(words![keys, rows, first]);
            let score = (&SCORE, layout_values(job.layout), "score");
            self.record(score, [rows.div_ceil(PLAIN_ROWS), count, 1], 256, &args);
            let args = words![keys, positions, ratio, top_k, picks, rows, first, room];
            let pick = (&PICK, values(&[]), "pick");
            self.record_shared(pick, [count, 1, 1], (SELECTING, 4 * room), args);
        }
    }
}
