//! Sessions and sampling at the engine's boundary, on the tiny golden model.
//!
//! `session.rs` holds the whole-prefix contract, `sampler.rs` the choice of tokens, `cuda.rs` what
//! a device must give like a CPU.

mod constraint;
mod cuda;
mod disk;
mod nano;
mod pages;
mod sampler;
mod serve;
mod session;
mod shared;
mod spelling;
mod steering;
