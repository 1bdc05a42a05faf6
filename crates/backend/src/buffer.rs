//! Typed handles to memory that a backend owns.
//!
//! A handle says which reservation it is and what shape it has; the memory itself never leaves the
//! backend, so no signature names a device. Handles cannot be copied, and an operation takes its
//! outputs as `&mut`: the borrow checker then forbids handing one buffer in as input and output.
//!
//! Three kinds: a [`Buffer`] is a block of rows that a step computes in, a [`Weight`] is a matrix
//! (or a stack of them) in some block format, a [`Pool`] is a growing set of equal pages that hold
//! KV state.

use std::marker::PhantomData;

use gguf::{Bytes, Format};

/// A number type that buffers can hold.
pub trait Element: bytemuck::Pod + Send + Sync {}
impl Element for f32 {}
impl Element for u32 {}
impl Element for u8 {}

/// `[rows, width]` elements, row after row. A vector is a buffer of one row.
///
/// `rows` is a capacity: a step of `t` tokens uses the first `t` rows.
#[derive(Debug)]
pub struct Buffer<T: Element> {
    pub(crate) id: usize,
    /// Rows reserved.
    pub rows: usize,
    /// Elements per row.
    pub width: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    pub(crate) fn new(id: usize, rows: usize, width: usize) -> Self {
        Self { id, rows, width, element: PhantomData }
    }

    /// Bytes reserved, rounded up to whole 8-byte words as every backend reserves them.
    pub fn bytes(rows: usize, width: usize) -> usize {
        (rows * width * size_of::<T>()).next_multiple_of(8)
    }

    /// Asserts that the buffer can hold `rows` rows of exactly `width`; used by front functions.
    #[track_caller]
    pub(crate) fn expect(&self, name: &str, rows: usize, width: usize) {
        assert!(
            self.rows >= rows && self.width == width,
            "{name}: expected at least [{rows}, {width}], got [{}, {}]",
            self.rows,
            self.width
        );
    }
}

/// A matrix `[rows, cols]` of weights in a block format, or a stack of `count` such matrices
/// (one per routed expert). `y = W x` maps `cols` values to `rows` values.
#[derive(Debug)]
pub struct Weight {
    pub(crate) id: usize,
    /// How the values are stored. Only operations look at it.
    pub format: Format,
    /// Matrices in the stack; 1 for a plain matrix.
    pub count: usize,
    /// Output width.
    pub rows: usize,
    /// Input width.
    pub cols: usize,
}

/// What a [`Weight`] is made from: bytes of a mapped file and their meaning.
#[derive(Debug, Clone)]
pub struct WeightSource {
    /// `count · rows · cols` values in `format`, row after row.
    pub bytes: Bytes,
    /// The block format of `bytes`.
    pub format: Format,
    /// Matrices in the stack.
    pub count: usize,
    /// Output width.
    pub rows: usize,
    /// Input width; a multiple of the format's block.
    pub cols: usize,
}

/// Pages of equal size, grown on demand and addressed by number.
#[derive(Debug)]
pub struct Pool {
    pub(crate) id: usize,
    /// Bytes per page; a multiple of 16.
    pub page_bytes: usize,
}

/// The KV state of all sessions: two pools, whose page numbers the step tables carry.
#[derive(Debug)]
pub struct KvPools {
    /// One page per session: raw windows and compressor frontiers of every layer.
    pub slots: Pool,
    /// One page per [`PAGE_TOKENS`](crate::PAGE_TOKENS) tokens of a session: the compressed rows
    /// of every layer.
    pub pages: Pool,
}

/// Bytes that a backend holds, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reserved {
    /// Weights, whether copied to the device or mapped from the file.
    pub weights: usize,
    /// Buffers.
    pub buffers: usize,
    /// Pages of all pools.
    pub pools: usize,
}
