//! JSON on standard output, for machines.
//!
//! Each `--json` prints exactly one object and a newline. Field names are part of the interface
//! and change with notice only.

use std::io::{self, Write};

use serde::Serialize;

/// Prints a value on one line.
pub fn print(value: &impl Serialize) -> io::Result<()> {
    write(serde_json::to_string(value))
}

/// Prints a value for machines and curious people.
pub fn print_pretty(value: &impl Serialize) -> io::Result<()> {
    write(serde_json::to_string_pretty(value))
}

fn write(text: serde_json::Result<String>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text?)?;
    out.flush()
}
