//! Turns as the model wrote them.
//!
//! A client sends calls back as JSON. What the prompt shows then must be what was sampled, byte for
//! byte, or the state of the turn is lost; so the sampled block is remembered by the ids of its
//! calls, which nobody can guess. Before it is used, names and arguments are compared with what the
//! client sent: whoever edits a call gets its canonical form.
//!
//! The reasoning is remembered too, for clients that do not send it back. A turn without calls has
//! no ids; it is found by a hash of all that the client can see up to its end, so that nobody is
//! given thoughts about another conversation.
//!
//! A turn that waits for results is also a place to go on from without any history: see [`Live`].

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine::AnchorId;
use serde_json::{Value, json};
use text::{Assistant, Block, Conversation, Message, Part, Piece, Prompt, Reply};

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
    /// By the first id of the turn that waits.
    live: HashMap<String, Arc<Live>>,
    bytes: usize,
}

/// A turn of the model that called tools, or one that reasoned.
#[derive(Debug)]
pub struct Turn {
    /// Ids of the calls; of a turn without any, the hash of what can be seen.
    ids: Vec<String>,
    reasoning: String,
    calls: Vec<(String, String)>,
    sampled: Prompt,
    bytes: usize,
}

/// A conversation that waits for the results of its last turn's calls, and can be gone on from with
/// those alone while the engine holds its state.
#[derive(Debug)]
pub struct Live {
    /// The engine's state after the turn.
    pub state: AnchorId,
    /// Tokens of it.
    pub tokens: usize,
    /// Turns of the conversation that were remembered, the last one last.
    pub turns: Vec<Arc<Turn>>,
    /// The hash of its instructions and tools, if it has any.
    pub head: Option<[u8; 32]>,
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

    /// Calls and turns without any that are remembered.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Remembers a turn.
    pub fn remember(&mut self, turn: &Arc<Turn>) {
        self.take(turn.clone());
    }

    /// Remembers where a conversation can be gone on from; its last turn was remembered before.
    pub fn wait(&mut self, live: Live) {
        // Earlier calls of the same conversation were answered. The results of the last ones may
        // come again, if the answer to them was lost on its way.
        for turn in live.turns.iter().rev().skip(2) {
            self.live.remove(&turn.ids[0]);
        }
        let id = live.turns.last().and_then(|turn| turn.ids.first());
        if let Some(id) = id.filter(|id| self.calls.contains_key(*id)) {
            self.live.insert(id.clone(), Arc::new(live));
        }
    }

    /// The conversation whose last calls had these ids, all of them and no others.
    pub fn waiting<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Waiting {
        let mut ids: Vec<String> = ids.into_iter().map(|id| plain(id)).collect();
        let Some((turn, _)) = ids.first().and_then(|id| self.calls.get(id)) else {
            return Waiting::Unknown;
        };
        ids.sort_unstable();
        ids.dedup();
        let mut called: Vec<&String> = turn.ids.iter().collect();
        called.sort_unstable();
        if !ids.iter().eq(called.iter().copied()) {
            return Waiting::Others { calls: turn.ids.len() };
        }
        match self.live.get(&turn.ids[0]) {
            Some(live) => Waiting::Live(live.clone()),
            None => Waiting::Gone,
        }
    }

    fn take(&mut self, turn: Arc<Turn>) {
        let mut known = turn.ids.iter().filter_map(|id| self.calls.get(id));
        let same = known.next().map(|(turn, _)| turn.clone());
        match same {
            _ if self.calls_max == 0 => return,
            // Thoughts about the same question, which was asked again: the last ones stand.
            Some(known) if turn.calls.is_empty() && known.calls.is_empty() => {
                let place = (turn.clone(), 0);
                self.bytes = self.bytes + turn.bytes - known.bytes;
                self.calls.insert(turn.ids[0].clone(), place);
                return;
            }
            Some(_) => return,
            None => {}
        }
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
        self.live.remove(&id);
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
        lines.filter_map(Turn::read).for_each(|turn| self.take(Arc::new(turn)));
    }

    /// Puts what was sampled where the client sent it back unchanged, and reasoning where it sent
    /// none: the turns that are known.
    pub fn restore(&self, dialogue: &mut Dialogue) -> Vec<Arc<Turn>> {
        let (mut seen, mut turns) = (Sight::default(), Vec::new());
        for message in &mut dialogue.conversation.messages {
            seen.add(message);
            if let Message::Assistant(turn) = message {
                turns
                    .extend(self.restore_turn(turn).or_else(|| self.restore_thoughts(turn, &seen)));
            }
        }
        turns
    }

    /// The reasoning of a turn without calls.
    fn restore_thoughts(&self, turn: &mut Assistant, seen: &Sight) -> Option<Arc<Turn>> {
        if !turn.calls.is_empty() || turn.unfinished {
            return None;
        }
        let (known, _) = self.calls.get(&seen.id())?;
        let thoughts = turn.reasoning.as_deref().unwrap_or_default();
        if thoughts.is_empty() {
            turn.reasoning = Some(known.reasoning.clone());
        }
        Some(known.clone())
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

/// What became of the calls whose results came without their history.
#[derive(Debug)]
pub enum Waiting {
    /// They are waited for.
    Live(Arc<Live>),
    /// They were made here, and what led to them is not known any more.
    Gone,
    /// They are not all of the calls of one turn, which has so many.
    Others {
        /// Calls of the turn of the first.
        calls: usize,
    },
    /// The first of them was never made here.
    Unknown,
}

impl Turn {
    /// A reply that reasoned and called nothing, after `conversation`.
    pub fn of_thoughts(conversation: &Conversation, reply: &Reply) -> Option<Turn> {
        let said = reply.calls.is_empty() && !reply.text.trim().is_empty();
        if !said || !reply.reasoning_closed || reply.reasoning.is_empty() {
            return None;
        }
        let mut seen = Sight::default();
        conversation.messages.iter().for_each(|message| seen.add(message));
        seen.add(&Message::assistant(reply.text.clone()));
        let id = vec![seen.id()];
        Some(Turn::new(id, reply.reasoning.clone(), Vec::new(), Prompt::default()))
    }

    /// The ids and the names of its calls.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.calls.iter().map(|(name, _)| name.as_str());
        self.ids.iter().map(String::as_str).zip(names)
    }

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
        let thoughts = ids.len() == 1 && ids[0].starts_with(THOUGHTS) && calls.is_empty();
        let whole = thoughts || !ids.is_empty() && ids.len() == calls.len();
        whole.then(|| Turn::new(ids, reasoning, calls, Prompt { pieces }))
    }
}

/// Begins the ids of turns without calls. Ids of calls are letters and digits only.
const THOUGHTS: char = '#';

/// The hash of all that a client can see of a conversation, message by message: not its reasoning,
/// not how it is cut into messages and parts, not the spelling of arguments.
#[derive(Clone, Default)]
struct Sight {
    hash: blake3::Hasher,
    role: Option<u8>,
}

impl Sight {
    fn add(&mut self, message: &Message) {
        match message {
            Message::System(told) | Message::Developer(told) => self.text(b's', &told.text),
            Message::LatestReminder(text) => self.text(b'r', text),
            Message::Tool(result) => self.parts(&result.parts),
            Message::User(user) => user.blocks.iter().for_each(|block| match block {
                Block::Text(text) => self.text(b'u', text),
                Block::Other(kind) => self.text(b'o', kind),
                Block::ToolResult(result) => self.parts(&result.parts),
            }),
            Message::Assistant(turn) => {
                self.text(b'a', turn.text.trim());
                turn.calls.iter().for_each(|call| self.text(b'c', &call.name));
            }
        }
    }

    fn parts(&mut self, parts: &[Part]) {
        for part in parts {
            let (Part::Text(text) | Part::Other(text)) = part;
            self.text(b't', text);
        }
    }

    /// Texts of one role are joined as prompts join them.
    fn text(&mut self, role: u8, text: &str) {
        if self.role == Some(role) {
            self.hash.update(b"\n\n");
        } else {
            // No text has this byte.
            self.hash.update(&[0xff, role]);
        }
        self.role = Some(role);
        self.hash.update(text.as_bytes());
    }

    fn id(&self) -> String {
        format!("{THOUGHTS}{}", self.hash.finalize().to_hex())
    }
}

/// The hash of a conversation's instructions and tools; `None` if it has neither.
pub fn head(conversation: &Conversation) -> Option<[u8; 32]> {
    let Some(Message::System(told)) = conversation.messages.first() else { return None };
    let mut hash = blake3::Hasher::new();
    hash.update(told.text.as_bytes());
    for tool in &told.tools {
        hash.update(&[0xff]).update(tool.schema_line().as_bytes());
    }
    Some(*hash.finalize().as_bytes())
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
pub fn plain(id: &str) -> String {
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

    impl Replay {
        fn remember_calls(&mut self, reply: &Reply, id: impl Fn(usize) -> String) {
            self.remember(&Arc::new(Turn::of(reply, id).expect("calls")));
        }
    }

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
        replay.remember_calls(&reply(r#"{"a": 1, "b": "x"}"#), |i| format!("call_{i}ab"));
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
            replay.remember_calls(&reply("{}"), |_| format!("call_{i}"));
        }
        assert_eq!(replay.len(), 3);
        assert!(!replay.knows("call_1") && replay.knows("call_2") && replay.knows("call4"));
        let held = 3 * ("hm".len() + "sampled {}".len() + "ls{}".len());
        assert_eq!(replay.bytes, held);
        let mut none = Replay::new(0);
        none.remember_calls(&reply("{}"), |_| "call_0".to_owned());
        assert_eq!(none.len(), 0);
    }

    fn conversation(messages: Vec<Message>) -> Conversation {
        Conversation { messages }
    }

    fn dialogue(messages: Vec<Message>) -> Dialogue {
        Dialogue { conversation: conversation(messages), ..Dialogue::default() }
    }

    /// Thoughts come back to the same conversation as the client sees it, and to no other.
    #[test]
    fn thoughts_belong_to_what_was_seen() {
        let asked = || vec![Message::system("S"), Message::user("a\n\nb")];
        let said = Reply {
            reasoning: "hm".to_owned(),
            reasoning_closed: true,
            text: "Yes.\n".to_owned(),
            ..Reply::default()
        };
        let turn = Turn::of_thoughts(&conversation(asked()), &said).expect("thoughts");
        let mut replay = Replay::new(10);
        // As they are kept with the conversation.
        replay.read(&notes([&turn].into_iter()));
        let yes = || Message::assistant("Yes.");
        let restored = |messages: Vec<Message>| {
            let mut dialogue = dialogue(messages);
            let turns = replay.restore(&mut dialogue).len();
            let thoughts = dialogue.conversation.messages.into_iter().find_map(|m| match m {
                Message::Assistant(turn) => turn.reasoning,
                _ => None,
            });
            assert_eq!(turns, usize::from(thoughts.as_deref() == Some("hm")));
            thoughts
        };
        let more = |messages: Vec<Message>| [messages, vec![Message::user("And?")]].concat();
        assert_eq!(restored(more([asked(), vec![yes()]].concat())).as_deref(), Some("hm"));
        let parts = vec![Message::system("S"), Message::user("a"), Message::user("b"), yes()];
        assert_eq!(restored(parts).as_deref(), Some("hm"));
        for other in [
            vec![Message::system("T"), Message::user("a\n\nb"), yes()],
            vec![Message::user("a\n\nb"), yes()],
            vec![Message::system("S"), Message::user("a"), yes()],
            [asked(), vec![Message::assistant("Yes!")]].concat(),
            [asked(), vec![Message::user("c"), yes()]].concat(),
        ] {
            assert_eq!(restored(other), None);
        }
        let own = Assistant {
            reasoning: Some("own".to_owned()),
            text: "Yes.".to_owned(),
            ..Assistant::default()
        };
        let mut sent = dialogue([asked(), vec![Message::Assistant(own)]].concat());
        replay.restore(&mut sent);
        let Message::Assistant(turn) = &sent.conversation.messages[2] else { panic!("a turn") };
        assert_eq!(turn.reasoning.as_deref(), Some("own"));
    }

    #[test]
    fn a_turn_waits_for_the_results_of_all_its_calls() {
        let mut replay = Replay::new(4);
        let call = ReplyCall { name: "ls".to_owned(), arguments: "{}".to_owned() };
        let two = Reply { calls: vec![call.clone(), call], ..reply("{}") };
        let turn = Arc::new(Turn::of(&two, |i| format!("call_{i}")).expect("calls"));
        let waiting = |replay: &Replay, ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            match replay.waiting(&ids) {
                Waiting::Live(live) => live.tokens,
                Waiting::Gone => 1,
                Waiting::Others { calls } => 10 + calls,
                Waiting::Unknown => 0,
            }
        };
        assert_eq!(waiting(&replay, &["call_0"]), 0);
        replay.remember(&turn);
        assert_eq!(waiting(&replay, &["call_0", "call_1"]), 1);
        assert_eq!(waiting(&replay, &["call1", "call_0"]), 1);
        assert_eq!(waiting(&replay, &["call_1"]), 12);
        assert_eq!(waiting(&replay, &["call_1", "call_2"]), 12);
    }
}
