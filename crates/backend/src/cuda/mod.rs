//! Plumbing of the CUDA backend: memory, recorded launches, graphs. Arithmetic is in
//! `ops/*/cuda.rs` (what is launched) and `ops/*/*.cu` (the kernels).
//!
//! Operations append launches to a list. [`Device::submit`] runs it: a list that was seen before,
//! equal in every argument, is replayed as one graph, which costs the host a single call. That
//! works because everything that changes from step to step lies in device buffers, so a decoding
//! session repeats its list token after token. The first launches of a step are a list of their
//! own, so that the device computes them while the others are recorded.
//!
//! An error inside a step is kept and reported by `submit`; what follows it is not launched.

pub mod driver;
pub mod kernels;
pub mod nvrtc;
mod trace;
mod transfer;
pub mod units;
pub mod weights;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use rustc_hash::FxHashMap;

use driver::{Address, Function, Gpu, Graph, Growing, Launch, Memory, WORDS_MAX};
use kernels::{CodeCache, Kernels, Unit, Values};
use trace::Trace;
use weights::Stored;

use crate::ops::linear::rounded::Rounded;
use crate::{
    Backend, Buffer, Device, Element, Error, KernelTime, Pool, Reserved, Weight, WeightSource,
};

/// Source that every unit begins with.
pub const COMMON: &str = include_str!("common.cuh");
/// Source of units that read or write KV rows.
pub const ROWS: &str = include_str!("rows.cuh");

/// How fast memory is.
pub static READ: Unit = Unit {
    family: "device",
    name: "read",
    source: &[COMMON, include_str!("read.cu")],
    parameters: &[],
    kernels: &["read"],
};

/// How to open a CUDA device.
#[derive(Default)]
pub struct CudaOptions {
    /// Which one, as the driver counts them.
    pub ordinal: usize,
    /// Where compiled kernels are kept.
    pub cache: Option<Box<dyn CodeCache>>,
    /// The compiler's library, if it is not where libraries are looked for.
    pub compiler: Option<PathBuf>,
}

/// A CUDA device. Fields are dropped in order: graphs before the memory that they name.
pub struct Cuda {
    recorded: Vec<Launch>,
    /// Whether a part of what will be submitted is running already.
    begun: bool,
    graphs: Vec<(Vec<Launch>, Graph)>,
    /// The last lists that ran without a graph, the newest last.
    seen: VecDeque<Vec<Launch>>,
    buffers: Vec<Memory>,
    weights: Vec<Stored>,
    pools: Vec<PagePool>,
    pub(crate) rounded: Rounded,
    /// Memory that operations compute in, by what for.
    scratch: FxHashMap<&'static str, Memory>,
    kernels: Kernels,
    /// Dynamic shared memory that kernels may have, in bytes.
    allowed: FxHashMap<Function, usize>,
    failed: Option<Error>,
    /// Times of kernels, if they are wanted.
    trace: Option<Trace>,
    /// Bytes of weights that the next launch reads, for people.
    reading: u64,
    pub(crate) gpu: Gpu,
}

struct PagePool {
    memory: Option<Growing>,
    page_bytes: usize,
    pages: usize,
}

/// A kernel: its unit, what that is compiled for, and its name.
pub(crate) type Kernel = (&'static Unit, Values, &'static str);

/// Shared memory that the device takes for itself from every block.
const SHARED_TAKEN: usize = 1 << 10;

/// Graphs that are kept; the oldest goes first.
const GRAPHS_MAX: usize = 32;
/// Lists that are remembered, to know one that comes again: those of two steps.
const SEEN_MAX: usize = 4;
/// Launches that the device is given at once when a step begins: it is busy with them until the
/// rest is recorded.
const HEAD: usize = 64;

/// An argument of a kernel, as the low bytes of a word.
pub(crate) trait Word {
    /// Those bytes.
    fn word(self) -> u64;
}

impl Word for Address {
    fn word(self) -> u64 {
        self
    }
}

impl Word for u32 {
    fn word(self) -> u64 {
        u64::from(self)
    }
}

/// Counts and sizes go as 32-bit numbers.
impl Word for usize {
    fn word(self) -> u64 {
        u64::from(u32::try_from(self).expect("a count fits 32 bits"))
    }
}

impl Word for f32 {
    fn word(self) -> u64 {
        u64::from(self.to_bits())
    }
}

/// The arguments of a launch.
macro_rules! words {
    ($($value:expr),* $(,)?) => { &[$($crate::cuda::Word::word($value)),*] };
}
pub(crate) use words;

/// Values of a unit's parameters, in their order.
pub(crate) fn values(given: &[usize]) -> Values {
    let mut values = Values::default();
    for (value, given) in values.iter_mut().zip(given) {
        *value = *given as u32;
    }
    values
}

impl Cuda {
    /// Opens a device.
    ///
    /// # Errors
    /// No driver, no such device, or one that is too old.
    pub fn open(options: CudaOptions) -> Result<Cuda, Error> {
        let gpu = Gpu::open(options.ordinal)?;
        Ok(Cuda {
            recorded: Vec::new(),
            begun: false,
            graphs: Vec::new(),
            seen: VecDeque::new(),
            buffers: Vec::new(),
            weights: Vec::new(),
            pools: Vec::new(),
            rounded: Rounded::default(),
            scratch: FxHashMap::default(),
            kernels: Kernels::new(options.cache, options.compiler),
            allowed: FxHashMap::default(),
            failed: None,
            trace: None,
            reading: 0,
            gpu,
        })
    }

    /// Bytes of device memory that are free, and that there are.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        self.gpu.memory()
    }

    /// Multiprocessors of the device.
    pub(crate) fn processors(&self) -> usize {
        self.gpu.processors
    }

    /// Whether blocks can be in clusters, which share their memory.
    pub(crate) fn has_clusters(&self) -> bool {
        self.gpu.capability >= 90
    }

    /// Whether four warps multiply together, from shared memory: Hopper alone.
    pub(crate) fn multiplies_in_groups(&self) -> bool {
        self.gpu.capability == 90
    }

    /// Clusters of `ranks` blocks of a kernel that the device has room for at once, at least one:
    /// each block has so many threads and bytes of shared memory.
    pub(crate) fn clusters_at_once(
        &mut self,
        (unit, values, kernel): Kernel,
        ranks: usize,
        (block, shared): (u32, usize),
    ) -> usize {
        let function = self.kernels.get(&self.gpu, unit, values, kernel);
        let count = function.and_then(|function| {
            self.allow(function, shared)?;
            self.gpu.clusters_at_once(function, ranks as u32, block, shared as u32)
        });
        count.map_err(|error| self.fail(error)).unwrap_or(1).max(1)
    }

    /// Whether a multiprocessor has shared memory for so many blocks at once, `bytes` bytes each.
    pub(crate) fn has_shared(&self, blocks: usize, bytes: usize) -> bool {
        blocks * (bytes + SHARED_TAKEN) <= self.gpu.shared_bytes
    }

    /// Where a buffer is, to be read.
    pub(crate) fn at<T: Element>(&self, buffer: &Buffer<T>) -> Address {
        self.buffers[buffer.id].address
    }

    /// Where a buffer is, to be written.
    pub(crate) fn edit<T: Element>(&mut self, buffer: &mut Buffer<T>) -> Address {
        self.rounded.forget(buffer.id);
        self.buffers[buffer.id].address
    }

    /// The next launch reads so many matrices of a stack.
    pub(crate) fn reading(&mut self, weight: &Weight, matrices: usize) {
        let stored = &self.weights[weight.id];
        self.reading += (stored.bytes / weight.count * matrices.min(weight.count)) as u64;
    }

    /// A weight's planes.
    pub(crate) fn stored(&self, weight: &Weight) -> &Stored {
        &self.weights[weight.id]
    }

    /// Where the pages of a pool begin, and the bytes of one.
    pub(crate) fn pages(&self, pool: &Pool) -> (Address, usize) {
        let pool = &self.pools[pool.id];
        (pool.memory.as_ref().map_or(0, |memory| memory.address), pool.page_bytes)
    }

    /// Memory besides buffers, at least `bytes` bytes for each `purpose`, used again and again.
    /// Larger memory replaces smaller, and what was in it is lost.
    pub(crate) fn scratch(&mut self, purpose: &'static str, bytes: usize) -> Address {
        if let Some(memory) = self.scratch.get(purpose).filter(|memory| memory.bytes >= bytes) {
            return memory.address;
        }
        // Launches that name the old memory must be done before it goes.
        let done = self.submit();
        self.forget_lists();
        self.scratch.remove(purpose);
        // A little more than is needed now, so that what grows slowly is not replaced every time.
        let bytes = bytes.next_multiple_of((bytes / 8).next_power_of_two().max(256));
        match done.and_then(|()| self.gpu.allocate(bytes, "work buffers")) {
            Ok(memory) => self.scratch.entry(purpose).insert_entry(memory).get().address,
            Err(error) => {
                self.fail(error);
                0
            }
        }
    }

    /// Whether nothing is launched any more, until `submit` has said why.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// Records a launch: `grid` blocks of `block` threads.
    pub(crate) fn record(&mut self, kernel: Kernel, grid: [usize; 3], block: u32, args: &[u64]) {
        self.record_launch(kernel, grid, (block, 0), (&[], args));
    }

    /// Records a launch with dynamic shared memory.
    pub(crate) fn record_shared(
        &mut self,
        kernel: Kernel,
        grid: [usize; 3],
        (block, shared): (u32, usize),
        args: &[u64],
    ) {
        self.record_launch(kernel, grid, (block, shared), (&[], args));
    }

    /// Records a launch whose first argument is a structure of words.
    pub(crate) fn record_list(
        &mut self,
        kernel: Kernel,
        grid: [usize; 3],
        block: (u32, usize),
        list: &[u64],
        args: &[u64],
    ) {
        self.record_launch(kernel, grid, block, (list, args));
    }

    fn record_launch(
        &mut self,
        (unit, values, kernel): Kernel,
        grid: [usize; 3],
        (block, shared): (u32, usize),
        (list, args): (&[u64], &[u64]),
    ) {
        let weights = std::mem::take(&mut self.reading);
        let mut words = [0; WORDS_MAX];
        words[..list.len()].copy_from_slice(list);
        words[list.len()..list.len() + args.len()].copy_from_slice(args);
        if self.has_failed() || grid.contains(&0) {
            return;
        }
        let function = self.kernels.get(&self.gpu, unit, values, kernel);
        let function = function.and_then(|function| {
            self.allow(function, shared)?;
            Ok(function)
        });
        match function {
            Ok(function) => self.recorded.push(Launch {
                function,
                name: (unit.family, kernel),
                variant: values[0],
                grid: grid.map(|n| n as u32),
                block,
                shared: shared as u32,
                list: list.len(),
                args: words,
                weights,
            }),
            Err(error) => return self.fail(error),
        }
        if self.recorded.len() == HEAD
            && !self.begun
            && let Err(error) = self.flush()
        {
            self.fail(error);
        }
    }

    /// More shared memory than every kernel has must be asked for. What a kernel has of its own
    /// counts as well, so any dynamic memory is asked for, once.
    fn allow(&mut self, function: Function, bytes: usize) -> Result<(), Error> {
        if bytes > self.allowed.get(&function).copied().unwrap_or(0) {
            self.gpu.allow_shared(function, bytes as u32)?;
            self.allowed.insert(function, bytes);
        }
        Ok(())
    }

    /// Starts what was recorded.
    fn flush(&mut self) -> Result<(), Error> {
        if let Some(error) = self.failed.take() {
            self.recorded.clear();
            return Err(error);
        }
        if self.recorded.is_empty() {
            return Ok(());
        }
        self.begun = true;
        self.trace();
        let launches = std::mem::take(&mut self.recorded);
        if let Some((_, graph)) = self.graphs.iter().find(|(known, _)| *known == launches) {
            return self.gpu.replay(graph);
        }
        // A list that comes twice within a few will come again. One that is timed must not wait for
        // the host between its kernels.
        if launches.len() > 1 && (self.seen.contains(&launches) || self.trace.is_some()) {
            let graph = self.gpu.graph(&launches)?;
            self.gpu.replay(&graph)?;
            if self.graphs.len() == GRAPHS_MAX {
                self.graphs.remove(0);
            }
            self.graphs.push((launches, graph));
            return Ok(());
        }
        launches.iter().try_for_each(|launch| self.gpu.launch(launch))?;
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(launches);
        Ok(())
    }

    /// Lists that were seen will not come again as they were.
    fn forget_lists(&mut self) {
        self.graphs.clear();
        self.seen.clear();
    }
}

impl Backend for Cuda {}

impl Device for Cuda {
    fn describe(&self) -> String {
        self.gpu.name()
    }

    fn rounds_activations(&self) -> bool {
        true
    }

    fn reserve_bytes(&mut self, bytes: usize) -> Result<usize, Error> {
        self.buffers.push(self.gpu.allocate(bytes, "a buffer")?);
        Ok(self.buffers.len() - 1)
    }

    fn upload_bytes(&mut self, id: usize, offset: usize, data: &[u8]) {
        self.rounded.forget(id);
        self.put(self.buffers[id].address + offset as Address, data);
    }

    fn download_bytes(
        &mut self,
        id: usize,
        offset: usize,
        outs: &mut dyn Iterator<Item = &mut [u8]>,
    ) {
        let mut outs: Vec<&mut [u8]> = outs.collect();
        self.get(self.buffers[id].address + offset as Address, &mut outs);
    }

    fn load_weight(&mut self, source: WeightSource) -> Result<usize, Error> {
        self.weights.push(Stored::load(&self.gpu, &source)?);
        Ok(self.weights.len() - 1)
    }

    fn open_pool(&mut self, page_bytes: usize) -> usize {
        self.pools.push(PagePool { memory: None, page_bytes, pages: 0 });
        self.pools.len() - 1
    }

    fn grow_pool(&mut self, id: usize, pages: usize) -> Result<(), Error> {
        let pool = &mut self.pools[id];
        if pages <= pool.pages {
            return Ok(());
        }
        let memory = match &mut pool.memory {
            Some(memory) => memory,
            none => none.insert(Growing::reserve(&self.gpu)?),
        };
        memory.grow(&self.gpu, pages * pool.page_bytes)?;
        pool.pages = pages;
        Ok(())
    }

    fn read_page(&mut self, id: usize, page: u32, offset: usize, out: &mut [u8]) {
        self.get(self.page_at(id, page, offset), &mut [out]);
    }

    fn write_page(&mut self, id: usize, page: u32, offset: usize, data: &[u8]) {
        self.put(self.page_at(id, page, offset), data);
    }

    fn copy_page(&mut self, id: usize, from: u32, to: u32, ranges: &[Range<usize>]) {
        let (from, to) = (self.page_at(id, from, 0), self.page_at(id, to, 0));
        let copied = self.flush().and_then(|()| {
            ranges.iter().try_for_each(|range| {
                let start = range.start as Address;
                self.gpu.copy(from + start, to + start, range.len())
            })
        });
        if let Err(error) = copied {
            self.fail(error);
        }
    }

    fn reserved(&self) -> Reserved {
        let work: usize = self.scratch.values().map(|memory| memory.bytes).sum();
        let buffers: usize = self.buffers.iter().map(|buffer| buffer.bytes).sum();
        Reserved {
            weights: self.weights.iter().map(|weight| weight.bytes).sum(),
            buffers: buffers + work + self.rounded.bytes(),
            pools: self.pools.iter().map(|pool| pool.pages * pool.page_bytes).sum(),
        }
    }

    fn read_speed(&mut self) -> Result<Option<f64>, Error> {
        const BYTES: usize = 1 << 30;
        const TIMES: usize = 8;
        self.flush()?;
        let memory = self.gpu.allocate(BYTES + 256, "measuring memory")?;
        let out = memory.address + BYTES as Address;
        let args = words![memory.address, BYTES / 16, out];
        let grid = [8 * self.processors(), 1, 1];
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            self.record((&READ, values(&[]), "read"), grid, 512, args);
            let launches = std::mem::take(&mut self.recorded);
            let run = || launches.iter().try_for_each(|launch| self.gpu.launch(launch));
            best = best.min(self.gpu.time(run)?);
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(Some(BYTES as f64 / best)),
        }
    }

    fn profile(&mut self) -> Vec<KernelTime> {
        let times = self.times();
        times.unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        })
    }

    fn submit(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.begun = false;
        self.gpu.wait()
    }
}

impl Cuda {
    /// Copies to the device, after what was recorded.
    fn put(&mut self, to: Address, data: &[u8]) {
        if let Err(error) = self.flush().and_then(|()| self.gpu.upload(to, data)) {
            self.fail(error);
        }
    }

    /// Copies from the device, after what was recorded.
    fn get(&mut self, from: Address, outs: &mut [&mut [u8]]) {
        if let Err(error) = self.flush().and_then(|()| self.gpu.download(from, outs)) {
            self.fail(error);
        }
    }

    fn page_at(&self, id: usize, page: u32, offset: usize) -> Address {
        let pool = &self.pools[id];
        assert!((page as usize) < pool.pages, "page {page} of {}", pool.pages);
        let base = pool.memory.as_ref().expect("a pool with pages has memory").address;
        base + page as Address * pool.page_bytes as Address + offset as Address
    }
}
