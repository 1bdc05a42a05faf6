//! The facts of the DeepSeek V4 family and nothing else: the numbers of a shape, the kind of each
//! layer, the rotary frequencies, and the name and dimensions of every tensor.
//!
//! A [`Shape`] is a *value*: it is read from a file's metadata (through [`Facts`]), checked once
//! against bounds and cross-rules, and never a constant of the code. Flash, Pro and the small
//! models of the tests differ in nothing but these numbers.
//!
//! This crate knows neither files nor devices. Start reading at [`Shape`], then [`tensors()`].
//!
//! Source of the numbers: the configuration published with the weights, and the metadata keys of
//! the GGUF architecture `deepseek4`.

mod facts;
mod known;
mod read;
mod rope;
mod shape;
mod tensors;

pub use facts::{Fact, Facts};
pub use read::{Problem, ShapeError};
pub use shape::{Indexer, LayerKind, Routing, Shape, Yarn};
pub use tensors::{Class, Source, TensorSpec, tensors};

/// A token's number in the vocabulary, `0..Shape::vocab`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TokenId(pub u32);

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
