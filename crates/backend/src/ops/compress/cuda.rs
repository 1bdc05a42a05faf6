//! The compressors on CUDA: one launch for a few tokens, which the rest of what waits for the same
//! products may share; for many, rows first, then the frontier.
//!
//! See `compress.cuh` for what a block of threads does, `keep.cu` for what shares a launch.

use super::{Compress, Compressor};
use crate::cuda::kernels::{Unit, Values};
use crate::cuda::{COMMON, Cuda, ROWS, values, words};
use crate::ops::fused::{Fed, Normed};
use crate::ops::kv::cuda::{LAYOUT, NORMED, layout_values};
use crate::ops::kv::{RowBlock, RowKind, RowLayout};
use crate::ops::linear::cuda::FEW_TOKENS;
use crate::ops::linear::rounded::Activations;
use crate::ops::norm::cuda::fours;
use crate::{Buffer, KvPools, Step};

/// Compressors to rows of one layout.
pub static COMPRESS: Unit = Unit {
    family: "compress",
    name: "compress",
    source: &[COMMON, ROWS, SEGMENT, include_str!("compress.cu")],
    parameters: LAYOUT,
    kernels: &["compress", "keep_frontier", "compress_few"],
};

/// Compressors to rows of attention and of the indexer, with the latents of a layer.
pub static KEEP: Unit = Unit {
    family: "compress",
    name: "keep",
    source: &[
        COMMON,
        "enum { WIDEST = PLAIN + ROTARY > DIM ? PLAIN + ROTARY : DIM };\n",
        "#define KIND 0\nnamespace own {\n",
        ROWS,
        NORMED,
        SEGMENT,
        "}\n#undef KIND\n#undef PLAIN\n#undef ROTARY\n",
        "#define KIND 1\n#define PLAIN (DIM / 2)\n#define ROTARY (DIM / 2)\nnamespace index {\n",
        ROWS,
        SEGMENT,
        "}\n",
        include_str!("keep.cu"),
    ],
    parameters: &["PACKED", "ROUNDED", "PLAIN", "ROTARY", "DIM"],
    kernels: &["keep"],
};

/// What both units share.
const SEGMENT: &str = include_str!("compress.cuh");
/// Words of `Places` in compress.cuh, and threads of a block for a few tokens.
const PLACE_WORDS: usize = 15;
const FEW_THREADS: u32 = 512;

/// What a layer's latents and compressors share: attention's rows have one layout, the indexer's
/// may have another of the same format.
fn keep_values(own: RowLayout, fed: &[Fed]) -> Option<Values> {
    let layout = |fed: &Fed| fed.compressor.place.rows.layout;
    let RowKind::Attention { plain, rotary } = own.kind else { return None };
    let dim = match fed {
        [first] if layout(first) == own => plain + rotary,
        [first, second] if layout(first) == own && layout(second).format == own.format => {
            let RowKind::Indexer { dim } = layout(second).kind else { return None };
            dim
        }
        _ => return None,
    };
    let [_, packed, rounded, ..] = layout_values(own);
    Some(values(&[packed as usize, rounded as usize, plain, rotary, dim]))
}

impl Cuda {
    /// A compressor, and what the step brings it, in the order of `Places` in compress.cuh, which
    /// packs two 32-bit numbers into a word.
    fn places(&self, fed: &Fed, step: &Step, kv: &KvPools) -> [u64; PLACE_WORDS] {
        let &Fed { ref compressor, values, gates } = fed;
        let place = compressor.place;
        let pair = |low: usize, high: usize| words![low][0] | words![high][0] << 32;
        let ((slots, slot_bytes), (pages, page_bytes)) =
            (self.pages(&kv.slots), self.pages(&kv.pages));
        *words![
            self.at(values),
            self.at(gates),
            self.at(compressor.ape),
            self.at(compressor.norm),
            self.at(compressor.frequencies),
            self.at(&step.page_table),
            slots,
            pages,
            slot_bytes as u64,
            page_bytes as u64,
            place.frontier as u64,
            place.rows.offset as u64,
            pair(step.page_table.width, place.rows.ratio),
            pair(place.overlap, compressor.frequencies.width),
            compressor.rms_eps
        ]
    }

    /// Latents and compressors in one launch, if there are few tokens, one or two compressors, and
    /// rows of one format: `true` if that was done.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn keep(
        &mut self,
        query: &mut Normed,
        row: &mut Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        fed: &[Fed],
        step: &Step,
        kv: &KvPools,
    ) -> bool {
        let (tokens, segments) = (step.rows, step.segments);
        let few = tokens <= FEW_TOKENS;
        let Some(values) = keep_values(fresh.layout, fed).filter(|_| few) else { return false };
        let mut list: Vec<u64> = fed.iter().flat_map(|fed| self.places(fed, step, kv)).collect();
        list.resize(2 * PLACE_WORDS, 0);
        let (x, weight, eps) = (self.at(row.x), self.at(row.norm.weight), row.norm.eps);
        let (out, pairs) = (self.edit(row.out), angles.width / 2);
        let (bytes, capacity) = (self.edit(&mut fresh.bytes), fresh.rows);
        let fours = fours(query.x.width);
        let (qx, qweight, qeps) = (self.at(query.x), self.at(query.norm.weight), query.norm.eps);
        let Activations { codes, steps, halves, floats, .. } = self.edit_rounded(query.out, tokens);
        let (angles, table) = (self.at(angles), self.at(&step.segment_table));
        let args = words![
            table,
            segments,
            fed.len(),
            tokens,
            x,
            weight,
            out,
            eps,
            angles,
            bytes,
            capacity,
            pairs,
            qx,
            qweight,
            floats,
            qeps,
            codes,
            steps,
            halves,
            fours
        ];
        let grid = [fed.len() * segments + 2 * tokens, 1, 1];
        self.record_list((&KEEP, values, "keep"), grid, (FEW_THREADS, 0), &list, args);
        true
    }
}

impl Compress for Cuda {
    fn compress_raw(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    ) {
        let place = compressor.place;
        let layout = layout_values(place.rows.layout);
        let (ratio, overlap) = (place.rows.ratio, place.overlap);
        let fed = Fed { compressor: *compressor, values, gates };
        let places = &self.places(&fed, step, kv);
        let (args, segments) = (words![self.at(&step.segment_table)], step.segments);
        if step.rows <= FEW_TOKENS {
            let unit = (&COMPRESS, layout, "compress_few");
            return self.record_list(unit, [1, segments, 1], (FEW_THREADS, 0), places, args);
        }
        // One window more than tokens fill: the first may have been begun before.
        let grid = [step.rows / ratio + 1, segments, 1];
        self.record_list((&COMPRESS, layout, "compress"), grid, (128, 0), places, args);
        let grid = [(ratio * overlap).min(step.rows), segments, 1];
        self.record_list((&COMPRESS, layout, "keep_frontier"), grid, (256, 0), places, args);
    }
}
