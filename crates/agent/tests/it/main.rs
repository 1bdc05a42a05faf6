//! Tests of the agent at its boundaries.

mod compact;
mod escape;
mod fetch;
mod hostile;
mod mcp;
mod nano;
mod permit;
mod plain;
mod script;
mod sessions;
mod site;
mod support;
mod tools;
mod turns;
mod undo;
