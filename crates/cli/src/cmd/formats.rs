//! What a model file is made of, by format: a table for people, a list for machines.

use std::collections::BTreeMap;
use std::io::{self, Write};

use gguf::Format;
use serde_json::{Value, json};

use crate::human;

/// Tensors and bytes by format.
pub struct Formats(BTreeMap<&'static str, (usize, u64)>);

impl FromIterator<(Format, u64)> for Formats {
    /// From the format and the bytes of every tensor.
    fn from_iter<I: IntoIterator<Item = (Format, u64)>>(tensors: I) -> Formats {
        let mut formats = BTreeMap::new();
        for (format, byte_count) in tensors {
            let (tensors, bytes) = formats.entry(format.name()).or_insert((0, 0));
            *tensors += 1;
            *bytes += byte_count;
        }
        Formats(formats)
    }
}

impl Formats {
    /// One line per format.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        for (format, &(tensors, bytes)) in &self.0 {
            let tensors = human::plural(tensors, "tensor");
            writeln!(out, "  {format:<8} {tensors:>14}  {:>9}", human::bytes(bytes))?;
        }
        Ok(())
    }

    /// One object per format.
    pub fn to_json(&self) -> Value {
        let objects = self.0.iter().map(|(format, (tensors, bytes))| {
            json!({ "format": format, "tensors": tensors, "bytes": bytes })
        });
        objects.collect()
    }
}
