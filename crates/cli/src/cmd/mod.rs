//! One module per command: from what was meant to what is printed.
//!
//! Each opens what it needs, lets the crates below do the work and prints what they return. Start
//! with `run.rs`. `prompt.rs` is what `run` and `tokenize` share, `formats.rs` what
//! the commands share that write model files.

pub mod agent;
pub mod bench;
pub mod eval;
pub mod formats;
pub mod imatrix;
pub mod inspect;
pub mod kv;
pub mod logits;
pub mod perplexity;
pub mod prediction;
pub mod prompt;
pub mod pull;
pub mod quantize;
pub mod run;
pub mod score;
pub mod serve;
pub mod splice;
pub mod steer;
pub mod synth;
pub mod tokenize;
