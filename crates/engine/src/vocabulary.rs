//! The tokenizer of a model file: metadata arrays to a checked `text::Tokenizer`.

use gguf::{File, Value};
use text::{TokenKind, Tokenizer, Vocabulary};

use crate::Error;

/// Reads the tokenizer that a file carries; `None` if it carries none.
///
/// `vocab` is the model's vocabulary size, which the tokenizer must have.
///
/// # Errors
/// Arrays of the wrong kind or length, or a vocabulary that cannot encode text.
pub fn read_tokenizer(file: &File, vocab: usize) -> Result<Option<Tokenizer>, Error> {
    let bad = |message: String| Error::Tokenizer { file: file.name().to_owned(), message };
    let Some(tokens) = file.metadata().get("tokenizer.ggml.tokens") else { return Ok(None) };
    check_kind(file).map_err(&bad)?;
    let strings = |key: &str, value: Option<&Value>| {
        let list = value.and_then(Value::as_strings).map(<[String]>::to_vec);
        list.ok_or_else(|| bad(format!("{key}: expected a list of strings")))
    };
    let tokens = strings("tokenizer.ggml.tokens", Some(tokens))?;
    if tokens.len() != vocab {
        return Err(bad(format!(
            "tokenizer.ggml.tokens has {} entries, the model's vocabulary has {vocab}",
            tokens.len()
        )));
    }
    let merges = strings("tokenizer.ggml.merges", file.metadata().get("tokenizer.ggml.merges"))?;
    let kinds = kinds(file, tokens.len()).map_err(&bad)?;
    let vocabulary = Vocabulary { tokens, kinds, merges };
    Tokenizer::new(vocabulary).map(Some).map_err(|error| bad(error.to_string()))
}

/// Names under which files announce the splitting that `text` does.
const SPLITTERS: [&str; 3] = ["joyai-llm", "deepseek-v3", "deepseek-v4"];

/// The tokenizer must be byte-level BPE with the family's splitting; another one would give other
/// ids for the same text, silently.
fn check_kind(file: &File) -> Result<(), String> {
    let stated = |key: &str| file.metadata().get(key).map(|value| value.as_str().unwrap_or("?"));
    let check = |key: &str, known: &[&str]| match stated(key) {
        Some(found) if !known.contains(&found) => {
            Err(format!("{key}: expected {}, found {found:?}", known.join(" or ")))
        }
        _ => Ok(()),
    };
    check("tokenizer.ggml.model", &["gpt2"])?;
    check("tokenizer.ggml.pre", &SPLITTERS)
}

fn kinds(file: &File, count: usize) -> Result<Vec<TokenKind>, String> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let ids = file.metadata().get(KEY).and_then(Value::as_integers);
    let ids = ids.ok_or_else(|| format!("{KEY}: expected a list of integers"))?;
    if ids.len() != count {
        return Err(format!("{KEY} has {} entries, expected one per token ({count})", ids.len()));
    }
    let kind = |(i, &id): (usize, &i64)| {
        TokenKind::from_id(id).ok_or_else(|| format!("{KEY}: token {i} has type {id}, not 1 to 6"))
    };
    ids.iter().enumerate().map(kind).collect()
}
