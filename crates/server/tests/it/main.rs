//! The server from outside: what is read, what is written, and what goes over the wire.

mod captures;
mod forms;
mod hostile;
mod live;
mod requests;
mod serve;
mod sockets;
mod support;
mod turns;
mod writers;
