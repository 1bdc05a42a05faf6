//! The store from outside: what is saved is there again, whatever happens in between.
//!
//! `disk` is a disk in memory that fails, tears, fills up and forgets; `talk` makes conversations
//! whose bytes follow from their tokens, so that every test knows what a load must give.

mod crashes;
mod disk;
mod hostile;
mod model;
mod rounds;
mod speed;
mod talk;
mod turns;
mod versions;
mod writer;
