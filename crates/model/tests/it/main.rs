//! The forward pass against golden data made by independent programs.
//!
//! `golden.rs` holds logits, intermediate results and session state of the tiny models, `steps.rs`
//! the same logits under every way of cutting prompts into steps, `cuda.rs` both on a CUDA device,
//! `load.rs` files that do not fit, `steering.rs` steering,
//! `memory.rs` the estimate and the full-size shapes. `support.rs` is what they share.

mod cuda;
mod golden;
mod importance;
mod load;
mod memory;
mod snapshots;
mod steering;
mod steps;
mod support;
