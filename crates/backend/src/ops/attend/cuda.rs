//! Attention on CUDA: parts of what a token sees, then their union.
//!
//! Packed rows are multiplied on tensor cores (`tile.cu`, on Hopper also `many.cu` for many
//! tokens), rows of floats by plain sums (`attend.cu`). For as few tokens as leave processors free,
//! where blocks can be in clusters, all is one launch, which begins with the queries as their
//! product left them (`cluster.cu`).
//!
//! How many parts there are is decided from reserved sizes and the number of tokens, never from
//! positions, so that a decoding step is the same list of launches every time; the device makes
//! them as long as what the token sees demands (`seen.cuh`).

use super::many::{Around, Written};
use super::{Attend, Beyond, Visible};
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, ROWS, units, words};
use crate::ops::kv::cuda::{LAYOUT, LAYOUT_HEADS, layout_heads_values, layout_values};
use crate::ops::kv::{Kv, RowFormat, RowKind, RowLayout};
use crate::ops::linear::rounded::Activations;
use crate::{Buffer, KvPools, PAGE_TOKENS, Step};

/// What a query sees.
pub(crate) const SEEN: &str = include_str!("seen.cuh");

/// Attention over rows of one layout, by plain sums; and the union of parts.
pub static ATTEND: Unit = Unit {
    family: "attend",
    name: "attend",
    source: &[COMMON, ROWS, SEEN, include_str!("attend.cu")],
    parameters: LAYOUT,
    kernels: &["attend", "merge"],
};

/// Attention over packed rows of one layout, on tensor cores, for 16 or 32 heads at a time.
pub static ATTEND_TILE: Unit = Unit {
    family: "attend",
    name: "attend_tile",
    source: &[COMMON, ROWS, units::SHARED, units::MMA, SEEN, PACKED, include_str!("tile.cu")],
    parameters: LAYOUT_HEADS,
    kernels: &["attend_tile"],
};

/// The same by clusters of blocks, for 8 or 16 heads at a time.
pub static ATTEND_CLUSTER: Unit = Unit {
    family: "attend",
    name: "attend_cluster",
    source: &[
        COMMON,
        ROWS,
        units::SHARED,
        units::CLUSTER,
        units::MMA,
        SEEN,
        PACKED,
        include_str!("cluster.cu"),
    ],
    parameters: LAYOUT_HEADS,
    kernels: &["attend_cluster"],
};

/// Packed rows on their way to tensor cores.
pub(crate) const PACKED: &str = include_str!("packed.cuh");

/// Heads of a block of the plain kernel.
const PLAIN_HEADS: usize = 8;
/// Fewest keys of a part: each costs a row of results.
const KEYS_MIN: usize = 32;
/// Parts of a token at most.
const PARTS_MAX: usize = 256;
/// Blocks that each multiprocessor should have.
const BLOCKS: usize = 2;

/// Blocks of a cluster, their threads, and keys that each takes in a turn; see cluster.cu.
const RANKS: usize = 8;
const CLUSTER_KEYS: usize = 96;
const CLUSTER_THREADS: u32 = 768;
/// Turns of a cluster beyond which parts of their own are faster, since there are more of them.
const TURNS_MAX: usize = 5;

/// How a call is cut into blocks.
#[derive(Clone, Copy)]
struct Cut {
    /// Heads of a block.
    heads: usize,
    /// Blocks of a token's keys.
    parts: usize,
}

/// The rows beyond the window, as kernels take them: `beyond` in seen.cuh is the kind.
struct Compressed {
    kind: u32,
    offset: u64,
    ratio: usize,
    picks: Address,
    top_k: usize,
}

/// What is done to heads and rows after attention.
#[derive(Clone, Copy, Default)]
pub(crate) struct After {
    angles: Address,
    pairs: usize,
    slots: Address,
    slot_bytes: usize,
}

/// Shared memory of a block on tensor cores: queries twice in BF16, 32 rows of keys, scores, and a
/// number per head and key.
fn tile_bytes(heads: usize, width: usize) -> usize {
    2 * heads * width * 2 + KEYS_MIN * width * 2 + (16 << 10) + 4 * (heads + KEYS_MIN)
}

/// The same of a block of a cluster: see `Pool` in cluster.cu.
fn cluster_bytes(heads: usize, width: usize) -> usize {
    let (joined, padded) = (RANKS * heads / 8, CLUSTER_KEYS + 8);
    let bf16 = (2 * heads + CLUSTER_KEYS) * width + 2 * heads * padded;
    let floats = joined * (width + 2) + RANKS * heads * padded + heads + CLUSTER_KEYS;
    let coming = 16;
    2 * bf16 + 4 * floats + coming
}

impl Cuda {
    /// The cut for `rows` tokens of `heads` heads that see at most `keys` keys. Many heads in a
    /// block decode rows less often; few of them are more blocks, as long as there are too few.
    fn cut(&self, layout: RowLayout, rows: usize, heads: usize, keys: usize) -> Cut {
        let wanted = BLOCKS * self.processors();
        let (blocks, most) = (|of: usize| rows * heads.div_ceil(of), keys.div_ceil(KEYS_MIN));
        let fits = self.has_shared(BLOCKS, tile_bytes(32, layout.width()));
        let of = match layout.format {
            RowFormat::Packed if heads > 16 && fits && blocks(16) * most > wanted => 32,
            RowFormat::Packed => 16,
            _ => PLAIN_HEADS,
        };
        let parts = (wanted / blocks(of)).clamp(1, most.min(PARTS_MAX));
        Cut { heads: of, parts }
    }

    /// The arguments that both kernels share; see `CALL_ARGUMENTS` in `seen.cuh`.
    pub(crate) fn call_arguments(&self, visible: &Visible, step: &Step, kv: &KvPools) -> Vec<u64> {
        let Visible { fresh, ring, beyond } = visible;
        let Compressed { kind, offset, ratio, picks, top_k } = self.compressed(beyond);
        let (slots, slot_bytes) = self.pages(&kv.slots);
        let (pages, page_bytes) = self.pages(&kv.pages);
        let (positions, owners) = (self.at(&step.positions), self.at(&step.owners));
        let (segments, table) = (self.at(&step.segment_table), self.at(&step.page_table));
        let (table_width, bytes) = (step.page_table.width, self.at(&fresh.bytes));
        words![
            positions,
            owners,
            segments,
            table,
            table_width,
            bytes,
            fresh.rows,
            slots,
            slot_bytes as u64,
            ring.offset as u64,
            ring.rows,
            pages,
            page_bytes as u64,
            offset,
            ratio,
            picks,
            top_k,
            kind
        ]
        .to_vec()
    }

    fn compressed(&self, beyond: &Beyond) -> Compressed {
        let (kind, paged, picks, top_k) = match beyond {
            Beyond::Nothing => (0, None, 0, 0),
            Beyond::All(paged) => (1, Some(paged), 0, 0),
            Beyond::Picked(paged, picks) => (2, Some(paged), self.at(picks), picks.width),
        };
        let (offset, ratio) = paged.map_or((0, 1), |paged| (paged.offset as u64, paged.ratio));
        Compressed { kind, offset, ratio, picks, top_k }
    }

    /// Joins parts `at` to `out`. What is after attention is done on the way, if it is said.
    fn merge(
        &mut self,
        (layout, cut, at): (RowLayout, Cut, Address),
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        out: Activations,
        after: Option<After>,
    ) {
        let Compressed { kind, ratio, picks, top_k, .. } = self.compressed(&visible.beyond);
        let (heads, ring, parts) = (sinks.width, visible.ring.rows, cut.parts);
        let (sinks, positions) = (self.at(sinks), self.at(&step.positions));
        let (owners, segments) = (self.at(&step.owners), self.at(&step.segment_table));
        let (fresh, capacity) = (self.at(&visible.fresh.bytes), visible.fresh.rows);
        let keeps = usize::from(after.is_some());
        let After { angles, pairs, slots, slot_bytes } = after.unwrap_or_default();
        let Activations { codes, steps, halves, floats, .. } = out;
        let args = words![
            at,
            sinks,
            positions,
            picks,
            ratio,
            ring,
            top_k,
            kind,
            heads,
            parts,
            floats,
            angles,
            pairs,
            codes,
            steps,
            halves,
            owners,
            segments,
            fresh,
            capacity,
            slots,
            slot_bytes as u64,
            visible.ring.offset as u64
        ];
        let unit = (&ATTEND, layout_values(layout), "merge");
        let block = ((layout.width() / 4) as u32, 4 * parts);
        self.record_shared(unit, [step.rows, heads + keeps, 1], block, args);
    }

    /// Kernels that take packed rows load sixteen bytes at once.
    pub(crate) fn assert_aligned(&self, visible: &Visible, kv: &KvPools) {
        for bytes in [self.pages(&kv.slots).1, self.pages(&kv.pages).1, visible.ring.offset] {
            assert!(bytes.is_multiple_of(16), "rows at a multiple of {bytes} bytes");
        }
    }

    /// Attention, and what is after it, if it is said and there are parts to join: `true` if that
    /// was done.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn attend_then(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
        after: Option<After>,
    ) -> bool {
        let layout = visible.fresh.layout;
        let (heads, width, rows) = (sinks.width, layout.width(), step.rows);
        assert!(width.is_multiple_of(64), "{width} channels");
        self.assert_aligned(visible, kv);
        if self.attends_many(layout, rows, heads) {
            let to = Written { floats: self.edit(out), bf16: 0 };
            self.attend_many(q, sinks, visible, step, kv, Around::default(), to);
            return false;
        }
        let cut = self.cut(layout, rows, heads, keys_max(visible, step));
        let partial = rows * heads * cut.parts * (width + 4) * 4;
        let packed = layout.format == RowFormat::Packed;
        let whole = packed && cut.parts == 1;
        let at = self.scratch("attention parts", if whole { 16 } else { partial });
        let grid = [rows, heads.div_ceil(cut.heads), cut.parts];
        let mut args = vec![self.at(q)];
        args.extend(self.call_arguments(visible, step, kv));
        args.extend(words![heads, cut.parts]);
        let out = match after {
            Some(_) if !whole => self.edit_rounded(out, rows),
            _ => Activations { floats: self.edit(out), ..Activations::default() },
        };
        if packed {
            args.extend(words![self.at(sinks), at, out.floats]);
            let unit = (&ATTEND_TILE, layout_heads_values(layout, cut.heads), "attend_tile");
            self.record_shared(unit, grid, (256, tile_bytes(cut.heads, width)), &args);
        } else {
            args.push(at);
            self.record((&ATTEND, layout_values(layout), "attend"), grid, 256, &args);
        }
        if !whole {
            self.merge((layout, cut, at), sinks, visible, step, out, after);
        }
        !whole
    }

    /// Everything that `attend_keep` stands for in one launch, if blocks can be in clusters, rows
    /// are packed, and there are so few tokens and keys that every block has a processor to itself
    /// and is soon done: `true` if that was done. Rows of segments of several tokens are kept by a
    /// launch of their own, since a row may take the place of one that a token before it sees.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn attend_by_cluster(
        &mut self,
        (q, eps): (&Buffer<f32>, f32),
        sinks: &Buffer<f32>,
        visible: &Visible,
        angles: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
        out: &mut Buffer<f32>,
    ) -> bool {
        let layout = visible.fresh.layout;
        let RowKind::Attention { rotary, .. } = layout.kind else { return false };
        let (heads, width, rows) = (sinks.width, layout.width(), step.rows);
        let blocks = |of: &usize| RANKS * heads.div_ceil(*of) * rows;
        // A cluster lies within a group of processors, so some of them stay without a block.
        let most = self.processors() * 3 / 4;
        let fits = |of: &usize| blocks(of) <= most && self.has_shared(1, cluster_bytes(*of, width));
        let turns = keys_max(visible, step).div_ceil(RANKS * CLUSTER_KEYS);
        let taken =
            layout.format == RowFormat::Packed && angles.width == rotary && turns <= TURNS_MAX;
        let of = [8, 16].into_iter().find(fits);
        let Some(of) = of.filter(|_| taken && self.has_clusters()) else { return false };
        let alone = rows == step.segments;
        let mut args = vec![self.at(q)];
        args.extend(self.call_arguments(visible, step, kv));
        let (sinks, angles) = (self.at(sinks), self.at(angles));
        let Activations { codes, steps, halves, floats, .. } = self.edit_rounded(out, rows);
        let keeping = u32::from(alone);
        args.extend(words![heads, sinks, floats, eps, angles, codes, steps, halves, keeping]);
        let unit = (&ATTEND_CLUSTER, layout_heads_values(layout, of), "attend_cluster");
        let block = (CLUSTER_THREADS, cluster_bytes(of, width));
        self.record_shared(unit, [RANKS, heads.div_ceil(of), rows], block, &args);
        if !alone {
            self.keep_window_raw(visible.fresh, visible.ring, step, kv);
        }
        true
    }

    /// What is after attention: the rows of the step are kept, and heads rotated back.
    pub(crate) fn after(&self, angles: &Buffer<f32>, kv: &KvPools) -> After {
        let (slots, slot_bytes) = self.pages(&kv.slots);
        After { angles: self.at(angles), pairs: angles.width / 2, slots, slot_bytes }
    }
}

/// The most keys that any token of this or a later step may see.
fn keys_max(visible: &Visible, step: &Step) -> usize {
    let context = step.page_table.width * PAGE_TOKENS;
    visible.ring.rows
        + match &visible.beyond {
            Beyond::Nothing => 0,
            Beyond::All(paged) => context / paged.ratio,
            Beyond::Picked(paged, picks) => picks.width.min(context / paged.ratio),
        }
}

impl Attend for Cuda {
    fn attend_raw(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    ) {
        self.attend_then(q, sinks, visible, step, kv, out, None);
    }
}
