//! Output files that appear whole or not at all.
//!
//! The bytes go to a temporary file beside the path, which gets its name when it is complete, and
//! is removed if it never is. What is in it is not known here.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// A file in the making.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    file: NamedTempFile<fs::File>,
}

impl WholeFile {
    /// Makes sure that `path` can be written, before the hours of work for it. `kind` is part of
    /// the temporary name.
    pub fn create(path: &Path, kind: &str) -> Result<WholeFile> {
        if path.is_dir() {
            bail!("{}: is a folder, expected the name of a file to write", path.display());
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Made like any new file, so that it gets the usual permissions.
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        let prefix = format!(".{kind}-");
        let file = tempfile::Builder::new().prefix(&prefix).suffix(".tmp").make_in(folder, create);
        let file = file.with_context(|| format!("{}: could not create it", path.display()))?;
        Ok(WholeFile { path: path.to_owned(), file })
    }

    /// The path, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Where the bytes go.
    pub fn file(&mut self) -> &mut fs::File {
        self.file.as_file_mut()
    }

    /// Waits until the disk has the bytes, and gives the file its name.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}
