//! What is measured of a model, on Nano: the small model that is part of the program.

mod items;
mod own;
mod reports;
mod running;
mod steering;
