//! The list of exceptions that may only shrink: `xtask/tidy.toml`.
//!
//! Owns the reading of that file and the comparison of a measured number with the listed one. It
//! does not know what is measured. An entry holds the exact present value: more is a finding, and
//! so is less, because then the entry must be lowered or removed, which is how the list shrinks.
//! Start reading at `Ratchet`.

use serde::Deserialize;
use toml::Spanned;

use crate::rules::Finding;
use crate::tree::Tree;

/// Where the exceptions are listed.
pub const PATH: &str = "xtask/tidy.toml";

/// The parsed list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratchet {
    /// Functions that are longer than the limit on purpose.
    #[serde(default)]
    pub long_function: Vec<Spanned<LongFunction>>,
    /// Files that may contain the keyword `unsafe`.
    #[serde(default, rename = "unsafe")]
    pub unsafe_file: Vec<Spanned<UnsafeFile>>,
}

/// A function that is longer than the limit on purpose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongFunction {
    /// File from the root.
    pub path: String,
    /// Name of the function; of several with this name in the file the longest is meant.
    pub name: String,
    /// Its present length.
    pub lines: usize,
    /// Why it is better long.
    pub reason: String,
}

/// A file that may contain the keyword `unsafe`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsafeFile {
    /// File from the root.
    pub path: String,
    /// How many times the keyword stands in it.
    pub count: usize,
    /// What cannot be done without it.
    pub reason: String,
}

impl Ratchet {
    /// Reads the list of the tree; an absent file is an empty list, an unreadable one a finding.
    pub fn read(tree: &Tree) -> Result<Ratchet, Finding> {
        let text = tree.text(PATH).unwrap_or_default();
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            Finding::new(PATH, line, format!("cannot be read ({}); correct it", error.message()))
        })
    }
}

/// The line (from 1) on which the entry starts.
pub fn line_of<T>(tree: &Tree, entry: &Spanned<T>) -> usize {
    line_at(tree.text(PATH).unwrap_or_default(), entry.span().start)
}

/// What is wrong with an entry that allows `listed` where `found` is there and `floor` is free
/// for everyone; nothing if the entry is exact, or if it is exceeded (which is a finding at the
/// place itself).
pub fn slack(what: &str, listed: usize, found: Option<usize>, floor: usize) -> Option<String> {
    match found {
        None => Some(format!("{what} does not exist; remove this entry")),
        Some(found) if found <= floor => {
            Some(format!("{what} no longer needs this entry (now {found}); remove it"))
        }
        Some(found) if found < listed => {
            Some(format!("{what} has shrunk from {listed} to {found}; write {found} here"))
        }
        Some(_) => None,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_know_their_line() {
        let text = "# note\n\n[[unsafe]]\npath = \"a.rs\"\ncount = 2\nreason = \"map\"\n";
        let tree = Tree::of(&[(PATH, text)]);
        let ratchet = Ratchet::read(&tree).expect("the list is well formed");
        let entry = &ratchet.unsafe_file[0];
        assert_eq!((line_of(&tree, entry), entry.get_ref().count), (3, 2));
    }

    #[test]
    fn a_misspelt_key_is_a_finding_at_its_line() {
        let tree = Tree::of(&[(PATH, "\n[[unsafe]]\npaht = \"a.rs\"\n")]);
        let finding = Ratchet::read(&tree).expect_err("the key does not exist");
        assert_eq!((finding.line, finding.what.contains("paht")), (3, true));
    }

    #[test]
    fn an_entry_may_only_be_exact() {
        assert_eq!(slack("f", 90, Some(90), 70), None);
        assert_eq!(slack("f", 90, Some(91), 70), None);
        assert!(slack("f", 90, Some(89), 70).is_some_and(|text| text.contains("write 89")));
        assert!(slack("f", 90, Some(70), 70).is_some_and(|text| text.contains("remove")));
        assert!(slack("f", 90, None, 70).is_some_and(|text| text.contains("does not exist")));
    }
}
