//! The operations, by family, in the order in which the model uses them.
//!
//! A family folder holds one meaning and its implementations:
//!
//! - `mod.rs`: the trait a backend implements, and the *front functions* on `dyn Backend` that the
//!   model calls. A front function states the formula, asserts every shape, and calls the raw
//!   method. Backends never re-check, models never check.
//! - `cpu.rs`: plain loops, the reference.
//! - `cases.rs`: sizes and tolerances for [`conformance`](crate::conformance).
//!
//! Shape notation: `T` tokens of the step, `S` segments, `R` rows with logits, `D` hidden width,
//! `n` streams, `H` heads of width `hd`, `E` experts of which `K` are used, `F` expert inner width.
//! `rows` is always the number of rows in use, `T` or `R`; buffers may be larger.

pub mod attend;
pub mod compress;
pub mod embed;
pub mod experts;
pub mod fused;
pub mod hyper;
pub mod importance;
pub mod index;
pub mod kv;
pub mod linear;
pub mod norm;
pub mod rope;
pub mod route;
pub mod steer;

mod select;
