//! The tokenizer: text to token ids and back, with a checked vocabulary.
//!
//! This room owns the three ways in and the one way out. [`Tokenizer::encode_text`] is for
//! everything that people, files and tools supply and never makes a special token;
//! [`Tokenizer::encode_prompt`] is for rendered prompts, whose special tokens are named apart;
//! [`Tokenizer::encode_rendered`] recognizes special tokens in text and is only for text that we
//! made ourselves. A tokenizer never changes, so threads share it without locks.
//!
//! It does not know the chat format. How text is cut is in `split.rs`, how pieces become ids in
//! `bpe.rs`; `Tokenizer::new` is where a vocabulary earns its trust.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashMap;
use spec::TokenId;

use crate::alphabet;
use crate::bpe::{Merge, Merges, Scratch};
use crate::error::Error;
use crate::prompt::{Piece, Prompt};
use crate::split::pieces;
use crate::vocabulary::{TokenKind, Vocabulary};

/// Bounds of what is accepted; the model's own vocabulary has 129,280 tokens of at most 256
/// bytes, 1,283 of them added, and 127,741 merges.
const TOKENS_MIN: usize = 256;
const TOKENS_MAX: usize = 1 << 20;
const ADDED_MAX: usize = 1 << 12;
const MERGES_MAX: usize = 1 << 20;
const TOKEN_BYTES_MAX: usize = 512;

/// Byte-level BPE over one vocabulary. Equal, id for id, to the tokenizer of the model's makers.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    merges: Merges,
    /// The bytes of all tokens, one after the other.
    bytes: Vec<u8>,
    /// By id: where the token's bytes end.
    ends: Vec<usize>,
    /// The added tokens by text.
    special: HashMap<String, TokenId>,
    /// Finds added tokens in rendered text; pattern `i` is token `added[i]`.
    finder: AhoCorasick,
    added: Vec<TokenId>,
}

impl Tokenizer {
    /// Checks the vocabulary and prepares it for use.
    ///
    /// # Errors
    /// Names the first token, byte or merge with which text could not be encoded faithfully, or
    /// could be encoded to a special token.
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
        check_counts(&vocabulary)?;
        let merges = {
            let ids = ids_by_text(&vocabulary.tokens)?;
            Merges::new(byte_ids(&vocabulary, &ids)?, merge_pairs(&vocabulary, &ids)?)
        };
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(vocabulary.tokens.len());
        for (text, kind) in vocabulary.tokens.iter().zip(&vocabulary.kinds) {
            // Added tokens are written as they are, not in the alphabet.
            if kind.is_added() {
                bytes.extend_from_slice(text.as_bytes());
            } else {
                alphabet::push_bytes(text, &mut bytes);
            }
            ends.push(bytes.len());
        }
        let added = (0..vocabulary.tokens.len())
            .filter(|&id| vocabulary.kinds[id].is_added())
            .map(|id| TokenId(id as u32))
            .collect::<Vec<_>>();
        let text = |id: &TokenId| vocabulary.tokens[id.0 as usize].as_str();
        let special = added.iter().map(|id| (text(id).to_owned(), *id)).collect();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(added.iter().map(text))
            .expect("no more patterns, and no longer ones, than the library can take");
        Ok(Tokenizer { vocabulary, merges, bytes, ends, special, finder, added })
    }

    /// The ids of raw text, in which nothing is special: the spelling of a special token
    /// becomes ordinary tokens.
    pub fn encode_text(&self, text: &str) -> Vec<TokenId> {
        let mut output = Output::new(self, text.len());
        output.text(text);
        output.ids
    }

    /// The ids of text in which every added token is recognized, leftmost first and the longest
    /// at one place. Only for text that we made ourselves, and for reference data.
    pub fn encode_rendered(&self, text: &str) -> Vec<TokenId> {
        let mut output = Output::new(self, text.len());
        let mut start = 0;
        for found in self.finder.find_iter(text) {
            output.text(&text[start..found.start()]);
            output.ids.push(self.added[found.pattern().as_usize()]);
            start = found.end();
        }
        output.text(&text[start..]);
        output.ids
    }

    /// The ids of a rendered prompt. Special tokens cut the text: what is on their two sides is
    /// split independently, as in training.
    ///
    /// # Errors
    /// A special piece that is not in the vocabulary.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<TokenId>, Error> {
        let bytes = prompt.pieces.iter().map(|piece| piece.as_str().len()).sum();
        let mut output = Output::new(self, bytes);
        let mut stretch = Cow::Borrowed("");
        for piece in &prompt.pieces {
            match piece {
                Piece::Text(text) => stretch += text.as_str(),
                Piece::Special(name) => {
                    output.text(&stretch);
                    stretch = Cow::Borrowed("");
                    let unknown = || Error::UnknownSpecial { name: name.to_string() };
                    output.ids.push(self.special(name).ok_or_else(unknown)?);
                }
            }
        }
        output.text(&stretch);
        Ok(output.ids)
    }

    /// The added token with this text.
    pub fn special(&self, text: &str) -> Option<TokenId> {
        self.special.get(text).copied()
    }

    /// The bytes that a token stands for, which may be part of a UTF-8 character. For an added
    /// token its text.
    ///
    /// # Panics
    /// If the vocabulary has no such id.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        let index = self.index(id);
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// A token as the vocabulary spells it: every byte as a printable character.
    ///
    /// # Panics
    /// If the vocabulary has no such id.
    pub fn token_text(&self, id: TokenId) -> &str {
        &self.vocabulary.tokens[self.index(id)]
    }

    /// What a token is for.
    ///
    /// # Panics
    /// If the vocabulary has no such id.
    pub fn token_kind(&self, id: TokenId) -> TokenKind {
        self.vocabulary.kinds[self.index(id)]
    }

    /// The bytes of all tokens, joined: for ids from any of the ways in, the text.
    ///
    /// # Panics
    /// If the vocabulary lacks one of the ids.
    pub fn decode(&self, ids: &[TokenId]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.token_bytes(id)).copied().collect()
    }

    /// How many tokens there are: ids are below this.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary covers all bytes")]
    pub fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    fn index(&self, id: TokenId) -> usize {
        let index = id.0 as usize;
        assert!(index < self.len(), "token {id} in a vocabulary of {} tokens", self.len());
        index
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

/// The ids of one call and the memory it works with.
struct Output<'a> {
    merges: &'a Merges,
    scratch: Scratch,
    ids: Vec<TokenId>,
}

impl<'a> Output<'a> {
    fn new(tokenizer: &'a Tokenizer, bytes: usize) -> Output<'a> {
        // English and code have more than three bytes to a token.
        let ids = Vec::with_capacity(bytes / 3);
        Output { merges: &tokenizer.merges, scratch: Scratch::default(), ids }
    }

    /// Appends the ids of a stretch of text that has no special tokens.
    fn text(&mut self, stretch: &str) {
        for piece in pieces(stretch) {
            self.merges.encode(piece.as_bytes(), &mut self.scratch, &mut self.ids);
        }
    }
}

fn check_counts(vocabulary: &Vocabulary) -> Result<(), Error> {
    let tokens = vocabulary.tokens.len();
    let added = vocabulary.kinds.iter().filter(|kind| kind.is_added()).count();
    for (what, found, least, most) in [
        ("tokens", tokens, TOKENS_MIN, TOKENS_MAX),
        ("token kinds", vocabulary.kinds.len(), tokens, tokens),
        ("added tokens", added, 0, ADDED_MAX),
        ("merges", vocabulary.merges.len(), 0, MERGES_MAX),
    ] {
        if !(least..=most).contains(&found) {
            return Err(Error::Count { what, found, least, most });
        }
    }
    Ok(())
}

fn ids_by_text(tokens: &[String]) -> Result<HashMap<&str, u32>, Error> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (index, text) in tokens.iter().enumerate() {
        if !(1..=TOKEN_BYTES_MAX).contains(&text.len()) {
            return Err(Error::TokenLength { index, found: text.len(), most: TOKEN_BYTES_MAX });
        }
        match ids.entry(text.as_str()) {
            Entry::Vacant(entry) => entry.insert(index as u32),
            Entry::Occupied(entry) => {
                let (first, text) = (*entry.get(), text.clone());
                return Err(Error::DuplicateToken { first, index, text });
            }
        };
    }
    Ok(ids)
}

fn byte_ids(vocabulary: &Vocabulary, ids: &HashMap<&str, u32>) -> Result<[u32; 256], Error> {
    let mut bytes = [0; 256];
    for byte in 0..=255u8 {
        let text = alphabet::char_of(byte);
        match ids.get(text.encode_utf8(&mut [0; 2]) as &str) {
            Some(&id) if !vocabulary.kinds[id as usize].is_added() => {
                bytes[usize::from(byte)] = id;
            }
            _ => return Err(Error::MissingByte { byte, text }),
        }
    }
    Ok(bytes)
}

/// The merges by the ids of their parts. No part and no result is an added token: together with
/// `byte_ids` this is why text can never become one.
fn merge_pairs(
    vocabulary: &Vocabulary,
    ids: &HashMap<&str, u32>,
) -> Result<FxHashMap<(u32, u32), Merge>, Error> {
    let count = vocabulary.merges.len();
    let mut pairs = FxHashMap::with_capacity_and_hasher(count, Default::default());
    let mut joined = String::new();
    for (index, text) in vocabulary.merges.iter().enumerate() {
        let wrong = |reason: String| Error::Merge { index, text: text.clone(), reason };
        let ordinary = |part: &str| match ids.get(part) {
            None => Err(wrong(format!("{part:?} is not a token"))),
            Some(&id) if vocabulary.kinds[id as usize].is_added() => {
                Err(wrong(format!("{part:?} is a special token")))
            }
            Some(&id) => Ok(id),
        };
        let (left, right) = text
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
            .ok_or_else(|| wrong("expected two tokens with one space between".to_owned()))?;
        joined.clear();
        joined.extend([left, right]);
        let pair = (ordinary(left)?, ordinary(right)?);
        let merge = Merge { rank: index as u32, id: ordinary(&joined)? };
        if let Some(other) = pairs.insert(pair, merge) {
            return Err(wrong(format!("the same as merge {}", other.rank)));
        }
    }
    Ok(pairs)
}
