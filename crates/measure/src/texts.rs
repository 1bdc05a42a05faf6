//! Texts to be read by a model, in chunks of tokens.
//!
//! A file is either of two things, by its name:
//!
//! - `*.jsonl`: a JSON object per line. `{"messages": [{"role": "user", "content": "..."}, ...]}`
//!   and `{"prompt": "..."}` become turns in the chat format, `{"text": "..."}` stays as it is.
//!   Each line begins chunks of its own.
//! - Anything else is plain text, one from its first to its last byte.
//!
//! A plain text is cut into chunks that begin with the token that begins a text; so does a turn,
//! and what is longer than a chunk goes on in the next one. Nothing is thrown away: the last chunk
//! of a text may be short. The order is that of the files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use spec::TokenId;
use text::{Checkpoint, Conversation, Message, Piece, Prompt, RenderOptions, Tokenizer, special};

use crate::Error;
use crate::lines::{Line, Lines};
use crate::messages::messages;

/// The most bytes of a plain text: it is held in memory. Larger ones can be split.
pub const TEXT_BYTES_MAX: u64 = 1 << 30;

/// How texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Tokens of a chunk at most, the one that begins it included; at least 2.
    pub chunk_tokens: usize,
    /// Read so many tokens in all, and leave out the rest.
    pub tokens_max: usize,
}

/// Chunks of texts, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    chunks: Vec<Vec<TokenId>>,
}

/// A line of a file of texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Messages { messages: Vec<Value> },
    Prompt { prompt: String },
    Text { text: String },
}

impl Texts {
    /// Reads files and cuts them. `checkpoint` is the release that turns are rendered for.
    ///
    /// # Errors
    /// A file that cannot be read, or is too large; a line that is no such object; a chat where the
    /// vocabulary has no tokens for one; nothing to read at all.
    pub fn read(
        paths: &[PathBuf],
        tokenizer: &Tokenizer,
        checkpoint: Checkpoint,
        cut: Cut,
    ) -> Result<Texts, Error> {
        assert!(cut.chunk_tokens >= 2, "chunks of {} tokens", cut.chunk_tokens);
        let mut reading = Reading { tokenizer, checkpoint, cut, chunks: Vec::new(), left: 0 };
        reading.left = cut.tokens_max;
        for path in paths {
            let is_lines =
                path.extension().is_some_and(|found| found.eq_ignore_ascii_case("jsonl"));
            if is_lines { reading.lines(path)? } else { reading.plain(path)? }
        }
        match reading.chunks {
            chunks if chunks.is_empty() => Err(Error::NoText),
            chunks => Ok(Texts { chunks }),
        }
    }

    /// The chunks, none of which is empty.
    pub fn chunks(&self) -> &[Vec<TokenId>] {
        &self.chunks
    }

    /// Tokens of all chunks.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Tokens of the longest chunk.
    pub fn longest(&self) -> usize {
        self.chunks.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether two readings begin with the same `count` chunks, is told by this hash of them.
    pub fn hash(&self, count: usize) -> String {
        let mut hash = blake3::Hasher::new();
        for chunk in &self.chunks[..count.min(self.chunks.len())] {
            hash.update(&(chunk.len() as u64).to_le_bytes());
            for token in chunk {
                hash.update(&token.0.to_le_bytes());
            }
        }
        hash.finalize().to_hex().to_string()
    }
}

/// Files under way to chunks.
struct Reading<'a> {
    tokenizer: &'a Tokenizer,
    checkpoint: Checkpoint,
    cut: Cut,
    chunks: Vec<Vec<TokenId>>,
    /// Tokens that may still come.
    left: usize,
}

impl Reading<'_> {
    fn plain(&mut self, path: &Path) -> Result<(), Error> {
        let fail = |source| Error::read(path, source);
        let file = File::open(path).map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > TEXT_BYTES_MAX {
            let problem = format!("a text of more than {TEXT_BYTES_MAX} bytes: split it");
            return Err(Error::Text { path: path.to_owned(), problem });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::Text { path: path.to_owned(), problem: format!("not UTF-8 at byte {at}") }
        })?;
        let tokens = self.tokenizer.encode_text(&text);
        let begin = self.begin().map_err(|error| Error::text(path, &error))?;
        for chunk in tokens.chunks(self.cut.chunk_tokens - 1) {
            self.push([&begin[..], chunk].concat());
        }
        Ok(())
    }

    fn lines(&mut self, path: &Path) -> Result<(), Error> {
        let mut lines = Lines::open(path)?;
        while let Some(line) = lines.next()? {
            let tokens = self.item(&line)?;
            tokens.chunks(self.cut.chunk_tokens).for_each(|chunk| self.push(chunk.to_vec()));
            if self.left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The tokens of a line.
    fn item(&self, line: &Line<'_>) -> Result<Vec<TokenId>, Error> {
        let item = serde_json::from_str(&line.text).map_err(|error| {
            line.refuse(format!(
                "expected an object with messages, a prompt or a text, all strings: {error}"
            ))
        })?;
        let messages = match item {
            Item::Text { text } => {
                let begin = self.begin().map_err(|error| line.refuse(error.to_string()))?;
                return Ok([begin, self.tokenizer.encode_text(&text)].concat());
            }
            Item::Prompt { prompt } => vec![Message::user(prompt)],
            Item::Messages { messages: list } => {
                messages(&list).map_err(|problem| line.refuse(problem))?
            }
        };
        let options = RenderOptions { checkpoint: self.checkpoint, ..RenderOptions::default() };
        let prompt = text::render(&Conversation { messages }, &options);
        let tokens = prompt.and_then(|prompt| self.tokenizer.encode_prompt(&prompt));
        tokens.map_err(|error| line.refuse(error.to_string()))
    }

    /// What every text begins with.
    fn begin(&self) -> Result<Vec<TokenId>, text::Error> {
        let pieces = vec![Piece::Special(special::BOS.into())];
        self.tokenizer.encode_prompt(&Prompt { pieces })
    }

    fn push(&mut self, mut chunk: Vec<TokenId>) {
        chunk.truncate(self.left);
        self.left -= chunk.len();
        if !chunk.is_empty() {
            self.chunks.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use text::Vocabulary;

    use super::*;

    /// Nano's tokenizer, which has all tokens of the chat format.
    fn tokenizer() -> Tokenizer {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nano/tokenizer.json");
        let json = fs::read_to_string(path).expect("Nano's tokenizer");
        let vocabulary = Vocabulary::from_tokenizer_json(&json).expect("a vocabulary");
        Tokenizer::new(vocabulary).expect("a tokenizer")
    }

    /// Files in a folder of their own, read and cut.
    fn read(
        files: &[(&str, &str)],
        chunk_tokens: usize,
        tokens_max: usize,
    ) -> Result<Texts, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = files.iter().map(|(name, text)| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        });
        let paths: Vec<PathBuf> = paths.collect();
        let cut = Cut { chunk_tokens, tokens_max };
        Texts::read(&paths, &tokenizer(), Checkpoint::default(), cut)
    }

    #[test]
    fn plain_text_is_cut_and_nothing_is_lost() {
        let tokenizer = tokenizer();
        let text = "The night train leaves at nine. ".repeat(9);
        let texts = read(&[("a.txt", &text)], 16, usize::MAX).expect("texts");
        let begin = tokenizer.special(special::BOS).expect("a token that begins texts");
        let (whole, last) = (texts.chunks(), texts.chunks().last().expect("chunks"));
        assert!(whole.iter().all(|chunk| chunk[0] == begin));
        assert!(whole[..whole.len() - 1].iter().all(|chunk| chunk.len() == 16) && last.len() <= 16);
        let joined: Vec<TokenId> = whole.iter().flat_map(|chunk| &chunk[1..]).copied().collect();
        assert_eq!(joined, tokenizer.encode_text(&text));
        assert_eq!((texts.tokens(), texts.longest()), (joined.len() + whole.len(), 16));

        // A limit ends in the middle of a chunk, and is no other text before that.
        let some = read(&[("a.txt", &text), ("b.txt", &text)], 16, 40).expect("texts");
        assert_eq!((some.tokens(), some.chunks().len()), (40, 3));
        assert_eq!(some.hash(2), texts.hash(2));
        assert_ne!(some.hash(3), texts.hash(3));
        let more = read(&[("a.txt", &text), ("b.txt", "x")], 16, usize::MAX).expect("texts");
        assert_eq!(more.hash(whole.len()), texts.hash(whole.len()));
        assert_eq!(more.chunks().len(), whole.len() + 1);
    }

    #[test]
    fn lines_are_turns_or_texts() {
        let tokenizer = tokenizer();
        let lines = r#"{"prompt": "hi"}

            {"messages": [{"role": "user", "content": "hi"}], "id": 7}
            {"text": "hi"}"#;
        let texts = read(&[("a.JSONL", lines)], 64, usize::MAX).expect("texts");
        let [prompt, messages, text] = texts.chunks() else { panic!("three lines") };
        assert_eq!(prompt, messages);
        let rendered =
            tokenizer.encode_rendered("<\u{ff5c}User\u{ff5c}>hi<\u{ff5c}Assistant\u{ff5c}>");
        assert!(prompt[1..].starts_with(&rendered), "{prompt:?}");
        assert_eq!(text[1..], tokenizer.encode_text("hi"));
        assert!(texts.chunks().iter().all(|chunk| chunk[0] == text[0]));
        // What is longer than a chunk goes on in the next one.
        let short = read(&[("a.jsonl", r#"{"prompt": "one two three"}"#)], 2, usize::MAX);
        let short = short.expect("texts");
        let long = read(&[("a.jsonl", r#"{"prompt": "one two three"}"#)], 99, usize::MAX);
        assert_eq!(short.chunks().concat(), long.expect("texts").chunks()[0]);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        let refused = |name: &str, text: &str| {
            read(&[(name, text)], 8, usize::MAX).expect_err("no texts").to_string()
        };
        for line in ["[]", "{", "{\"prompt\": 3}", "{\"messages\": \"hi\"}"] {
            let message = refused("a.jsonl", &format!("{{\"text\": \"x\"}}\n{line}"));
            assert!(message.contains("a.jsonl, line 2 (byte 14): expected an object"), "{message}");
        }
        let message =
            refused("a.jsonl", "{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}");
        assert!(
            message.contains("message 1: role \"tool\": expected system, user or assistant"),
            "{message}"
        );
        assert!(refused("a.jsonl", "\n").contains("no text"));
        assert!(refused("a.txt", "").contains("no text"));
    }
}
