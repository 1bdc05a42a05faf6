//! How probable stored continuations are: answers that somebody else wrote, token by token.
//!
//! An item is a prompt, a text or a conversation, and what followed it. Prompt and continuation are
//! made tokens apart, so that the border between them is where the file has it, and no token
//! depends on the other side. The model reads both in one go and is asked, before each token of the
//! continuation, how probable it is. Start at [`read_items`], then [`Item::tokens`], then
//! [`score`].

use std::io::BufRead;

use engine::{Engine, Flow};
use rayon::prelude::*;
use serde_json::{Map, Value};
use spec::TokenId;
use text::{
    Checkpoint, Conversation, Message, Piece, Prompt, RenderOptions, ThinkMode, Tokenizer, render,
    special,
};

use crate::Error;
use crate::lines::{Line, Lines};
use crate::messages::messages;
use crate::softmax::Row;
use crate::stats::{Mean, Paired};

/// Most items of a file, and most bytes of all of them: they are held while models change.
pub const ITEMS_MAX: usize = 100_000;

/// See [`ITEMS_MAX`].
pub const BYTES_MAX: usize = 1 << 30;

/// A continuation and what it follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name: what the file says, or its line.
    pub id: String,
    /// What it follows.
    pub ask: Ask,
    /// The text.
    pub continuation: String,
    /// The turn ends there, which is predicted too.
    pub ends: bool,
}

/// What a continuation follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A text, behind the token that begins a text.
    Text(String),
    /// A conversation, rendered with its markers; the continuation is the model's next turn.
    Messages(Vec<Message>),
}

/// An item as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt and continuation.
    pub all: Vec<TokenId>,
    /// Where the continuation begins; at least 1, and before the end.
    pub first: usize,
}

/// How conversations become text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rendering {
    /// Whether the turn begins with reasoning.
    pub mode: ThinkMode,
    /// The release whose texts are used.
    pub checkpoint: Checkpoint,
}

/// Reads all items.
///
/// # Errors
/// With the file and line: no JSON, no item, a second item of one name, or more than
/// [`ITEMS_MAX`].
pub fn read_items<R: BufRead>(lines: &mut Lines<R>) -> Result<Vec<Item>, Error> {
    let mut items: Vec<Item> = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut bytes = 0;
    while let Some(line) = lines.next()? {
        bytes += line.text.len();
        if items.len() == ITEMS_MAX || bytes > BYTES_MAX {
            let most = format!("{ITEMS_MAX} items or {BYTES_MAX} bytes");
            return Err(line.refuse(format!("more than {most}: split the file")));
        }
        let item = item(&line).map_err(|problem| line.refuse(problem))?;
        if !names.insert(item.id.clone()) {
            return Err(line.refuse(format!("a second item with the id {:?}", item.id)));
        }
        items.push(item);
    }
    Ok(items)
}

/// Problems are sentences that [`Line::refuse`] gives a place.
fn item(line: &Line<'_>) -> Result<Item, String> {
    let value = text::json::parse(&line.text).map_err(|error| error.to_string())?;
    let Value::Object(mut fields) = value else { return Err("expected a JSON object".to_owned()) };
    let id = match fields.remove("id") {
        None | Some(Value::Null) => format!("line {}", line.number()),
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err("\"id\": expected a string or a number".to_owned()),
    };
    let ask = match (fields.remove("prompt"), fields.remove("messages")) {
        (Some(Value::String(text)), None) => Ask::Text(text),
        (None, Some(Value::Array(list))) => Ask::Messages(messages(&list)?),
        (Some(_), None) => return Err("\"prompt\": expected a string".to_owned()),
        (None, Some(_)) => return Err("\"messages\": expected a list".to_owned()),
        (None, None) => return Err("expected \"prompt\" or \"messages\"".to_owned()),
        (Some(_), Some(_)) => return Err("expected one of \"prompt\" and \"messages\"".to_owned()),
    };
    let continuation = text_of(&mut fields, "continuation")?;
    let ends = match fields.remove("ends") {
        None => false,
        Some(Value::Bool(ends)) => ends,
        Some(_) => return Err("\"ends\": expected true or false".to_owned()),
    };
    if continuation.is_empty() && !ends {
        return Err("\"continuation\": empty, so there is nothing to predict".to_owned());
    }
    Ok(Item { id, ask, continuation, ends })
}

fn text_of(fields: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("\"{key}\": expected a string")),
        None => Err(format!("\"{key}\" is missing")),
    }
}

impl Item {
    /// The tokens that the model reads.
    ///
    /// # Errors
    /// A marker that the vocabulary lacks, or a conversation that no turn can follow.
    pub fn tokens(&self, tokenizer: &Tokenizer, rendering: Rendering) -> Result<Tokens, Error> {
        let refuse = |source| Error::Prompt { id: self.id.clone(), source };
        let prompt = match &self.ask {
            Ask::Text(text) => {
                let begin = Piece::Special(special::BOS.into());
                Prompt { pieces: vec![begin, Piece::Text(text.clone())] }
            }
            Ask::Messages(messages) => {
                let conversation = Conversation { messages: messages.clone() };
                let Rendering { mode, checkpoint } = rendering;
                let options = RenderOptions { mode, checkpoint, ..RenderOptions::default() };
                render(&conversation, &options).map_err(refuse)?
            }
        };
        let mut all = tokenizer.encode_prompt(&prompt).map_err(refuse)?;
        let first = all.len();
        all.extend(tokenizer.encode_text(&self.continuation));
        if self.ends {
            let name = special::EOS;
            let unknown = || refuse(text::Error::UnknownSpecial { name: name.into() });
            all.push(tokenizer.special(name).ok_or_else(unknown)?);
        }
        Ok(Tokens { all, first })
    }
}

/// One token of a continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Which.
    pub token: TokenId,
    /// Its negative log-likelihood, in nats.
    pub nll: f64,
    /// Its place among all tokens, from 1.
    pub rank: usize,
    /// The most probable one.
    pub top: TokenId,
}

/// The figures of a continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Per token, in order.
    pub tokens: Vec<Scored>,
}

impl Score {
    /// The negative log-likelihood of the whole continuation, in nats.
    pub fn nll(&self) -> f64 {
        self.tokens.iter().map(|token| token.nll).sum()
    }

    /// Per token.
    pub fn mean(&self) -> f64 {
        self.nll() / self.tokens.len().max(1) as f64
    }

    /// Tokens from the beginning that the model would have chosen itself.
    pub fn own_prefix(&self) -> usize {
        self.tokens.iter().take_while(|token| token.rank == 1).count()
    }
}

/// Asks the model about one continuation; `None` if `fed`, which is told how many tokens more were
/// read, stopped it.
///
/// The engine must have been opened with `all_logits` and room for the item.
///
/// # Errors
/// The engine's.
pub fn score(
    engine: &mut Engine,
    tokens: &Tokens,
    fed: &mut dyn FnMut(usize) -> Flow,
) -> Result<Option<Score>, Error> {
    let Tokens { all, first } = tokens;
    let vocab = engine.shape().vocab;
    let mut score = Score::default();
    let (mut before, mut flow) = (0, Flow::Continue);
    engine.logits_of_last(all.len() - first, &all[..all.len() - 1], &mut |done, logits| {
        let next = first + score.tokens.len();
        let rows = logits.par_chunks_exact(vocab).zip(&all[next..]);
        let scored: Vec<Scored> = rows
            .map(|(row, &token)| {
                let row = Row::new(row);
                let nll = -row.log_probability(token);
                Scored { token, nll, rank: row.rank(token), top: row.top() }
            })
            .collect();
        score.tokens.extend(scored);
        flow = fed(done - before);
        before = done;
        flow
    })?;
    Ok((flow == Flow::Continue).then_some(score))
}

/// What all items say together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// Per item, its mean over its tokens.
    pub items: Mean,
    /// Of all tokens alike.
    pub tokens: Mean,
    /// Items whose first token the model would have chosen.
    pub first: usize,
    /// Items that it would have written whole.
    pub whole: usize,
}

impl Total {
    /// One more item.
    pub fn add(&mut self, score: &Score) {
        self.items.add(score.mean());
        score.tokens.iter().for_each(|token| self.tokens.add(token.nll));
        self.first += usize::from(score.own_prefix() > 0);
        self.whole += usize::from(score.own_prefix() == score.tokens.len());
    }
}

/// An item of a comparison: its name, its tokens, its negative log-likelihood per token.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Its name.
    pub id: String,
    /// How many tokens its continuation has.
    pub tokens: usize,
    /// In nats.
    pub mean: f64,
}

/// Pairs the items of two runs by their names; those that one of them lacks are left out.
///
/// # Errors
/// An item whose continuation has another number of tokens: then figures per token are of
/// different things.
pub fn pair(old: &[Side], new: &[Side]) -> Result<Paired, Error> {
    let by_id: std::collections::HashMap<_, _> = old.iter().map(|side| (&side.id, side)).collect();
    let mut paired = Paired::default();
    for side in new {
        let Some(before) = by_id.get(&side.id) else { continue };
        if before.tokens != side.tokens {
            let (id, old, new) = (side.id.clone(), before.tokens, side.tokens);
            return Err(Error::OtherTokens { id, old, new });
        }
        paired.add(before.mean, side.mean);
    }
    Ok(paired)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Vec<Item>, String> {
        let mut lines = Lines::new(Path::new("a.jsonl"), text.as_bytes());
        read_items(&mut lines).map_err(|error| error.to_string())
    }

    #[test]
    fn items_of_both_kinds() {
        let items = read(concat!(
            r#"{"prompt": "Once", "continuation": " upon", "source": "ignored"}"#,
            "\n\n",
            r#"{"id": 7, "ends": true, "messages": [{"role": "system", "content": "Be brief."}, "#,
            r#"{"role": "user", "content": "Hi"}], "continuation": "Hello"}"#,
        ));
        let items = items.expect("two items");
        assert_eq!((items[0].id.as_str(), items[1].id.as_str()), ("line 1", "7"));
        assert_eq!(items[0].ask, Ask::Text("Once".into()));
        let messages = vec![Message::system("Be brief."), Message::user("Hi")];
        assert_eq!((&items[1].ask, items[1].ends), (&Ask::Messages(messages), true));
    }

    #[test]
    fn damage_is_named_by_line_and_byte() {
        let good = r#"{"id": "a", "prompt": "x", "continuation": "y"}"#;
        let cases = [
            (r#"{"prompt": "x", "#, "EOF while parsing"),
            ("[1, 2]", "expected a JSON object"),
            (r#"{"prompt": "x"}"#, "\"continuation\" is missing"),
            (r#"{"prompt": "x", "continuation": ""}"#, "nothing to predict"),
            (r#"{"prompt": 1, "continuation": "y"}"#, "\"prompt\": expected a string"),
            (r#"{"continuation": "y"}"#, "expected \"prompt\" or \"messages\""),
            (r#"{"prompt": "x", "messages": [], "continuation": "y"}"#, "expected one of"),
            (r#"{"messages": [{"role": "x", "content": ""}], "continuation": "y"}"#, "message 1"),
            (r#"{"messages": [3], "continuation": "y"}"#, "message 1: expected an object"),
            (r#"{"id": [], "prompt": "x", "continuation": "y"}"#, "\"id\": expected"),
            (r#"{"ends": 1, "prompt": "x", "continuation": "y"}"#, "\"ends\": expected"),
            (good, "a second item with the id \"a\""),
        ];
        for (line, piece) in cases {
            let error = read(&format!("{good}\n{line}\n")).expect_err(line);
            let place = format!("a.jsonl, line 2 (byte {}): ", good.len() + 1);
            assert!(error.starts_with(&place) && error.contains(piece), "{line}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).expect_err("too deep").contains("recursion"));
    }

    #[test]
    fn sums_and_prefixes() {
        let scored = |nll, rank| Scored { token: TokenId(0), nll, rank, top: TokenId(0) };
        let one = Score { tokens: vec![scored(1.0, 1), scored(3.0, 1), scored(5.0, 2)] };
        let other = Score { tokens: vec![scored(0.5, 4)] };
        assert_eq!((one.nll(), one.mean(), one.own_prefix()), (9.0, 3.0, 2));
        let mut total = Total::default();
        [one, other].iter().for_each(|score| total.add(score));
        assert_eq!((total.items.mean(), total.tokens.mean()), (1.75, 2.375));
        assert_eq!((total.first, total.whole), (1, 0));
    }

    #[test]
    fn items_are_paired_by_name() {
        let side = |id: &str, tokens, mean| Side { id: id.to_owned(), tokens, mean };
        let old = [side("a", 2, 1.0), side("b", 3, 2.0), side("gone", 1, 9.0)];
        let new = [side("b", 3, 1.5), side("a", 2, 1.25), side("new", 1, 9.0)];
        let paired = pair(&old, &new).unwrap();
        assert_eq!((paired.difference.count(), paired.smaller, paired.larger), (2, 1, 1));
        assert_eq!(paired.difference.mean(), -0.125);
        let error = pair(&old, &[side("a", 4, 1.0)]).unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("2 tokens") && error.contains("4"));
    }

    proptest::proptest! {
        /// Whatever a line holds, it is an item or an error.
        #[test]
        fn any_line_is_read(line in "\\PC{0,80}") {
            let _ = read(&line);
        }

        #[test]
        fn any_object_is_read(
            fields in proptest::collection::vec(
                ("id|prompt|messages|continuation|ends", "null|true|1|\"x\"|\\[\\]|\\{\\}|\\[1\\]"),
                0..6,
            ),
        ) {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
            if let Ok(items) = read(&format!("{{{}}}", fields.join(", "))) {
                assert_eq!(items.len(), 1);
                assert!(!items[0].continuation.is_empty() || items[0].ends);
            }
        }
    }
}
