//! The crate from outside.
mod chat;
mod markdown;
mod pty;
mod screen;
mod terminal;
