//! The tags of a tool block in all the spellings that models produce.
//!
//! The spellings are data: a [`Dialect`] is a marker, perhaps a gap after it, and the name of the
//! outer block. What opens a block decides how its other tags must be spelled. This file finds
//! openers ([`OPENERS`]) and reads complete tags ([`TagReader`]); it does not know what tags mean
//! in which order.

use std::sync::LazyLock;

use super::matcher::Matcher;
use super::tape::{self, is_blank};
use crate::render::special;

/// Longest name of a tool or parameter, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest tag, in bytes. A tag that gets longer is none.
pub const TAG_BYTES_MAX: usize = 1024;

/// How the tags of a block are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub marker: Marker,
    /// A space stands between the marker and the name of the tag (V4.1).
    pub gap: bool,
    /// Name of the outer block; none if the block is bare invokes.
    pub block: Option<&'static str>,
}

/// What stands between `<` and the name of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// The special token.
    Token,
    /// The same characters as text.
    Spelled,
    /// Without its first bar.
    Short,
    /// Nothing.
    Absent,
}

impl Marker {
    fn bytes(self) -> &'static [u8] {
        match self {
            Marker::Token => &[tape::DSML],
            Marker::Spelled => special::DSML.as_bytes(),
            Marker::Short => "DSML｜".as_bytes(),
            Marker::Absent => b"",
        }
    }

    /// The markers that may stand in a block opened with this one. A spelled block may go on with
    /// real tokens; in a block of real tokens spelled tags are text.
    fn accepted(self) -> &'static [Marker] {
        match self {
            Marker::Token => &[Marker::Token],
            Marker::Spelled => &[Marker::Spelled, Marker::Token],
            Marker::Short => &[Marker::Short],
            Marker::Absent => &[Marker::Absent],
        }
    }
}

impl Dialect {
    /// All spellings of `<` or `</` and a name in this dialect.
    pub fn tag_starts(&self, opening: &str, name: &str) -> Vec<Vec<u8>> {
        let gap = if self.gap { " " } else { "" };
        let markers = self.marker.accepted().iter();
        markers
            .map(|marker| {
                [opening.as_bytes(), marker.bytes(), gap.as_bytes(), name.as_bytes()].concat()
            })
            .collect()
    }

    fn opener(&self) -> Vec<u8> {
        let gap = if self.gap { " " } else { "" };
        let name = self.block.map_or("invoke name=".to_owned(), |block| format!("{block}>"));
        [b"<", self.marker.bytes(), gap.as_bytes(), name.as_bytes()].concat()
    }
}

/// Everything that opens a block.
pub(super) const DIALECTS: [Dialect; 14] = {
    use Marker::{Absent, Short, Spelled, Token};
    const fn dialect(marker: Marker, gap: bool, block: Option<&'static str>) -> Dialect {
        Dialect { marker, gap, block }
    }
    [
        dialect(Token, false, Some("tool_calls")),
        dialect(Token, false, Some("function_calls")),
        dialect(Token, true, Some("calls")),
        dialect(Token, false, None),
        dialect(Token, true, None),
        dialect(Spelled, false, Some("tool_calls")),
        dialect(Spelled, false, Some("function_calls")),
        dialect(Spelled, true, Some("calls")),
        dialect(Spelled, false, None),
        dialect(Spelled, true, None),
        dialect(Short, false, Some("tool_calls")),
        dialect(Short, false, Some("function_calls")),
        dialect(Absent, false, Some("tool_calls")),
        dialect(Absent, false, Some("function_calls")),
    ]
};

/// The dialect of an opener found by [`OPENERS`].
pub(super) fn dialect(pattern: usize) -> Dialect {
    DIALECTS[pattern]
}

/// Finds what opens a block. All openers begin with `<` and have no other `<`.
pub(super) static OPENERS: LazyLock<Matcher> =
    LazyLock::new(|| Matcher::new(&DIALECTS.map(|dialect| dialect.opener())));

/// Whether the beginning of an opener already shows the marker, so that it cannot be prose.
pub(super) fn shows_marker(opener_start: &[u8]) -> bool {
    let after = opener_start.strip_prefix(b"<").unwrap_or_default();
    after.starts_with(Marker::Token.bytes()) || after.starts_with(Marker::Spelled.bytes())
}

/// A complete tag of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    InvokeOpen(String),
    InvokeClose,
    ParameterOpen {
        key: String,
        /// The `string` attribute, if it is there and says true or false.
        is_string: Option<bool>,
    },
    ParameterClose,
    BlockClose,
}

/// Reads one tag, white space before it included.
#[derive(Clone, Debug, Default)]
pub(super) struct TagReader {
    bytes: Vec<u8>,
    in_quotes: bool,
}

/// What a byte made of a tag.
pub(super) enum Read {
    More,
    Tag(Tag),
    NotATag,
}

impl TagReader {
    /// A reader that has seen the beginning of a tag, quotes not yet open.
    pub fn resume(start: &[u8]) -> TagReader {
        TagReader { bytes: start.to_vec(), in_quotes: false }
    }

    pub fn byte(&mut self, byte: u8, dialect: &Dialect) -> Read {
        if self.bytes.is_empty() {
            match byte {
                b'<' => {}
                _ if is_blank(byte) => return Read::More,
                _ => return Read::NotATag,
            }
        }
        self.bytes.push(byte);
        match byte {
            b'"' => self.in_quotes = !self.in_quotes,
            b'>' if !self.in_quotes => {
                let tag = read_tag(&tape::text(&self.bytes), &self.bytes, dialect);
                *self = TagReader::default();
                return tag.map_or(Read::NotATag, Read::Tag);
            }
            _ => {}
        }
        if self.bytes.len() >= TAG_BYTES_MAX { Read::NotATag } else { Read::More }
    }
}

/// Reads `<…>` or `</…>`. `text` is the same tag with specials spelled out, for the attributes.
fn read_tag(text: &str, bytes: &[u8], dialect: &Dialect) -> Option<Tag> {
    let closing = bytes.starts_with(b"</");
    let opening = if closing { "</" } else { "<" };
    let starts = dialect.tag_starts(opening, "");
    let start = starts.iter().find(|start| bytes.starts_with(start))?;
    let rest = text.strip_prefix(&tape::text(start))?.strip_suffix('>')?;
    let name_bytes = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
    let (name, attributes) = rest.split_at(name_bytes);
    if closing {
        return attributes.trim().is_empty().then(|| closing_tag(name, dialect))?;
    }
    let attributes = Attributes::read(attributes)?;
    match name {
        "invoke" => Some(Tag::InvokeOpen(attributes.name?)),
        "parameter" => {
            Some(Tag::ParameterOpen { key: attributes.name?, is_string: attributes.is_string })
        }
        _ => None,
    }
}

/// Bare invokes have no block of their own; whatever closes one closes them.
fn closing_tag(name: &str, dialect: &Dialect) -> Option<Tag> {
    match name {
        "invoke" => Some(Tag::InvokeClose),
        "parameter" => Some(Tag::ParameterClose),
        _ if dialect.block.is_none_or(|block| block == name) => Some(Tag::BlockClose),
        _ => None,
    }
}

#[derive(Default)]
struct Attributes {
    name: Option<String>,
    is_string: Option<bool>,
}

impl Attributes {
    /// Reads ` key="value"` until the text ends. A value goes up to the next quote, unescaped;
    /// attributes of other names are passed over.
    fn read(text: &str) -> Option<Attributes> {
        let mut attributes = Attributes::default();
        let mut rest = text.trim_ascii();
        while !rest.is_empty() {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = after.split_once('"')?;
            match key {
                "name" if value.is_empty() || value.len() > NAME_BYTES_MAX => return None,
                "name" => attributes.name = Some(value.to_owned()),
                "string" => attributes.is_string = value.parse().ok(),
                _ if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphabetic()) => {
                    return None;
                }
                _ => {}
            }
            rest = after.trim_ascii_start();
        }
        Some(attributes)
    }
}
