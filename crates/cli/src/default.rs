//! The default model: the one that is meant where nobody names one.
//!
//! It is a link in this user's data folder, which `dwarfstar pull` sets and anybody may set or
//! remove by hand. Where links cannot be made it is a file with a path in it; a model file in its
//! place is good, too.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::folders;

/// Longest path that is read from a file.
const PATH_BYTES_MAX: u64 = 8192;

/// Where the link is.
pub fn link() -> Option<PathBuf> {
    folders::data("model.gguf")
}

/// The file that is the default, if there is one. Whether it exists is seen when it is opened.
pub fn find() -> Option<PathBuf> {
    resolve(&link()?)
}

fn resolve(link: &Path) -> Option<PathBuf> {
    let beside = |path: PathBuf| link.parent().map(|folder| folder.join(path));
    if let Ok(target) = fs::read_link(link) {
        return beside(target);
    }
    let mut bytes = Vec::new();
    File::open(link).ok()?.take(PATH_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim_end);
    match text.filter(|text| !text.is_empty() && !text.contains(['\0', '\n'])) {
        Some(path) if !bytes.starts_with(b"GGUF") => beside(path.into()),
        _ => Some(link.to_owned()),
    }
}

/// Makes a file the default.
pub fn set(file: &Path) -> io::Result<()> {
    let link = link().ok_or_else(|| io::Error::other("no data folder is known"))?;
    place(&link, &std::path::absolute(file)?)
}

/// The link appears in one step, in the place of any other link; a model file stays.
fn place(link: &Path, file: &Path) -> io::Result<()> {
    if link.symlink_metadata().is_ok_and(|there| there.len() > PATH_BYTES_MAX) {
        return Err(io::Error::other("it is a file, and no link: move it elsewhere"));
    }
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = link.with_added_extension("new");
    let _ = fs::remove_file(&new); // left by one that was ended here
    // The one call that makes links to files on every system.
    #[expect(deprecated, reason = "its successors exist on one system each")]
    if fs::soft_link(file, &new).is_err() {
        let text = file.to_str().ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
        fs::write(&new, format!("{text}\n"))?;
    }
    fs::rename(&new, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_link_a_path_or_the_file_itself() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("data/model.gguf");
        assert_eq!(resolve(&link), None);
        let model = folder.path().join("m.gguf");
        place(&link, &model).unwrap();
        assert_eq!(resolve(&link), Some(model.clone()), "even if it does not exist");
        let other = folder.path().join("other.gguf");
        place(&link, &other).unwrap();
        assert_eq!(resolve(&link), Some(other));
        fs::remove_file(&link).unwrap();
        fs::write(&link, format!("{}\n", model.display())).unwrap();
        assert_eq!(resolve(&link), Some(model.clone()));
        fs::write(&link, "m.gguf").unwrap();
        assert_eq!(resolve(&link), Some(folder.path().join("data/m.gguf")));
        for bytes in [&b"GGUF\x03\0\0\0"[..], b"GGUF", b"\xff\xfe"] {
            fs::write(&link, bytes).unwrap();
            assert_eq!(resolve(&link), Some(link.clone()), "{bytes:?}");
        }
    }

    #[test]
    fn a_model_in_its_place_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("model.gguf");
        fs::write(&link, vec![b'x'; 20_000]).unwrap();
        assert!(place(&link, &folder.path().join("m.gguf")).is_err());
        assert_eq!(fs::read(&link).unwrap().len(), 20_000);
    }
}
