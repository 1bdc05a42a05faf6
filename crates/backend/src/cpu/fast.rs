//! The fast CPU backend: the reference's memory, worked on by a pool of pinned threads with the
//! machine's vector instructions.
//!
//! Memory is held by the reference backend, since there is nothing to gain in holding it twice. The
//! families' `cpu_simd.rs` files compute. All memory that an operation needs besides its buffers
//! stays in [`Scratch`] and [`Own`] and is used again, so that a decode step allocates nothing once
//! it has run.

use std::ops::Range;
use std::sync::Mutex;

use gguf::Format;

use super::pool::{Pool, Threads};
use super::{Cpu, Level};
use crate::ops::linear::packed::Packed;
use crate::ops::{attend, compress, experts, hyper, index, kv, linear};
use crate::{Backend, Buffer, Device, Element, Error, Reserved, WeightSource};

/// The fast CPU backend.
pub struct CpuSimd {
    pub(crate) cpu: Cpu,
    workers: Workers,
    scratch: Scratch,
    /// Bytes that repacked weights may still take.
    repack_bytes_left: usize,
}

/// Threads, each with memory of its own.
pub(crate) struct Workers {
    pool: Pool,
    own: Vec<Mutex<Own>>,
}

/// What one worker computes with, used again and again.
pub(crate) struct Own {
    /// The instruction set.
    pub level: Level,
    /// Sixteen decoded rows of a weight.
    pub panel: linear::panel::Panel,
    /// Floats.
    pub floats: Vec<f32>,
    /// Decoded rows of a tile.
    pub rows: attend::cpu_simd::Rows,
    /// Scores of a tile.
    pub scores: index::cpu_simd::Scores,
}

/// What operations keep between their passes, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Matrix products.
    pub matmul: linear::cpu_simd::Scratch,
    /// The experts.
    pub experts: experts::cpu_simd::Scratch,
    /// The hyper-connections.
    pub hyper: hyper::cpu_simd::Scratch,
    /// Attention.
    pub attend: attend::cpu_simd::Scratch,
    /// The indexer.
    pub index: index::cpu_simd::Scratch,
    /// Rows on their way into a block.
    pub kv: kv::cpu_simd::Scratch,
    /// The compressors.
    pub compress: compress::cpu_simd::Scratch,
}

impl CpuSimd {
    /// A backend on these threads, at the given level.
    pub fn new(threads: &Threads, level: Level) -> CpuSimd {
        let pool = Pool::new(threads);
        let own = || Own {
            level,
            panel: Default::default(),
            floats: Vec::new(),
            rows: Default::default(),
            scores: Default::default(),
        };
        let own = (0..pool.workers()).map(|_| Mutex::new(own())).collect();
        let workers = Workers { pool, own };
        let (cpu, scratch) = (Cpu::new(), Scratch::default());
        CpuSimd { cpu, workers, scratch, repack_bytes_left: 0 }
    }

    /// Allows weights to be held a second time, in the order in which they are multiplied, with at
    /// most so many bytes. It changes no result.
    pub fn repacking(self, bytes_max: usize) -> CpuSimd {
        CpuSimd { repack_bytes_left: bytes_max, ..self }
    }

    /// Repacks a weight that was just loaded, if it pays and fits.
    fn repack(&mut self, id: usize) {
        let CpuSimd { cpu, workers, scratch, repack_bytes_left } = self;
        let packed = &mut scratch.matmul.packed;
        packed.resize_with(id + 1, || None);
        let (matrix, count) = cpu.loaded(id);
        let bytes = Packed::bytes(matrix.rows, matrix.cols);
        if matrix.format == Format::Q8_0 && count == 1 && bytes <= *repack_bytes_left {
            packed[id] = Packed::new(workers, matrix);
            *repack_bytes_left -= packed[id].as_ref().map_or(0, Packed::len);
        }
    }

    /// Memory, threads and scratch, for operations whose results go to pages.
    pub(crate) fn parts(&mut self) -> (&mut Cpu, &mut Workers, &mut Scratch) {
        (&mut self.cpu, &mut self.workers, &mut self.scratch)
    }

    /// Computes into a buffer while reading others.
    pub(crate) fn edit<T: Element>(
        &mut self,
        buffer: &mut Buffer<T>,
        compute: impl FnOnce(&Cpu, &mut Workers, &mut Scratch, &mut [T]),
    ) {
        let CpuSimd { cpu, workers, scratch, .. } = self;
        cpu.edit(buffer, |cpu, data| compute(cpu, workers, scratch, data));
    }
}

impl Workers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.workers()
    }

    /// Runs a task on each chunk of `data`: `task(own memory, number, chunk)`.
    pub fn chunks<T: Send>(
        &mut self,
        data: &mut [T],
        chunk: usize,
        task: &(dyn Fn(&mut Own, usize, &mut [T]) + Sync),
    ) {
        let own = &self.own;
        self.pool.chunks(data, chunk, &|worker, i, data| {
            task(&mut own[worker].lock().expect(UNSHARED), i, data);
        });
    }

    /// Runs a task on each of `count` pieces of `data`.
    pub fn pieces<T: Send>(
        &mut self,
        data: &mut [T],
        count: usize,
        range: &(dyn Fn(usize) -> Range<usize> + Sync),
        task: &(dyn Fn(&mut Own, usize, &mut [T]) + Sync),
    ) {
        let own = &self.own;
        self.pool.pieces(data, count, range, &|worker, i, data| {
            task(&mut own[worker].lock().expect(UNSHARED), i, data);
        });
    }
}

const UNSHARED: &str = "only its worker locks it, and a panic ends the step";

impl Backend for CpuSimd {}

impl Device for CpuSimd {
    fn describe(&self) -> String {
        let own = self.workers.own[0].lock().expect(UNSHARED);
        format!("CPU, {} threads, {}", self.workers.pool.workers(), own.level.name())
    }

    fn rounds_activations(&self) -> bool {
        true
    }

    fn reserve_bytes(&mut self, bytes: usize) -> Result<usize, Error> {
        self.cpu.reserve_bytes(bytes)
    }

    fn upload_bytes(&mut self, id: usize, offset: usize, data: &[u8]) {
        self.cpu.upload_bytes(id, offset, data);
    }

    fn download_bytes(
        &mut self,
        id: usize,
        offset: usize,
        outs: &mut dyn Iterator<Item = &mut [u8]>,
    ) {
        self.cpu.download_bytes(id, offset, outs);
    }

    fn load_weight(&mut self, source: WeightSource) -> Result<usize, Error> {
        let id = self.cpu.load_weight(source)?;
        self.repack(id);
        Ok(id)
    }

    fn open_pool(&mut self, page_bytes: usize) -> usize {
        self.cpu.open_pool(page_bytes)
    }

    fn grow_pool(&mut self, id: usize, pages: usize) -> Result<(), Error> {
        self.cpu.grow_pool(id, pages)
    }

    fn read_page(&mut self, id: usize, page: u32, offset: usize, out: &mut [u8]) {
        self.cpu.read_page(id, page, offset, out);
    }

    fn write_page(&mut self, id: usize, page: u32, offset: usize, data: &[u8]) {
        self.cpu.write_page(id, page, offset, data);
    }

    fn copy_page(&mut self, id: usize, from: u32, to: u32, ranges: &[Range<usize>]) {
        self.cpu.copy_page(id, from, to, ranges);
    }

    fn reserved(&self) -> Reserved {
        let repacked = self.scratch.matmul.packed.iter().flatten().map(Packed::len).sum::<usize>();
        let reserved = self.cpu.reserved();
        Reserved { weights: reserved.weights + repacked, ..reserved }
    }

    fn submit(&mut self) -> Result<(), Error> {
        self.cpu.submit()
    }

    fn mark_bytes(&mut self, layer: usize, name: &'static str, id: usize, bytes: usize) {
        self.cpu.mark_bytes(layer, name, id, bytes);
    }
}
