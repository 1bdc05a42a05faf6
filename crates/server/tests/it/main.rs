//! The server from outside: what is read, what is written, and what goes over the wire.

mod captures;
mod figures;
mod forms;
mod hostile;
mod live;
mod operation;
mod requests;
mod serve;
mod slow;
mod soak;
mod sockets;
mod steering;
mod support;
mod turns;
mod writers;
