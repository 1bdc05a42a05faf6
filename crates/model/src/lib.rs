//! DeepSeek V4, written once: weights, per-session caches, scratch, and one forward pass.
//!
//! A step is a list of segments, each some tokens of one session. Prefill is a long segment,
//! decoding a segment of one token, serving several sessions several segments: the same
//! [`Model::forward`]. The mathematics is one straight reading, from `forward.rs` to `layer.rs` to
//! `attention.rs` and `ffn.rs`; it names operations, not devices or formats.
//!
//! This crate must not know which backend it runs on, text, sampling or disks.

mod attention;
mod bind;
mod cache;
mod error;
mod facts;
mod ffn;
mod forward;
mod importance;
mod layer;
mod memory;
mod pages;
mod scratch;
mod snapshot;
mod steering;
mod weights;

pub use backend::RowFormat;
pub use bind::{TensorProblem, check_tensors};
pub use cache::{Cache, KvLayout, LayerPlaces};
pub use error::Error;
pub use facts::{FileFacts, draft_layers, read_shape};
pub use forward::{Feed, Model, Options};
pub use importance::LayerSums;
pub use memory::Estimate;
pub use pages::{Label, Page};
pub use scratch::Limits;
pub use snapshot::Snapshot;
pub use steering::{Point, STEER_MAX, Steer};
