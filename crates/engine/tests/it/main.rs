//! Sessions and sampling at the engine's boundary, on the tiny golden model.
//!
//! `session.rs` holds the whole-prefix contract, `sampler.rs` the choice of tokens.

mod constraint;
mod disk;
mod nano;
mod sampler;
mod serve;
mod session;
mod shared;
mod spelling;
