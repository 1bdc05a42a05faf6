//! What is measured of a model: how well it predicts a text, how well it answers questions, which
//! columns of its matrices matter, in which direction its answers can be pushed.
//!
//! Everything here takes an open [`engine::Engine`], reports progress to a callback that may stop
//! it, and returns numbers with their uncertainty. What is asked of a model comes from files of
//! other people: they are read line by line within bounds ([`lines`]).
//!
//! This crate must not know flags, terminals, or how a model file is written.

pub mod direction;
pub mod divergence;
mod error;
pub mod eval;
pub mod importance;
pub mod lines;
mod messages;
pub mod perplexity;
pub mod score;
pub mod softmax;
pub mod stats;
pub mod texts;
pub mod vectors;

pub use error::Error;
