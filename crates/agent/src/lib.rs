//! The coding agent and the chat prompt: a model in this process, its tools, and the terminal.
//!
//! A conversation is driven by one thread, the *loop*: it renders, asks the [`Model`], hears what
//! is sampled, runs tools, and tells all of it as [`Event`]s. Whoever shows them (the full screen,
//! the line prompt, plain output for scripts) sends [`Wish`]es back. Neither side parses tool
//! calls: those are events of `text::Parser` like everywhere else.
//!
//! This crate must not know tensors or HTTP, and reads no environment: folders come from whoever
//! starts it. Start at `event.rs`, the contract between the loop and what shows it.

pub mod agent;
mod answer;
mod begun;
mod calls;
pub mod chat;
mod clock;
pub mod commands;
mod compact;
mod desk;
pub mod diff;
mod error;
pub mod event;
mod export;
pub mod files;
mod format;
pub mod gate;
mod guide;
pub mod harmless;
pub mod highlight;
pub mod instructions;
mod kept;
mod loops;
pub mod markdown;
pub mod mcp;
pub mod model;
pub mod paint;
pub mod permit;
pub mod plain;
pub mod sandbox;
pub mod screen;
pub mod sessions;
mod steering;
mod talk;
pub mod terminal;
pub mod tools;
mod turn;
pub mod undo;
pub mod warden;
pub mod workplace;

pub use agent::{Agent, Notices, Open, Settings};
pub use error::Error;
pub use event::{Event, Wish};
pub use format::{THINK_MAX_CONTEXT, Thinking};
pub use model::Model;
