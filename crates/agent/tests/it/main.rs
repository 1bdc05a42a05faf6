//! Tests of the agent at its boundaries.

mod ahead;
mod chat;
mod commands;
mod compact;
mod escape;
mod fetch;
mod hostile;
mod markdown;
mod mcp;
mod nano;
mod permit;
mod plain;
mod pty;
mod screen;
mod script;
mod sessions;
mod site;
mod support;
mod terminal;
mod tools;
mod turns;
mod undo;
