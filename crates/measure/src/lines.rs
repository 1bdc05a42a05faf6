//! Lines of a file that somebody else wrote, one at a time, each within a bound.
//!
//! Question sets, stored continuations and pairs of prompts are JSON Lines; a file may have
//! gigabytes, a line may not. Every line knows its number and its first byte, so that whoever
//! cannot use it says where it stands ([`Line::refuse`]).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::Error;

/// The most bytes of a line: a prompt of a million tokens has fewer.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The lines of a file that hold something.
#[derive(Debug)]
pub struct Lines<R> {
    path: PathBuf,
    reader: R,
    line: usize,
    offset: u64,
}

/// One line, without its end.
#[derive(Debug)]
pub struct Line<'a> {
    path: &'a Path,
    number: usize,
    offset: u64,
    /// What it says.
    pub text: String,
}

impl Lines<BufReader<File>> {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::read(path, source))?;
        Ok(Lines::new(path, BufReader::new(file)))
    }
}

impl<R: BufRead> Lines<R> {
    /// Lines of `reader`; messages call it `path`.
    pub fn new(path: &Path, reader: R) -> Self {
        Lines { path: path.to_owned(), reader, line: 0, offset: 0 }
    }

    /// What messages call the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next line that is not blank, or `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read; a line is too long or not UTF-8.
    #[expect(clippy::should_implement_trait, reason = "a line borrows from its reader")]
    pub fn next(&mut self) -> Result<Option<Line<'_>>, Error> {
        loop {
            let mut bytes = Vec::new();
            let offset = self.offset;
            let mut bounded = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
            let read = bounded
                .read_until(b'\n', &mut bytes)
                .map_err(|source| Error::read(&self.path, source))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.offset += read as u64;
            let mut line =
                Line { path: &self.path, number: self.line, offset, text: String::new() };
            if read > LINE_BYTES_MAX {
                return Err(line.refuse(format!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match String::from_utf8(bytes) {
                Ok(text) => line.text = text,
                Err(error) => {
                    let place = error.utf8_error().valid_up_to();
                    return Err(line.refuse(format!("not UTF-8 at byte {place} of the line")));
                }
            }
            let text = line.text.trim_end_matches(['\n', '\r']).len();
            line.text.truncate(text);
            return Ok(Some(line));
        }
    }
}

impl<R> Lines<R> {
    /// An error about what is missing after the last line that was read.
    pub fn refuse_end(&self, problem: impl Into<String>) -> Error {
        let (path, line, offset) = (self.path.clone(), self.line + 1, self.offset);
        Error::Line { path, line, offset, problem: problem.into() }
    }
}

impl Line<'_> {
    /// An error that names the file, the line and its first byte.
    pub fn refuse(&self, problem: impl Into<String>) -> Error {
        let Line { path, number, offset, .. } = *self;
        Error::Line { path: path.to_owned(), line: number, offset, problem: problem.into() }
    }

    /// Its number in the file, from 1.
    pub fn number(&self) -> usize {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(usize, String)>, String> {
        let mut lines = Lines::new(Path::new("a.jsonl"), bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next().map_err(|error| error.to_string())? {
            all.push((line.number(), line.text));
        }
        Ok(all)
    }

    #[test]
    fn blank_lines_are_counted_and_left_out() {
        let lines = all(b"one\r\n\n  \ntwo\nthree").expect("three lines");
        let expected = [(1, "one"), (4, "two"), (5, "three")];
        assert_eq!(lines, expected.map(|(number, text)| (number, text.to_owned())));
    }

    #[test]
    fn bad_lines_are_named_by_their_place() {
        let error = all(b"good\nb\xffd\n").expect_err("not UTF-8");
        assert_eq!(error, "a.jsonl, line 2 (byte 5): not UTF-8 at byte 1 of the line");
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(all(&long).expect_err("too long").contains("more than"));
        assert_eq!(all(&long[1..]).expect("just short enough").len(), 1);
    }
}
