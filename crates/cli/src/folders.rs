//! Where the program keeps files of its own.
//!
//! Reads the environment; makes and opens nothing.

use std::path::PathBuf;

/// A folder for what can be made again: in this user's cache. `None` where nobody says where that
/// is.
pub fn cache(name: &str) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = || Some(variable("HOME")?.join(".cache"));
    let base = variable("XDG_CACHE_HOME").or_else(cache).or_else(|| variable("LOCALAPPDATA"));
    Some(base?.join("dwarfstar").join(name))
}
