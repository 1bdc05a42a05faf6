//! What a model file says about its tokens, as plain data.
//!
//! A [`Vocabulary`] is filled from a GGUF's `tokenizer.ggml.*` arrays by whoever reads that file,
//! or from a tokenizer.json here. Nothing is believed yet: `Tokenizer::new` checks it. This room
//! does not know how text is split or merged; it only makes sure that a tokenizer.json asks for
//! the splitting that this crate does.

use std::collections::HashMap;

use serde::Deserialize;

use crate::error::Error;
use crate::split::PATTERNS;

/// The tokens of a byte-level BPE vocabulary, in the spelling of the GGUF format.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Vocabulary {
    /// By id: the text, in the alphabet that has a printable character for every byte.
    pub tokens: Vec<String>,
    /// By id: what the token is for. As many as tokens.
    pub kinds: Vec<TokenKind>,
    /// By rank, the lowest first: "left right", two tokens that become the one that joins them.
    pub merges: Vec<String>,
}

/// What a token is for, as in a GGUF's `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for text that has no token. Byte-level vocabularies need none.
    Unknown,
    /// A mark of the prompt's structure, such as `<｜User｜>`. Never comes from text.
    Control,
    /// Added to the vocabulary as a whole, such as `<think>`. Never comes from text.
    UserDefined,
    /// An id without use.
    Unused,
    /// A single byte, in vocabularies that are not byte-level.
    Byte,
}

impl TokenKind {
    /// The kind that a GGUF writes as `id`.
    pub fn from_id(id: i64) -> Option<TokenKind> {
        Some(match id {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return None,
        })
    }

    /// The number that a GGUF writes for this kind.
    pub fn id(self) -> i32 {
        match self {
            TokenKind::Normal => 1,
            TokenKind::Unknown => 2,
            TokenKind::Control => 3,
            TokenKind::UserDefined => 4,
            TokenKind::Unused => 5,
            TokenKind::Byte => 6,
        }
    }

    /// Whether it was added to the vocabulary as a whole: only a prompt's special pieces and
    /// rendered text make such tokens, text from people never does.
    pub fn is_added(self) -> bool {
        matches!(self, TokenKind::Control | TokenKind::UserDefined)
    }
}

impl Vocabulary {
    /// Reads the tokenizer.json of a checkpoint: `model.vocab`, `model.merges` in either
    /// spelling, and `added_tokens`.
    ///
    /// # Errors
    /// The text is no such JSON, it wants text to be split in another way, or its ids have gaps
    /// or contradictions.
    pub fn from_tokenizer_json(json: &str) -> Result<Vocabulary, Error> {
        let file: TokenizerJson = serde_json::from_str(json).map_err(|error| malformed(&error))?;
        file.check_algorithm()?;
        let is_added = file.added_tokens.iter().map(|added| added.id).collect::<Vec<_>>();
        let merges = file.model.merges.iter().map(MergeJson::joined).collect();
        let tokens = by_id(file.model.vocab, file.added_tokens)?;
        let mut kinds = vec![TokenKind::Normal; tokens.len()];
        for id in is_added {
            kinds[id] = kind_of_added(id, &tokens[id]);
        }
        Ok(Vocabulary { tokens, kinds, merges })
    }
}

/// The ids that begin and end a text and fill up a batch, in all vocabularies of the family.
const CONTROL_IDS: std::ops::Range<usize> = 0..3;

/// Tokenizer.json does not tell the kinds of added tokens apart; a GGUF's maker goes by this.
fn kind_of_added(id: usize, text: &str) -> TokenKind {
    let enclosed = |open, close| text.starts_with(open) && text.ends_with(close);
    if CONTROL_IDS.contains(&id) || enclosed("<\u{ff5c}", "\u{ff5c}>") || enclosed("<|", "|>") {
        TokenKind::Control
    } else {
        TokenKind::UserDefined
    }
}

/// All texts in the order of their ids, which must be 0, 1, 2, … without a gap.
fn by_id(vocab: HashMap<String, usize>, added: Vec<AddedJson>) -> Result<Vec<String>, Error> {
    let mut tokens = vec![None; vocab.len() + added.len()];
    let added = added.into_iter().map(|added| (added.content, added.id));
    for (text, id) in vocab.into_iter().chain(added) {
        let count = tokens.len();
        let place = tokens.get_mut(id).ok_or_else(|| {
            malformed(&format_args!("token {text:?} has id {id}, but there are {count} tokens"))
        })?;
        if let Some(other) = place.as_ref().filter(|&other| *other != text) {
            return Err(malformed(&format_args!("id {id} is both {other:?} and {text:?}")));
        }
        *place = Some(text);
    }
    // Tokens that are listed twice, as ordinary and as added ones, leave places over.
    let used = tokens.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    tokens.truncate(used);
    let missing = |id| malformed(&format_args!("no token has id {id}, but there are higher ids"));
    tokens.into_iter().enumerate().map(|(id, text)| text.ok_or_else(|| missing(id))).collect()
}

fn malformed(reason: &dyn std::fmt::Display) -> Error {
    Error::TokenizerJson(reason.to_string())
}

#[derive(Deserialize)]
struct TokenizerJson {
    added_tokens: Vec<AddedJson>,
    pre_tokenizer: serde_json::Value,
    model: ModelJson,
}

#[derive(Deserialize)]
struct AddedJson {
    id: usize,
    content: String,
}

#[derive(Deserialize)]
struct ModelJson {
    #[serde(rename = "type")]
    algorithm: String,
    vocab: HashMap<String, usize>,
    merges: Vec<MergeJson>,
}

/// Older files write "left right", newer ones ["left", "right"].
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeJson {
    Joined(String),
    Pair(String, String),
}

impl MergeJson {
    fn joined(&self) -> String {
        match self {
            MergeJson::Joined(merge) => merge.clone(),
            MergeJson::Pair(left, right) => format!("{left} {right}"),
        }
    }
}

impl TokenizerJson {
    fn check_algorithm(&self) -> Result<(), Error> {
        if self.model.algorithm != "BPE" {
            let found = &self.model.algorithm;
            return Err(malformed(&format_args!("model.type is {found:?}, expected \"BPE\"")));
        }
        let steps = self.pre_tokenizer["pretokenizers"].as_array();
        let patterns = steps.into_iter().flatten().filter_map(|s| s["pattern"]["Regex"].as_str());
        if !patterns.clone().eq(PATTERNS) {
            let found = patterns.collect::<Vec<_>>();
            return Err(malformed(&format_args!(
                "pre_tokenizer splits text with {found:?}, expected the patterns of DeepSeek V4, \
                 {PATTERNS:?}"
            )));
        }
        Ok(())
    }
}
