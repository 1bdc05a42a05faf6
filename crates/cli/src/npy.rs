//! Writing numpy arrays, row after row, whole or not at all.
//!
//! The array goes to a temporary file beside its path and gets its name when it is complete.
//! Memory does not grow with the array. What the numbers mean is not known here.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use npyz::WriterBuilder;
use tempfile::NamedTempFile;

/// An array in the making.
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    file: NamedTempFile<fs::File>,
}

/// Takes the next numbers, any number of whole rows.
pub type Sink<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

impl NpyFile {
    /// Makes sure that `path` can be written, before the hours of work for it.
    pub fn create(path: &Path) -> Result<NpyFile> {
        if path.is_dir() {
            bail!("{}: is a folder, expected the name of a file to write", path.display());
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Made like any new file, so that it gets the usual permissions.
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        let file = tempfile::Builder::new().prefix(".npy-").suffix(".tmp").make_in(folder, create);
        let file = file.with_context(|| format!("{}: could not create it", path.display()))?;
        Ok(NpyFile { path: path.to_owned(), file })
    }

    /// Writes an array `[rows, columns]` that `fill` hands over; `false` from it means that the
    /// array was given up, and leaves nothing behind.
    pub fn write(
        mut self,
        rows: usize,
        columns: usize,
        fill: impl FnOnce(&mut Sink<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let path = self.path.display().to_string();
        let failed = || format!("{path}: could not write it");
        let mut buffer = BufWriter::with_capacity(1 << 20, self.file.as_file_mut());
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
        self.file.as_file().sync_all().with_context(failed)?;
        self.file.persist(&self.path).map_err(|error| error.error).with_context(failed)?;
        Ok(true)
    }
}
