//! What tokens spell: their bytes, with special tokens told from text that looks like them.
//!
//! A client sends back the text of an answer, and the tokenizer may cut it otherwise than the model
//! wrote it. Two sequences with one spelling are the same prompt for every purpose of a
//! conversation, so a state may be gone on from although its tokens differ; what follows the common
//! part is then cut anew.
//!
//! ```text
//! text of an ordinary token     its bytes; a byte FF as FF FF FF FF FF
//! special token                 FF, its id as four bytes, little endian
//! ```
//!
//! FF is in no UTF-8 text, and no id is FF FF FF FF, so nothing that people write is mistaken for a
//! special token.

use spec::TokenId;
use text::Tokenizer;

const MARK: u8 = 0xff;

/// The spelling of `tokens`.
pub fn spell(tokenizer: &Tokenizer, tokens: &[TokenId]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 * tokens.len());
    for &token in tokens {
        if tokenizer.token_kind(token).is_added() {
            out.push(MARK);
            out.extend(token.0.to_le_bytes());
            continue;
        }
        for &byte in tokenizer.token_bytes(token) {
            out.extend(std::iter::repeat_n(byte, if byte == MARK { 5 } else { 1 }));
        }
    }
    out
}

/// Tokens for a spelling, as a prompt's text is cut; `None` if it is not that of whole characters
/// and special tokens.
pub fn read(tokenizer: &Tokenizer, mut spelling: &[u8]) -> Option<Vec<TokenId>> {
    let mut tokens = Vec::new();
    while !spelling.is_empty() {
        let end = spelling.iter().position(|byte| *byte == MARK).unwrap_or(spelling.len());
        let (plain, rest) = spelling.split_at(end);
        tokens.extend(tokenizer.encode_text(std::str::from_utf8(plain).ok()?));
        spelling = rest;
        if let Some(([_, id @ ..], rest)) = rest.split_first_chunk::<5>() {
            let id = TokenId(u32::from_le_bytes(*id));
            let known = (id.0 as usize) < tokenizer.len() && tokenizer.token_kind(id).is_added();
            tokens.push(known.then_some(id)?);
            spelling = rest;
        } else if !rest.is_empty() {
            return None;
        }
    }
    Some(tokens)
}

/// The hash by which spellings are compared without being kept.
pub fn hash(spelling: &[u8]) -> [u8; 32] {
    *blake3::hash(spelling).as_bytes()
}

/// The hashes of beginnings of a spelling, by their lengths, which must ascend: one pass for all.
/// `None` beyond its end.
pub fn prefix_hashes(spelling: &[u8]) -> impl FnMut(usize) -> Option<[u8; 32]> {
    let (mut hasher, mut hashed) = (blake3::Hasher::new(), 0);
    move |bytes| {
        hasher.update(spelling.get(hashed..bytes)?);
        hashed = bytes;
        Some(*hasher.finalize().as_bytes())
    }
}
