//! From the messages that agents send to the conversation that the model was trained on.
//!
//! The rules are such that a prompt keeps its trained shape, and that the next request of the same
//! conversation begins with the same bytes, since only then the state of the last one can be gone
//! on from:
//!
//! - leading system and developer material becomes one system message, with the tools after it;
//! - later system material stays in its place, as text of the user's turn there;
//! - texts of one message are joined by blank lines, so that a client may send a string or parts;
//! - reasoning is kept where the history has calls, whether or not tools are on offer now;
//! - a last message of the assistant is the beginning of the answer;
//! - empty messages are left out.
//!
//! Readers feed a [`Builder`] in order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use text::{
    Assistant, Block, Conversation, Instructions, Message, Part, ToolCall, ToolResult, User,
};

use crate::ask::{Choice, Format};
use crate::offers::Offers;
use crate::refusal::{Reason, Refusal};
use crate::replay::{self, Live, Replay, Waiting};

/// Messages of one request.
pub const MESSAGES_MAX: usize = 100_000;

/// A conversation, ready to be rendered.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    /// The messages, with tools and format where the model expects them.
    pub conversation: Conversation,
    /// The tools that may be called.
    pub offers: Offers,
    /// Whether the reasoning of earlier turns stays.
    pub keeps_reasoning: bool,
    /// Ids of results whose calls are not in the request.
    pub orphans: Vec<String>,
    /// Leading messages that stand in a state of the engine, and only say what follows them.
    pub rendered: usize,
}

/// Takes messages in order.
#[derive(Debug, Default)]
pub struct Builder {
    leading: Vec<String>,
    messages: Vec<Message>,
}

impl Builder {
    /// System or developer material.
    pub fn system(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        match self.messages.is_empty() {
            true => self.leading.push(text),
            false => self.messages.push(Message::user(text)),
        }
    }

    /// A message of the user.
    pub fn user(&mut self, blocks: Vec<Block>) {
        let empty = |block: &Block| matches!(block, Block::Text(text) if text.is_empty());
        let blocks: Vec<Block> = blocks.into_iter().filter(|block| !empty(block)).collect();
        if !blocks.is_empty() {
            self.messages.push(Message::User(User { blocks, task: None }));
        }
    }

    /// What a tool gave back. A result without an id is given one when all results are known.
    pub fn result(&mut self, result: ToolResult) {
        self.messages.push(Message::Tool(result));
    }

    /// A turn of the assistant.
    pub fn assistant(&mut self, turn: Assistant) {
        let said = !turn.text.is_empty() || !turn.calls.is_empty();
        if !said && turn.reasoning.as_deref().is_none_or(str::is_empty) {
            return;
        }
        self.messages.push(Message::Assistant(turn));
    }

    /// More of the assistant's turn, if the last message is one; else a turn of its own.
    pub fn more_of_assistant(&mut self, turn: Assistant) {
        let Some(Message::Assistant(last)) = self.messages.last_mut() else {
            return self.assistant(turn);
        };
        last.text = join([std::mem::take(&mut last.text), turn.text]);
        last.calls.extend(turn.calls);
        let reasoning = [last.reasoning.take(), turn.reasoning].into_iter().flatten();
        last.reasoning = Some(join(reasoning)).filter(|text| !text.is_empty());
    }

    /// The conversation. `field` is what the client calls its messages.
    ///
    /// # Errors
    /// Nobody has said anything, the last turn of the user has something that is no text, or the
    /// beginning of an answer has calls.
    pub fn finish(
        mut self,
        offers: Offers,
        choice: &Choice,
        format: &Format,
        field: &str,
    ) -> Result<Dialogue, Refusal> {
        let orphans = self.settle();
        self.check_last_turn(field)?;
        match self.messages.last_mut() {
            None => return Err(Refusal::of(field, "there is no message to answer")),
            Some(Message::Assistant(turn)) if !turn.calls.is_empty() => {
                let message = "the last message calls tools, expected their results after it";
                return Err(Refusal::of(field, message));
            }
            Some(Message::Assistant(turn)) => turn.unfinished = true,
            Some(_) => {}
        }
        let offers = if *choice == Choice::Never { Offers::default() } else { offers };
        check_choice(choice, &offers)?;
        let tools = offers.block();
        let keeps_reasoning = self.messages.iter().any(is_work) || !tools.is_empty();
        let response_format = format.schema().cloned();
        if !self.leading.is_empty() || !tools.is_empty() || response_format.is_some() {
            let text = join(self.leading);
            let system = Instructions { text, tools, response_format };
            self.messages.insert(0, Message::System(system));
        }
        let conversation = Conversation { messages: self.messages };
        Ok(Dialogue { conversation, offers, keeps_reasoning, orphans, rendered: 0 })
    }

    /// Gives results their calls: clients leave the id out where they could not make sense of a
    /// call, and such results belong to the calls before them that have no other, in their order.
    /// Ids of results whose calls do not come before them.
    fn settle(&mut self) -> Vec<String> {
        let id = |message: &Message| match message {
            Message::Tool(result) => Some(result.call_id.clone()),
            _ => None,
        };
        let ids = self.messages.iter().filter_map(id);
        let named: HashSet<String> = ids.filter(|id| !id.is_empty()).collect();
        let (mut known, mut open) = (HashSet::new(), VecDeque::new());
        let mut orphans = Vec::new();
        for message in &mut self.messages {
            match message {
                Message::Assistant(turn) => {
                    let ids = turn.calls.iter().map(|call| call.id.clone());
                    open = ids.clone().filter(|id| !named.contains(id)).collect();
                    known.extend(ids);
                }
                Message::Tool(result) => {
                    if result.call_id.is_empty() {
                        result.call_id = open.pop_front().unwrap_or_default();
                    }
                    if !known.contains(&result.call_id) {
                        orphans.push(result.call_id.clone());
                    }
                }
                Message::User(user) => {
                    let ids = user.blocks.iter().filter_map(result_id);
                    orphans.extend(ids.filter(|id| !known.contains(*id)).cloned());
                }
                _ => {}
            }
        }
        orphans
    }

    /// What the model cannot see is refused in the turn it is to answer, and only named before.
    fn check_last_turn(&self, field: &str) -> Result<(), Refusal> {
        let recent = self.messages.iter().rev();
        let recent = recent.take_while(|message| !matches!(message, Message::Assistant(_)));
        for message in recent {
            let Message::User(User { blocks, .. }) = message else { continue };
            for block in blocks {
                if let Block::Other(kind) = block {
                    let message = format!("the model reads text only, and there is: {kind}");
                    return Err(Refusal::of(field, message));
                }
            }
        }
        Ok(())
    }
}

/// Whether a message has calls or results.
fn is_work(message: &Message) -> bool {
    match message {
        Message::Assistant(turn) => !turn.calls.is_empty(),
        Message::Tool(_) => true,
        Message::User(user) => user.blocks.iter().any(|block| result_id(block).is_some()),
        _ => false,
    }
}

fn result_id(block: &Block) -> Option<&String> {
    match block {
        Block::ToolResult(result) => Some(&result.call_id),
        _ => None,
    }
}

fn check_choice(choice: &Choice, offers: &Offers) -> Result<(), Refusal> {
    match choice {
        Choice::Required if offers.is_empty() => {
            Err(Refusal::of("tool_choice", "a call is required, and there are no tools"))
        }
        Choice::Named(name) if offers.spec(name).is_none() => {
            Err(Refusal::of("tool_choice", format!("there is no tool named {name:?}")))
        }
        _ => Ok(()),
    }
}

/// Texts with blank lines between them; empty ones count for nothing.
pub fn join(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
}

/// A part of a tool's result: text, or the name of what it is.
pub fn part(text: Option<&str>, kind: &str) -> Part {
    text.map_or_else(|| Part::Other(kind.to_owned()), |text| Part::Text(text.to_owned()))
}

impl Dialogue {
    /// Whether there are results, and no history that they belong to.
    fn is_results_only(&self) -> bool {
        let mut turns = self.conversation.messages.iter();
        let told = |message: &&Message| matches!(message, Message::System(_));
        let begins = match turns.clone().find(|message| !told(message)) {
            Some(Message::Tool(_)) => true,
            Some(Message::User(user)) => matches!(user.blocks.first(), Some(Block::ToolResult(_))),
            _ => false,
        };
        begins
            && !self.orphans.is_empty()
            && turns.all(|message| !matches!(message, Message::Assistant(_)))
    }

    /// The live conversation that these results belong to, if they came without their history: from
    /// then on only they are said, after the turn that waits for them.
    ///
    /// # Errors
    /// The conversation is not in memory any more, waits for other results, or has another head.
    pub fn go_on(&mut self, replay: &Replay, field: &str) -> Result<Option<Arc<Live>>, Refusal> {
        if !self.is_results_only() {
            return Ok(None);
        }
        let live = match replay.waiting(&self.orphans) {
            Waiting::Unknown => return Ok(None),
            Waiting::Live(live) => live,
            Waiting::Gone => return Err(Refusal::new(Reason::Gone, GONE)),
            Waiting::Others { calls } => {
                let found = self.orphans.len();
                let message = format!(
                    "{found} results without their history, expected one for each of the {calls} \
                     calls of one turn: send these, or the whole history"
                );
                return Err(Refusal::of(field, message));
            }
        };
        let head = replay::head(&self.conversation);
        if head.is_some() && head != live.head {
            let message = "results without their history belong to a conversation with other \
                           instructions or tools: leave both out, or send the whole history";
            return Err(Refusal::of(field, message));
        }
        self.conversation.messages.retain(|message| !matches!(message, Message::System(_)));
        let turn = live.turns.last().map(|turn| self.turn_of(turn)).unwrap_or_default();
        self.conversation.messages.insert(0, Message::Assistant(turn));
        self.rendered = 1;
        Ok(Some(live))
    }

    /// The turn that waits, with its ids as the client spells them: its order is that of results.
    fn turn_of(&self, turn: &replay::Turn) -> Assistant {
        let spelled = |id: &str| self.orphans.iter().find(|own| replay::plain(own) == id).cloned();
        let call = |(id, name): (&str, &str)| ToolCall {
            id: spelled(id).unwrap_or_default(),
            name: name.to_owned(),
            arguments: String::new(),
        };
        Assistant { calls: turn.calls().map(call).collect(), ..Assistant::default() }
    }
}

/// What is said where the state of a conversation has given way to others.
pub const GONE: &str = "the conversation that waits for these results is not in memory any more: \
    send its whole history";

/// Refuses results whose calls nobody knows.
///
/// # Errors
/// The first of them that `known` does not know either.
pub fn check_orphans(
    dialogue: &Dialogue,
    known: impl Fn(&str) -> bool,
    field: &str,
) -> Result<(), Refusal> {
    match dialogue.orphans.iter().find(|id| !known(id)) {
        None => Ok(()),
        Some(id) => {
            let id: String = id.chars().take(80).collect();
            let message = format!(
                "{field}: there is a result for the call {id:?}, and no such call before it: send \
                 the whole history"
            );
            let field = Some(field.to_owned());
            Err(Refusal { reason: Reason::Invalid, message, field })
        }
    }
}
