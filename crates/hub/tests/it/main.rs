//! The hub from outside: a server on this machine imitates it, in good days and bad ones.
//!
//! `site` is that server: a hub that lists files and redirects to a second host, as the real one
//! does. What it saw is what the tests look at, since that is what a download costs.

mod bad;
mod good;
mod site;
mod stops;
