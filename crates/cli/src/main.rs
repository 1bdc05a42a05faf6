//! The program `dwarfstar`.
fn main() {}
