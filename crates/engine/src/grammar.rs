//! Grammars: JSON schemas, regular expressions and Lark grammars as constraints on answers.
//!
//! The grammars are `llguidance`'s, which computes a mask over the whole vocabulary in
//! microseconds. What a grammar may cost is bounded there; here it is told what our tokens spell.
//! Special tokens are not text, so no grammar allows them but by name; the end of the answer is
//! allowed where the grammar may end.

use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{self, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use spec::TokenId;
use text::{Tokenizer, special};

use crate::Error;
use crate::constraint::{Constraint, TokenSet};

/// How JSON is spaced, as a key of a schema that the library knows.
const SPACES: &str = r#""x-guidance": {"whitespace_flexible": false,
    "item_separator": ", ", "key_separator": ": "}"#;

/// Makes constraints for one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
}

/// A grammar, and how far an answer has come in it.
pub struct Grammar(Matcher);

/// The vocabulary as the library sees it.
struct Words {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl TokenizerEnv for Words {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<toktrie::TokenId> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.tokenizer.encode_text(text).iter().map(|id| id.0).collect(),
            Err(_) => self.trie.greedy_tokenize(bytes),
        }
    }
}

impl Grammars {
    /// For the vocabulary of `tokenizer`. Takes a moment; it is kept for all requests.
    ///
    /// # Errors
    /// The vocabulary has no token that ends an answer.
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Result<Grammars, Error> {
        let end = tokenizer.special(special::EOS);
        let end = end.ok_or_else(|| failed("the vocabulary has no end token"))?;
        let word = |id: u32| {
            let bytes = tokenizer.token_bytes(TokenId(id)).iter().copied();
            let mark = tokenizer.token_kind(TokenId(id)).is_added();
            mark.then_some(TokTrie::SPECIAL_TOKEN_MARKER).into_iter().chain(bytes).collect()
        };
        let words: Vec<Vec<u8>> = (0..tokenizer.len() as u32).map(word).collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end.0), &words);
        let words: toktrie::TokEnv = Arc::new(Words { trie, tokenizer: tokenizer.clone() });
        let mut factory = ParserFactory::new_simple(&words).map_err(failed)?;
        factory.quiet();
        Ok(Grammars { factory })
    }

    /// JSON that a schema describes, given as JSON text. Its spaces are those that the model was
    /// trained with, so that an answer cannot get lost in them.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn json_schema(&self, schema: &str) -> Result<Grammar, Error> {
        let Some(rest) = schema.trim_start().strip_prefix('{') else {
            return self.lark(&format!("start: %json {schema}"));
        };
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        self.lark(&format!("start: %json {{{SPACES}{comma}{rest}"))
    }

    /// Text that a regular expression matches as a whole.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn regex(&self, expression: &str) -> Result<Grammar, Error> {
        self.grammar(TopLevelGrammar::from_regex(expression))
    }

    /// Text that a grammar in the Lark format describes, from its rule `start`.
    ///
    /// # Errors
    /// What is wrong with the grammar.
    pub fn lark(&self, grammar: &str) -> Result<Grammar, Error> {
        self.grammar(TopLevelGrammar::from_lark(grammar.to_owned()))
    }

    fn grammar(&self, grammar: TopLevelGrammar) -> Result<Grammar, Error> {
        let parser = self.factory.create_parser(grammar).map_err(failed)?;
        Ok(Grammar(Matcher::new(Ok(parser))))
    }
}

impl Grammar {
    /// The same, for another answer that is where this one is; neither waits for the other.
    pub fn fork(&self) -> Grammar {
        Grammar(self.0.deep_clone())
    }
}

impl Constraint for Grammar {
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), String> {
        let mask = self.0.compute_mask_or_eos().map_err(|error| error.to_string())?;
        allowed.copy_from(mask.as_slice());
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), String> {
        if self.0.is_stopped() {
            return Ok(()); // The end, which is no part of the grammar.
        }
        self.0.consume_token(token.0).map_err(|error| error.to_string())
    }
}

fn failed(message: impl fmt::Display) -> Error {
    Error::Constraint { message: message.to_string() }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grammar").finish()
    }
}
