//! How a conversation becomes tokens, piece by piece.
//!
//! A conversation is never rendered as a whole: its beginning is made once, every turn of the
//! person is made as a suffix, and what the model says stays in the tokens that were sampled. So
//! the prompt of a request always begins with what the engine holds, and nothing is read twice.
//! This room knows no files and no events; `talk.rs` keeps what is made here.

use std::sync::Arc;

use engine::serve::Info;
use spec::TokenId;
use text::{
    ArgumentTypes, Assistant, Block, Broken, Checkpoint, Conversation, Effort, Instructions,
    Message, ParserOptions, Piece, Prompt, RenderOptions, ThinkMode, Tokenizer, ToolSpec, User,
    render, special,
};

use crate::Error;

/// Whether the model reasons before it answers, and how hard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// It answers at once.
    Off,
    /// It reasons.
    #[default]
    On,
    /// As hard as it can; the model card asks for a context of 384K tokens.
    Max,
}

/// The smallest context in which [`Thinking::Max`] is heard.
pub const THINK_MAX_CONTEXT: usize = 384 << 10;

impl Thinking {
    /// Its name, as commands spell it.
    pub fn name(self) -> &'static str {
        match self {
            Thinking::Off => "nothink",
            Thinking::On => "think",
            Thinking::Max => "think-max",
        }
    }
}

/// Makes tokens of one conversation's turns.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub tokenizer: Arc<Tokenizer>,
    /// Ends every turn of the model.
    pub end: TokenId,
    think_end: TokenId,
    checkpoint: Checkpoint,
    tools: Vec<ToolSpec>,
    types: ArgumentTypes,
    /// Whether the vocabulary has a marker for lines of circumstances.
    reminds: bool,
}

impl Format {
    /// For conversations in which these tools are on offer.
    pub fn new(info: &Info, checkpoint: Checkpoint, tools: Vec<ToolSpec>) -> Result<Format, Error> {
        let none = || Error::NoTokenizer { file: info.file.clone() };
        let tokenizer = info.tokenizer.clone().ok_or_else(none)?;
        let needed = |name: &'static str| {
            let unknown = || text::Error::UnknownSpecial { name: name.into() };
            tokenizer.special(name).ok_or_else(unknown)
        };
        let (end, think_end) = (needed(special::EOS)?, needed(special::THINK_END)?);
        let reminds = tokenizer.special(special::LATEST_REMINDER).is_some();
        let types = ArgumentTypes::of(&tools);
        Ok(Format { tokenizer, end, think_end, checkpoint, tools, types, reminds })
    }

    /// What all conversations with the same instructions begin with.
    pub fn beginning(&self, system: &str, thinking: Thinking) -> Result<Vec<TokenId>, Error> {
        let options = RenderOptions { bos: true, context: 0, ..self.options(thinking) };
        Ok(self.tokenizer.encode_prompt(&render(&self.system(system), &options)?)?)
    }

    /// Whether a conversation of these tokens begins with the request to reason as hard as
    /// possible.
    pub fn begins_hard(&self, tokens: &[TokenId]) -> bool {
        /// So many tokens tell that request from whatever else a conversation begins with.
        const TELLING: usize = 12;
        let beginning = |thinking| self.beginning("", thinking).unwrap_or_default();
        let (hard, usual) = (beginning(Thinking::Max), beginning(Thinking::On));
        let telling = &hard[..hard.len().min(TELLING)];
        !usual.starts_with(telling) && tokens.starts_with(telling)
    }

    /// A turn of the person, or the results of calls, up to where the model answers. `reminder` is
    /// a line of circumstances before it.
    pub fn asking(
        &self,
        reminder: Option<&str>,
        blocks: Vec<Block>,
        thinking: Thinking,
    ) -> Result<Vec<TokenId>, Error> {
        let mut conversation = self.system("");
        let reminder = reminder.filter(|_| self.reminds);
        conversation.messages.extend(reminder.map(|text| Message::LatestReminder(text.to_owned())));
        conversation.messages.push(Message::User(User { blocks, task: None }));
        let options = RenderOptions { context: 1, ..self.options(thinking) };
        Ok(self.tokenizer.encode_prompt(&render(&conversation, &options)?)?)
    }

    /// An answer of ours, in the model's place, behind an asking without reasoning.
    pub fn answer(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        let assistant = Assistant { text: text.to_owned(), ..Assistant::default() };
        let messages = vec![Message::user(""), Message::Assistant(assistant)];
        let options = RenderOptions { context: 1, ..self.options(Thinking::Off) };
        Ok(self.tokenizer.encode_prompt(&render(&Conversation { messages }, &options)?)?)
    }

    /// Closes a call inside a string argument, and its block.
    pub fn closing(&self) -> Result<Vec<TokenId>, Error> {
        let mut pieces = Vec::new();
        for tag in ["parameter>\n", "invoke>\n", "tool_calls>"] {
            let marker = Piece::Special(special::DSML.into());
            pieces.extend([Piece::Text("</".to_owned()), marker, Piece::Text(tag.to_owned())]);
        }
        Ok(self.tokenizer.encode_prompt(&Prompt { pieces })?)
    }

    /// Whether these tokens end inside reasoning that has just begun.
    pub fn opens_thinking(&self, tokens: &[TokenId]) -> bool {
        let think = self.tokenizer.special(special::THINK);
        think.is_some() && tokens.last().copied() == think
    }

    /// Ends an answer: also its reasoning, if that is open.
    pub fn ending(&self, reasoning_open: bool) -> Vec<TokenId> {
        let close = reasoning_open.then_some(self.think_end);
        close.into_iter().chain([self.end]).collect()
    }

    /// How an answer is parsed.
    pub fn parser(&self, thinking: bool) -> ParserOptions {
        ParserOptions {
            thinking,
            tools_offered: !self.tools.is_empty(),
            special_tokens: true,
            types: self.types.clone(),
            broken: Broken::End,
            ..ParserOptions::default()
        }
    }

    /// Names of the tools, for whoever called another.
    pub fn tool_names(&self) -> String {
        self.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn system(&self, text: &str) -> Conversation {
        let (text, tools) = (text.to_owned(), self.tools.clone());
        let instructions = Instructions { text, tools, response_format: None };
        Conversation { messages: vec![Message::System(instructions)] }
    }

    fn options(&self, thinking: Thinking) -> RenderOptions {
        let (mode, effort) = match thinking {
            Thinking::Off => (ThinkMode::Chat, None),
            Thinking::On => (ThinkMode::Thinking, None),
            Thinking::Max => (ThinkMode::Thinking, Some(Effort::Max)),
        };
        // What was sampled stays as it is, so no reasoning is forgotten.
        let checkpoint = self.checkpoint;
        let default = RenderOptions::default();
        RenderOptions { mode, effort, checkpoint, drop_thinking: false, bos: false, ..default }
    }
}
