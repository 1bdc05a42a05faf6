//! Where the agent works: the working tree, its own data folder, and how much a result may hold.
//!
//! Owns the question where a path leads. What the model writes is taken relative to the tree, links
//! and `..` are followed as the system would follow them, also for files that do not exist yet; the
//! real path that comes out is what permissions decide on and what tools act on. It decides nothing
//! itself: see `permit/`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::undo::Undo;

const PATH_BYTES_MAX: usize = 4096;
const LINKS_MAX: usize = 40;

/// What is needed to work somewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The working tree.
    pub tree: PathBuf,
    /// A folder of the agent's own for this tree: rules, kept copies, outputs, temporary files.
    /// Made if it is not there.
    pub data: PathBuf,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    /// Tokens of the model's context, which bounds what a result may hold.
    pub context_tokens: usize,
}

/// A tree to work in.
#[derive(Debug)]
pub struct Workplace {
    tree: PathBuf,
    data: PathBuf,
    home: Option<PathBuf>,
    /// Bounds what results hold.
    context_tokens: AtomicUsize,
    /// What is kept of files that are changed.
    pub undo: Undo,
}

/// How much a result may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of any result.
    pub result_bytes: usize,
    /// Lines of a file that are read unless more are asked for.
    pub read_lines: usize,
}

impl Limits {
    /// A result takes an eighth of the context at most, at three bytes a token.
    pub fn of_context(tokens: usize) -> Limits {
        let result_bytes = (tokens / 8).saturating_mul(3).clamp(2 << 10, 40 << 10);
        let read_lines = match tokens {
            0..=8_192 => 120,
            8_193..=16_384 => 240,
            _ => 500,
        };
        Limits { result_bytes, read_lines }
    }
}

impl Workplace {
    /// Opens a tree.
    ///
    /// # Errors
    /// It is no folder, or the data folder cannot be made.
    pub fn open(places: Places) -> io::Result<Workplace> {
        let named = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let tree = places.tree.canonicalize().map_err(|error| named(&places.tree, error))?;
        if !tree.is_dir() {
            let what = format!("{}: not a folder to work in", tree.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, what));
        }
        for folder in ["outputs", "tmp"] {
            let folder = places.data.join(folder);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|error| named(&folder, error))?;
        }
        let data = places.data.canonicalize().map_err(|error| named(&places.data, error))?;
        remove_old(&data.join("tmp"));
        let undo = Undo::open(&data.join("undo")).map_err(|error| named(&data, error))?;
        let context_tokens = AtomicUsize::new(places.context_tokens);
        Ok(Workplace { tree, data, home: places.home, context_tokens, undo })
    }

    /// The working tree, by its real path.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// How much results may hold.
    pub fn limits(&self) -> Limits {
        Limits::of_context(self.context_tokens.load(Ordering::Relaxed))
    }

    /// The context has another size from now on, and with it what results may hold.
    pub fn set_context(&self, tokens: usize) {
        self.context_tokens.store(tokens, Ordering::Relaxed);
    }

    /// Where whole outputs are kept that were too long for a result.
    pub fn outputs(&self) -> PathBuf {
        self.data.join("outputs")
    }

    /// Where commands put temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.data.join("tmp")
    }

    /// The agent's own folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The file of remembered rules. `None` where commands could write it, since the agent's folder
    /// lies in the tree: then nothing is remembered.
    pub fn rules(&self) -> Option<PathBuf> {
        (!self.data.starts_with(&self.tree)).then(|| self.data.join("rules.json"))
    }

    /// How a path is called in results: relative to the tree if it is in it.
    pub fn name(&self, path: &Path) -> String {
        match path.strip_prefix(&self.tree) {
            Ok(inner) if inner.as_os_str().is_empty() => ".".to_owned(),
            Ok(inner) => inner.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }

    /// The real path that `path` leads to: no part of it is a link or `..`, and what exists of it
    /// is real.
    ///
    /// # Errors
    /// It is no path, or leads in circles; a text for the model.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() {
            return Err("the path is empty; give one relative to the working tree".to_owned());
        }
        if path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err("this is no path".to_owned());
        }
        let path = match (path.strip_prefix('~'), &self.home) {
            (Some(""), Some(home)) => home.clone(),
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
            _ => PathBuf::from(path),
        };
        real(&self.tree.join(path))
    }
}

/// Removes what commands have left among temporary files days ago. What cannot be removed stays.
fn remove_old(folder: &Path) {
    const OLD: Duration = Duration::from_secs(3 * 24 * 3600);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Of a link its own time counts, and the link is what goes.
        let Ok(data) = entry.path().symlink_metadata() else {
            continue;
        };
        let age = data.modified().ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > OLD) {
            let _ = match data.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// A step of a path that is still to be taken.
enum Step {
    Root,
    Up,
    Down(OsString),
}

fn steps(path: &Path) -> impl DoubleEndedIterator<Item = Step> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

fn real(path: &Path) -> Result<PathBuf, String> {
    let mut ahead: VecDeque<Step> = steps(path).collect();
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        match step {
            Step::Root => real = PathBuf::from("/"),
            // What was passed is real, so the folder above is the one that its name says.
            Step::Up => {
                real.pop();
            }
            Step::Down(name) => {
                let next = real.join(name);
                let Ok(target) = fs::read_link(&next) else {
                    real = next;
                    continue;
                };
                links += 1;
                if links > LINKS_MAX {
                    return Err(format!("{}: links that lead in circles", path.display()));
                }
                steps(&target).rev().for_each(|step| ahead.push_front(step));
            }
        }
    }
    Ok(real)
}
