//! What goes into the store and what comes out of it.
//!
//! An [`Entry`] is a checkpoint before it is saved, [`Saved`] what is told about it then, [`Found`]
//! what a search finds, [`Checkpoint`] the same again with all bytes, and [`Info`] what lists show.
//! No field but counts and lengths is understood here.

use std::fmt;

use crate::error::Error;
use crate::key::{Fingerprint, Id, PageKey};

/// Tokens of a checkpoint at most.
pub const TOKENS_MAX: usize = 1 << 24;
/// Bytes of text, tail or notes at most.
pub const STREAM_BYTES_MAX: usize = 1 << 30;
/// Logits at most.
pub const LOGITS_MAX: usize = 1 << 24;
/// Pages at most.
pub const PAGES_MAX: usize = 1 << 20;
/// Bytes of one page at most.
pub const PAGE_BYTES_MAX: usize = 1 << 28;
/// Bytes of the name of a recipe at most.
pub const RECIPE_BYTES_MAX: usize = 255;

/// A page of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// Saved before: this is its key. It need not be read from the device again.
    Known(PageKey),
    /// Its bytes.
    New(Vec<u8>),
}

/// Why a checkpoint was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A long first prompt, at a boundary that other conversations may share.
    Cold,
    /// On the way through a long prompt.
    Continued,
    /// The model had finished its turn.
    TurnEnd,
    /// Its session had to make room for another.
    Evict,
    /// The program ended.
    Shutdown,
}

impl Reason {
    /// All, in the order of their codes in files.
    pub const ALL: [Reason; 5] =
        [Reason::Cold, Reason::Continued, Reason::TurnEnd, Reason::Evict, Reason::Shutdown];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Reason::Cold => "cold",
            Reason::Continued => "continued",
            Reason::TurnEnd => "turn end",
            Reason::Evict => "evict",
            Reason::Shutdown => "shutdown",
        })
    }
}

/// A checkpoint to be saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// All tokens of the conversation.
    pub tokens: Vec<u32>,
    /// The text that was rendered to them; what a later prompt is compared with.
    pub text: Vec<u8>,
    /// Another text that the same state stands for: it is found by that as well, as a checkpoint of
    /// its own with the same blocks. Empty if there is none.
    pub also: Vec<u8>,
    /// The pages that are final, in order.
    pub pages: Vec<PageSource>,
    /// The rest of the state. What does not count in it should be left out or zero: equal blocks
    /// are stored once.
    pub tail: Vec<u8>,
    /// The logits after the last token; may be empty.
    pub logits: Vec<f32>,
    /// Whatever else belongs to the conversation.
    pub notes: Vec<u8>,
    /// Why it is saved.
    pub reason: Reason,
    /// Which of several ways the model computed it in, where it has some: begins with `;`, and is
    /// found by the same words only. Empty: the usual way.
    pub variant: String,
}

impl Entry {
    /// Bytes that the entry holds in memory.
    pub fn bytes(&self) -> usize {
        let page = |page: &PageSource| match page {
            PageSource::Known(_) => size_of::<PageKey>(),
            PageSource::New(bytes) => bytes.len(),
        };
        let numbers = (self.tokens.len() + self.logits.len()) * 4;
        let pages: usize = self.pages.iter().map(page).sum();
        numbers + self.text.len() + self.also.len() + self.tail.len() + self.notes.len() + pages
    }

    /// Whether it can be written so that it can be read again.
    pub(crate) fn check(&self, page_bytes: usize, recipe: &str) -> Result<(), Error> {
        let limits = [
            ("tokens", self.tokens.len(), TOKENS_MAX),
            ("bytes of text", self.text.len(), STREAM_BYTES_MAX),
            ("bytes of another text", self.also.len(), STREAM_BYTES_MAX),
            ("bytes of tail", self.tail.len(), STREAM_BYTES_MAX),
            ("bytes of notes", self.notes.len(), STREAM_BYTES_MAX),
            ("logits", self.logits.len(), LOGITS_MAX),
            ("pages", self.pages.len(), PAGES_MAX),
            ("bytes of recipe and variant", recipe.len() + self.variant.len(), RECIPE_BYTES_MAX),
        ];
        for (what, found, most) in limits {
            if found > most {
                let problem = format!("a checkpoint holds at most {most} {what}, found {found}");
                return Err(Error::invalid(problem));
            }
        }
        if !self.variant.is_empty() && !self.variant.starts_with(';') {
            let problem = format!("a variant begins with `;`, found {:?}", self.variant);
            return Err(Error::invalid(problem));
        }
        if self.tokens.is_empty() {
            return Err(Error::invalid("a checkpoint without tokens is of no use"));
        }
        for (position, page) in self.pages.iter().enumerate() {
            if let PageSource::New(bytes) = page
                && bytes.len() != page_bytes
            {
                let found = bytes.len();
                let problem =
                    format!("page {position}: expected {page_bytes} bytes, found {found}");
                return Err(Error::invalid(problem));
            }
        }
        Ok(())
    }
}

/// A checkpoint that is safe on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its name.
    pub id: Id,
    /// The keys of its pages, in order; the next save may name them.
    pub pages: Vec<PageKey>,
    /// Bytes of all files that this save wrote for it.
    pub bytes_written: u64,
    /// Checkpoints that had to go for it.
    pub evicted: Vec<Id>,
}

/// A checkpoint that a prompt can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub id: Id,
    /// How many tokens it holds.
    pub tokens: usize,
    /// How many bytes of text they were rendered from.
    pub text_bytes: usize,
    /// How many pages it has.
    pub pages: usize,
    /// Why it was made.
    pub reason: Reason,
}

/// A checkpoint without its pages.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Its name.
    pub id: Id,
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: Vec<u8>,
    /// Keys of the pages, in order.
    pub pages: Vec<PageKey>,
    /// The rest of the state.
    pub tail: Vec<u8>,
    /// The logits after the last token.
    pub logits: Vec<f32>,
    /// Whatever else belongs to the conversation.
    pub notes: Vec<u8>,
    /// Why it was saved.
    pub reason: Reason,
}

/// A checkpoint with everything in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// All but the pages.
    pub loaded: Loaded,
    /// The bytes of the pages, in order.
    pub pages: Vec<Vec<u8>>,
}

/// What lists show.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its name.
    pub id: Id,
    /// The model that it is for.
    pub model: Fingerprint,
    /// The recipe of that model's weights.
    pub recipe: String,
    /// Why it was saved.
    pub reason: Reason,
    /// Tokens in it.
    pub tokens: usize,
    /// Bytes of text in it.
    pub text_bytes: usize,
    /// Pages of it.
    pub pages: usize,
    /// Bytes of one page.
    pub page_bytes: usize,
    /// Bytes of the tail.
    pub tail_bytes: usize,
    /// Bytes of the notes.
    pub notes_bytes: usize,
    /// Logits in it.
    pub logits: usize,
    /// Bytes of everything that it names, and of its manifest.
    pub bytes: u64,
    /// Bytes of that which no other checkpoint names.
    pub own_bytes: u64,
    /// When it was saved, in seconds since 1970.
    pub created: u64,
    /// When it was last saved or loaded, in seconds since 1970.
    pub used: u64,
    /// How often it was loaded; each time counts half as much after six hours.
    pub hits: f64,
    /// Why it cannot be loaded, if it cannot.
    pub broken: Option<String>,
}
