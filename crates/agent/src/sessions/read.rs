//! Reading a conversation's file: all of it, or as much as a list shows.
//!
//! Every line is bounded. A line at the end that is not whole is what a crash leaves and is passed
//! over; anything else that cannot be read is damage, and is named by its line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::{FILE_BYTES_MAX, Header, Listed, VERSION, id_of};
use crate::Error;
use crate::talk::{Record, Talk};

/// Bytes of one line at most.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Tokens of a conversation at most: more than any context holds.
const TOKENS_MAX: usize = 4 << 20;

/// Bytes of a header.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// Bytes at the end of a file in which its last turn is looked for.
const END_BYTES: u64 = 64 << 10;

/// The whole conversation, and how many bytes of the file are whole lines. `before` sees the
/// conversation before each thing that happens to it.
pub(super) fn whole(
    path: &Path,
    file: impl Read,
    mut before: impl FnMut(&Talk, &Record),
) -> Result<(Header, Talk, u64), Error> {
    let io = |source| Error::io(path, "could not read it")(source);
    let damaged =
        |line: usize, found: String| Err(Error::Damaged { path: path.to_owned(), line, found });
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let (mut header, mut talk, mut whole) = (None, Talk::default(), 0);
    for number in 1.. {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(io)?;
        if line.last() != Some(&b'\n') {
            if read as u64 == LINE_BYTES_MAX {
                return damaged(number, format!("longer than {LINE_BYTES_MAX} bytes"));
            }
            break;
        }
        let parsed = match &header {
            None => head(&line).map(|found| header = Some(found)),
            Some(Header { vocab, .. }) => record(&line, *vocab).and_then(|record| {
                before(&talk, &record);
                talk.apply(&record);
                let tokens = talk.tokens().len();
                let most = format!("{tokens} tokens, expected {TOKENS_MAX} at most");
                (tokens <= TOKENS_MAX).then_some(()).ok_or(most)
            }),
        };
        match parsed {
            Ok(()) if whole + read as u64 > FILE_BYTES_MAX => {
                return damaged(number, format!("the file has more than {FILE_BYTES_MAX} bytes"));
            }
            Ok(()) => whole += read as u64,
            Err(found) => return damaged(number, found),
        }
    }
    match header {
        Some(_) if talk.shared() == 0 => {
            damaged(1, "the conversation does not begin with instructions".to_owned())
        }
        Some(header) => Ok((header, talk, whole)),
        None => damaged(1, "expected the line that says what this file is".to_owned()),
    }
}

fn head(line: &[u8]) -> Result<Header, String> {
    let header: Header = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match header.dwarfstar_conversation {
        VERSION => Ok(header),
        other => Err(format!("version {other}, and this dwarfstar reads version {VERSION}")),
    }
}

fn record(line: &[u8], vocab: usize) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if let Record::Tokens { ids, .. } = &record
        && let Some(id) = ids.iter().find(|id| **id as usize >= vocab)
    {
        return Err(format!("token {id}, and the vocabulary has {vocab}"));
    }
    Ok(record)
}

/// What a list shows of a file; `None` if it is no conversation.
pub(super) fn glance(path: &Path) -> Option<Listed> {
    let mut file = File::open(path).ok()?;
    let mut line = Vec::new();
    BufReader::new(&file).take(HEADER_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
    let header = head(&line).ok().filter(|header| id_of(path) == Some(&header.id))?;
    let Header { id, created, tree, .. } = header;
    let (title, bytes) = (String::new(), file.metadata().ok()?.len());
    let new = Listed { id, title, tree, used: created, tokens: 0, bytes, branch: None };
    let Some(Record::Turn { at, tokens, title, branch }) = last_turn(&mut file) else {
        return Some(new);
    };
    Some(Listed { title, used: at, tokens, branch, ..new })
}

fn last_turn(file: &mut File) -> Option<Record> {
    let bytes = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(END_BYTES))).ok()?;
    let mut end = Vec::new();
    file.take(END_BYTES).read_to_end(&mut end).ok()?;
    let lines = end.split(|byte| *byte == b'\n').rev();
    let mut turns = lines.filter(|line| line.starts_with(b"{\"turn\"")).map(serde_json::from_slice);
    turns.find_map(|turn| turn.ok())
}
