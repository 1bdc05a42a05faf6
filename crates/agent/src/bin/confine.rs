//! What `dwarfstar confine` does, as a program of its own: for the tests of this crate, which
//! cannot start the program that is built from it.

fn main() -> Result<(), String> {
    Err(agent::sandbox::confined(std::env::args_os().skip(1)))
}
