//! From what is asked to the tokens that the model reads.
//!
//! A chat is rendered with its markers, a raw text is put behind the marker that begins a text and
//! left alone otherwise. Small test vocabularies lack markers; that is told with a way out.

use anyhow::{Result, anyhow, bail};
use gguf::File;
use spec::TokenId;
use text::{
    Checkpoint, Conversation, Effort, Message, Piece, RenderOptions, ThinkMode, Tokenizer,
    opens_thinking, render, special,
};

use crate::meant::{Ask, Chat, Thinking};

/// The smallest context in which the model is asked to reason as hard as it can. The model card
/// asks for 384K tokens.
pub const THINK_MAX_CONTEXT: usize = 384 << 10;

/// What the model reads.
#[derive(Debug)]
pub struct Prompt {
    /// At least one.
    pub tokens: Vec<TokenId>,
    /// The reply has the form of an answer, as opposed to plain text going on.
    pub is_chat: bool,
    /// The reply begins inside reasoning.
    pub thinking: bool,
}

/// Makes the prompt.
///
/// # Errors
/// A marker that the vocabulary lacks.
pub fn prompt(tokenizer: &Tokenizer, ask: &Ask, checkpoint: Checkpoint) -> Result<Prompt> {
    match ask {
        Ask::Raw(text) => {
            let begin = Piece::Special(special::BOS.into());
            let pieces = vec![begin, Piece::Text(text.clone())];
            let tokens = tokenizer.encode_prompt(&text::Prompt { pieces })?;
            Ok(Prompt { tokens, is_chat: false, thinking: false })
        }
        Ask::Chat(chat) => {
            let prompt = rendered(chat, checkpoint)?;
            let thinking = opens_thinking(&prompt);
            Ok(Prompt { tokens: encoded(tokenizer, &prompt)?, is_chat: true, thinking })
        }
    }
}

/// The turn with all its markers.
fn rendered(chat: &Chat, checkpoint: Checkpoint) -> Result<text::Prompt> {
    let system = chat.system.clone().map(Message::system);
    let user = Message::user(chat.text.clone());
    let conversation = Conversation { messages: system.into_iter().chain([user]).collect() };
    Ok(render(&conversation, &options(chat.thinking, checkpoint))?)
}

/// How conversations are rendered.
pub fn options(thinking: Thinking, checkpoint: Checkpoint) -> RenderOptions {
    let (mode, effort) = match thinking {
        Thinking::Off => (ThinkMode::Chat, None),
        Thinking::On => (ThinkMode::Thinking, None),
        Thinking::Max => (ThinkMode::Thinking, Some(Effort::Max)),
    };
    RenderOptions { mode, effort, checkpoint, ..RenderOptions::default() }
}

/// The ids of a chat, with advice for vocabularies that have no chat markers.
fn encoded(tokenizer: &Tokenizer, prompt: &text::Prompt) -> Result<Vec<TokenId>> {
    tokenizer.encode_prompt(prompt).map_err(|error| match error {
        text::Error::UnknownSpecial { name } => anyhow!(
            "the vocabulary has no token {name}, which the chat format needs: continue plain text \
             with --raw-prompt, or use a model made for chats"
        ),
        other => other.into(),
    })
}

/// Which release the weights are of, as far as names tell; it decides about trained texts only.
pub fn checkpoint(file: &File) -> Checkpoint {
    let name = file.metadata().get("general.name").and_then(|name| name.as_str());
    let base = file.name().rsplit('/').next();
    match name.into_iter().chain(base).any(|name| name.contains("0731")) {
        true => Checkpoint::V0731,
        false => Checkpoint::Preview,
    }
}

/// The tokenizer that a model file carries.
///
/// # Errors
/// The file is no model of the family, or has no usable tokenizer.
pub fn tokenizer(file: &File) -> Result<Tokenizer> {
    let vocab = model::read_shape(file)?.vocab;
    match engine::read_tokenizer(file, vocab)? {
        Some(tokenizer) => Ok(tokenizer),
        None => bail!(engine::Error::NoTokenizer { file: file.name().to_owned() }),
    }
}
