//! What may be said: a mask over the vocabulary for every token of an answer.
//!
//! The grammar is somebody else's matter (JSON schema, regular expressions); the sampler only asks
//! which tokens may come next and tells which one came.

use std::fmt::Debug;

use spec::TokenId;

/// Decides token by token what an answer may be.
pub trait Constraint: Send + Debug {
    /// Sets in `allowed`, which comes empty, every token that may come next. Tokens that end an
    /// answer are among them where it may end.
    ///
    /// # Errors
    /// Why it cannot say; the answer ends there.
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), String>;

    /// Takes note of the token that came.
    ///
    /// # Errors
    /// Why it could not come here.
    fn accept(&mut self, token: TokenId) -> Result<(), String>;

    /// Whether the most probable of the allowed tokens is to be taken, whatever the sampler would
    /// choose: where tokens are form, not content.
    fn is_greedy(&self) -> bool {
        false
    }

    /// When the answer is over: the notes that belong to the conversation from then on, if they are
    /// others than those of the request.
    fn notes(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// A set of tokens of a vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
    len: usize,
}

impl TokenSet {
    /// The empty set, for a vocabulary of `len` tokens.
    pub fn new(len: usize) -> TokenSet {
        TokenSet { words: vec![0; len.div_ceil(32)], len }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds everything.
    pub fn fill(&mut self) {
        self.copy_from(&vec![u32::MAX; self.words.len()]);
    }

    /// Adds a token. Ids outside the vocabulary are ignored.
    pub fn insert(&mut self, token: TokenId) {
        let id = token.0 as usize;
        if id < self.len {
            self.words[id / 32] |= 1 << (id % 32);
        }
    }

    /// Replaces the set by bits, 32 per word, the lowest first.
    pub fn copy_from(&mut self, words: &[u32]) {
        self.clear();
        for (to, from) in self.words.iter_mut().zip(words) {
            *to = *from;
        }
        if let (Some(last), rest @ 1..) = (self.words.last_mut(), self.len % 32) {
            *last &= (1 << rest) - 1;
        }
    }

    /// Whether it has the token.
    pub fn contains(&self, token: TokenId) -> bool {
        let id = token.0 as usize;
        id < self.len && self.words[id / 32] & 1 << (id % 32) != 0
    }

    /// Whether it has no token.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_is_in_the_vocabulary() {
        let mut set = TokenSet::new(70);
        assert!(set.is_empty());
        for id in [0, 31, 32, 69, 70, 96, u32::MAX] {
            set.insert(TokenId(id));
        }
        let held: Vec<u32> = (0..100).filter(|id| set.contains(TokenId(*id))).collect();
        assert_eq!(held, [0, 31, 32, 69]);
        set.copy_from(&[0, u32::MAX, u32::MAX]);
        let held: Vec<u32> = (0..100).filter(|id| set.contains(TokenId(*id))).collect();
        assert_eq!(held, (32..70).collect::<Vec<_>>());
        set.fill();
        assert_eq!((0..100).filter(|id| set.contains(TokenId(*id))).count(), 70);
    }
}
