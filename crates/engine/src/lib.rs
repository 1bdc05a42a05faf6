//! Sessions: whole-prefix sync, sampling, generation.
