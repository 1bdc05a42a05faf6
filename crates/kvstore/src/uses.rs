//! How often checkpoints were used, and what that is worth as time goes by.
//!
//! A hit counts one, half as much after six hours, a quarter after twelve. The file `uses` keeps
//! the counts over a restart: frame, then for each checkpoint id (16 bytes), u64 time of the last
//! use, f64 hits at that time. If it is lost, no checkpoint is; they only look unused.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;
use crate::frame::{self, array_at, u64_at};
use crate::key::Id;

const MAGIC: &[u8; 8] = b"DwarfKVU";
const ENTRY_BYTES: usize = 32;
const HALF_LIFE_SECONDS: f64 = 6.0 * 3600.0;

/// The use of one checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// When it was last used, in seconds since 1970.
    pub at: u64,
    /// What its hits were worth then.
    pub hits: f64,
}

impl Use {
    /// What the hits are worth at `now`.
    pub fn hits(&self, now: u64) -> f64 {
        // A clock that was set back makes nothing more valuable.
        let passed = now.saturating_sub(self.at) as f64;
        self.hits * (-passed / HALF_LIFE_SECONDS).exp2()
    }

    /// One hit more.
    pub fn again(&mut self, now: u64) {
        *self = Use { at: now.max(self.at), hits: self.hits(now) + 1.0 };
    }
}

/// The file `uses`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uses {
    /// By checkpoint.
    pub uses: HashMap<Id, Use>,
}

impl Uses {
    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<_> = self.uses.iter().collect();
        sorted.sort_by_key(|(id, _)| **id);
        let mut body = Vec::with_capacity(sorted.len() * ENTRY_BYTES);
        for (id, used) in sorted {
            body.extend_from_slice(&id.0);
            body.extend_from_slice(&used.at.to_le_bytes());
            body.extend_from_slice(&used.hits.to_le_bytes());
        }
        frame::seal(MAGIC, self.uses.len(), &body, 0)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Damaged`] if these are not bytes that this version has written.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Uses, Error> {
        let frame = frame::read(path, MAGIC, bytes, bytes.len() as u64)?;
        frame::verify(path, bytes)?;
        let body = &bytes[frame::BYTES..];
        if frame.version != frame::VERSION
            || Some(body.len()) != frame.count.checked_mul(ENTRY_BYTES)
        {
            return Err(Error::damaged(path, "is of another version, or its count is wrong"));
        }
        let read = |entry: &[u8; ENTRY_BYTES]| {
            let hits = f64::from_le_bytes(array_at(entry, 24));
            // No count of hits is negative or endless.
            let hits = if hits.is_finite() { hits.clamp(0.0, 1e9) } else { 0.0 };
            (Id(array_at(entry, 0)), Use { at: u64_at(entry, 16), hits })
        };
        Ok(Uses { uses: body.as_chunks::<ENTRY_BYTES>().0.iter().map(read).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_worth_half_after_six_hours() {
        let mut used = Use::default();
        used.again(1000);
        used.again(1000);
        assert_eq!(used.hits(1000), 2.0);
        assert_eq!(used.hits(1000 + 6 * 3600), 1.0);
        assert_eq!(used.hits(1000 + 12 * 3600), 0.5);
        assert_eq!(used.hits(0), 2.0);
        used.again(1000 + 6 * 3600);
        assert_eq!(used, Use { at: 1000 + 6 * 3600, hits: 2.0 });
    }

    #[test]
    fn what_was_encoded_is_parsed_and_nothing_else() {
        let used = |i| (Id([i; 16]), Use { at: i.into(), hits: f64::from(i) / 3.0 });
        let uses = Uses { uses: (0..5).map(used).collect() };
        let bytes = uses.encode();
        assert_eq!(Uses::parse(Path::new("uses"), &bytes).unwrap(), uses);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert!(Uses::parse(Path::new("uses"), &other).is_err(), "byte {at}");
        }
    }
}
