//! What is measured of a model, on Nano: the small model that is part of the program.

mod steering;
