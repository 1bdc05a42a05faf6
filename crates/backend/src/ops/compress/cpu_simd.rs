//! Fast compressors: a window is a task, its channels are vectors.
//!
//! Windows that close in the step are listed first, whichever segment they belong to. A window goes
//! twice through its tokens, oldest first and row by row: once for the largest `z` of every
//! channel, once for the sums of the weights and of the weighted values (fused). A token of the
//! step is read from the operands, where `z` is still `gate + ape`, an older one from the frontier,
//! which holds that very sum: where a step begins changes nothing. The sum of squares of the norm
//! is `dot`'s, rotation is the reference's. A finished row is a block of one row, copied to its
//! page once all windows have been read; then the frontiers move on, each once, since a session has
//! one segment in a step.

use super::{Compress, Compressor, CompressorPlace};
use crate::cpu::Cpu;
use crate::cpu::fast::{CpuSimd, Own};
use crate::cpu::simd::{Kernel, LANES, Simd, exp, padded, vector, vector_mut};
use crate::ops::norm::cpu_simd::rms_scale;
use crate::ops::rope::{Direction, cpu as rope};
use crate::{Buffer, KvPools, SegmentRow, Step};

/// Tokens whose windows are one task: some microseconds of work.
const TOKENS_PER_TASK: usize = 16;

/// Memory of a compressor, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    closing: Vec<Closing>,
    /// Finished rows, `[windows, row_bytes]`.
    records: Vec<u8>,
}

/// A window that closes in this step.
#[derive(Clone, Copy)]
struct Closing {
    segment: usize,
    window: usize,
}

/// Lists the windows that close in a step.
fn list_closing(segments: &[SegmentRow], ratio: usize, closing: &mut Vec<Closing>) {
    closing.clear();
    for (segment, row) in segments.iter().enumerate() {
        let (start, len) = (row.start as usize, row.len as usize);
        let windows = start / ratio..(start + len) / ratio;
        closing.extend(windows.map(|window| Closing { segment, window }));
    }
}

/// Where the entries of one segment are.
struct Entries<'a> {
    place: CompressorPlace,
    /// Position of the segment's first token.
    start: usize,
    /// `[len, width]`.
    values: &'a [f32],
    /// `[len, width]`, without `ape`.
    gates: &'a [f32],
    /// `[r, width]`.
    ape: &'a [f32],
    /// `[ring, 2, width]`.
    frontier: &'a [f32],
}

/// `c` channels of one token.
struct Entry<'a> {
    v: &'a [f32],
    z: &'a [f32],
    /// To be added to `z`, unless that was done.
    ape: Option<&'a [f32]>,
}

impl Entry<'_> {
    /// `z` of up to sixteen channels.
    #[inline(always)]
    fn z<S: Simd>(&self, at: usize, len: usize) -> S::F {
        let z = padded::<S>(&self.z[at..][..len]);
        match self.ape {
            Some(ape) => S::add(z, padded::<S>(&ape[at..][..len])),
            None => z,
        }
    }
}

impl<'a> Entries<'a> {
    fn of(
        cpu: &'a Cpu,
        compressor: &Compressor,
        (values, gates): (&Buffer<f32>, &Buffer<f32>),
        segment: SegmentRow,
        frontier: &'a [f32],
    ) -> Entries<'a> {
        let place = compressor.place;
        let SegmentRow { start, first_row, len, .. } = segment;
        let width = place.width();
        let rows = first_row as usize * width..(first_row + len) as usize * width;
        Entries {
            place,
            start: start as usize,
            values: &cpu.data(values)[rows.clone()],
            gates: &cpu.data(gates)[rows],
            ape: cpu.data(compressor.ape),
            frontier,
        }
    }

    /// Windows that a window's row is made of, the first perhaps none, and the own one.
    fn windows(&self, window: usize) -> std::ops::Range<usize> {
        window - (self.place.overlap - 1).min(window)..window + 1
    }

    /// Token `t` of window `from`, the channels that it adds to the row of window `window`.
    #[inline(always)]
    fn at(&self, from: usize, t: usize, window: usize) -> Entry<'a> {
        let (c, width, ratio) =
            (self.place.rows.layout.width(), self.place.width(), self.place.rows.ratio);
        let column = if from == window { width - c } else { 0 };
        match (from * ratio + t).checked_sub(self.start) {
            Some(i) => Entry {
                v: &self.values[i * width + column..][..c],
                z: &self.gates[i * width + column..][..c],
                ape: Some(&self.ape[t * width + column..][..c]),
            },
            None => {
                let row = from % self.place.overlap * ratio + t;
                let row = &self.frontier[row * 2 * width..][..2 * width];
                Entry { v: &row[column..][..c], z: &row[width + column..][..c], ape: None }
            }
        }
    }
}

/// The pooled and normed row of a window.
struct PoolWindow<'a> {
    entries: Entries<'a>,
    window: usize,
    norm: &'a [f32],
    eps: f32,
    /// The result, then sums and largest values: `[3, c]`, `c` rounded up to whole vectors.
    scratch: &'a mut [f32],
}

impl Kernel for PoolWindow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let PoolWindow { entries, window, norm, eps, scratch } = self;
        let (c, ratio) = (norm.len(), entries.place.rows.ratio);
        let (row, rest) = scratch.split_at_mut(scratch.len() / 3);
        let (totals, largest) = rest.split_at_mut(row.len());
        row.fill(0.0);
        totals.fill(0.0);
        largest.fill(f32::NEG_INFINITY);
        for from in entries.windows(window) {
            for t in 0..ratio {
                let entry = entries.at(from, t, window);
                for at in (0..c).step_by(LANES) {
                    let largest = vector_mut(largest, at);
                    // NaN is passed over here and arrives by its weight.
                    let z = entry.z::<S>(at, LANES.min(c - at));
                    S::store(S::max(z, S::load(largest)), largest);
                }
            }
        }
        for from in entries.windows(window) {
            for t in 0..ratio {
                let entry = entries.at(from, t, window);
                for at in (0..c).step_by(LANES) {
                    let len = LANES.min(c - at);
                    let (row, total) = (vector_mut(row, at), vector_mut(totals, at));
                    let below = S::sub(entry.z::<S>(at, len), S::load(vector(largest, at)));
                    let (weight, v) = (exp::<S>(below), padded::<S>(&entry.v[at..][..len]));
                    S::store(S::add(S::load(total), weight), total);
                    S::store(S::fma(weight, v, S::load(row)), row);
                }
            }
        }
        for at in (0..c).step_by(LANES) {
            let row = vector_mut(row, at);
            S::store(S::div(S::load(row), S::load(vector(totals, at))), row);
        }
        let scale = rms_scale::<S>(&row[..c], eps);
        row.iter_mut().zip(norm).for_each(|(v, norm)| *v *= scale * norm);
    }
}

/// Computes the row of a closed window into `record`, a block of one row.
fn emit(
    own: &mut Own,
    cpu: &Cpu,
    compressor: &Compressor,
    entries: Entries,
    window: usize,
    record: &mut [u8],
) {
    let rows = compressor.place.rows;
    let c = rows.layout.width();
    let (norm, frequencies) = (cpu.data(compressor.norm), cpu.data(compressor.frequencies));
    let padded = 3 * c.next_multiple_of(LANES);
    own.floats.resize(padded + 2 * frequencies.len(), 0.0);
    let (scratch, angles) = own.floats.split_at_mut(padded);
    let eps = compressor.rms_eps;
    own.level.run(PoolWindow { entries, window, norm, eps, scratch: &mut *scratch });
    rope::angles(window * rows.ratio, frequencies, angles);
    rope::rotate(&mut scratch[..c], angles, Direction::Forward);
    rows.layout.store(record, 1, 0, &mut scratch[..c]);
}

/// Puts the newest tokens of a segment, at most a ring of them, into its frontier.
fn advance(entries: &Entries, frontier: &mut [f32]) {
    let Entries { place, start, values, gates, ape, .. } = entries;
    let (width, ring, ratio) = (place.width(), place.ring(), place.rows.ratio);
    let len = values.len() / width;
    for i in len.saturating_sub(ring)..len {
        let entry = &mut frontier[(start + i) % ring * 2 * width..][..2 * width];
        let (v, z) = entry.split_at_mut(width);
        v.copy_from_slice(&values[i * width..][..width]);
        let ape = &ape[(start + i) % ratio * width..];
        for ((z, gate), ape) in z.iter_mut().zip(&gates[i * width..]).zip(ape) {
            *z = gate + ape;
        }
    }
}

impl Compress for CpuSimd {
    fn compress_raw(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    ) {
        let (place, operands) = (compressor.place, (values, gates));
        let frontier_range = place.frontier..place.frontier + place.frontier_bytes();
        let (cpu, workers, scratch) = self.parts();
        let Scratch { closing, records } = &mut scratch.compress;
        list_closing(cpu.segments(step), place.rows.ratio, closing);
        let record = place.rows.layout.row_bytes();
        records.resize(closing.len() * record, 0);
        let (shared, slots, closing) = (&*cpu, &kv.slots, &*closing);
        let per_task = (TOKENS_PER_TASK / place.rows.ratio).max(1);
        workers.chunks(records, per_task * record, &|own, task, records| {
            let closing = &closing[task * per_task..];
            for (record, closing) in records.chunks_exact_mut(record).zip(closing) {
                let segment = shared.segments(step)[closing.segment];
                let frontier = &shared.page(slots, segment.slot)[frontier_range.clone()];
                let frontier = bytemuck::cast_slice(frontier);
                let entries = Entries::of(shared, compressor, operands, segment, frontier);
                emit(own, shared, compressor, entries, closing.window, record);
            }
        });
        for (record, closing) in records.chunks_exact(record).zip(closing) {
            let (entry, index) = place.rows.place(closing.window);
            let page = cpu.page_table(step, closing.segment)[entry];
            let block = &mut cpu.page_mut(&mut kv.pages, page)[place.rows.offset..];
            let to = (block, place.rows.rows_per_page(), index);
            place.rows.layout.copy((record, 1, 0), to);
        }
        for s in 0..step.segments {
            let segment = cpu.segments(step)[s];
            cpu.edit_page(&mut kv.slots, segment.slot, |cpu, page| {
                let entries = Entries::of(cpu, compressor, operands, segment, &[]);
                advance(&entries, bytemuck::cast_slice_mut(&mut page[frontier_range.clone()]));
            });
        }
    }
}
