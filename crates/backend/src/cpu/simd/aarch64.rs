//! The sixteen lanes on an architecture without an implementation of its own.

use crate::cpu::simd::{Kernel, Portable};

/// An instruction set of this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Plain Rust.
    Portable,
}

impl Level {
    /// Every level that this processor has, slowest first.
    pub fn available() -> Vec<Level> {
        vec![Level::Portable]
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        "portable"
    }

    /// Runs a kernel on this level.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        kernel.run::<Portable>()
    }
}
