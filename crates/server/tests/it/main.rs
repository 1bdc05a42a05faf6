//! The server from outside: what is read, what is written, and what goes over the wire.

mod captures;
mod figures;
mod hostile;
mod operation;
mod requests;
mod serve;
mod slow;
mod soak;
mod sockets;
mod support;
mod turns;
mod writers;
