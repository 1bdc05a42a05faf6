//! The GGUF container and its block formats.
//!
//! A GGUF file is a list of keys (the metadata), a list of tensors (the directory) and the bytes of
//! those tensors, each in one of the block formats of ggml. This crate maps such a file, checks
//! everything that it says before anything is believed, hands out the bytes, decodes them, and
//! writes new files. It is the only place that knows how a block of weights is laid out: device
//! kernels and quantizers take their layouts from [`blocks`], and tests hold every kernel against
//! the decoders there.
//!
//! It does not know the name of a single tensor or model key, apart from the three keys that
//! describe a file in parts and the one that gives its alignment.
//!
//! Start with [`File`] (`file.rs`); the checks are in `read.rs` and `tensor.rs`, the formats in
//! `format.rs` and one file each under `blocks/`.

pub mod blocks;
mod error;
mod file;
mod format;
mod map;
mod read;
mod sniff;
mod split;
mod tensor;
mod value;
mod write;

pub use error::Error;
pub use file::{Bytes, File};
pub use format::Format;
pub use split::shard_path;
pub use tensor::{Tensor, TensorPlan};
pub use value::{Array, Metadata, Value, ValueType};
pub use write::Writer;
