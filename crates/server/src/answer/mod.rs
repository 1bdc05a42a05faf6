//! From a request to what the model says: everything between a reader and a writer.
//!
//! `prepare.rs` makes of an [`crate::Ask`] what the engine is asked; [`text::Ear`] makes of tokens
//! the events that writers write; `guide.rs` sits in the engine's thread and says which tokens may
//! come, by the grammars of `form.rs`; `talk.rs` hears several answers to one prompt, and goes back
//! to before a call that broke.

pub mod form;
pub mod guide;
pub mod prepare;
mod strict;
pub mod talk;
