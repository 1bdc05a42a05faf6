//! Attention of many tokens on Hopper, on CUDA: norm and rotation of queries, attention, rotation
//! back, and what the next product takes, in one launch; see many.cu.
//!
//! It is for so many tokens that every processor has some: fewer are cut into parts.

use super::Visible;
use super::cuda::PACKED;
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, ROWS, units, words};
use crate::ops::kv::cuda::{LAYOUT_HEADS, layout_heads_values};
use crate::ops::kv::{RowFormat, RowKind, RowLayout};
use crate::{Buffer, KvPools, Step};

/// Attention over packed rows of one layout, for 64 heads at a time.
pub static ATTEND_MANY: Unit = Unit {
    family: "attend",
    name: "attend_many",
    source: &[
        COMMON,
        ROWS,
        units::SHARED,
        units::SLOTS,
        units::MMA,
        super::cuda::SEEN,
        PACKED,
        include_str!("many.cuh"),
        include_str!("bring.cuh"),
        include_str!("many.cu"),
    ],
    parameters: LAYOUT_HEADS,
    kernels: &["attend_many"],
};

/// Heads of a block, and its threads; see many.cuh.
const HEADS: usize = 64;
const THREADS: u32 = 512;
/// Its shared memory: queries as two BF16, rows of 64 keys as one, what threads give each other,
/// where rows are, and barriers.
const BYTES: usize = (2 * HEADS + 64) * 512 * 2 + (16 << 10) + (1 << 10) + 2 * 64 * 24 + 128;

/// What is done to queries before, and to heads after.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around {
    pub angles: Address,
    pub eps: f32,
}

/// Where heads are written: as floats, as BF16 for a product, or both.
#[derive(Clone, Copy, Default)]
pub(crate) struct Written {
    pub floats: Address,
    pub bf16: Address,
}

impl Cuda {
    /// Whether attention of `rows` tokens goes this way.
    pub(crate) fn attends_many(&self, layout: RowLayout, rows: usize, heads: usize) -> bool {
        let sizes = matches!(layout.kind, RowKind::Attention { plain: 448, rotary: 64 });
        let packed = layout.format == RowFormat::Packed;
        // Half as many as would be in parts.
        let many = 2 * rows * heads.div_ceil(HEADS) > self.processors();
        self.gpu.capability == 90
            && sizes
            && packed
            && many
            && heads > HEADS / 2
            && self.has_shared(1, BYTES)
    }

    /// Attends this way; norms and rotates queries before, and heads back after, if there are
    /// angles.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn attend_many(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        around: Around,
        to: Written,
    ) {
        let (layout, heads) = (visible.fresh.layout, sinks.width);
        self.assert_aligned(visible, kv);
        let mut args = vec![self.at(q)];
        args.extend(self.call_arguments(visible, step, kv));
        let Around { angles, eps } = around;
        let Written { floats, bf16 } = to;
        args.extend(words![step.rows, heads, self.at(sinks), floats, bf16, angles, eps]);
        let blocks = (step.rows * heads.div_ceil(HEADS)).min(self.processors());
        let unit = (&ATTEND_MANY, layout_heads_values(layout, HEADS), "attend_many");
        self.record_shared(unit, [blocks, 1, 1], (THREADS, BYTES), &args);
    }
}
