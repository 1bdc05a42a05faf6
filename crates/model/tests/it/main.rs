//! The forward pass against golden data made by independent programs.
//!
//! `golden.rs` holds the logits and intermediate results of the tiny models, `steps.rs` the same
//! logits under every way of cutting a prompt into steps, `load.rs` bad files, `memory.rs` the
//! estimate. `support.rs` is what they share.

mod golden;
mod support;
