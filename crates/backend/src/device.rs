//! What every backend does besides arithmetic: hold memory, move it, submit work.
//!
//! [`Device`] is the small trait that a backend implements; the typed functions around it are on
//! `dyn Device`. [`Meter`] is a device without memory: it answers what a plan would reserve.
//! Operations *record*: they return nothing. [`Device::submit`] ends a step and is the only call
//! after which results may be read and the only one that can report a device error.

use std::ops::Range;

use crate::{Backend, Buffer, Element, Error, Pool, Reserved, Weight, WeightSource};

/// What the launches of one kernel took, each until the next could begin.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The family of operations.
    pub family: &'static str,
    /// The kernel.
    pub name: String,
    /// How often it ran.
    pub count: usize,
    /// Seconds in all.
    pub seconds: f64,
    /// Bytes of weights that it read in all.
    pub weight_bytes: u64,
}

/// Memory and submission.
pub trait Device {
    /// The device's name for people, for example `CPU, 2 threads`.
    fn describe(&self) -> String;

    /// Whether products with quantized weights round activations to 8 bits.
    fn rounds_activations(&self) -> bool {
        false
    }

    /// Reserves `bytes` zeroed bytes and returns the reservation's number.
    ///
    /// # Errors
    /// Out of memory.
    fn reserve_bytes(&mut self, bytes: usize) -> Result<usize, Error>;

    /// Copies `data` into reservation `id` from byte `offset` on.
    fn upload_bytes(&mut self, id: usize, offset: usize, data: &[u8]);

    /// Copies bytes out of reservation `id` from byte `offset` on, to places of which each gets
    /// what follows that of the one before; work recorded before is done first.
    fn download_bytes(
        &mut self,
        id: usize,
        offset: usize,
        outs: &mut dyn Iterator<Item = &mut [u8]>,
    );

    /// Makes a weight usable. A backend may repack it; what `gguf` decodes stays its meaning.
    ///
    /// # Errors
    /// Out of memory.
    fn load_weight(&mut self, source: WeightSource) -> Result<usize, Error>;

    /// Opens an empty pool and returns its number.
    fn open_pool(&mut self, page_bytes: usize) -> usize;

    /// Grows a pool to `pages` pages; new pages are zeroed, old ones keep their bytes.
    ///
    /// # Errors
    /// Out of memory; the pool is then as before.
    fn grow_pool(&mut self, id: usize, pages: usize) -> Result<(), Error>;

    /// Copies bytes out of a page, from byte `offset` on.
    fn read_page(&mut self, id: usize, page: u32, offset: usize, out: &mut [u8]);

    /// Copies bytes into a page, from byte `offset` on.
    fn write_page(&mut self, id: usize, page: u32, offset: usize, data: &[u8]);

    /// Copies byte ranges of page `from` to the same places in page `to`, another page of the pool.
    fn copy_page(&mut self, id: usize, from: u32, to: u32, ranges: &[Range<usize>]);

    /// Bytes held now.
    fn reserved(&self) -> Reserved;

    /// Runs what was recorded and waits for it.
    ///
    /// # Errors
    /// What the device reports.
    fn submit(&mut self) -> Result<(), Error>;

    /// Bytes per second that a long read of the device's own memory gets; `None` for processors.
    ///
    /// # Errors
    /// Out of memory, or what the device reports.
    fn read_speed(&mut self) -> Result<Option<f64>, Error> {
        Ok(None)
    }

    /// Times of all kernels since the last call; the first call starts timing, which slows a step
    /// down a little.
    fn profile(&mut self) -> Vec<KernelTime> {
        Vec::new()
    }

    /// A named intermediate result. Nothing happens unless a test or tool asked to record marks.
    fn mark_bytes(&mut self, _layer: usize, _name: &'static str, _id: usize, _bytes: usize) {}
}

impl dyn Device + '_ {
    /// Reserves a zeroed buffer `[rows, width]`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reserve<T: Element>(&mut self, rows: usize, width: usize) -> Result<Buffer<T>, Error> {
        let id = self.reserve_bytes(Buffer::<T>::bytes(rows, width))?;
        Ok(Buffer::new(id, rows, width))
    }

    /// Writes `data` into a buffer from row `row` on.
    pub fn upload<T: Element>(&mut self, buffer: &mut Buffer<T>, row: usize, data: &[T]) {
        let start = row * buffer.width;
        assert!(start + data.len() <= buffer.rows * buffer.width, "upload past the buffer's end");
        self.upload_bytes(buffer.id, start * size_of::<T>(), bytemuck::cast_slice(data));
    }

    /// Reserves a vector and fills it.
    ///
    /// # Errors
    /// Out of memory.
    pub fn vector<T: Element>(&mut self, data: &[T]) -> Result<Buffer<T>, Error> {
        let mut buffer = self.reserve(1, data.len())?;
        self.upload(&mut buffer, 0, data);
        Ok(buffer)
    }

    /// Reads `rows` rows of a buffer from row `row` on.
    pub fn download<T: Element>(&mut self, buffer: &Buffer<T>, row: usize, rows: usize) -> Vec<T> {
        let mut out = vec![T::zeroed(); rows * buffer.width];
        self.download_into(buffer, row, &mut out);
        out
    }

    /// Reads whole rows of a buffer from row `row` on, as many as `out` holds.
    pub fn download_into<T: Element>(&mut self, buffer: &Buffer<T>, row: usize, out: &mut [T]) {
        self.download_each(buffer, row, &mut [out]);
    }

    /// The same, to several places one after the other.
    pub fn download_each<T: Element>(
        &mut self,
        buffer: &Buffer<T>,
        row: usize,
        outs: &mut [&mut [T]],
    ) {
        let (start, count) = (row * buffer.width, outs.iter().map(|out| out.len()).sum::<usize>());
        assert!(start + count <= buffer.rows * buffer.width, "download past the buffer's end");
        let mut bytes = outs.iter_mut().map(|out| bytemuck::cast_slice_mut(out));
        self.download_bytes(buffer.id, start * size_of::<T>(), &mut bytes);
    }

    /// Makes a weight usable.
    ///
    /// # Errors
    /// A format without a decoder, or out of memory.
    pub fn weight(&mut self, source: WeightSource) -> Result<Weight, Error> {
        let WeightSource { format, count, rows, cols, .. } = source;
        let bytes = format.row_bytes(cols).map(|row| row * rows * count);
        if !format.is_decodable() {
            return Err(Error::Format { format: format.to_string() });
        }
        assert_eq!(bytes, Some(source.bytes.len()), "bytes of a [{count}, {rows}, {cols}] weight");
        let id = self.load_weight(source)?;
        Ok(Weight { id, format, count, rows, cols })
    }

    /// Opens an empty pool of pages of `page_bytes` bytes (a multiple of 16).
    pub fn pool(&mut self, page_bytes: usize) -> Pool {
        assert!(page_bytes.is_multiple_of(16), "a page of {page_bytes} bytes");
        Pool { id: self.open_pool(page_bytes), page_bytes }
    }

    /// Grows a pool to `pages` pages.
    ///
    /// # Errors
    /// Out of memory.
    pub fn grow(&mut self, pool: &mut Pool, pages: usize) -> Result<(), Error> {
        self.grow_pool(pool.id, pages)
    }

    /// The whole contents of a page.
    pub fn page(&mut self, pool: &Pool, page: u32) -> Vec<u8> {
        let mut out = vec![0; pool.page_bytes];
        self.read_page(pool.id, page, 0, &mut out);
        out
    }

    /// Replaces the contents of a page from byte `offset` on.
    pub fn put_page(&mut self, pool: &mut Pool, page: u32, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= pool.page_bytes, "write past the page's end");
        self.write_page(pool.id, page, offset, data);
    }

    /// Reads bytes of a page from byte `offset` on, as many as `out` holds.
    pub fn page_into(&mut self, pool: &Pool, page: u32, offset: usize, out: &mut [u8]) {
        assert!(offset + out.len() <= pool.page_bytes, "read past the page's end");
        self.read_page(pool.id, page, offset, out);
    }

    /// Copies byte ranges of page `from` to the same places in page `to`.
    pub fn copy(&mut self, pool: &mut Pool, from: u32, to: u32, ranges: &[Range<usize>]) {
        assert!(from != to, "page {from} copied to itself");
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        assert!(end <= pool.page_bytes, "copy past the page's end");
        self.copy_page(pool.id, from, to, ranges);
    }
}

impl dyn Backend + '_ {
    /// Names an intermediate result of `layer`: the first `rows` rows of a buffer.
    pub fn mark<T: Element>(
        &mut self,
        layer: usize,
        name: &'static str,
        buffer: &Buffer<T>,
        rows: usize,
    ) {
        self.mark_bytes(layer, name, buffer.id, rows * buffer.width * size_of::<T>());
    }
}

/// A device that holds nothing and only counts what is reserved on it: the same code that reserves
/// a model's memory then also estimates it. Reading from it is a bug.
#[derive(Debug, Default)]
pub struct Meter {
    reserved: Reserved,
    reservations: usize,
    pools: Vec<(usize, usize)>,
}

impl Device for Meter {
    fn describe(&self) -> String {
        "nothing".to_owned()
    }

    fn reserve_bytes(&mut self, bytes: usize) -> Result<usize, Error> {
        self.reserved.buffers += bytes;
        self.reservations += 1;
        Ok(self.reservations - 1)
    }

    fn upload_bytes(&mut self, _id: usize, _offset: usize, _data: &[u8]) {}

    fn download_bytes(
        &mut self,
        _id: usize,
        _offset: usize,
        _outs: &mut dyn Iterator<Item = &mut [u8]>,
    ) {
        unreachable!("a meter holds no data")
    }

    fn load_weight(&mut self, source: WeightSource) -> Result<usize, Error> {
        self.reserved.weights += source.bytes.len();
        Ok(0)
    }

    fn open_pool(&mut self, page_bytes: usize) -> usize {
        self.pools.push((page_bytes, 0));
        self.pools.len() - 1
    }

    fn grow_pool(&mut self, id: usize, pages: usize) -> Result<(), Error> {
        self.pools[id].1 = pages;
        Ok(())
    }

    fn read_page(&mut self, _id: usize, _page: u32, _offset: usize, _out: &mut [u8]) {
        unreachable!("a meter holds no data")
    }

    fn write_page(&mut self, _id: usize, _page: u32, _offset: usize, _data: &[u8]) {}

    fn copy_page(&mut self, _id: usize, _from: u32, _to: u32, _ranges: &[Range<usize>]) {}

    fn reserved(&self) -> Reserved {
        let pools = self.pools.iter().map(|(bytes, pages)| bytes * pages).sum();
        Reserved { pools, ..self.reserved }
    }

    fn submit(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
