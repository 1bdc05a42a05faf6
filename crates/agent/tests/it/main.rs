//! The crate from outside.
mod markdown;
