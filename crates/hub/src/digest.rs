//! SHA-256: as text, and of files of many gigabytes.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::Digest;

use crate::error::Error;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = ();

    /// 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Sha256, ()> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8).ok_or(());
        if text.len() != 64 {
            return Err(());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Sha256(bytes))
    }
}

/// What looking at a file gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has this hash.
    Is(Sha256),
    /// Somebody wanted to stop before the end.
    Stopped,
}

/// Reads a file and computes its hash, telling after each part how many bytes were read.
///
/// # Errors
/// It cannot be read.
pub fn verify(path: &Path, told: &mut dyn FnMut(u64), stop: &AtomicBool) -> Result<Verdict, Error> {
    let mut file = File::open(path).map_err(Error::io(path, "could not open it"))?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(Verdict::Stopped);
        }
        let count = file.read(&mut buffer).map_err(Error::io(path, "could not read it"))?;
        if count == 0 {
            return Ok(Verdict::Is(Sha256(hash.finalize().into())));
        }
        hash.update(&buffer[..count]);
        done += count as u64;
        told(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-4, the example of one block.
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(Sha256::of(b"abc")));
        assert_eq!(text.to_uppercase().parse(), Ok(Sha256::of(b"abc")));
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('b', "g")] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
        assert!("\u{e9}".repeat(32).parse::<Sha256>().is_err());
    }
}
