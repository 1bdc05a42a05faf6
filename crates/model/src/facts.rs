//! The bridge from a GGUF file's metadata to the shape of the family.
//!
//! `spec` knows keys but not files, `gguf` knows files but no model's keys; this is the one place
//! where they meet.

use gguf::{File, Value};
use spec::{Fact, Facts, Shape};

use crate::Error;

/// A file's metadata, as facts.
pub struct FileFacts<'a>(pub &'a File);

impl Facts for FileFacts<'_> {
    fn fact(&self, key: &str) -> Option<Fact> {
        match self.0.metadata().get(key) {
            Some(value) => fact(value),
            // Some converters state the vocabulary only by listing it.
            None if key == "deepseek4.vocab_size" => {
                let tokens = self.0.metadata().get("tokenizer.ggml.tokens")?.as_strings()?;
                Some(Fact::Integer(tokens.len() as i64))
            }
            None => None,
        }
    }
}

fn fact(value: &Value) -> Option<Fact> {
    match value {
        Value::String(text) => Some(Fact::Text(text.clone())),
        Value::Bool(flag) => Some(Fact::Flag(*flag)),
        Value::F32(x) => Some(Fact::from(*x)),
        Value::F64(x) => Some(Fact::Float(*x)),
        Value::Array(_) => {
            value.as_integers().map(Fact::Integers).or_else(|| value.as_floats().map(Fact::Floats))
        }
        Value::I8(x) => Some(Fact::Integer(*x as i64)),
        Value::I16(x) => Some(Fact::Integer(*x as i64)),
        Value::I32(x) => Some(Fact::Integer(*x as i64)),
        Value::I64(x) => Some(Fact::Integer(*x)),
        // An unsigned value beyond the signed range is no count of ours: refused as out of range.
        _ => value.as_u64().map(|x| Fact::Integer(i64::try_from(x).unwrap_or(i64::MAX))),
    }
}

/// How many of the stated layers are draft layers stored after the main ones.
///
/// Files of one converter count their draft layer in `block_count` and store it as the last
/// `blk.N` with `nextn.*` tensors; published files do neither.
pub fn draft_layers(file: &File) -> usize {
    let stated = |key: &str| {
        let value = file.metadata().get(&format!("deepseek4.{key}"))?;
        usize::try_from(value.as_u64()?).ok()
    };
    let drafts = stated("nextn_predict_layers").unwrap_or(0);
    let Some(last) = stated("block_count").and_then(|count| count.checked_sub(1)) else { return 0 };
    let prefix = format!("blk.{last}.nextn.");
    let inside = file.tensors().iter().any(|t| t.name.starts_with(&prefix));
    if inside { drafts } else { 0 }
}

/// Reads and checks the shape that a file states.
///
/// # Errors
/// Every key that is missing or out of bounds, in one error.
pub fn read_shape(file: &File) -> Result<Shape, Error> {
    Shape::from_facts(&FileFacts(file), draft_layers(file))
        .map_err(|source| Error::Shape { file: file.name().to_owned(), source })
}
