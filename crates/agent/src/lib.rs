//! The coding agent and the chat prompt: a model in this process, its tools, and the terminal.
//!
//! A conversation is driven by one thread, the *loop*: it renders, asks the [`Model`], hears what
//! is sampled, runs tools, and tells all of it as [`Event`]s. Whoever shows them (the full screen,
//! the line prompt, plain output for scripts) sends [`Wish`]es back. Neither side parses tool
//! calls: those are events of `text::Parser` like everywhere else.
//!
//! This crate must not know tensors or HTTP, and reads no environment: folders come from whoever
//! starts it. Start at `event.rs`, the contract between the loop and what shows it.

pub mod chat;
pub mod diff;
pub mod event;
pub mod highlight;
pub mod markdown;
pub mod model;
pub mod paint;
pub mod screen;
pub mod tools;

pub use event::{Event, Wish};
pub use model::Model;
