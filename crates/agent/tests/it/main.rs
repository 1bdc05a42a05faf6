//! Tests of the agent at its boundaries.

mod compact;
mod nano;
mod plain;
mod script;
mod sessions;
mod support;
mod turns;
