//! Reports: a file of JSON Lines that holds every answer as soon as it is there.
//!
//! The first line says what was asked of which model and how; each further line is one answer with
//! all that was said, so that it can be judged again. Lines are on the disk before the next
//! question begins. Whatever ends the program leaves a report that is valid up to its last whole
//! line: a line that was cut is dropped when the report is read.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget::{Budget, Close};
use super::grade::{Reply, grade};
use super::item::{Call, Item, hash};
use crate::Error;
use crate::lines::Lines;

/// The version of the format that is written.
const FORMAT: u32 = 1;

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub dwarfstar_eval: u32,
    /// The version of the program that began it.
    pub program: String,
    /// Who answered.
    pub model: ModelName,
    /// What computed, when the report was begun.
    pub device: String,
    /// What was asked.
    pub set: SetName,
    /// How.
    pub settings: Settings,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelName {
    /// The name of its file.
    pub name: String,
    /// A hash that tells its weights from others.
    pub fingerprint: String,
}

/// A set of items, or the chosen ones of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetName {
    /// The name of its file.
    pub name: String,
    /// A hash of its items in their order.
    pub hash: String,
    /// How many.
    pub items: usize,
}

impl SetName {
    /// Of these items.
    pub fn of(name: &str, items: &[Item]) -> SetName {
        let lines: Vec<String> = items.iter().map(|item| item.to_json().to_string()).collect();
        SetName { name: name.to_owned(), hash: hash(&lines.join("\n")), items: items.len() }
    }
}

/// How questions are asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether the model reasons first.
    pub thinking: Thinking,
    /// How long a reply may be.
    pub budget: Budget,
    /// See [`engine::Sampling`].
    pub temperature: f32,
    /// See [`engine::Sampling`].
    pub top_p: f32,
    /// See [`engine::Sampling`].
    pub top_k: usize,
    /// See [`engine::Sampling`].
    pub min_p: f32,
    /// Where chance comes from.
    pub seed: u64,
    /// How often every item is asked.
    pub repeat: usize,
    /// What the model is steered by: see [`engine::Engine::steered`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steered: Option<String>,
}

/// Whether a model reasons before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// It answers at once.
    Off,
    /// It reasons.
    On,
    /// It is asked to reason as hard as it can.
    Max,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// The budget is used up.
    Length,
    /// The context is full.
    Context,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The item.
    pub id: String,
    /// Which of its answers, from 0.
    pub sample: usize,
    /// A hash of the question.
    pub asked: String,
    /// Whether it is right.
    pub right: bool,
    /// What it answers, in short.
    pub found: Option<String>,
    /// Why it ended.
    pub finish: Finish,
    /// How reasoning was ended, if the model did not end it.
    pub closed: Option<Close>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the reply, reasoning included.
    pub tokens: usize,
    /// Those of reasoning.
    pub reasoning_tokens: usize,
    /// From the beginning of the prompt to the end of the reply.
    pub seconds: f64,
    /// What was thought.
    pub reasoning: String,
    /// What was said.
    pub text: String,
    /// The tools that were called.
    pub calls: Vec<Call>,
}

impl Answer {
    /// Judges it again.
    pub fn judge(&mut self, item: &Item) {
        let verdict = grade(item, Reply { text: &self.text, calls: &self.calls });
        (self.right, self.found) = (verdict.right, verdict.found);
    }
}

/// A report that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it is about.
    pub header: Header,
    /// In the order in which they came.
    pub answers: Vec<Answer>,
    /// Bytes of a last line that was cut, and is not part of it.
    pub dropped: u64,
}

impl Header {
    /// For a report that is begun now.
    pub fn new(model: ModelName, device: String, set: SetName, settings: Settings) -> Header {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Header { dwarfstar_eval: FORMAT, program, model, device, set, settings }
    }

    /// The first difference that makes answers of another report no part of this one.
    fn difference(&self, other: &Header) -> Option<String> {
        let (model, set) = (&self.model, &self.set);
        if model.fingerprint != other.model.fingerprint {
            return Some(format!("its model: {}, now {}", shown(&other.model), shown(model)));
        }
        if set.hash != other.set.hash {
            return Some(format!("its items: {}, now {}", shown(&other.set), shown(set)));
        }
        let (ours, theirs) = (shown(&self.settings), shown(&other.settings));
        (ours != theirs).then(|| format!("its settings: {theirs}, now {ours}"))
    }
}

/// A part of a header as text.
fn shown(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values become JSON")
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// A file that cannot be read, or is no report of this format.
    pub fn read(path: &Path) -> Result<Report, Error> {
        let mut file = File::open(path).map_err(|error| Error::read(path, error))?;
        match whole(path, &mut file)? {
            (Some(header), answers, dropped) => Ok(Report { header, answers, dropped }),
            (None, ..) => Err(Error::NoItems { path: path.to_owned() }),
        }
    }

    /// Judges all answers again by `items`; how many judgements changed.
    ///
    /// # Errors
    /// An answer to an item that is not there, or that asks something else now.
    pub fn judge(&mut self, items: &[Item]) -> Result<usize, Error> {
        let items: std::collections::HashMap<&str, (&Item, String)> =
            items.iter().map(|item| (item.id.as_str(), (item, item.asked()))).collect();
        let mut changed = 0;
        for answer in &mut self.answers {
            let id = answer.id.clone();
            let Some((item, asked)) = items.get(id.as_str()) else {
                return Err(Error::UnknownItem { id });
            };
            if *asked != answer.asked {
                return Err(Error::OtherQuestion { id });
            }
            let before = answer.right;
            answer.judge(item);
            changed += usize::from(before != answer.right);
        }
        Ok(changed)
    }
}

/// Header and answers of the whole lines of a file; the bytes after them.
fn whole(path: &Path, file: &mut File) -> Result<(Option<Header>, Vec<Answer>, u64), Error> {
    let failed = |error| Error::read(path, error);
    let length = file.metadata().map_err(failed)?.len();
    let good = end_of_lines(file, length).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut lines = Lines::new(path, BufReader::new(file.take(good)));
    let header = match lines.next()? {
        None => None,
        Some(line) => {
            let found: Value = serde_json::from_str(&line.text).unwrap_or_default();
            match found.get("dwarfstar_eval").and_then(Value::as_u64) {
                Some(version) if version == u64::from(FORMAT) => {}
                Some(version) => {
                    return Err(line.refuse(format!("a report of format {version}, expected 1")));
                }
                None => return Err(line.refuse("not the first line of a report of `eval`")),
            }
            let header = serde_json::from_value(found);
            Some(header.map_err(|error| line.refuse(format!("the report's head: {error}")))?)
        }
    };
    let mut answers = Vec::new();
    let mut seen = HashSet::new();
    while let Some(line) = lines.next()? {
        let answer: Answer = serde_json::from_str(&line.text)
            .map_err(|error| line.refuse(format!("not an answer: {error}")))?;
        if !seen.insert((answer.id.clone(), answer.sample)) {
            let Answer { id, sample, .. } = answer;
            return Err(line.refuse(format!("a second answer {sample} to {id}")));
        }
        answers.push(answer);
    }
    Ok((header, answers, length - good))
}

/// The byte after the last end of a line.
fn end_of_lines(file: &mut File, length: u64) -> std::io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if let Some(place) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// A report that grows.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// Begins a report.
    ///
    /// # Errors
    /// There is a file already, or it cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Writer, Error> {
        let failed = |error| Error::write(path, error);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::ReportExists { path: path.to_owned() },
            _ => failed(error),
        })?;
        let mut writer = Writer { path: path.to_owned(), file };
        writer.lock()?;
        writer.line(header)?;
        Ok(writer)
    }

    /// Goes on with a report: what it holds, and the bytes that were dropped. A file that is not
    /// there is begun.
    ///
    /// # Errors
    /// A report of something else, or a file that is none.
    pub fn resume(path: &Path, header: &Header) -> Result<(Writer, Vec<Answer>, u64), Error> {
        let failed = |error| Error::write(path, error);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Writer::create(path, header)?, Vec::new(), 0));
            }
            file => file.map_err(failed)?,
        };
        let mut writer = Writer { path: path.to_owned(), file };
        writer.lock()?;
        let (found, answers, dropped) = whole(path, &mut writer.file)?;
        if let Some(difference) = found.as_ref().and_then(|found| header.difference(found)) {
            return Err(Error::OtherReport { path: path.to_owned(), difference });
        }
        let length = writer.file.metadata().map_err(failed)?.len();
        writer.file.set_len(length - dropped).map_err(failed)?;
        writer.file.seek(SeekFrom::End(0)).map_err(failed)?;
        if found.is_none() {
            writer.line(header)?;
        }
        Ok((writer, answers, dropped))
    }

    /// Adds an answer, and waits until the disk has it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, answer: &Answer) -> Result<(), Error> {
        self.line(answer)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value).expect("plain values become JSON");
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::write(&self.path, error))
    }

    /// Two programs that add to one report would spoil it. Where the file system has no locks,
    /// there are none.
    fn lock(&self) -> Result<(), Error> {
        match self.file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::ReportInUse { path: self.path.clone() }),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }
}

/// Answers that are there already, by item and sample.
pub fn done(answers: &[Answer]) -> HashSet<(String, usize)> {
    answers.iter().map(|answer| (answer.id.clone(), answer.sample)).collect()
}
