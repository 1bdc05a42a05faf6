//! The block formats, one file each.
//!
//! A quantized row is a sequence of blocks that stand alone: a few scales and the small integers
//! they scale. Each file draws its block byte by byte, states it as a `Block` of plain bytes
//! without padding, and decodes it into as many floats as it holds. The decoders define what a
//! weight *is*: their products are taken in single precision in the written order, so results are
//! bit-exact with ggml, and every kernel and quantizer is held against them. Multi-byte fields are
//! little endian.
//!
//! Shared notation: `i` is the index of a value in its block, `d` the scale of the block, `q` a
//! stored small integer, `y` the decoded value.
//!
//! Nothing here knows rows, tensors or files; [`crate::Format`] walks rows. Read `q8_0.rs` first.

pub mod bf16;
pub mod f16;
pub mod f32;
pub mod iq2_xxs;
mod iq2_xxs_grid;
pub mod mxfp4;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_k;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
