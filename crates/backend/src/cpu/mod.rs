//! Plumbing of the CPU backend: where its memory is and how an operation reaches it.
//!
//! Every reservation and every page is a vector of 8-byte words, viewed as the numbers it holds.
//! An operation takes its output's words out of the table, reads its inputs from the table, and
//! puts the output back: no aliasing, no `unsafe`. Work is done when it is recorded, so `submit`
//! has nothing left to do. Arithmetic is not here but in `ops/*/cpu.rs`; it is the reference, so
//! each result is computed by one thread in one fixed order, whatever the number of threads, rows
//! or segments.

pub(crate) mod fast;
mod pool;
pub(crate) mod simd;
pub(crate) mod tiles;

use std::ops::Range;

use gguf::Format;

pub use crate::level::Level;
pub use fast::CpuSimd;
pub use pool::Threads;

use crate::{Backend, Buffer, Device, Element, Error, Pool, Reserved, Weight, WeightSource};

/// The reference backend.
#[derive(Default)]
pub struct Cpu {
    buffers: Vec<Words>,
    weights: Vec<WeightSource>,
    pools: Vec<Pages>,
    marks: Option<Vec<Mark>>,
}

/// A recorded intermediate result.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Layer index; the number of layers for results after the last one.
    pub layer: usize,
    /// Its name.
    pub name: &'static str,
    /// Its bytes; `f32` or `u32` in machine order.
    pub bytes: Vec<u8>,
}

impl Mark {
    /// The result as floats.
    pub fn floats(&self) -> Vec<f32> {
        let value = |b: &[u8]| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        self.bytes.chunks_exact(4).map(value).collect()
    }
}

/// Zeroed memory, aligned for every element type.
#[derive(Default)]
struct Words(Vec<u64>);

impl Words {
    fn zeroed(bytes: usize) -> Result<Words, Error> {
        let words = bytes.div_ceil(8);
        // Asking first turns an impossible size into an error; what is then taken comes zeroed from
        // the operating system and becomes real memory only where it is touched.
        let full = |_| Error::OutOfMemory { what: "a buffer", bytes };
        Vec::<u64>::new().try_reserve_exact(words).map_err(full)?;
        Ok(Words(vec![0; words]))
    }

    fn view<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(&self.0)
    }

    fn view_mut<T: Element>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

struct Pages {
    page_bytes: usize,
    pages: Vec<Words>,
}

/// One plain matrix `[rows, cols]` of a weight, as bytes in its block format.
#[derive(Clone, Copy)]
pub(crate) struct MatrixView<'a> {
    pub format: Format,
    pub bytes: &'a [u8],
    pub rows: usize,
    pub cols: usize,
}

impl<'a> MatrixView<'a> {
    fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows
    }

    /// Decodes row `row` into `out[..cols]`.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.row_bytes();
        self.format.decode(&self.bytes[row * bytes..][..bytes], &mut out[..self.cols]);
    }

    /// Rows `start..start + rows` as a matrix of their own.
    pub fn slice(&self, start: usize, rows: usize) -> MatrixView<'a> {
        let bytes = self.row_bytes();
        MatrixView { bytes: &self.bytes[start * bytes..][..rows * bytes], rows, ..*self }
    }
}

impl Cpu {
    /// A backend with nothing reserved.
    pub fn new() -> Cpu {
        Cpu::default()
    }

    /// Starts recording marks; [`Cpu::take_marks`] returns them.
    pub fn record_marks(&mut self) {
        self.marks = Some(Vec::new());
    }

    /// The marks recorded since recording started or since the last call.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        self.marks.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The contents of a buffer.
    pub(crate) fn data<T: Element>(&self, buffer: &Buffer<T>) -> &[T] {
        &self.buffers[buffer.id].view()[..buffer.rows * buffer.width]
    }

    /// Computes into a buffer while reading others.
    pub(crate) fn edit<T: Element>(
        &mut self,
        buffer: &mut Buffer<T>,
        compute: impl FnOnce(&Cpu, &mut [T]),
    ) {
        let mut words = std::mem::take(&mut self.buffers[buffer.id]);
        compute(self, &mut words.view_mut()[..buffer.rows * buffer.width]);
        self.buffers[buffer.id] = words;
    }

    /// Matrix `index` of a weight.
    pub(crate) fn matrix(&self, weight: &Weight, index: usize) -> MatrixView<'_> {
        let source = &self.weights[weight.id];
        let bytes = source.bytes.len() / source.count;
        MatrixView {
            format: source.format,
            bytes: &source.bytes[index * bytes..][..bytes],
            rows: source.rows,
            cols: source.cols,
        }
    }

    /// The first matrix of weight `id`, and how many it has.
    pub(crate) fn loaded(&self, id: usize) -> (MatrixView<'_>, usize) {
        let WeightSource { ref bytes, format, count, rows, cols } = self.weights[id];
        (MatrixView { format, bytes: &bytes[..bytes.len() / count], rows, cols }, count)
    }

    /// A page's bytes.
    pub(crate) fn page(&self, pool: &Pool, page: u32) -> &[u8] {
        self.pools[pool.id].pages[page as usize].view()
    }

    /// A page's bytes, to write.
    pub(crate) fn page_mut(&mut self, pool: &mut Pool, page: u32) -> &mut [u8] {
        self.pools[pool.id].pages[page as usize].view_mut()
    }

    /// Computes into a page while reading everything else.
    pub(crate) fn edit_page(
        &mut self,
        pool: &mut Pool,
        page: u32,
        compute: impl FnOnce(&Cpu, &mut [u8]),
    ) {
        let mut words = std::mem::take(&mut self.pools[pool.id].pages[page as usize]);
        compute(self, words.view_mut());
        self.pools[pool.id].pages[page as usize] = words;
    }
}

impl Backend for Cpu {}

impl Device for Cpu {
    fn describe(&self) -> String {
        format!("CPU reference, {} threads", rayon::current_num_threads())
    }

    fn reserve_bytes(&mut self, bytes: usize) -> Result<usize, Error> {
        self.buffers.push(Words::zeroed(bytes)?);
        Ok(self.buffers.len() - 1)
    }

    fn upload_bytes(&mut self, id: usize, offset: usize, data: &[u8]) {
        self.buffers[id].view_mut()[offset..][..data.len()].copy_from_slice(data);
    }

    fn download_bytes(
        &mut self,
        id: usize,
        offset: usize,
        outs: &mut dyn Iterator<Item = &mut [u8]>,
    ) {
        let mut rest = &self.buffers[id].view()[offset..];
        for out in outs {
            let (own, after) = rest.split_at(out.len());
            out.copy_from_slice(own);
            rest = after;
        }
    }

    fn load_weight(&mut self, source: WeightSource) -> Result<usize, Error> {
        self.weights.push(source);
        Ok(self.weights.len() - 1)
    }

    fn open_pool(&mut self, page_bytes: usize) -> usize {
        self.pools.push(Pages { page_bytes, pages: Vec::new() });
        self.pools.len() - 1
    }

    fn grow_pool(&mut self, id: usize, pages: usize) -> Result<(), Error> {
        let pool = &mut self.pools[id];
        let before = pool.pages.len();
        while pool.pages.len() < pages {
            match Words::zeroed(pool.page_bytes) {
                Ok(words) => pool.pages.push(words),
                Err(_) => {
                    pool.pages.truncate(before);
                    let bytes = (pages - before) * pool.page_bytes;
                    return Err(Error::OutOfMemory { what: "KV pages", bytes });
                }
            }
        }
        Ok(())
    }

    fn read_page(&mut self, id: usize, page: u32, offset: usize, out: &mut [u8]) {
        let bytes = self.pools[id].pages[page as usize].view();
        out.copy_from_slice(&bytes[offset..][..out.len()]);
    }

    fn write_page(&mut self, id: usize, page: u32, offset: usize, data: &[u8]) {
        let bytes = self.pools[id].pages[page as usize].view_mut();
        bytes[offset..][..data.len()].copy_from_slice(data);
    }

    fn copy_page(&mut self, id: usize, from: u32, to: u32, ranges: &[Range<usize>]) {
        let pages = &mut self.pools[id].pages;
        let [from, to] = pages
            .get_disjoint_mut([from as usize, to as usize])
            .expect("two different pages of the pool");
        let (from, to) = (from.view::<u8>(), to.view_mut::<u8>());
        for range in ranges {
            to[range.clone()].copy_from_slice(&from[range.clone()]);
        }
    }

    fn reserved(&self) -> Reserved {
        Reserved {
            weights: self.weights.iter().map(|w| w.bytes.len()).sum(),
            buffers: self.buffers.iter().map(|w| w.0.len() * 8).sum(),
            pools: self.pools.iter().map(|p| p.pages.len() * p.page_bytes).sum(),
        }
    }

    fn submit(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn mark_bytes(&mut self, layer: usize, name: &'static str, id: usize, bytes: usize) {
        if let Some(marks) = &mut self.marks {
            let bytes = self.buffers[id].view::<u8>()[..bytes].to_vec();
            marks.push(Mark { layer, name, bytes });
        }
    }
}
