//! From messages to the turns that the prompt shows: tool results join user turns, are put into
//! the order of their calls, and what the model shall forget is left out.
//!
//! The rules are those of the encoder that ships with the weights. Nothing is written here;
//! turns borrow everything from the messages.

use std::collections::HashMap;

use crate::message::{Assistant, Block, Instructions, Message, Task, ToolResult, User};

/// One turn of the prompt.
pub(super) struct Turn<'a> {
    pub body: Body<'a>,
    pub task: Option<Task>,
    /// An earlier prompt holds it already.
    pub rendered: bool,
}

/// What a turn says.
pub(super) enum Body<'a> {
    System(&'a Instructions),
    Developer(&'a Instructions),
    LatestReminder(&'a str),
    User(Vec<UserBlock<'a>>),
    Assistant(&'a Assistant),
}

/// One block of a user turn.
#[derive(Clone, Copy)]
pub(super) enum UserBlock<'a> {
    Text(&'a str),
    Result(&'a ToolResult),
    Other(&'a str),
}

impl Turn<'_> {
    /// Whether the assistant speaks after it.
    pub fn asks(&self) -> bool {
        matches!(self.body, Body::User(_) | Body::Developer(_))
    }
}

/// The turns of a conversation, results sorted.
pub(super) fn turns(messages: &[Message], context: usize) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        add(&mut turns, message, place < context);
    }
    sort_results(&mut turns);
    turns
}

/// Index of the last turn of a user or developer.
pub(super) fn last_asking(turns: &[Turn<'_>]) -> Option<usize> {
    turns.iter().rposition(Turn::asks)
}

/// Leaves out the developer turns before the last turn that asks. (The reasoning of that time is
/// left out when the turns are written.)
pub(super) fn forget_developers(turns: &mut Vec<Turn<'_>>) {
    let last = last_asking(turns);
    let mut place = 0;
    turns.retain(|turn| {
        place += 1;
        !matches!(turn.body, Body::Developer(_)) || Some(place - 1) == last
    });
}

fn add<'a>(turns: &mut Vec<Turn<'a>>, message: &'a Message, rendered: bool) {
    let (body, task) = match message {
        Message::System(instructions) => (Body::System(instructions), None),
        Message::Developer(instructions) => (Body::Developer(instructions), None),
        Message::LatestReminder(text) => (Body::LatestReminder(text), None),
        Message::Assistant(assistant) => (Body::Assistant(assistant), assistant.task),
        Message::Tool(result) => {
            return add_blocks(turns, vec![UserBlock::Result(result)], None, rendered);
        }
        Message::User(user) => return add_blocks(turns, blocks(user), user.task, rendered),
    };
    turns.push(Turn { body, task, rendered });
}

/// Joins the user turn before, or opens one. A task closes its turn, and is lost in a message
/// that joins an earlier turn.
fn add_blocks<'a>(
    turns: &mut Vec<Turn<'a>>,
    blocks: Vec<UserBlock<'a>>,
    task: Option<Task>,
    rendered: bool,
) {
    if let Some(Turn { body: Body::User(open), task: None, rendered: before }) = turns.last_mut()
        && *before == rendered
    {
        open.extend(blocks);
    } else {
        turns.push(Turn { body: Body::User(blocks), task, rendered });
    }
}

fn blocks(user: &User) -> Vec<UserBlock<'_>> {
    user.blocks
        .iter()
        .map(|block| match block {
            Block::Text(text) => UserBlock::Text(text),
            Block::ToolResult(result) => UserBlock::Result(result),
            Block::Other(kind) => UserBlock::Other(kind),
        })
        .collect()
}

/// Puts the results of each turn into the order of the calls of the last turn that called.
/// Unknown ids count as the first call; other blocks keep their places.
fn sort_results(turns: &mut [Turn<'_>]) {
    let mut order: HashMap<&str, usize> = HashMap::new();
    for turn in turns {
        match &mut turn.body {
            Body::Assistant(assistant) if !assistant.calls.is_empty() => {
                let ids = assistant.calls.iter().map(|call| call.id.as_str());
                order = ids.enumerate().map(|(place, id)| (id, place)).collect();
            }
            Body::User(blocks) => sort_blocks(blocks, &order),
            _ => {}
        }
    }
}

fn sort_blocks(blocks: &mut [UserBlock<'_>], order: &HashMap<&str, usize>) {
    let results = blocks.iter().filter(|block| matches!(block, UserBlock::Result(_)));
    let mut sorted: Vec<UserBlock<'_>> = results.copied().collect();
    sorted.sort_by_key(|block| match block {
        UserBlock::Result(result) if !result.call_id.is_empty() => {
            order.get(result.call_id.as_str()).copied().unwrap_or(0)
        }
        _ => 0,
    });
    let places = blocks.iter_mut().filter(|block| matches!(block, UserBlock::Result(_)));
    for (place, block) in places.zip(sorted) {
        *place = block;
    }
}
