//! The manifest: one checkpoint, as the list of the blocks that it is made of.
//!
//! ```text
//!   0  56  frame, count = how many keys; the head is the whole file
//!  56  32  model fingerprint
//!  88  32  BLAKE3 of the tokens' bytes
//! 120  32  BLAKE3 of the text
//! 152   8  u64 created, seconds since 1970
//! 160   8  u64 bytes of text
//! 168   8  u64 bytes of tail
//! 176   8  u64 bytes of notes
//! 184   4  u32 tokens
//! 188   4  u32 logits
//! 192   4  u32 pages
//! 196   4  u32 bytes of a page
//! 200   4  u32 reason: 0 cold, 1 continued, 2 turn end, 3 evict, 4 shutdown
//! 204   4  u32 bytes of a stream's block = 16384
//! 208   4  u32 bytes of the recipe's name, then the name
//!          keys, 32 bytes each, to the end of the file
//! ```
//!
//! Keys come in this order: the pages; then five streams (tokens, text, tail, logits, notes), each
//! cut into blocks of 16384 bytes, of which the last may be shorter. How many there must be follows
//! from the lengths and is checked, before any of it sizes anything.
//!
//! In every version the keys are the last thing in the file. So a program can honour what a newer
//! one has saved, although it cannot read it: see [`Manifest::parse`].

use std::path::Path;

use crate::entry::{
    LOGITS_MAX, PAGE_BYTES_MAX, PAGES_MAX, RECIPE_BYTES_MAX, Reason, STREAM_BYTES_MAX, TOKENS_MAX,
};
use crate::error::Error;
use crate::frame::{self, array_at, u32_at, u64_at};
use crate::key::{Fingerprint, Id, PageKey};

/// Streams are cut into blocks of so many bytes. Small enough that a turn of some ten tokens leaves
/// most blocks of the tail as they were, large enough that keys do not count.
pub const STREAM_BLOCK: usize = 16 << 10;

/// No manifest is longer: that of a million pages and all streams at their limits is half of it.
pub const BYTES_MAX: u64 = 64 << 20;

const MAGIC: &[u8; 8] = b"DwarfKVC";
const RECIPE_AT: usize = 212;

/// A checkpoint without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Model that it is for.
    pub model: Fingerprint,
    /// Recipe of that model's weights.
    pub recipe: String,
    /// Why it was made.
    pub reason: Reason,
    /// When, in seconds since 1970.
    pub created: u64,
    /// Tokens in it.
    pub tokens: usize,
    /// Hash of the tokens as 32-bit little-endian numbers.
    pub tokens_hash: PageKey,
    /// Bytes of text.
    pub text_bytes: usize,
    /// Hash of the text.
    pub text_hash: PageKey,
    /// Bytes of the tail.
    pub tail_bytes: usize,
    /// Bytes of the notes.
    pub notes_bytes: usize,
    /// Logits in it.
    pub logits: usize,
    /// Pages of it.
    pub pages: usize,
    /// Bytes of each page.
    pub page_bytes: usize,
    /// All blocks: pages, tokens, text, tail, logits, notes.
    pub keys: Vec<PageKey>,
}

/// A manifest file, as far as this program understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One of this version.
    Ours(Manifest),
    /// One of another version: only what it names is known.
    Other {
        /// Which.
        version: u32,
        /// What it names.
        keys: Vec<PageKey>,
    },
}

impl Manifest {
    /// The name that follows from the content.
    pub fn id(&self) -> Id {
        Id::of(&self.model, &self.tokens_hash, &self.text_hash, &self.recipe)
    }

    /// Lengths of the streams in the order of their blocks.
    pub fn streams(&self) -> [usize; 5] {
        [self.tokens * 4, self.text_bytes, self.tail_bytes, self.logits * 4, self.notes_bytes]
    }

    /// Lengths of all blocks, one for each key.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        let block = |bytes: usize, at: usize| (bytes - at).min(STREAM_BLOCK);
        let stream = move |bytes| (0..bytes).step_by(STREAM_BLOCK).map(move |at| block(bytes, at));
        let pages = std::iter::repeat_n(self.page_bytes, self.pages);
        pages.chain(self.streams().into_iter().flat_map(stream))
    }

    /// Bytes that the file will have.
    pub fn file_bytes(&self) -> u64 {
        (RECIPE_AT + self.recipe.len() + 32 * self.keys.len()) as u64
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.file_bytes() as usize - frame::BYTES);
        for hash in [&self.model.0, &self.tokens_hash.0, &self.text_hash.0] {
            body.extend_from_slice(hash);
        }
        body.extend_from_slice(&self.created.to_le_bytes());
        for bytes in [self.text_bytes, self.tail_bytes, self.notes_bytes] {
            body.extend_from_slice(&(bytes as u64).to_le_bytes());
        }
        let numbers = [
            self.tokens,
            self.logits,
            self.pages,
            self.page_bytes,
            self.reason as usize,
            STREAM_BLOCK,
            self.recipe.len(),
        ];
        for number in numbers {
            let number = u32::try_from(number).expect("entries are checked before they get here");
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(self.recipe.as_bytes());
        for key in &self.keys {
            body.extend_from_slice(&key.0);
        }
        frame::seal(MAGIC, self.keys.len(), &body, 0)
    }

    /// Reads a file. Of another version, only the keys.
    ///
    /// # Errors
    /// [`Error::Damaged`] if these are not bytes that a dwarfstar has written.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed, Error> {
        let frame = frame::read(path, MAGIC, bytes, bytes.len() as u64)?;
        frame::verify(path, bytes)?;
        let keys_at = frame.count.checked_mul(32).and_then(|keys| bytes.len().checked_sub(keys));
        let Some(keys_at) = keys_at.filter(|&at| at >= frame::BYTES) else {
            let problem = format!("{} keys do not fit into {} bytes", frame.count, bytes.len());
            return Err(Error::damaged(path, problem));
        };
        let keys = bytes[keys_at..].as_chunks::<32>().0.iter().map(|key| PageKey(*key)).collect();
        if frame.version != frame::VERSION {
            return Ok(Parsed::Other { version: frame.version, keys });
        }
        fields(&bytes[..keys_at], keys)
            .map(Parsed::Ours)
            .map_err(|problem| Error::damaged(path, problem))
    }
}

/// Everything before the keys.
fn fields(bytes: &[u8], keys: Vec<PageKey>) -> Result<Manifest, String> {
    if bytes.len() < RECIPE_AT {
        return Err(format!("expected {RECIPE_AT} bytes before the keys, found {}", bytes.len()));
    }
    let bounded = |what: &str, found: u64, most: usize| match usize::try_from(found) {
        Ok(found) if found <= most => Ok(found),
        _ => Err(format!("expected at most {most} {what}, found {found}")),
    };
    let small = |what, at, most| bounded(what, u32_at(bytes, at).into(), most);
    let stream = |what, at| bounded(what, u64_at(bytes, at), STREAM_BYTES_MAX);
    let recipe_bytes = small("bytes of recipe", 208, RECIPE_BYTES_MAX)?;
    let block = u32_at(bytes, 204);
    let reason = small("as reason", 200, Reason::ALL.len() - 1)?;
    let recipe = std::str::from_utf8(&bytes[RECIPE_AT..]);
    let manifest = Manifest {
        model: Fingerprint(array_at(bytes, 56)),
        recipe: recipe.map_err(|_| "the name of the recipe is not UTF-8")?.to_owned(),
        reason: Reason::ALL[reason],
        created: u64_at(bytes, 152),
        tokens: small("tokens", 184, TOKENS_MAX)?,
        tokens_hash: PageKey(array_at(bytes, 88)),
        text_bytes: stream("bytes of text", 160)?,
        text_hash: PageKey(array_at(bytes, 120)),
        tail_bytes: stream("bytes of tail", 168)?,
        notes_bytes: stream("bytes of notes", 176)?,
        logits: small("logits", 188, LOGITS_MAX)?,
        pages: small("pages", 192, PAGES_MAX)?,
        page_bytes: small("bytes of a page", 196, PAGE_BYTES_MAX)?,
        keys,
    };
    if block as usize != STREAM_BLOCK {
        return Err(format!("expected stream blocks of {STREAM_BLOCK} bytes, found {block}"));
    }
    if manifest.recipe.len() != recipe_bytes {
        let found = manifest.recipe.len();
        return Err(format!("expected a recipe of {recipe_bytes} bytes, found {found}"));
    }
    let (want, found) = (manifest.lengths().count(), manifest.keys.len());
    if want != found {
        return Err(format!("expected {want} keys, found {found}"));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Manifest {
        let mut manifest = Manifest {
            model: Fingerprint([1; 32]),
            recipe: "q2".to_owned(),
            reason: Reason::TurnEnd,
            created: 1_700_000_000,
            tokens: 4097,
            tokens_hash: PageKey([2; 32]),
            text_bytes: 0,
            text_hash: PageKey([3; 32]),
            tail_bytes: STREAM_BLOCK,
            notes_bytes: 1,
            logits: 5,
            pages: 3,
            page_bytes: 99,
            keys: Vec::new(),
        };
        manifest.keys = (0..8).map(|i| PageKey([i; 32])).collect();
        manifest
    }

    #[test]
    fn lengths_follow_from_the_counts() {
        let lengths: Vec<_> = small().lengths().collect();
        assert_eq!(lengths, [99, 99, 99, 16384, 4, 16384, 20, 1]);
    }

    #[test]
    fn what_was_encoded_is_parsed() {
        let bytes = small().encode();
        assert_eq!(bytes.len() as u64, small().file_bytes());
        assert_eq!(Manifest::parse(Path::new("m"), &bytes).unwrap(), Parsed::Ours(small()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = small().encode();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1 << (at % 8);
            assert!(Manifest::parse(Path::new("m"), &other).is_err(), "byte {at}");
            assert!(Manifest::parse(Path::new("m"), &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
