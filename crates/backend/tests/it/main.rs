//! Tests of the backend crate at its boundary.
//!
//! `conformance.rs` holds the reference against itself under other thread counts and shows that the
//! comparison can fail; `rounding.rs` holds the trained roundings and row layouts against data made
//! with another program's number types.

mod attention;
mod conformance;
mod cuda;

mod fast;
mod rounding;
