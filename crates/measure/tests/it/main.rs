//! What is measured of a model, on Nano and on files.

mod items;
mod own;
mod reports;
mod running;
mod steering;
