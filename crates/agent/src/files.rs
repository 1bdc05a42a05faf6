//! Files by their real paths: read, replaced and removed without following a link.
//!
//! A path is decided upon first and used later, and a running command may put a link into it
//! meanwhile. So every folder on the way is opened in turn, from the root, and a link there is an
//! error; the last step acts on that folder, not on a path. Contents are bounded, and replaced as a
//! whole: nobody ever sees half a file.
//!
//! It knows nothing of trees or permissions. Where a path leads is decided by `workplace.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::sandbox::SEARCH;

/// A file that is larger is neither read nor changed.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who may do what with it.
    pub mode: u32,
}

/// What stands in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
    /// How many bytes it has.
    pub bytes: u64,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link.
    Link,
    /// Something else: a socket, a device.
    Other,
}

/// Opens a file to be read.
///
/// # Errors
/// There is none, a link is in the way, or it is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let (folder, name) = parent_of(path, false)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, name, flags, Mode::empty()).map_err(no_link)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        FileType::Directory => {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file"))
        }
        _ => Err(io::Error::other("this is no regular file")),
    }
}

/// Reads a file; `None` if there is none.
///
/// # Errors
/// It is larger than `bytes_max`, or see [`open`].
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Content>> {
    let file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mode = permissions(&file)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let what = format!("the file is larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(Some(Content { bytes, mode }))
}

/// Makes a file, or replaces what it holds; folders on the way are made. The mode and, as far as
/// the system lets us, the owner of a file that was there stay, unless `mode` says otherwise.
/// Returns the mode that the file has now.
///
/// # Errors
/// A link is in the way, something that is no file is there, or the system refuses.
pub fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<u32> {
    let (folder, name) = parent_of(path, true)?;
    let old = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => None,
        old => Some(old?),
    };
    match old.map(|old| FileType::from_raw_mode(old.st_mode)) {
        None | Some(FileType::RegularFile) => {}
        Some(FileType::Symlink) => return Err(no_link(Errno::LOOP)),
        Some(FileType::Directory) => {
            let what = "there is a folder of this name";
            return Err(io::Error::new(io::ErrorKind::IsADirectory, what));
        }
        Some(_) => return Err(io::Error::other("this is no regular file")),
    }
    let part = part_name()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, &part, flags, Mode::from_raw_mode(0o666))?;
    let written = fill(File::from(file), bytes, old.as_ref(), mode).and_then(|mode| {
        rustix::fs::renameat(&folder, &part, &folder, name)?;
        Ok(mode)
    });
    if written.is_err() {
        let _ = rustix::fs::unlinkat(&folder, &part, AtFlags::empty()); // the first error counts
    }
    written
}

fn fill(mut file: File, bytes: &[u8], old: Option<&Stat>, mode: Option<u32>) -> io::Result<u32> {
    file.write_all(bytes)?;
    if let Some(old) = old {
        let (owner, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        // Only the superuser may give files away; for anyone else the file is theirs already.
        let _ = rustix::fs::fchown(&file, Some(owner), Some(group));
    }
    match (mode, old) {
        (Some(mode), _) => file.set_permissions(Permissions::from_mode(mode))?,
        (None, Some(old)) => {
            let bits = Mode::RWXU | Mode::RWXG | Mode::RWXO;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(old.st_mode) & bits)?;
        }
        (None, None) => {}
    }
    permissions(&file)
}

/// Removes a file.
///
/// # Errors
/// A link is in the way, there is none, or the system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    let (folder, name) = parent_of(path, false)?;
    Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
}

/// What stands in a folder, by name; `entries_max` of them, and whether there are more.
///
/// # Errors
/// It is no folder, a link is in the way, or the system refuses.
pub fn entries(path: &Path, entries_max: usize) -> io::Result<(Vec<Entry>, bool)> {
    let folder = folder(path, false)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(&folder, ".", flags, Mode::empty()).map_err(no_link)?;
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if entries.len() == entries_max {
            return Ok((sorted(entries), true));
        }
        // One that has gone meanwhile is not there.
        let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        entries.push(Entry { name: OsStr::from_bytes(name).to_owned(), kind, bytes });
    }
    Ok((sorted(entries), false))
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn permissions(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.permissions().mode() & 0o777)
}

fn part_name() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(".dwarfstar-{:016x}", u64::from_le_bytes(random)))
}

fn parent_of(path: &Path, make: bool) -> io::Result<(OwnedFd, &OsStr)> {
    let parts = path.parent().zip(path.file_name());
    let (parent, name) = parts.ok_or_else(|| io::Error::other("this path names no file"))?;
    Ok((folder(parent, make)?, name))
}

/// Opens a folder by its real path, step by step.
fn folder(path: &Path, make: bool) -> io::Result<OwnedFd> {
    let flags = SEARCH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open("/", flags, Mode::empty())?;
    for component in path.components() {
        let name = match component {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            _ => return Err(io::Error::other("this is no real path")),
        };
        let mut next = rustix::fs::openat(&folder, name, flags, Mode::empty());
        if make && matches!(next, Err(Errno::NOENT)) {
            rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777))?;
            next = rustix::fs::openat(&folder, name, flags, Mode::empty());
        }
        folder = next.map_err(no_link)?;
    }
    Ok(folder)
}

/// A link in a real path is one that was put there after it was decided upon.
fn no_link(error: Errno) -> io::Error {
    match error {
        Errno::LOOP | Errno::NOTDIR => io::Error::new(
            io::ErrorKind::NotADirectory,
            "part of the path is a link or a file by now, not a folder; try again",
        ),
        error => error.into(),
    }
}
