//! A tool block, from behind its opener to its closing tag.
//!
//! The block is a short alternation: a tag is read, a tag means a step, a step may start a value,
//! a value ends with its closing tag. The state is the list of open objects (none between calls,
//! one in a call, more in nested parameters) and whether a tag or a value is being read.
//!
//! It must not know where the block stands in the reply; what a closed or a malformed block means
//! there is decided in `parse`.

use super::Region;
use super::event::{Event, Out};
use super::tag::{Dialect, Marker, Read, Tag, TagReader};
use super::types::ArgumentTypes;
use super::value::{Patterns, Step, Value};
use crate::json;

/// Deepest nesting of parameters in a call.
pub const NESTING_MAX: usize = 8;

/// What a byte made of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    More,
    Closed,
    Malformed,
}

/// A block being sampled.
#[derive(Debug)]
pub(super) struct Block {
    dialect: Dialect,
    patterns: &'static Patterns,
    /// Everything after the opener, as sampled.
    pub raw: Vec<u8>,
    /// Where the last complete call ends in `raw`.
    pub raw_calls_end: usize,
    /// Calls whose tag was complete.
    pub calls_begun: usize,
    /// Calls that were closed.
    pub calls_ended: usize,
    /// The current tool.
    tool: String,
    /// Open objects of the current call: whether each has members already.
    open: Vec<bool>,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    Tag(TagReader),
    Value(Value),
}

impl Block {
    /// A block whose opener was just read. The opener of bare invokes is the start of a tag.
    pub fn begin(dialect: Dialect, opener: &[u8]) -> Block {
        let start = if dialect.block.is_none() { opener } else { b"" };
        Block {
            dialect,
            patterns: Patterns::of(&dialect),
            raw: Vec::new(),
            raw_calls_end: 0,
            calls_begun: 0,
            calls_ended: 0,
            tool: String::new(),
            open: Vec::new(),
            reading: Reading::Tag(TagReader::resume(start)),
        }
    }

    pub fn byte(&mut self, byte: u8, types: &ArgumentTypes, out: &mut Out) -> Verdict {
        self.raw.push(byte);
        match &mut self.reading {
            Reading::Tag(reader) => match reader.byte(byte, &self.dialect) {
                Read::More => Verdict::More,
                Read::Tag(tag) => self.tag(tag, types, out),
                Read::NotATag => self.foreign(),
            },
            Reading::Value(value) => match value.byte(byte, self.patterns, out) {
                Step::More => Verdict::More,
                Step::Closed => self.read_tag(b""),
                Step::Nested(start) => self.open_object(&start, out),
                Step::Broken => Verdict::Malformed,
            },
        }
    }

    /// Whether its tags have a marker, so that they are no prose.
    pub fn has_markers(&self) -> bool {
        self.dialect.marker != Marker::Absent
    }

    /// Whether its tags have the real marker token.
    pub fn has_real_markers(&self) -> bool {
        self.dialect.marker == Marker::Token
    }

    /// Sends what is certain.
    pub fn flush(&mut self, out: &mut Out) {
        if let Reading::Value(value) = &mut self.reading {
            value.flush(out);
        }
    }

    /// What kind of text comes next.
    pub fn region(&self) -> Region {
        match &self.reading {
            Reading::Tag(_) => Region::Structure,
            Reading::Value(value) => value.region(self.patterns),
        }
    }

    fn tag(&mut self, tag: Tag, types: &ArgumentTypes, out: &mut Out) -> Verdict {
        match (tag, self.open.len()) {
            (Tag::InvokeOpen(name), 0) => {
                out.event(Event::CallBegin { index: self.calls_begun, name: name.clone() });
                self.calls_begun += 1;
                self.tool = name;
                self.open_object(b"", out)
            }
            (Tag::InvokeClose, 1) => {
                self.close_object(out);
                out.event(Event::CallEnd);
                self.calls_ended += 1;
                self.raw_calls_end = self.raw.len();
                Verdict::More
            }
            (Tag::ParameterOpen { key, is_string }, depth @ 1..) => {
                self.key(&key, out);
                let wanted = if depth == 1 { types.get(&self.tool, &key) } else { None };
                self.reading = Reading::Value(Value::begin(is_string, wanted, out));
                Verdict::More
            }
            (Tag::ParameterClose, 2..) => {
                self.close_object(out);
                Verdict::More
            }
            (Tag::BlockClose, 0) if self.calls_ended > 0 => Verdict::Closed,
            _ => self.foreign(),
        }
    }

    /// Something that has no place here. Bare invokes have no closing tag, so whatever is not
    /// another call ends them.
    fn foreign(&mut self) -> Verdict {
        let bare = self.dialect.block.is_none();
        if bare && self.open.is_empty() && self.calls_ended > 0 {
            self.raw.truncate(self.raw_calls_end);
            return Verdict::Closed;
        }
        Verdict::Malformed
    }

    fn read_tag(&mut self, start: &[u8]) -> Verdict {
        self.reading = Reading::Tag(TagReader::resume(start));
        Verdict::More
    }

    /// Opens the arguments or a nested object; `start` is what was read of the next tag.
    fn open_object(&mut self, start: &[u8], out: &mut Out) -> Verdict {
        if self.open.len() > NESTING_MAX {
            return Verdict::Malformed;
        }
        out.arguments("{");
        self.open.push(false);
        self.read_tag(start)
    }

    fn close_object(&mut self, out: &mut Out) {
        self.open.pop();
        out.arguments("}");
    }

    fn key(&mut self, key: &str, out: &mut Out) {
        let has_members = self.open.last_mut().expect("a parameter stands in a call");
        let mut text = String::from(if *has_members { ", " } else { "" });
        *has_members = true;
        json::write_string(key, &mut text);
        text.push_str(": ");
        out.arguments(&text);
    }
}
