//! The file that a run writes: checked before the work, written piece by piece, whole at the end.
//!
//! Whoever writes says which tensor it is at and gives bytes; how far that is, is told to whoever
//! watches, and whoever wants to stop is heard before each piece. What the bytes mean is not known.
//!
//! An output that is begun with [`Output::kept`] stays when it is interrupted, see `partial.rs`;
//! whoever writes it says when a part is complete.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gguf::{Metadata, TensorPlan, Writer};

use crate::error::Error;
use crate::partial::Partial;
use crate::run::Progress;

/// Bytes of output after which they are waited for and noted: a crash costs less than that and the
/// part under way.
const NOTE_BYTES: u64 = 32 << 20;

/// An output under way.
pub(crate) struct Output<'a> {
    path: &'a Path,
    /// What a full disk would have needed.
    needed_bytes: u64,
    writer: Writer,
    /// Where it is until it is complete, if that stays.
    partial: Option<Partial>,
    /// Complete parts, and their bytes.
    complete: (usize, u64),
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
        let bytes = (byte_count, needed_bytes);
        Ok(Output::new(path, writer, None, (plans.len(), bytes), progress, cancel))
    }

    /// The same; what is complete stays when the run is interrupted. Parts that `partial` says are
    /// complete are not written again.
    ///
    /// # Errors
    /// As for [`Output::create`]; what was begun cannot be gone on with.
    pub fn kept(
        (path, partial): (&'a Path, Partial),
        (metadata, plans): (&Metadata, &[TensorPlan]),
        (byte_count, needed_bytes): (u64, u64),
        progress: &'a mut dyn FnMut(Progress<'_>),
        cancel: &'a AtomicBool,
    ) -> Result<Output<'a>, Error> {
        let writer = match partial.done() {
            (0, _) => Writer::begin(path, &partial.path, metadata, plans)
                .map_err(|error| output_error(path, needed_bytes, error))?,
            (_, bytes) => Writer::go_on(path, &partial.path, metadata, plans, bytes)
                .map_err(|error| partial.unfit(error.to_string()))?,
        };
        let bytes = (byte_count, needed_bytes);
        Ok(Output::new(path, writer, Some(partial), (plans.len(), bytes), progress, cancel))
    }

    fn new(
        path: &'a Path,
        writer: Writer,
        partial: Option<Partial>,
        (tensor_count, (byte_count, needed_bytes)): (usize, (u64, u64)),
        progress: &'a mut dyn FnMut(Progress<'_>),
        cancel: &'a AtomicBool,
    ) -> Output<'a> {
        let complete = partial.as_ref().map_or((0, 0), Partial::done);
        let bytes_done = complete.1;
        let position =
            Progress { tensor: "", tensors_done: 0, tensor_count, bytes_done, byte_count };
        let begun = 0;
        Output { path, needed_bytes, writer, partial, complete, position, begun, progress, cancel }
    }

    /// Parts that are complete.
    pub fn parts(&self) -> usize {
        self.complete.0
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
        written.map_err(|error| self.error(error))?;
        self.position.bytes_done += piece.len() as u64;
        (self.progress)(self.position);
        Ok(())
    }

    /// What was written belongs to a part that is complete now.
    ///
    /// # Errors
    /// An unwritable output.
    pub fn end_part(&mut self) -> Result<(), Error> {
        self.complete = (self.complete.0 + 1, self.position.bytes_done);
        let noted = self.partial.as_ref().map_or(0, |partial| partial.done().1);
        if self.partial.is_some() && self.complete.1 - noted >= NOTE_BYTES {
            self.note()
        } else {
            Ok(())
        }
    }

    /// Waits until the disk has everything, and notes what of it is complete.
    fn note(&mut self) -> Result<(), Error> {
        self.writer.sync().map_err(|error| self.error(error))?;
        let (parts, bytes) = self.complete;
        self.partial.as_mut().map_or(Ok(()), |partial| partial.note(parts, bytes))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// An unwritable output.
    pub fn finish(self) -> Result<(), Error> {
        let Output { path, needed_bytes, writer, partial, .. } = self;
        let finished = writer.finish();
        finished.map_err(|error| output_error(path, needed_bytes, error))?;
        partial.map_or(Ok(()), |partial| partial.complete())
    }

    /// Leaves what is complete to be gone on with, if that makes sense after this error; the error
    /// to be told.
    pub fn leave(mut self, error: Error) -> Error {
        let passes = matches!(
            error,
            Error::Cancelled | Error::DiskFull { .. } | Error::Io { .. } | Error::Output(_)
        );
        // What cannot be noted now was noted up to some point before, perhaps.
        let _ = (passes && self.complete.0 > 0).then(|| self.note());
        let Some(partial) = self.partial else { return error };
        let (parts, bytes) = partial.done();
        let kept = passes && parts > 0;
        if !kept {
            // The first error is the one to be told.
            let _ = partial.remove();
        }
        let (file, byte_count) = (partial.path.display().to_string(), self.position.byte_count);
        match error {
            Error::Cancelled if kept => Error::Kept { file, bytes, byte_count },
            Error::DiskFull { file, needed_bytes, .. } => {
                Error::DiskFull { file, needed_bytes, kept }
            }
            error => error,
        }
    }

    fn error(&self, error: gguf::Error) -> Error {
        output_error(self.path, self.needed_bytes, error)
    }
}

/// Finds out before hours of work what would keep the output from getting its name.
pub(crate) fn check_target(path: &Path, overwrite: bool) -> Result<(), Error> {
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
            Error::DiskFull { file: path.display().to_string(), needed_bytes, kept: false }
        }
        _ => Error::Output(error),
    }
}
