//! The journal beside a partial file: which bytes are on the disk, of which version of the file.
//!
//! Lines of text. The first says what this is, the second which bytes are wanted, and each further
//! one that a range is there: `have START END`, written after the disk has said that it has those
//! bytes. A process or a machine that dies leaves a torn last line at worst, or zeros, and what
//! cannot be read costs the bytes that it stood for.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::listing::Entry;
use crate::ranges::Ranges;

const HEAD: &str = "dwarfstar pull 1";

/// Lines after which the journal is written anew, with what touches joined.
const LINES_MAX: usize = 8192;

/// Some hundred thousand lines: more than were ever written.
const BYTES_MAX: u64 = 16 << 20;

/// A journal that is written to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    head: String,
    lines: usize,
}

impl Journal {
    /// Reads what a journal says of this version of a file; `None` if there is none, or one of
    /// another version.
    pub fn read(path: &Path, entry: &Entry) -> io::Result<Option<Ranges>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(parse(&bytes, entry))
    }

    /// Writes a new journal in the place of any old one.
    pub fn create(path: &Path, entry: &Entry, have: &Ranges) -> io::Result<Journal> {
        let head = format!("{HEAD}\nof {} {}\n", entry.size, entry.version);
        let new = path.with_added_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all((head.clone() + &lines(have)).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(Journal { path: path.to_owned(), file, head, lines: have.iter().count() })
    }

    /// Notes that these bytes are on the disk; `have` is all of them.
    pub fn add(&mut self, ranges: &Ranges, have: &Ranges) -> io::Result<()> {
        self.lines += ranges.iter().count();
        if self.lines <= LINES_MAX {
            return self.file.write_all(lines(ranges).as_bytes());
        }
        let new = self.path.with_added_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all((self.head.clone() + &lines(have)).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        (self.file, self.lines) = (file, have.iter().count());
        Ok(())
    }
}

fn lines(ranges: &Ranges) -> String {
    let mut text = String::new();
    for range in ranges.iter() {
        writeln!(text, "have {} {}", range.start, range.end).expect("strings take everything");
    }
    text
}

/// What a journal says of this version of a file; `None` if it is about something else.
pub fn parse(bytes: &[u8], entry: &Entry) -> Option<Ranges> {
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n")?;
        std::str::from_utf8(line).ok()
    });
    if lines.next()?? != HEAD || lines.next()?? != format!("of {} {}", entry.size, entry.version) {
        return None;
    }
    let mut have = Ranges::default();
    for line in lines {
        let range = line.and_then(|line| {
            let (start, end) = line.strip_prefix("have ")?.split_once(' ')?;
            let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
            (start < end && end <= entry.size).then_some(start..end)
        });
        // Nothing after a line that is not whole can be relied on.
        let Some(range) = range else { break };
        have.insert(range);
    }
    Some(have)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(size: u64) -> Entry {
        Entry { path: "m".to_owned(), size, sha256: None, version: "9f2c".to_owned() }
    }

    fn ranges(list: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::default();
        list.iter().for_each(|&(start, end)| ranges.insert(start..end));
        ranges
    }

    #[test]
    fn a_journal_says_what_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert_eq!(Journal::read(&path, &entry(100)).unwrap(), None);
        let mut journal = Journal::create(&path, &entry(100), &ranges(&[(0, 10)])).unwrap();
        journal.add(&ranges(&[(20, 30), (40, 50)]), &Ranges::default()).unwrap();
        let expected = ranges(&[(0, 10), (20, 30), (40, 50)]);
        assert_eq!(Journal::read(&path, &entry(100)).unwrap(), Some(expected));
        let other = Entry { version: "9f2d".to_owned(), ..entry(100) };
        assert_eq!(Journal::read(&path, &other).unwrap(), None);
        assert_eq!(Journal::read(&path, &entry(101)).unwrap(), None);
    }

    #[test]
    fn long_journals_are_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let size = 4 * LINES_MAX as u64;
        let mut journal = Journal::create(&path, &entry(size), &Ranges::default()).unwrap();
        let mut have = Ranges::default();
        for at in 0..2 * LINES_MAX as u64 {
            have.insert(at..at + 1);
            journal.add(&ranges(&[(at, at + 1)]), &have).unwrap();
        }
        assert_eq!(Journal::read(&path, &entry(size)).unwrap(), Some(have));
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX + 3, "{lines}");
    }

    proptest! {
        /// Cut anywhere, and with zeros behind the cut as some file systems leave them, a journal
        /// never says more than it said.
        #[test]
        fn torn_journals_promise_nothing_new(cut in 0_usize..200, zeros in 0_usize..8) {
            let have = "have 0 10\nhave 120 1300\nhave 2000 2222\n";
            let whole = format!("{HEAD}\nof 5000 9f2c\n{have}");
            let all = parse(whole.as_bytes(), &entry(5000)).unwrap();
            let mut bytes = whole.as_bytes()[..cut.min(whole.len())].to_vec();
            bytes.extend(vec![0; zeros]);
            for range in parse(&bytes, &entry(5000)).unwrap_or_default().iter() {
                prop_assert!(all.iter().any(|old| old == range), "{range:?}");
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200), size: u64) {
            let head = format!("{HEAD}\nof {size} 9f2c\n");
            for bytes in [bytes.clone(), [head.as_bytes(), &bytes].concat()] {
                let have = parse(&bytes, &entry(size)).unwrap_or_default();
                prop_assert!(have.end() <= size);
            }
        }
    }
}
