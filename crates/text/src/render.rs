//! From a conversation to the prompt that the model was trained to continue.
//!
//! The order of work is fixed: messages become turns (tool results join user turns and are
//! sorted), then it is decided what is forgotten, then every turn is written with the markers
//! that follow it. Trained texts are in `trained`, the form of tool calls in `calls`. Everything
//! that comes from people or tools goes through `Pen::text` and so never becomes a special token.
//!
//! This room must not know HTTP dialects, token ids or caches. Start at [`render`].

mod calls;
mod pen;
mod trained;
mod turns;

use crate::message::{
    Assistant, Conversation, Instructions, Part, RenderOptions, Task, ThinkMode, ToolSpec,
    ToolsPlace,
};
use crate::prompt::{Piece, Prompt};
use crate::{Error, json};

pub(crate) use pen::Pen;
pub use trained::special;
use turns::{Body, Turn, UserBlock};

/// Renders a conversation.
///
/// The prompt is open for the model if the last message is of a user, tool or developer, or an
/// unfinished turn of the assistant.
///
/// # Errors
/// [`Error::ContextBeyondConversation`].
pub fn render(conversation: &Conversation, options: &RenderOptions) -> Result<Prompt, Error> {
    let messages = conversation.messages.as_slice();
    if options.context > messages.len() {
        let (context, messages) = (options.context, messages.len());
        return Err(Error::ContextBeyondConversation { context, messages });
    }
    let thinking = options.mode == ThinkMode::Thinking;
    let has_tools = messages.iter().any(|message| !message.tools().is_empty());
    let dropping = thinking && options.drop_thinking && !has_tools;
    let mut turns = turns::turns(messages, options.context);
    if dropping {
        turns::forget_developers(&mut turns);
    }
    let kept_from = if dropping { turns::last_asking(&turns).unwrap_or(0) } else { 0 };
    let mut writer = Writer { pen: Pen::default(), options, thinking, kept_from };
    if options.bos && options.context == 0 {
        writer.pen.special(special::BOS);
    }
    for place in 0..turns.len() {
        if !turns[place].rendered {
            writer.turn(&turns, place);
        }
    }
    Ok(writer.pen.finish())
}

/// Whether the model goes on inside reasoning after this prompt.
pub fn opens_thinking(prompt: &Prompt) -> bool {
    matches!(prompt.pieces.last(), Some(Piece::Special(name)) if name == special::THINK)
}

/// A tool block from its text alone: every marker in it counts as the special token. For records
/// that kept the text of a sampled block but not its pieces.
pub fn block_from_text(text: &str) -> Prompt {
    let mut pen = Pen::default();
    for (place, part) in text.split(special::DSML).enumerate() {
        if place > 0 {
            pen.special(special::DSML);
        }
        pen.text(part);
    }
    pen.finish()
}

struct Writer<'a> {
    pen: Pen,
    options: &'a RenderOptions,
    thinking: bool,
    /// Turns before this one are shown without their reasoning.
    kept_from: usize,
}

impl Writer<'_> {
    fn turn(&mut self, turns: &[Turn<'_>], place: usize) {
        if place == 0
            && self.thinking
            && let Some(effort) = self.options.effort
        {
            self.pen.text(trained::effort_text(self.options.checkpoint, effort));
        }
        match &turns[place].body {
            Body::System(instructions) => self.instructions(instructions),
            Body::Developer(instructions) => {
                self.pen.special(special::USER);
                self.instructions(instructions);
            }
            Body::LatestReminder(text) => {
                self.pen.special(special::LATEST_REMINDER);
                self.pen.text(text);
            }
            Body::User(blocks) => self.user(blocks),
            Body::Assistant(assistant) => {
                let answers_task = place > 0 && turns[place - 1].task.is_some();
                self.assistant(assistant, !answers_task && self.keeps_reasoning(place));
            }
        }
        self.markers_after(turns, place);
    }

    fn keeps_reasoning(&self, place: usize) -> bool {
        self.thinking && place >= self.kept_from
    }

    fn instructions(&mut self, instructions: &Instructions) {
        let Instructions { text, tools, response_format } = instructions;
        let tools_first = self.options.tools_place == ToolsPlace::BeforeText;
        if !tools.is_empty() && tools_first {
            self.tools(tools);
            self.pen.text("\n");
        }
        self.pen.text(text);
        if !tools.is_empty() && !tools_first {
            self.pen.text("\n\n");
            self.tools(tools);
        }
        if let Some(schema) = response_format {
            self.pen.text("\n\n");
            self.pen.text(trained::RESPONSE_FORMAT_HEAD);
            self.pen.text(&json::to_text(schema));
        }
    }

    fn tools(&mut self, tools: &[ToolSpec]) {
        self.pen.trained(trained::TOOLS_HEAD);
        for tool in tools {
            self.pen.text(&tool.schema_line());
            self.pen.text("\n");
        }
        self.pen.trained(trained::TOOLS_TAIL);
    }

    fn user(&mut self, blocks: &[UserBlock<'_>]) {
        self.pen.special(special::USER);
        for (place, block) in blocks.iter().enumerate() {
            self.pen.text(if place == 0 { "" } else { "\n\n" });
            match block {
                UserBlock::Text(text) => self.pen.text(text),
                UserBlock::Other(kind) => self.unsupported(kind),
                UserBlock::Result(result) => {
                    self.pen.text("<tool_result>");
                    self.parts(&result.parts);
                    self.pen.text("</tool_result>");
                }
            }
        }
    }

    fn parts(&mut self, parts: &[Part]) {
        for (place, part) in parts.iter().enumerate() {
            self.pen.text(if place == 0 { "" } else { "\n\n" });
            match part {
                Part::Text(text) => self.pen.text(text),
                Part::Other(kind) => self.unsupported(kind),
            }
        }
    }

    fn unsupported(&mut self, kind: &str) {
        self.pen.text("[Unsupported ");
        self.pen.text(kind);
        self.pen.text("]");
    }

    /// The opening `<think>` or `</think>` belongs to the markers of the turn before.
    fn assistant(&mut self, assistant: &Assistant, with_reasoning: bool) {
        if with_reasoning {
            self.pen.text(assistant.reasoning.as_deref().unwrap_or(""));
            self.pen.special(special::THINK_END);
        }
        self.pen.text(&assistant.text);
        match &assistant.sampled_calls {
            Some(sampled) => self.pen.prompt(sampled),
            None if assistant.calls.is_empty() => {}
            None => calls::write_calls(&assistant.calls, &mut self.pen),
        }
        if !assistant.unfinished {
            self.pen.special(special::EOS);
        }
    }

    /// What stands between a turn and the model's answer to it, if the answer is next.
    fn markers_after(&mut self, turns: &[Turn<'_>], place: usize) {
        let answer_is_next = turns
            .get(place + 1)
            .is_none_or(|next| matches!(next.body, Body::Assistant(_) | Body::LatestReminder(_)));
        if !answer_is_next {
            return;
        }
        let turn = &turns[place];
        match turn.task {
            Some(Task::Action) => self.open_answer(self.thinking),
            Some(_) => {}
            None if turn.asks() => self.open_answer(self.keeps_reasoning(place)),
            None => {}
        }
        if let Some(task) = turn.task {
            self.pen.special(trained::task_token(task));
        }
    }

    fn open_answer(&mut self, thinking: bool) {
        self.pen.special(special::ASSISTANT);
        self.pen.special(if thinking { special::THINK } else { special::THINK_END });
    }
}
