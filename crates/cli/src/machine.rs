//! What the machine has to offer, as far as it says so.
//!
//! Engines reserve what they are told to; how much there is can be known only out here. Where the
//! system does not tell, nothing is limited, and the system refuses when it must.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// Bytes of memory that can be had without pushing others out, on systems that tell.
pub fn memory_available() -> Option<usize> {
    available(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Bytes that can be written beside `path`, on systems that tell.
pub fn disk_available(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs4::available_space(folder.unwrap_or(Path::new("."))).ok()
}

/// Threads of all parallel work, once they are there.
static THREADS: OnceLock<usize> = OnceLock::new();

/// Makes all parallel work use so many threads. To be said before any such work; a second device
/// of one command has the same.
///
/// # Errors
/// The system does not give us so many.
pub fn use_threads(threads: usize) -> Result<()> {
    if THREADS.get() == Some(&threads) {
        return Ok(());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().with_context(|| format!("could not start {threads} threads"))?;
    // Whoever was first has also built the pool.
    let _ = THREADS.set(threads);
    Ok(())
}

fn available(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn linux_tells_in_kibibytes() {
        let text =
            "MemTotal:       32594312 kB\nMemFree: 1 kB\nMemAvailable:   20480 kB\nCached: 7 kB\n";
        assert_eq!(available(text), Some(20480 * 1024));
        for text in ["", "MemAvailable:", "MemAvailable: many kB", "MemAvailable: 5"] {
            assert_eq!(available(text), None, "{text:?}");
        }
    }
}
