//! Where the program keeps files of its own.
//!
//! Reads the environment; makes and opens nothing.

use std::path::PathBuf;

/// A folder for what can be made again: in this user's cache. `None` where nobody says where that
/// is.
pub fn cache(name: &str) -> Option<PathBuf> {
    folder("XDG_CACHE_HOME", ".cache", name)
}

/// A folder for what is to be kept, such as conversations: in this user's state.
pub fn state(name: &str) -> Option<PathBuf> {
    folder("XDG_STATE_HOME", ".local/state", name)
}

/// A folder for what this user has written for us.
pub fn config(name: &str) -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config", name)
}

/// A folder for what this user has fetched, such as models.
pub fn data(name: &str) -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share", name)
}

/// Where the tools of Hugging Face keep their files.
pub fn hugging_face() -> Option<PathBuf> {
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")));
    variable("HF_HOME").or_else(|| Some(cache()?.join("huggingface")))
}

/// This user's home.
pub fn home() -> Option<PathBuf> {
    variable("HOME")
}

fn folder(of: &str, in_home: &str, name: &str) -> Option<PathBuf> {
    let usual = || Some(home()?.join(in_home));
    let base = variable(of).or_else(usual).or_else(|| variable("LOCALAPPDATA"));
    Some(base?.join("dwarfstar").join(name))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
