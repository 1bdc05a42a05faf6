//! Writing numpy arrays, row after row, whole or not at all.
//!
//! Memory does not grow with the array. What the numbers mean is not known here.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use npyz::WriterBuilder;

use crate::whole::WholeFile;

/// An array in the making.
#[derive(Debug)]
pub struct NpyFile(WholeFile);

/// Takes the next numbers, any number of whole rows.
pub type Sink<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

impl NpyFile {
    /// Makes sure that `path` can be written, before the hours of work for it.
    pub fn create(path: &Path) -> Result<NpyFile> {
        WholeFile::create(path, "npy").map(NpyFile)
    }

    /// Writes an array `[rows, columns]` that `fill` hands over; `false` from it means that the
    /// array was given up, and leaves nothing behind.
    pub fn write(
        mut self,
        rows: usize,
        columns: usize,
        fill: impl FnOnce(&mut Sink<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let path = self.0.name();
        let failed = || format!("{path}: could not write it");
        let mut buffer = BufWriter::with_capacity(1 << 20, self.0.file());
        let array = npyz::WriteOptions::<f32>::new().default_dtype();
        let array = array.shape(&[rows as u64, columns as u64]).writer(&mut buffer);
        let mut array = array.begin_nd().with_context(failed)?;
        let complete = fill(&mut |values| array.extend(values.iter().copied()))?;
        if !complete {
            return Ok(false);
        }
        array.finish().with_context(failed)?;
        buffer.flush().with_context(failed)?;
        drop(buffer);
        self.0.finish().with_context(failed)?;
        Ok(true)
    }
}
