//! Hyper-connections on CUDA: one product for the coefficients, then one block of threads per
//! token; or, for four streams, all of it by clusters of blocks, with the spread before it: one for
//! each of few tokens, or as many as there is room for, which take eight of many tokens at once.
//!
//! The product is taken with the raw streams; the norm is a factor per token, which is found while
//! the streams are in hand.

use gguf::Format;

use super::{Hyper, HyperMix, HyperSettings};
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, Kernel, units, values, words};
use crate::ops::fused::NormWeight;
use crate::ops::linear::cuda::{FEW_TOKENS, Product, TF32};
use crate::ops::linear::rounded::{Activations, is_float, rounded_bytes};
use crate::ops::linear::twofold::TWOFOLD_TEXT;
use crate::ops::norm::cuda::{fours, threads};
use crate::{Buffer, Step};

/// Hyper-connections.
pub static HYPER: Unit = Unit {
    family: "hyper",
    name: "hyper",
    source: &[COMMON, FOUR, include_str!("hyper.cu")],
    parameters: &[],
    kernels: &["hyper_mix", "hyper_spread", "hyper_gather", "hyper_head"],
};

/// The same by clusters of blocks.
pub static CLUSTER: Unit = Unit {
    family: "hyper",
    name: "cluster",
    source: &[
        COMMON,
        units::WEIGHTS,
        units::SHARED,
        units::CLUSTER,
        FOUR,
        include_str!("cluster.cu"),
    ],
    parameters: &["FORMAT"],
    kernels: &["cluster_turn"],
};

/// The same for many tokens.
pub static MANY: Unit = Unit {
    family: "hyper",
    name: "many",
    source: &[
        COMMON,
        units::WEIGHTS,
        units::SHARED,
        units::CLUSTER,
        TF32,
        units::BF16,
        TWOFOLD_TEXT,
        FOUR,
        include_str!("many.cu"),
    ],
    parameters: &["FORMAT", "PIECES"],
    kernels: &["turn_many"],
};

/// What they share.
const FOUR: &str = include_str!("four.cuh");

/// Blocks of a cluster, and their threads; see cluster.cu.
const RANKS: usize = 8;
const CLUSTER_THREADS: u32 = 256;
/// Chunks of the matrix that wait in shared memory for each of them.
const LATE: usize = 16;

/// Numbers of 16 bits that a value of a stream is, for a matrix of such numbers.
fn parts(format: Format) -> Option<usize> {
    match format {
        Format::F16 => Some(2),
        Format::Bf16 => Some(3),
        _ => None,
    }
}

/// Shared memory of a block: its channels of the streams and of the norm, those of the streams
/// again in parts, and coefficients.
fn cluster_bytes(streams: usize, d: usize, parts: usize) -> usize {
    ((streams + 1) * 4 + streams * parts * 2) * d / RANKS + LATE * CLUSTER_THREADS as usize * 16
}

/// What it has besides: sums, see `Shared` in cluster.cu.
const CLUSTER_SUMS: usize = 2560;

/// Threads of a block that takes many tokens, tokens that its cluster takes at once, channels of a
/// piece, and most pieces; see many.cu.
const MANY_THREADS: u32 = 544;
const TOGETHER: usize = 8;
const PIECE: usize = 2048;
const PIECES_MAX: usize = 2;

/// Shared memory of a block, as `Pool` in many.cu has it: matrix, pieces that are on their way,
/// sums of warps and of blocks, tokens in BF16 and their gates, weights of the norm, and the rest.
fn many_bytes(pieces: usize) -> usize {
    let threads = MANY_THREADS as usize - 32;
    let joined = TOGETHER * 27;
    let channels = pieces * PIECE / RANKS;
    pieces * 12 * threads * 8
        + 2 * 5 * threads * 16
        + (threads / 32 + 2 * RANKS) * joined * 4
        + 2 * TOGETHER * (channels * 2 + 5 * 16)
        + channels * 4
        + 8 * 28 * 4
        + 28 * 4
        + 2 * 8
}

/// Most streams that the kernels have room for.
const STREAMS_MAX: usize = 8;

impl Cuda {
    /// `W h` for raw streams at `h`; where the products are.
    fn coefficients(&mut self, mix: &HyperMix, h: Address, rows: usize) -> Address {
        let (out_width, width) = (mix.matrix.rows, mix.matrix.cols);
        let out = self.scratch("stream products", rows * out_width * 4);
        let x = if is_float(self.stored(&mix.matrix).format) {
            Activations { floats: h, ..Activations::default() }
        } else if self.in_tiles(&mix.matrix, 1, rows) {
            self.bf16_values(h, rows * width)
        } else {
            let at = self.scratch("rounded streams", rounded_bytes(rows, width));
            self.round(h, at, rows, width)
        };
        self.multiply(Product { weight: &mix.matrix, groups: 1, x, out, tokens: rows });
        out
    }

    /// The shared memory of blocks, if clusters of them do it.
    fn turns_by_cluster(
        &self,
        mix: &HyperMix,
        streams: usize,
        d: usize,
        rows: usize,
    ) -> Option<usize> {
        let bytes = cluster_bytes(streams, d, parts(self.stored(&mix.matrix).format)?);
        let fits = self.has_clusters() && self.has_shared(1, bytes + CLUSTER_SUMS);
        let taken = rows <= FEW_TOKENS && streams == 4 && d.is_multiple_of(32 * RANKS);
        (fits && taken).then_some(bytes)
    }

    /// What kernel takes many tokens in one pass, and its blocks, if one does.
    fn turns_many(
        &mut self,
        mix: &HyperMix,
        streams: usize,
        d: usize,
        rows: usize,
    ) -> Option<(Kernel, [usize; 3], (u32, usize))> {
        let (pieces, format) = (d / PIECE, self.stored(&mix.matrix).format);
        let bytes = many_bytes(pieces);
        let fits = rows > FEW_TOKENS
            && streams == 4
            && d.is_multiple_of(PIECE)
            && (1..=PIECES_MAX).contains(&pieces)
            && matches!(format, Format::F16 | Format::Bf16)
            && self.has_clusters()
            && self.has_shared(1, bytes);
        if !fits {
            return None;
        }
        let unit = (&MANY, values(&[self.stored(&mix.matrix).code(), pieces]), "turn_many");
        let clusters = self.clusters_at_once(unit, RANKS, (MANY_THREADS, bytes));
        let clusters = clusters.min(rows.div_ceil(TOGETHER));
        Some((unit, [RANKS * clusters, 1, 1], (MANY_THREADS, bytes)))
    }

    /// The read of the streams at `h`, after `y` was spread over them, if it is said; and if there
    /// is a norm and somewhere to put its result, the norm.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn turn_streams(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        y: Option<&Buffer<f32>>,
        h: Address,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        norm: Option<(NormWeight, &mut Buffer<f32>)>,
        rows: usize,
    ) {
        let HyperSettings { streams: n, iterations, eps, rms_eps } = settings;
        assert!(n <= STREAMS_MAX, "{n} streams");
        let d = x.width;
        if let Some((unit, grid, block)) = self.turns_many(mix, n, d, rows) {
            let (base, scale, plane) =
                (self.at(&mix.base), self.at(&mix.scale), self.stored(&mix.matrix).planes[0]);
            let y = y.map_or(0, |y| self.at(y));
            let (gates, x) = (self.edit(gates), self.edit(x));
            let (weight, norm_eps, to) = norm.map_or((0, 0.0, [0; 4]), |(norm, normed)| {
                (self.at(norm.weight), norm.eps, self.edit_copied(normed, rows))
            });
            let [floats, bf16, twofold, factors] = to;
            let args = words![
                plane, base, scale, h, y, gates, x, rows, iterations, eps, rms_eps, weight,
                norm_eps, floats, bf16, twofold, factors
            ];
            self.reading(&mix.matrix, 1);
            return self.record_shared(unit, grid, block, args);
        }
        let by_cluster = self.turns_by_cluster(mix, n, d, rows);
        if let (Some(y), None) = (y, by_cluster) {
            self.spread(gates, y, h, n, rows);
        }
        let m = if by_cluster.is_some() { 0 } else { self.coefficients(mix, h, rows) };
        let (base, scale) = (self.at(&mix.base), self.at(&mix.scale));
        let (gates, x) = (self.edit(gates), self.edit(x));
        let (weight, norm_eps, to) = match norm {
            Some((NormWeight { weight, eps }, normed)) => {
                (self.at(weight), eps, self.edit_rounded(normed, rows))
            }
            None => (0, 0.0, Activations::default()),
        };
        let Activations { codes, steps, halves, floats, .. } = to;
        if let Some(bytes) = by_cluster {
            let matrix = self.stored(&mix.matrix);
            let (plane, code) = (matrix.planes[0], matrix.code());
            let y = y.map_or(0, |y| self.at(y));
            let args = words![
                plane, base, scale, h, y, gates, x, d, iterations, eps, rms_eps, weight, norm_eps,
                floats, codes, steps, halves
            ];
            let unit = (&CLUSTER, values(&[code]), "cluster_turn");
            self.reading(&mix.matrix, 1);
            return self.record_shared(unit, [RANKS * rows, 1, 1], (CLUSTER_THREADS, bytes), args);
        }
        let args = words![
            m, base, scale, h, gates, x, n, d, iterations, eps, rms_eps, weight, norm_eps, floats,
            codes, steps, halves
        ];
        // Few tokens leave processors free: the gates are made beside the rest.
        let parts = if rows <= FEW_TOKENS { 2 } else { 1 };
        let unit = (&HYPER, values(&[]), "hyper_mix");
        self.record(unit, [rows, parts, 1], threads(d), args);
    }

    /// Where rows of a buffer are written, and what many of them are multiplied from: BF16, and two
    /// F16 each with their factors.
    fn edit_copied(&mut self, x: &mut Buffer<f32>, rows: usize) -> [Address; 4] {
        let floats = self.edit(x);
        let bf16 = self.bf16_place(x, rows * x.width);
        let (twofold, factors) = self.twofold_place(x, rows);
        [floats, bf16, twofold, factors]
    }

    /// The spread of `y` over the `n` streams at `h`.
    fn spread(&mut self, gates: &Buffer<f32>, y: &Buffer<f32>, h: Address, n: usize, rows: usize) {
        assert!(n <= STREAMS_MAX, "{n} streams");
        let fours = fours(y.width);
        let args = words![self.at(gates), self.at(y), h, n, fours];
        let grid = [fours.div_ceil(128), rows, 1];
        self.record((&HYPER, values(&[]), "hyper_spread"), grid, 128, args);
    }
}

impl Hyper for Cuda {
    fn hyper_mix_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        rows: usize,
    ) {
        let h = self.at(streams);
        self.turn_streams(mix, settings, None, h, gates, x, None, rows);
    }

    fn hyper_spread_raw(
        &mut self,
        gates: &Buffer<f32>,
        y: &Buffer<f32>,
        streams: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (n, h) = (streams.width / y.width, self.edit(streams));
        self.spread(gates, y, h, n, rows);
    }

    fn hyper_head_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        step: &Step,
        x: &mut Buffer<f32>,
    ) {
        let HyperSettings { streams: n, eps, rms_eps, .. } = settings;
        assert!(n <= STREAMS_MAX, "{n} streams");
        let (rows, width) = (step.outputs, streams.width);
        let h = self.scratch("gathered streams", rows * width * 4);
        let args = words![self.at(streams), self.at(&step.output_rows), h, width];
        self.record((&HYPER, values(&[]), "hyper_gather"), [rows, 1, 1], 1024, args);
        let m = self.coefficients(mix, h, rows);
        let (base, scale) = (self.at(&mix.base), self.at(&mix.scale));
        let args = words![m, base, scale, h, self.edit(x), n, x.width, eps, rms_eps];
        self.record((&HYPER, values(&[]), "hyper_head"), [rows, 1, 1], 1024, args);
    }
}
