//! Seeded inputs for cases: numbers, weights of any format, steps, and a session that has a past.
//!
//! Everything is made from one fixed seed by integer arithmetic, so two backends are given the same
//! bits. Nothing here computes what a case checks.

use gguf::{Bytes, Format};

use crate::ops::compress::CompressorPlace;
use crate::ops::kv::{PagedRows, Ring, RowKind};
use crate::{
    Backend, Buffer, Device, Element, KvPools, PAGE_TOKENS, RowFormat, RowLayout, Segment, Step,
    StepLimits, Weight, WeightSource,
};

/// A backend with a source of numbers that are the same on every backend.
pub struct Kit<'a> {
    /// The backend under test.
    pub b: &'a mut dyn Backend,
    state: u64,
}

const MEMORY: &str = "a case fits into memory";

impl<'a> Kit<'a> {
    /// A kit with the fixed seed.
    pub fn new(b: &'a mut dyn Backend) -> Kit<'a> {
        Kit { b, state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The backend's memory.
    pub fn device(&mut self) -> &mut dyn Device {
        &mut *self.b
    }

    /// SplitMix64 (Steele et al., 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A number within ±1.
    pub fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `count` numbers within ±1.
    pub fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    /// A buffer of random numbers.
    pub fn buffer(&mut self, rows: usize, width: usize) -> Buffer<f32> {
        let numbers = self.numbers(rows * width);
        self.filled(rows, width, &numbers)
    }

    /// A buffer of numbers that rounding to 8 bits does not change: whole 127ths, with a one among
    /// any 32 neighbours.
    pub fn whole(&mut self, rows: usize, width: usize) -> Buffer<f32> {
        let mut numbers: Vec<f32> =
            (0..rows * width).map(|_| (self.below(255) as f32 - 127.0) / 127.0).collect();
        for block in numbers.chunks_mut(32) {
            block[self.below(block.len())] = 1.0;
        }
        self.filled(rows, width, &numbers)
    }

    /// A buffer with given contents.
    pub fn filled<T: Element>(&mut self, rows: usize, width: usize, data: &[T]) -> Buffer<T> {
        let mut buffer = self.empty(rows, width);
        self.device().upload(&mut buffer, 0, data);
        buffer
    }

    /// A zeroed buffer.
    pub fn empty<T: Element>(&mut self, rows: usize, width: usize) -> Buffer<T> {
        self.device().reserve(rows, width).expect(MEMORY)
    }

    /// A random weight, valid in its format, of magnitudes around 1 / sqrt(cols).
    pub fn weight(&mut self, format: Format, count: usize, rows: usize, cols: usize) -> Weight {
        let row = format.row_bytes(cols).expect("whole blocks");
        let mut bytes = Vec::with_capacity(count * rows * row);
        let size = 1.0 / (cols as f32).sqrt();
        for _ in 0..count * rows {
            self.push_row(format, cols, size, &mut bytes);
        }
        let source = WeightSource { bytes: Bytes::from(bytes), format, count, rows, cols };
        self.device().weight(source).expect(MEMORY)
    }

    fn push_row(&mut self, format: Format, cols: usize, size: f32, out: &mut Vec<u8>) {
        let start = out.len();
        let row = format.row_bytes(cols).expect("whole blocks");
        if matches!(format, Format::F32 | Format::F16 | Format::Bf16) {
            let values: Vec<f32> = (0..cols).map(|_| self.number() * size).collect();
            out.resize(start + row, 0);
            format.encode(&values, &mut out[start..]);
            return;
        }
        // Random codes; scales set to sane values, whatever the codes around them are.
        let bytes = format.block_bytes();
        out.extend((0..row).map(|_| 0u8));
        for block in out[start..].chunks_exact_mut(bytes) {
            block.iter_mut().for_each(|b| *b = self.next() as u8);
            let (offsets, level): (&[usize], f32) = match format {
                Format::Q8_0 => (&[0], 100.0),
                Format::Q4_0 => (&[0], 6.0),
                Format::Q2K => (&[80, 82], 12.0),
                Format::Q3K => (&[108], 60.0),
                Format::Q4K => (&[0, 2], 300.0),
                Format::Q5K => (&[0, 2], 600.0),
                Format::Q6K => (&[208], 1500.0),
                Format::Iq2Xxs => (&[0], 60.0),
                Format::Mxfp4 => {
                    block[0] = (size / 3.0).log2().floor() as i32 as u8 ^ 0x80;
                    block[0] = block[0].wrapping_sub(1);
                    continue;
                }
                other => panic!("no random blocks of {}", other.name()),
            };
            for &at in offsets {
                let scale = size / level * (1.0 + 0.5 * self.number());
                block[at..at + 2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
            }
        }
    }

    /// Step tables for one step of the given segments: (start, tokens, outputs). Segment `i` is
    /// session `i`; see [`Kit::fill`] for its pages.
    pub fn step(&mut self, segments: &[(usize, usize, usize)]) -> Step {
        let rows = segments.iter().map(|s| s.1).sum();
        let context = segments.iter().map(|s| s.0 + s.1).max().unwrap_or(0);
        let limits =
            StepLimits { rows, segments: segments.len(), outputs: rows, context: context.max(1) };
        let mut step = Step::reserve(self.device(), limits).expect(MEMORY);
        self.fill(&mut step, segments);
        step
    }

    /// Rewrites step tables; token ids are random below 64.
    pub fn fill(&mut self, step: &mut Step, segments: &[(usize, usize, usize)]) {
        let pages = step.page_table.width as u32;
        let data: Vec<(Vec<u32>, Vec<u32>)> = segments
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let tokens = (0..s.1).map(|_| self.below(64) as u32).collect();
                // Neighbouring sessions' pages interleave, and none is in order.
                let own = (0..pages).map(|p| (pages - 1 - p) * segments.len() as u32 + i as u32);
                (tokens, own.collect())
            })
            .collect();
        let segments: Vec<Segment> = segments
            .iter()
            .zip(&data)
            .enumerate()
            .map(|(i, (s, (tokens, pages)))| Segment {
                slot: i as u32,
                pages,
                start: s.0,
                tokens,
                outputs: s.2,
            })
            .collect();
        step.fill(self.device(), segments);
    }

    /// Reads the first `rows` rows of a result.
    pub fn read<T: Element>(&mut self, buffer: &Buffer<T>, rows: usize) -> Vec<T> {
        self.b.submit().expect("the device works");
        self.device().download(buffer, 0, rows)
    }

    /// Reads picks as numbers.
    pub fn read_picks(&mut self, buffer: &Buffer<u32>, rows: usize) -> Vec<f32> {
        self.read(buffer, rows).into_iter().map(|pick| pick as f32).collect()
    }
}

/// KV state of one layer for a few sessions, at the published head widths.
pub struct Session {
    /// Both pools, with every page the context needs.
    pub kv: KvPools,
    /// The raw window.
    pub ring: Ring,
    /// The compressor of attention rows.
    pub rows: CompressorPlace,
    /// The compressor of indexer rows.
    pub index: CompressorPlace,
}

impl Session {
    /// State for `sessions` sessions of up to `context` tokens; `ratio` 4 or 128.
    pub fn new(
        kit: &mut Kit,
        format: RowFormat,
        ratio: usize,
        sessions: usize,
        context: usize,
    ) -> Session {
        let attention = RowKind::Attention { plain: 448, rotary: 64 };
        let attention = RowLayout { kind: attention, format };
        let indexer = RowLayout { kind: RowKind::Indexer { dim: 128 }, format };
        let overlap = if ratio == 4 { 2 } else { 1 };
        let ring = Ring { layout: attention, offset: 0, rows: 128 };
        let place = |layout, frontier, offset| CompressorPlace {
            frontier,
            overlap,
            rows: PagedRows { layout, offset, ratio },
        };
        let rows = place(attention, attention.block_bytes(ring.rows), 0);
        let after = rows.frontier + rows.frontier_bytes();
        let index = place(indexer, after, rows.rows.block_bytes());
        let slot_bytes = after + index.frontier_bytes();
        let page_bytes = rows.rows.block_bytes() + index.rows.block_bytes();
        let mut kv =
            KvPools { slots: kit.device().pool(slot_bytes), pages: kit.device().pool(page_bytes) };
        kit.device().grow(&mut kv.slots, sessions).expect(MEMORY);
        let pages = sessions * context.div_ceil(PAGE_TOKENS);
        kit.device().grow(&mut kv.pages, pages).expect(MEMORY);
        Session { kv, ring, rows, index }
    }
}
