//! Prompts that were sent before, to be sent again: the arrow keys walk through them.
//!
//! They are kept in a file of the form that the line prompt uses too, so both remember the same.
//! What stood in the input when the walk began is there again at its end.

use std::path::Path;

use rustyline::Config;
use rustyline::history::{FileHistory, History as _};

use super::HISTORY_ENTRIES_MAX;

/// Prompts, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    all: Vec<String>,
    /// Those of `all` that the file does not have.
    new: usize,
    /// Where the walk is, counted from the newest; `None`: not under way.
    at: Option<usize>,
    /// What stood in the input before the walk.
    draft: String,
}

impl Prompts {
    /// Those of a file; none if it cannot be read.
    pub fn load(path: Option<&Path>) -> Prompts {
        let mut file = file();
        let loaded = path.is_some_and(|path| file.load(path).is_ok());
        let all = if loaded { file.iter().cloned().collect() } else { Vec::new() };
        Prompts { all, ..Prompts::default() }
    }

    /// Adds those that are new to a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&mut self, path: &Path) -> rustyline::Result<()> {
        let mut file = file();
        for prompt in &self.all[self.all.len() - self.new..] {
            file.add(prompt)?;
        }
        self.new = 0;
        file.append(path)
    }

    /// Another one; ends the walk.
    pub fn add(&mut self, prompt: &str) {
        self.at = None;
        if self.all.last().is_none_or(|last| last != prompt) {
            self.all.push(prompt.to_owned());
            self.new += 1;
        }
        let excess = self.all.len().saturating_sub(HISTORY_ENTRIES_MAX);
        self.all.drain(..excess);
        self.new = self.new.min(self.all.len());
    }

    /// The one before; `input` is what stands there now.
    pub fn older(&mut self, input: &str) -> Option<&str> {
        let at = self.at.map_or(0, |at| at + 1);
        let index = self.all.len().checked_sub(at + 1)?;
        if self.at.is_none() {
            input.clone_into(&mut self.draft);
        }
        self.at = Some(at);
        self.all.get(index).map(String::as_str)
    }

    /// The one after, or what stood there before the walk.
    pub fn newer(&mut self) -> Option<&str> {
        match self.at? {
            0 => {
                self.at = None;
                Some(&self.draft)
            }
            at => {
                self.at = Some(at - 1);
                self.all.get(self.all.len().checked_sub(at)?).map(String::as_str)
            }
        }
    }
}

fn file() -> FileHistory {
    let sized = Config::builder().max_history_size(HISTORY_ENTRIES_MAX);
    FileHistory::with_config(&sized.map(|builder| builder.build()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_goes_back_and_forth_and_returns_to_the_draft() {
        let mut prompts = Prompts::default();
        assert_eq!(prompts.older("x"), None);
        ["one", "two", "two", "three"].iter().for_each(|prompt| prompts.add(prompt));
        assert_eq!(prompts.older("draft"), Some("three"));
        assert_eq!(prompts.older("three"), Some("two"));
        assert_eq!(prompts.older("two"), Some("one"));
        assert_eq!(prompts.older("one"), None);
        assert_eq!(prompts.newer(), Some("two"));
        assert_eq!(prompts.newer(), Some("three"));
        assert_eq!(prompts.newer(), Some("draft"));
        assert_eq!(prompts.newer(), None);
    }

    #[test]
    fn a_file_keeps_them_with_their_lines_up_to_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let mut prompts = Prompts::load(Some(&path));
        prompts.add("one\nwith two lines");
        prompts.save(&path).unwrap();
        let mut again = Prompts::load(Some(&path));
        again.add("two");
        again.save(&path).unwrap();
        assert_eq!(Prompts::load(Some(&path)).all, ["one\nwith two lines", "two"]);
        (0..600).for_each(|n| again.add(&n.to_string()));
        again.save(&path).unwrap();
        assert_eq!(Prompts::load(Some(&path)).all.len(), HISTORY_ENTRIES_MAX);
    }
}
