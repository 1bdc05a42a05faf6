//! One connection: it takes pieces off a list, asks for them, and hands their bytes on.
//!
//! What comes must be exactly what was asked for. A piece that breaks is asked for again from
//! where it broke, so that a bad line costs time and no bytes.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use ureq::http::{StatusCode, header};

use crate::client::{Answer, Ask, Failure, Hub};
use crate::error::Error;
use crate::listing::Entry;
use crate::patience::Patience;

/// Bytes that travel together from a connection to the disk.
const CHUNK_BYTES: usize = 256 << 10;

/// How often somebody who waits looks whether that still makes sense.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all connections of a download share.
#[derive(Debug)]
pub struct Shared {
    pub hub: Hub,
    pub url: String,
    /// For messages.
    pub what: String,
    pub entry: Entry,
    pub patience: Patience,
    /// What nobody has asked for yet.
    pub pieces: Mutex<VecDeque<Range<u64>>>,
    /// Nobody listens any more.
    pub over: AtomicBool,
}

/// What a connection has to tell.
#[derive(Debug)]
pub enum Message {
    /// Bytes, and where they belong.
    Bytes(u64, Vec<u8>),
    /// Nothing will come for a while.
    Waiting(Error, Duration),
    /// It does not work.
    Failed(Error),
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Works until nothing is left, it does not work, or nobody listens.
    pub fn work(&self, messages: &SyncSender<Message>) {
        while let Some(mut piece) = self.next() {
            let mut failed = 0;
            while !piece.is_empty() {
                let before = piece.start;
                let Err(failure) = self.fetch(&mut piece, messages) else { break };
                if self.is_over() {
                    return;
                }
                failed = if piece.start > before { 1 } else { failed + 1 };
                match failure.again(failed, &self.patience) {
                    Ok((error, wait)) => {
                        // Whoever has gone away is noticed at the next look.
                        let _ = messages.send(Message::Waiting(error, wait));
                        if !self.wait(wait) {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = messages.send(Message::Failed(error));
                        return;
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Range<u64>> {
        if self.is_over() {
            return None;
        }
        self.pieces.lock().expect("no holder of the list panics").pop_front()
    }

    /// Whether the wait was waited to its end.
    fn wait(&self, mut left: Duration) -> bool {
        while !left.is_zero() && !self.is_over() {
            let now = left.min(LOOK_EVERY);
            std::thread::sleep(now);
            left -= now;
        }
        !self.is_over()
    }

    /// Asks for a piece, and takes from it what has come.
    fn fetch(&self, piece: &mut Range<u64>, to: &SyncSender<Message>) -> Result<(), Failure> {
        let ask = Ask { url: &self.url, what: &self.what, range: Some(piece) };
        let answer = self.hub.ask(&ask)?;
        self.check(&answer, piece)?;
        let mut body = answer.response.into_body().into_reader();
        while !piece.is_empty() {
            let left = piece.end - piece.start;
            let mut bytes = vec![0; CHUNK_BYTES.min(left.try_into().unwrap_or(CHUNK_BYTES))];
            let count =
                body.read(&mut bytes).map_err(|error| self.cut(left, &error.to_string()))?;
            if count == 0 {
                return Err(self.cut(left, "the connection was closed"));
            }
            bytes.truncate(count);
            let at = piece.start;
            piece.start += count as u64;
            if self.is_over() || to.send(Message::Bytes(at, bytes)).is_err() {
                return Err(self.cut(left, "nobody listens"));
            }
        }
        Ok(())
    }

    fn cut(&self, left: u64, why: &str) -> Failure {
        let reason = format!("{left} bytes before the end of a part: {why}");
        Failure::Passing(Error::Connection { what: self.what.clone(), reason }, None)
    }

    /// Whether these are the bytes that were asked for, of the file that was meant.
    fn check(&self, answer: &Answer, piece: &Range<u64>) -> Result<(), Failure> {
        let what = self.what.clone();
        if let (Some(linked), Some(expected)) = (&answer.linked, self.entry.sha256) {
            let found = linked.trim_start_matches("W/").trim_matches('"').parse();
            if found.is_ok_and(|found| expected != found) {
                return Err(Failure::Final(Error::Changed { what }));
            }
        }
        let size = self.entry.size;
        let headers = answer.response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let found = match answer.response.status() {
            // Whoever does not know parts may still send the whole, if that is what was wanted.
            StatusCode::OK if *piece == (0..size) && length == Some(size) => return Ok(()),
            StatusCode::OK => "the server sends the whole file".to_owned(),
            StatusCode::PARTIAL_CONTENT => {
                let range = text(header::CONTENT_RANGE);
                let (start, end) = (piece.start, piece.end - 1);
                match range.and_then(content_range) {
                    Some((first, last, total))
                        if (first, last) == (start, end) && total.is_none_or(|t| t == size) =>
                    {
                        return Ok(());
                    }
                    _ => {
                        let range: String = range.unwrap_or("none").chars().take(80).collect();
                        format!("the server sends the range {range:?}, the file has {size} bytes")
                    }
                }
            }
            status => format!("the server answers with status {}", status.as_u16()),
        };
        let (start, end) = (piece.start, piece.end - 1);
        Err(Failure::Final(Error::Range { what, start, end, found }))
    }
}

/// `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
pub fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn ranges_of_answers() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for wrong in ["", "bytes */10", "bytes 0-9", "items 0-9/10", "bytes -1-9/10", "bytes 0-/9"]
        {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
