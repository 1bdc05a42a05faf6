//! The file that a run writes: checked before the work, written piece by piece, whole at the end.
//!
//! Whoever writes says which tensor it is at and gives bytes; how far that is, is told to whoever
//! watches, and whoever wants to stop is heard before each piece. What the bytes mean is not known.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gguf::{Metadata, TensorPlan, Writer};

use crate::error::Error;
use crate::run::Progress;

/// An output under way.
pub(crate) struct Output<'a> {
    path: &'a Path,
    /// What a full disk would have needed.
    needed_bytes: u64,
    writer: Writer,
    position: Progress<'a>,
    begun: usize,
    progress: &'a mut dyn FnMut(Progress<'_>),
    cancel: &'a AtomicBool,
}

impl<'a> Output<'a> {
    /// Begins the file at `path`, whose tensors take `byte_count` bytes.
    ///
    /// # Errors
    /// There is a file that is not to be replaced, or something that is no file; an unwritable
    /// folder.
    pub fn create(
        (path, overwrite): (&'a Path, bool),
        (metadata, plans): (&Metadata, &[TensorPlan]),
        (byte_count, needed_bytes): (u64, u64),
        progress: &'a mut dyn FnMut(Progress<'_>),
        cancel: &'a AtomicBool,
    ) -> Result<Output<'a>, Error> {
        check_target(path, overwrite)?;
        let writer = Writer::create(path, metadata, plans);
        let writer = writer.map_err(|error| output_error(path, needed_bytes, error))?;
        let tensor_count = plans.len();
        let position =
            Progress { tensor: "", tensors_done: 0, tensor_count, bytes_done: 0, byte_count };
        Ok(Output { path, needed_bytes, writer, position, begun: 0, progress, cancel })
    }

    /// What is written from now on belongs to this tensor.
    pub fn begin(&mut self, tensor: &'a str) {
        (self.position.tensor, self.position.tensors_done) = (tensor, self.begun);
        self.begun += 1;
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`Error::Cancelled`]
    pub fn check(&self) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Writes a piece, if it is to go on.
    ///
    /// # Errors
    /// As for [`Output::check`]; an unwritable output.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.check()?;
        let written = self.writer.write(piece);
        written.map_err(|error| output_error(self.path, self.needed_bytes, error))?;
        self.position.bytes_done += piece.len() as u64;
        (self.progress)(self.position);
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// An unwritable output.
    pub fn finish(self) -> Result<(), Error> {
        let Output { path, needed_bytes, writer, .. } = self;
        writer.finish().map_err(|error| output_error(path, needed_bytes, error))
    }
}

/// Finds out before hours of work what would keep the output from getting its name.
fn check_target(path: &Path, overwrite: bool) -> Result<(), Error> {
    // Renaming over a device or a folder would replace it, or fail after all the work.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(Error::file(path, "is no regular file, expected the path of one to write"));
    }
    if !overwrite && path.symlink_metadata().is_ok() {
        return Err(Error::Exists { file: path.display().to_string() });
    }
    Ok(())
}

/// A full disk is told with what would have been needed.
fn output_error(path: &Path, needed_bytes: u64, error: gguf::Error) -> Error {
    let reason = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match reason.map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            Error::DiskFull { file: path.display().to_string(), needed_bytes }
        }
        _ => Error::Output(error),
    }
}
