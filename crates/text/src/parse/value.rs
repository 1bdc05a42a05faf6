//! One value of a call, from the end of its parameter tag to its closing tag.
//!
//! A string goes out as it comes, escaped for JSON. A value sampled as JSON goes out as sampled,
//! but only when it is known to be JSON or has grown too long to keep ([`HELD_VALUE_BYTES_MAX`]);
//! a short one that turns out not to be JSON can then still become a string. What is kept back
//! otherwise is the tail that may be the start of the closing tag.
//!
//! Every decision falls on a byte of the value, never on where the stream was cut.

use super::Region;
use std::sync::LazyLock;

use super::event::Out;
use super::json_check::JsonCheck;
use super::matcher::{Matcher, Place};
use super::tag::{DIALECTS, Dialect};
use super::tape::{self, is_blank};
use super::types::ValueType;
use crate::json;
use crate::render::special;

/// How much of a value is kept back while its form is open: JSON that may prove to be none, a
/// string that may be read as the type of its schema, white space before a nested parameter.
pub const HELD_VALUE_BYTES_MAX: usize = 4096;

/// What ends a value or needs attention in it, in the spelling of one block.
#[derive(Debug)]
pub(super) struct Patterns {
    /// In values whose form is known.
    plain: Matcher,
    /// In values that may be nested parameters.
    nested: Matcher,
    /// What each pattern of both means.
    hits: Vec<Hit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hit {
    Close,
    EscapedClose,
    NestedOpen,
}

/// In the order of [`DIALECTS`].
static PATTERNS: LazyLock<Vec<Patterns>> =
    LazyLock::new(|| DIALECTS.iter().map(Patterns::new).collect());

impl Patterns {
    /// The patterns of a block in this dialect.
    pub fn of(dialect: &Dialect) -> &'static Patterns {
        let place = DIALECTS.iter().position(|known| known == dialect);
        &PATTERNS[place.expect("only known dialects open blocks")]
    }

    fn new(dialect: &Dialect) -> Patterns {
        let closers = dialect.tag_starts("</", "parameter>");
        let escaped = [special::DSML.as_bytes(), &[tape::DSML]]
            .map(|marker| [b"&lt;/", marker, b"parameter>"].concat());
        let plain: Vec<(Hit, Vec<u8>)> =
            [(Hit::Close, closers), (Hit::EscapedClose, escaped.into())]
                .into_iter()
                .flat_map(|(hit, patterns)| patterns.into_iter().map(move |pattern| (hit, pattern)))
                .collect();
        let mut all = plain.clone();
        all.extend(
            dialect.tag_starts("<", "parameter").into_iter().map(|start| (Hit::NestedOpen, start)),
        );
        let matcher = |patterns: &[(Hit, Vec<u8>)]| {
            Matcher::new(&patterns.iter().map(|(_, pattern)| pattern).collect::<Vec<_>>())
        };
        Patterns {
            plain: matcher(&plain),
            nested: matcher(&all),
            hits: all.iter().map(|(hit, _)| *hit).collect(),
        }
    }
}

/// A value being sampled.
#[derive(Debug)]
pub(super) struct Value {
    form: Form,
    /// Not sent yet: `pending[..ready]` certainly belongs to the value, the rest may be a tag.
    pending: Vec<u8>,
    ready: usize,
    place: Place,
    /// The opening quote of a string was sent.
    quoted: bool,
}

#[derive(Debug)]
enum Form {
    Text,
    /// `seen` bytes were checked.
    Json {
        check: JsonCheck,
        seen: usize,
    },
    /// A string that its schema wants to be something else.
    Typed(ValueType),
    /// No `string` attribute: only white space so far.
    Open(Option<ValueType>),
}

/// What a byte made of a value.
pub(super) enum Step {
    More,
    Closed,
    /// A nested parameter begins with this start of a tag.
    Nested(Vec<u8>),
    /// Parts were sent that the rest does not fit.
    Broken,
}

impl Value {
    /// A value whose tag said `string="true"`, `"false"` or nothing; `wanted` is the type that
    /// its schema asks for, if that is not a string.
    pub fn begin(is_string: Option<bool>, wanted: Option<ValueType>, out: &mut Out) -> Value {
        let form = match is_string {
            Some(true) => Form::string(wanted),
            Some(false) => Form::Json { check: JsonCheck::new(), seen: 0 },
            None => Form::Open(wanted),
        };
        let place = Place::default();
        let mut value = Value { form, pending: Vec::new(), ready: 0, place, quoted: false };
        value.flush(out);
        value
    }

    pub fn byte(&mut self, byte: u8, patterns: &Patterns, out: &mut Out) -> Step {
        self.pending.push(byte);
        self.place = self.matcher(patterns).step(self.place, byte);
        if !self.settle(patterns) {
            self.ready -= 1;
            self.send_raw(out);
            return Step::Broken;
        }
        let Some((pattern, hit_bytes)) = self.matcher(patterns).hit(self.place) else {
            return Step::More;
        };
        let tag = self.pending.len() - hit_bytes;
        match patterns.hits[pattern] {
            Hit::Close => {
                self.pending.truncate(tag);
                self.end(out)
            }
            Hit::NestedOpen => Step::Nested(self.pending.split_off(tag)),
            Hit::EscapedClose if matches!(self.form, Form::Json { .. }) => Step::More,
            Hit::EscapedClose => {
                self.pending.truncate(tag);
                self.pending.extend_from_slice(b"</");
                self.pending.extend_from_slice(special::DSML.as_bytes());
                self.pending.extend_from_slice(b"parameter>");
                self.place = Place::default();
                self.settle(patterns);
                Step::More
            }
        }
    }

    /// Sends what is certain.
    pub fn flush(&mut self, out: &mut Out) {
        match self.form {
            Form::Text => self.send_text(out),
            Form::Json { seen, .. } if seen > HELD_VALUE_BYTES_MAX => self.send_raw(out),
            Form::Json { .. } | Form::Typed(_) | Form::Open(_) => {}
        }
    }

    /// What kind of text comes next, for the sampler.
    pub fn region(&self, patterns: &Patterns) -> Region {
        match &self.form {
            _ if self.matcher(patterns).held(self.place) >= 2 => Region::Structure,
            Form::Json { check, .. } if check.in_string() => Region::JsonString,
            Form::Json { .. } => Region::Json,
            Form::Text | Form::Typed(_) => Region::StringBody,
            Form::Open(_) => Region::Structure,
        }
    }

    fn matcher<'p>(&self, patterns: &'p Patterns) -> &'p Matcher {
        if matches!(self.form, Form::Open(_)) { &patterns.nested } else { &patterns.plain }
    }

    /// Looks at every byte that cannot belong to a tag any more; false if the last one broke JSON
    /// of which parts were sent.
    fn settle(&mut self, patterns: &Patterns) -> bool {
        while self.ready + self.matcher(patterns).held(self.place) < self.pending.len() {
            let byte = self.pending[self.ready];
            self.ready += 1;
            let was_open = matches!(self.form, Form::Open(_));
            if !self.look_at(byte) {
                return false;
            }
            if was_open && !matches!(self.form, Form::Open(_)) {
                let tail = self.pending[self.ready..].iter();
                let step = |place, byte: &u8| patterns.plain.step(place, *byte);
                self.place = tail.fold(Place::default(), step);
            }
        }
        true
    }

    /// Decides the form of the value; false as in `settle`.
    fn look_at(&mut self, byte: u8) -> bool {
        match &mut self.form {
            Form::Text => {}
            Form::Json { check, seen } => {
                *seen += 1;
                if !check.byte(byte) {
                    if *seen > HELD_VALUE_BYTES_MAX {
                        return false;
                    }
                    self.form = Form::Text;
                }
            }
            Form::Typed(_) if self.ready > HELD_VALUE_BYTES_MAX => self.form = Form::Text,
            Form::Typed(_) => {}
            Form::Open(wanted) => {
                if !is_blank(byte) || self.ready > HELD_VALUE_BYTES_MAX {
                    self.form = Form::string(*wanted);
                }
            }
        }
        true
    }

    /// The closing tag was cut off; everything pending is the value's.
    fn end(&mut self, out: &mut Out) -> Step {
        self.ready = self.pending.len();
        match &self.form {
            Form::Json { check, .. } if check.is_complete() => {
                self.send_raw(out);
                return Step::Closed;
            }
            Form::Json { seen, .. } if *seen > HELD_VALUE_BYTES_MAX => {
                self.send_raw(out);
                return Step::Broken;
            }
            Form::Typed(wanted) => {
                let text = tape::text(&self.pending);
                if wanted.fits(text.trim()) {
                    out.arguments(text.trim());
                    return Step::Closed;
                }
            }
            Form::Text | Form::Json { .. } | Form::Open(_) => {}
        }
        self.send_text(out);
        out.arguments("\"");
        Step::Closed
    }

    fn send_text(&mut self, out: &mut Out) {
        let mut escaped = String::new();
        if !self.quoted {
            self.quoted = true;
            escaped.push('"');
        }
        json::write_escaped(&self.take_ready(), &mut escaped);
        out.arguments(&escaped);
    }

    fn send_raw(&mut self, out: &mut Out) {
        let raw = self.take_ready();
        out.arguments(&raw);
    }

    fn take_ready(&mut self) -> String {
        let text = tape::text(&self.pending[..self.ready]);
        self.pending.drain(..self.ready);
        self.ready = 0;
        text
    }
}

impl Form {
    fn string(wanted: Option<ValueType>) -> Form {
        wanted.map_or(Form::Text, Form::Typed)
    }
}
