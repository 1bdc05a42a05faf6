//! The fast CPU backend: the reference's memory, worked on by a pool of pinned threads with the
//! machine's vector instructions.
//!
//! Memory is held by the reference backend, since there is nothing to gain in holding it twice. The
//! families' `cpu_simd.rs` files compute; a family without one is computed by the reference. All
//! memory that an operation needs besides its buffers stays in [`Scratch`] and [`Own`] and is used
//! again, so that a decode step allocates nothing once it has run.

use std::ops::Range;
use std::sync::Mutex;

use super::pool::{Pool, Threads};
use super::{Cpu, Level};
use crate::ops::{compress, experts, hyper, kv, linear};
use crate::{Backend, Buffer, Device, Element, Error, Reserved, WeightSource};

/// The fast CPU backend.
pub struct CpuSimd {
    pub(crate) cpu: Cpu,
    workers: Workers,
    scratch: Scratch,
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
    /// Rows on their way into a block.
    pub kv: kv::cpu_simd::Scratch,
    /// The compressors.
    pub compress: compress::cpu_simd::Scratch,
}

impl CpuSimd {
    /// A backend on these threads, at the given level.
    pub fn new(threads: &Threads, level: Level) -> CpuSimd {
        let pool = Pool::new(threads);
        let own = || Own { level, panel: Default::default(), floats: Vec::new() };
        let own = (0..pool.workers()).map(|_| Mutex::new(own())).collect();
        let workers = Workers { pool, own };
        CpuSimd { cpu: Cpu::new(), workers, scratch: Scratch::default() }
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
        let CpuSimd { cpu, workers, scratch } = self;
        cpu.edit(buffer, |cpu, data| compute(cpu, workers, scratch, data));
    }
}

impl Workers {
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

    fn download_bytes(&mut self, id: usize, offset: usize, out: &mut [u8]) {
        self.cpu.download_bytes(id, offset, out);
    }

    fn load_weight(&mut self, source: WeightSource) -> Result<usize, Error> {
        self.cpu.load_weight(source)
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

    fn reserved(&self) -> Reserved {
        self.cpu.reserved()
    }

    fn submit(&mut self) -> Result<(), Error> {
        self.cpu.submit()
    }

    fn mark_bytes(&mut self, layer: usize, name: &'static str, id: usize, bytes: usize) {
        self.cpu.mark_bytes(layer, name, id, bytes);
    }
}
