//! Calls as the model wrote them.
//!
//! A client sends calls back as JSON. What the prompt shows then must be what was sampled, byte for
//! byte, or the state of the turn is lost; so the sampled block is remembered by the ids of its
//! calls, which nobody can guess. Before it is used, names and arguments are compared with what the
//! client sent: whoever edits a call gets its canonical form. The reasoning is remembered too, for
//! clients that do not send it back.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use text::{Assistant, Message, Piece, Prompt, Reply};

use crate::dialogue::Dialogue;

/// Bytes of all that is remembered.
const BYTES_MAX: usize = 512 << 20;

/// Bytes of what is kept with one conversation; older turns are left out.
const NOTES_BYTES_MAX: usize = 4 << 20;

/// What is remembered, least recently made first out.
#[derive(Debug, Default)]
pub struct Replay {
    calls_max: usize,
    calls: HashMap<String, (Arc<Turn>, usize)>,
    order: VecDeque<String>,
    bytes: usize,
}

/// A turn of the model that called tools.
#[derive(Debug)]
pub struct Turn {
    ids: Vec<String>,
    reasoning: String,
    calls: Vec<(String, String)>,
    sampled: Prompt,
    bytes: usize,
}

impl Replay {
    /// Remembers so many calls at most.
    pub fn new(calls_max: usize) -> Replay {
        Replay { calls_max, ..Replay::default() }
    }

    /// Whether a call of this id was made here.
    pub fn knows(&self, id: &str) -> bool {
        self.calls.contains_key(&plain(id))
    }

    /// Calls remembered.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Remembers the calls of a reply under their ids.
    pub fn remember(&mut self, reply: &Reply, id: impl Fn(usize) -> String) {
        Turn::of(reply, id).into_iter().for_each(|turn| self.take(turn));
    }

    fn take(&mut self, turn: Turn) {
        if self.calls_max == 0 || turn.ids.iter().any(|id| self.calls.contains_key(id)) {
            return;
        }
        let turn = Arc::new(turn);
        self.bytes += turn.bytes;
        for (index, id) in turn.ids.iter().enumerate() {
            self.calls.insert(id.clone(), (turn.clone(), index));
            self.order.push_back(id.clone());
        }
        while self.calls.len() > self.calls_max || self.bytes > BYTES_MAX {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(id) = self.order.pop_front() else { return false };
        if let Some((turn, _)) = self.calls.remove(&id)
            && !turn.ids.iter().any(|id| self.calls.contains_key(id))
        {
            self.bytes -= turn.bytes;
        }
        true
    }

    /// Remembers what was kept with a conversation. What cannot be read is passed over.
    pub fn read(&mut self, notes: &[u8]) {
        let lines = std::str::from_utf8(notes).unwrap_or_default().lines();
        lines.filter_map(Turn::read).for_each(|turn| self.take(turn));
    }

    /// Puts what was sampled where the client sent it back unchanged: the turns where that was so.
    pub fn restore(&self, dialogue: &mut Dialogue) -> Vec<Arc<Turn>> {
        let turns = dialogue.conversation.messages.iter_mut().filter_map(|message| match message {
            Message::Assistant(turn) => Some(turn),
            _ => None,
        });
        turns.filter_map(|turn| self.restore_turn(turn)).collect()
    }

    fn restore_turn(&self, turn: &mut Assistant) -> Option<Arc<Turn>> {
        let (known, _) = self.calls.get(&plain(&turn.calls.first()?.id))?;
        let known = known.clone();
        let same = |(index, call): (usize, &text::ToolCall)| {
            let place = self.calls.get(&plain(&call.id));
            let (name, arguments) = &known.calls[index];
            place.is_some_and(|(turn, at)| Arc::ptr_eq(turn, &known) && *at == index)
                && *name == call.name
                && equal_json(arguments, &call.arguments)
        };
        if known.calls.len() != turn.calls.len() || !turn.calls.iter().enumerate().all(same) {
            return None;
        }
        turn.sampled_calls = Some(known.sampled.clone());
        if turn.reasoning.is_none() && !known.reasoning.is_empty() {
            turn.reasoning = Some(known.reasoning.clone());
        }
        Some(known)
    }
}

impl Turn {
    /// A reply that calls tools, under the ids of its calls.
    pub fn of(reply: &Reply, id: impl Fn(usize) -> String) -> Option<Turn> {
        let sampled = reply.sampled_calls.clone()?;
        let calls: Vec<_> =
            reply.calls.iter().map(|call| (call.name.clone(), call.arguments.clone())).collect();
        let ids = (0..calls.len()).map(|index| plain(&id(index))).collect();
        Some(Turn::new(ids, reply.reasoning.clone(), calls, sampled))
    }

    fn new(
        ids: Vec<String>,
        reasoning: String,
        calls: Vec<(String, String)>,
        sampled: Prompt,
    ) -> Turn {
        let spelled = calls.iter().map(|(name, arguments)| name.len() + arguments.len());
        let text = sampled.pieces.iter().map(|piece| piece.as_str().len());
        let bytes = reasoning.len() + text.chain(spelled).sum::<usize>();
        Turn { ids, reasoning, calls, sampled, bytes }
    }

    /// As a line, to be kept with the conversation.
    fn line(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Special(name) => json!([true, name]),
            Piece::Text(text) => json!([false, text]),
        };
        let sampled: Vec<Value> = self.sampled.pieces.iter().map(piece).collect();
        let Turn { ids, reasoning, calls, .. } = self;
        json!({"ids": ids, "reasoning": reasoning, "calls": calls, "sampled": sampled}).to_string()
    }

    fn read(line: &str) -> Option<Turn> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |name: &str| value.get(name)?.as_array();
        let ids: Vec<String> = list("ids")?.iter().map(text).collect::<Option<_>>()?;
        let call = |call: &Value| Some((text(call.get(0)?)?, text(call.get(1)?)?));
        let calls: Vec<_> = list("calls")?.iter().map(call).collect::<Option<_>>()?;
        let piece = |piece: &Value| match (piece.get(0)?.as_bool()?, text(piece.get(1)?)?) {
            (true, name) => Some(Piece::Special(Cow::Owned(name))),
            (false, text) => Some(Piece::Text(text)),
        };
        let pieces = list("sampled")?.iter().map(piece).collect::<Option<_>>()?;
        let reasoning = text(value.get("reasoning")?)?;
        (ids.len() == calls.len()).then(|| Turn::new(ids, reasoning, calls, Prompt { pieces }))
    }
}

/// Turns of one conversation, oldest first, as they are kept with it.
pub fn notes<'a>(turns: impl DoubleEndedIterator<Item = &'a Turn>) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut room = NOTES_BYTES_MAX;
    for turn in turns.rev() {
        let line = turn.line() + "\n";
        let Some(left) = room.checked_sub(line.len()) else { break };
        room = left;
        lines.push(line);
    }
    lines.into_iter().rev().collect::<String>().into_bytes()
}

/// Clients may change every character of an id that is no letter or digit.
fn plain(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Whether two texts are the same JSON, whatever the order of keys and the spaces.
fn equal_json(left: &str, right: &str) -> bool {
    left == right
        || match (text::json::parse(left), text::json::parse(right)) {
            (Ok(left), Ok(right)) => left == right,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use text::{Piece, ReplyCall, ToolCall};

    use super::*;

    fn reply(arguments: &str) -> Reply {
        let calls = vec![ReplyCall { name: "ls".to_owned(), arguments: arguments.to_owned() }];
        let pieces = vec![Piece::Text(format!("sampled {arguments}"))];
        Reply {
            reasoning: "hm".to_owned(),
            calls,
            sampled_calls: Some(Prompt { pieces }),
            ..Reply::default()
        }
    }

    fn turn(id: &str, arguments: &str) -> Assistant {
        let (id, arguments) = (id.to_owned(), arguments.to_owned());
        let calls = vec![ToolCall { id, name: "ls".to_owned(), arguments }];
        Assistant { calls, ..Assistant::default() }
    }

    #[test]
    fn only_unchanged_calls_are_what_was_sampled() {
        let mut replay = Replay::new(10);
        replay.remember(&reply(r#"{"a": 1, "b": "x"}"#), |i| format!("call_{i}ab"));
        for (id, arguments, restored) in [
            ("call_0ab", r#"{"a": 1, "b": "x"}"#, true),
            ("call0ab", r#"{"b":"x","a":1}"#, true),
            ("call_0ab", r#"{"a": 2, "b": "x"}"#, false),
            ("call_1ab", r#"{"a": 1, "b": "x"}"#, false),
            ("call_0ab", "not JSON", false),
        ] {
            let mut turn = turn(id, arguments);
            assert_eq!(replay.restore_turn(&mut turn).is_some(), restored, "{id} {arguments}");
            assert_eq!(turn.sampled_calls.is_some(), restored);
            assert_eq!(turn.reasoning.as_deref(), restored.then_some("hm"));
        }
        let mut two = turn("call_0ab", r#"{"a": 1, "b": "x"}"#);
        two.calls.push(two.calls[0].clone());
        assert!(replay.restore_turn(&mut two).is_none());
    }

    #[test]
    fn what_is_kept_with_a_conversation_is_read_again() {
        let said = [reply(r#"{"a": "\n"}"#), reply("{}")];
        let turns = said.iter().enumerate();
        let turns: Vec<Turn> =
            turns.filter_map(|(i, reply)| Turn::of(reply, |_| format!("call_{i}"))).collect();
        let mut notes = notes(turns.iter());
        notes.extend(b"no JSON\n{\"ids\": [1]}\n");
        let mut replay = Replay::new(10);
        replay.read(&notes);
        replay.read(&notes);
        assert_eq!((replay.len(), replay.knows("call_1")), (2, true));
        let mut again = turn("call_0", r#"{"a":"\n"}"#);
        assert!(replay.restore_turn(&mut again).is_some());
        assert_eq!(again.sampled_calls, said[0].sampled_calls);
        replay.read(&[0xff, 0xfe]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut replay = Replay::new(3);
        for i in 0..5 {
            replay.remember(&reply("{}"), |_| format!("call_{i}"));
        }
        assert_eq!(replay.len(), 3);
        assert!(!replay.knows("call_1") && replay.knows("call_2") && replay.knows("call4"));
        let held = 3 * ("hm".len() + "sampled {}".len() + "ls{}".len());
        assert_eq!(replay.bytes, held);
        let mut none = Replay::new(0);
        none.remember(&reply("{}"), |_| "call_0".to_owned());
        assert_eq!(none.len(), 0);
    }
}
