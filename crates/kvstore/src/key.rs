//! Names made of hashes: of a block, of a checkpoint, of a model.
//!
//! Each is an array of bytes with its own type, shown as hexadecimal digits. How an id follows from
//! a checkpoint's content is said here as well.

use std::fmt;

use crate::error::Error;

/// The name of a block, and so of a page: the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageKey(pub [u8; 32]);

/// What a model file is known by: a hash that whoever opens it computes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

/// The name of a checkpoint. Model, recipe, tokens and text decide it, so that saving the same
/// conversation again replaces what was there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl PageKey {
    /// The key of these bytes.
    pub fn of(bytes: &[u8]) -> PageKey {
        PageKey(*blake3::hash(bytes).as_bytes())
    }
}

impl Id {
    /// The id of a conversation. Every part has a fixed length but the recipe, which is last.
    pub(crate) fn of(model: &Fingerprint, tokens: &PageKey, text: &PageKey, recipe: &str) -> Id {
        let mut hasher = blake3::Hasher::new();
        for part in [&model.0[..], &tokens.0, &text.0, recipe.as_bytes()] {
            hasher.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Id(id)
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(digits: &str) -> Option<Id> {
        let mut id = [0; 16];
        let digits = digits.as_bytes();
        if digits.len() != 2 * id.len() {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Id(id))
    }

    /// The one of `ids` that begins with the digits of `prefix`.
    ///
    /// # Errors
    /// If none or several do.
    pub fn choose(prefix: &str, ids: impl IntoIterator<Item = Id>) -> Result<Id, Error> {
        let wanted = prefix.to_ascii_lowercase();
        let mut found = ids.into_iter().filter(|id| id.to_string().starts_with(&wanted));
        match (found.next(), found.count()) {
            (Some(id), 0) if !wanted.is_empty() => Ok(id),
            (first, others) => Err(Error::NoSuchId {
                prefix: prefix.chars().take(32).flat_map(char::escape_debug).collect(),
                matches: if wanted.is_empty() { 0 } else { others + usize::from(first.is_some()) },
            }),
        }
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0[..6], f)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0[..6], f)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown() {
        let id = Id(std::array::from_fn(|i| i as u8 * 17));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        for wrong in
            ["", "00", "00112233445566778899AABBCCDDEEFF", "g0112233445566778899aabbccddeeff"]
        {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_is_chosen_by_its_beginning() {
        let ids = [Id([0x12; 16]), Id([0x13; 16]), Id([0x20; 16])];
        assert_eq!(Id::choose("2", ids).unwrap(), ids[2]);
        assert_eq!(Id::choose("1212", ids).unwrap(), ids[0]);
        let message = |prefix| Id::choose(prefix, ids).unwrap_err().to_string();
        assert!(message("1").contains("2 checkpoints"), "{}", message("1"));
        assert!(message("9").contains("no checkpoint"), "{}", message("9"));
        assert!(message("").contains("no checkpoint"));
    }

    #[test]
    fn every_part_of_a_conversation_changes_its_id() {
        let part = |byte| [byte; 32];
        let id = |a, b, c, recipe| {
            Id::of(&Fingerprint(part(a)), &PageKey(part(b)), &PageKey(part(c)), recipe)
        };
        let all = [
            id(0, 0, 0, "q2"),
            id(1, 0, 0, "q2"),
            id(0, 1, 0, "q2"),
            id(0, 0, 1, "q2"),
            id(0, 0, 0, "q4"),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(a));
        }
    }
}
