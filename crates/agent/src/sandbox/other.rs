//! Systems without a protection of ours: nothing is restricted, and it says so.

use rustix::fs::OFlags;

use super::{Confinement, Protection};

/// How a folder is opened that is only passed through.
pub const SEARCH: OFlags = OFlags::RDONLY;

/// Restricts nothing.
pub fn restrict(_: &Confinement) -> Protection {
    Protection::none("not Linux")
}
