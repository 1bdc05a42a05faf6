//! `dwarfstar tokenize`: text to tokens, turns to tokens, tokens to text.
//!
//! A window on the tokenizer for people who wonder why a prompt is so long, and for scripts that
//! compare. No model runs.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use spec::TokenId;
use text::{Checkpoint, Tokenizer};

use crate::cmd::prompt;
use crate::exit::{Exit, say};
use crate::json;
use crate::meant::{Ask, Input, Tokenize, Vocabulary};
use crate::open;

/// Shows tokens, or text.
pub fn tokenize(meant: &Tokenize) -> Result<Exit> {
    let (tokenizer, checkpoint) = tokenizer(&meant.vocabulary)?;
    let tokens = match &meant.input {
        Input::Text(text) => tokenizer.encode_text(text),
        Input::Chat(chat) => {
            prompt::prompt(&tokenizer, &Ask::Chat(chat.clone()), checkpoint)?.tokens
        }
        Input::Ids(ids) => checked(&tokenizer, ids)?.to_vec(),
    };
    if meant.json {
        json::print(&to_json(&tokenizer, &tokens))?;
    } else if meant.count {
        writeln!(io::stdout(), "{}", tokens.len())?;
    } else if let Input::Ids(_) = meant.input {
        let text = String::from_utf8_lossy(&tokenizer.decode(&tokens)).into_owned();
        writeln!(io::stdout(), "{text}")?;
    } else {
        list(&tokenizer, &tokens)?;
    }
    Ok(Exit::Done)
}

/// The tokenizer, and which release's texts a chat is rendered with.
fn tokenizer(vocabulary: &Vocabulary) -> Result<(Tokenizer, Checkpoint)> {
    match vocabulary {
        Vocabulary::Model(model) => {
            model.pulled().iter().for_each(|line| say(line));
            let file = open::model(model)?;
            Ok((prompt::tokenizer(&file)?, prompt::checkpoint(&file)))
        }
        Vocabulary::Json(path) => {
            let vocabulary = quantizer::read_vocabulary(path)?;
            let tokenizer = Tokenizer::new(vocabulary);
            let tokenizer = tokenizer.with_context(|| path.display().to_string())?;
            Ok((tokenizer, Checkpoint::default()))
        }
    }
}

fn checked<'a>(tokenizer: &Tokenizer, ids: &'a [TokenId]) -> Result<&'a [TokenId]> {
    let last = tokenizer.len() - 1;
    match ids.iter().find(|id| id.0 as usize > last) {
        Some(id) => bail!("token {id} is not in the vocabulary (0 to {last})"),
        None => Ok(ids),
    }
}

/// One line per token.
fn list(tokenizer: &Tokenizer, tokens: &[TokenId]) -> io::Result<()> {
    let width = (tokenizer.len() - 1).to_string().len();
    let mut out = io::BufWriter::new(io::stdout().lock());
    for &token in tokens {
        writeln!(out, "{:>width$}  {}", token.0, piece(tokenizer, token))?;
    }
    out.flush()
}

/// A token as people read it: quoted text, or a control token's bare name.
fn piece(tokenizer: &Tokenizer, token: TokenId) -> String {
    if tokenizer.token_kind(token).is_added() {
        return tokenizer.token_text(token).escape_debug().to_string();
    }
    let mut shown = String::from("\"");
    for chunk in tokenizer.token_bytes(token).utf8_chunks() {
        shown.extend(chunk.valid().escape_debug());
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown + "\""
}

/// All tokens for machines. `bytes` is there where `text` is not exact.
fn to_json(tokenizer: &Tokenizer, tokens: &[TokenId]) -> Value {
    let token = |&token: &TokenId| {
        let bytes = tokenizer.token_bytes(token);
        let special = tokenizer.token_kind(token).is_added();
        let mut value = json!({
            "id": token.0,
            "text": String::from_utf8_lossy(bytes),
            "special": special,
        });
        if std::str::from_utf8(bytes).is_err() {
            value["bytes"] = bytes.into();
        }
        value
    };
    json!({
        "count": tokens.len(),
        "ids": tokens.iter().map(|token| token.0).collect::<Vec<_>>(),
        "text": String::from_utf8_lossy(&tokenizer.decode(tokens)),
        "tokens": tokens.iter().map(token).collect::<Vec<_>>(),
    })
}
