//! The crate from outside.

mod escape;
mod fetch;
mod hostile;
mod mcp;
mod permit;
mod site;
mod tools;
mod undo;
