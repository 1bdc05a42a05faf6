//! Sets: the items of a file or our own, and the choice of some of them.
//!
//! Which format a file has is said by whoever names it; nothing is guessed from its contents.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::import::{self, Layout};
use super::item::Item;
use super::read;
use crate::Error;

/// What our own set is called.
pub const OWN: &str = "dwarfstar";

/// Written for this project: arithmetic, logic, reading, code, tools.
static OWN_ITEMS: &str = include_str!("own.jsonl");

/// The items of a file, and how many of its questions were left out because no grader decides
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// In the order of the file.
    pub items: Vec<Item>,
    /// Questions without an answer that can be judged here.
    pub left_out: usize,
}

/// Our own items.
pub fn own() -> Vec<Item> {
    read::items(Path::new("the built-in set"), OWN_ITEMS.as_bytes()).expect("a test has read them")
}

/// Reads a file. `seed` orders the choices of sets that list the right one first.
///
/// # Errors
/// The place of what is not as the format says.
pub fn open(path: &Path, layout: Layout, seed: u64) -> Result<Read, Error> {
    let file = File::open(path).map_err(|error| Error::read(path, error))?;
    read_from(path, BufReader::new(file), layout, seed)
}

/// The same, of whatever can be read.
///
/// # Errors
/// As for [`open`].
pub fn read_from(
    path: &Path,
    reader: impl std::io::BufRead,
    layout: Layout,
    seed: u64,
) -> Result<Read, Error> {
    match layout {
        Layout::Items => Ok(Read { items: read::items(path, reader)?, left_out: 0 }),
        layout => import::read(path, reader, layout, seed),
    }
}

/// The items whose id, domain or source is one of `only` (all if that is empty), and of those the
/// first `limit`.
pub fn choose(items: Vec<Item>, only: &[String], limit: Option<usize>) -> Vec<Item> {
    let is_meant = |item: &Item| {
        let names = [&item.id, &item.domain, &item.source];
        only.is_empty() || only.iter().any(|word| names.contains(&word))
    };
    items.into_iter().filter(is_meant).take(limit.unwrap_or(usize::MAX)).collect()
}
