//! The crate from outside.
mod markdown;
mod pty;
mod screen;
mod terminal;
