//! What a command changes: the tree before and after it, compared.
//!
//! Nobody knows beforehand what a command will change, so all files of the tree are kept before it,
//! without those that the project ignores. A file is read again only if its size, its times or its
//! number have changed. Trees that are too large for that are not covered, and the turn says so.
//! What a person changes while a command runs is taken for the command's doing.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::store::{Change, Kept};
use super::{Undo, files};

const FILES_MAX: usize = 4000;
const FILE_BYTES_MAX: u64 = 1 << 20;
const TREE_BYTES_MAX: u64 = 64 << 20;

/// A tree as it was at some time.
#[derive(Clone, Debug, Default)]
pub struct KeptTree {
    files: HashMap<PathBuf, (Signature, Kept)>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    bytes: u64,
    number: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Undo {
    /// Keeps a tree before a command. `earlier` spares reading what has not changed since. `None`
    /// if the tree is not covered.
    pub fn before_command(&self, tree: &Path, earlier: &KeptTree) -> Option<KeptTree> {
        let found = walk(tree).or_else(|| {
            self.leave_uncovered("changes by commands: the tree is too large to be kept");
            None
        })?;
        let mut snapshot = KeptTree::default();
        let mut state = self.state();
        state.pinned.clear();
        for (path, signature) in found {
            let known = earlier.files.get(&path).filter(|(known, _)| *known == signature);
            let kept = match known {
                Some((_, kept)) => kept.clone(),
                None => {
                    let Ok(Some(content)) = files::read(&path, FILE_BYTES_MAX) else {
                        continue;
                    };
                    let Ok(kept) = state.keep(&content) else {
                        continue;
                    };
                    kept
                }
            };
            state.pinned.insert(kept.clone());
            snapshot.files.insert(path, (signature, kept));
        }
        Some(snapshot)
    }

    /// Notes what has changed since.
    pub fn after_command(&self, tree: &Path, before: &KeptTree) {
        let Some(found) = walk(tree) else {
            self.leave_uncovered("changes by commands: the tree has become too large to be kept");
            return;
        };
        let now: HashMap<PathBuf, Signature> = found.into_iter().collect();
        let mut state = self.state();
        let mut changed = false;
        for (path, signature) in &now {
            let known = before.files.get(path);
            if known.is_some_and(|(known, _)| known == signature) {
                continue;
            }
            let after = files::read(path, FILE_BYTES_MAX).ok().flatten();
            let after = after.as_ref().map(Kept::of);
            let before = known.map(|(_, kept)| kept.clone());
            if before != after {
                state.note(Change { path: path.clone(), before, after });
                changed = true;
            }
        }
        for (path, (_, kept)) in &before.files {
            if now.contains_key(path) {
                continue;
            }
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                state.leave_uncovered(&format!("{path}, which is too large or ignored by now"));
                continue;
            }
            let (path, before) = (path.clone(), Some(kept.clone()));
            state.note(Change { path, before, after: None });
            changed = true;
        }
        if changed && state.write().is_err() {
            state.leave_uncovered("changes by a command that could not be noted on disk");
        }
    }
}

/// The files of a tree that are kept; `None` if they are too many.
fn walk(tree: &Path) -> Option<Vec<(PathBuf, Signature)>> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let walker = ignore::WalkBuilder::new(tree)
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walker.flatten() {
        let Ok(data) = entry.metadata() else {
            continue;
        };
        if !data.is_file() || data.len() > FILE_BYTES_MAX {
            continue;
        }
        bytes += data.len();
        if found.len() == FILES_MAX || bytes > TREE_BYTES_MAX {
            return None;
        }
        let signature = Signature {
            bytes: data.len(),
            number: data.ino(),
            changed: (data.ctime(), data.ctime_nsec()),
            modified: (data.mtime(), data.mtime_nsec()),
        };
        found.push((entry.into_path(), signature));
    }
    Some(found)
}
