//! Comma-separated files: GPQA, whose first line names the columns, and MMLU, which has no head.
//!
//! A field may have line breaks in quotes, so a record is named by the line that it begins in.

use std::io::BufRead;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::{Asked, Import, choice, shuffled};
use crate::Error;
use crate::eval::read::SET_BYTES_MAX;
use crate::lines::LINE_BYTES_MAX;

/// GPQA: the columns `Question`, `Correct Answer`, `Incorrect Answer 1` to `3`, and if they are
/// there `Record ID` and `High-level domain`.
pub fn gpqa(
    path: &Path,
    reader: impl BufRead,
    seed: u64,
    import: &mut Import,
) -> Result<(), Error> {
    let mut head: Option<StringRecord> = None;
    records(path, reader, |record| {
        let Some(names) = &head else {
            head = Some(record.clone());
            return Ok(());
        };
        let column = |name: &str| {
            let place = names.iter().position(|found| found.trim() == name);
            place.and_then(|place| record.get(place)).map(|text| text.trim().to_owned())
        };
        let needed = |name: &str| column(name).ok_or_else(|| format!("no column {name:?}"));
        let question = needed("Question")?;
        let wrong = (1..=3).map(|n| needed(&format!("Incorrect Answer {n}")));
        let right = needed("Correct Answer");
        let choices = std::iter::once(right).chain(wrong).collect::<Result<Vec<_>, _>>()?;
        let kind = Some(shuffled(choices, seed, &question)?);
        let (id, domain) = (column("Record ID"), column("High-level domain"));
        let bytes = record.as_slice().len();
        import.add(Asked { id, domain, question, kind }, bytes)
    })
}

/// MMLU: question, four choices, letter. The domain is the name of the file, without `_test.csv`.
pub fn mmlu(path: &Path, reader: impl BufRead, import: &mut Import) -> Result<(), Error> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let cut = |stem: String| {
        let ends = ["_test", "_val", "_dev"];
        let short = ends.iter().find_map(|end| stem.strip_suffix(end)).map(str::to_owned);
        short.unwrap_or(stem)
    };
    let domain = stem.map(cut);
    records(path, reader, |record| {
        let fields: Vec<&str> = record.iter().collect();
        let [question, choices @ .., letter] = fields.as_slice() else {
            return Err("expected a question, choices and a letter".to_owned());
        };
        let kind = choice(choices.iter().map(|text| (*text).to_owned()).collect(), letter)?;
        let (question, domain) = ((*question).to_owned(), domain.clone());
        let asked = Asked { id: None, domain, question, kind: Some(kind) };
        import.add(asked, record.as_slice().len())
    })
}

/// Hands over every record that is not blank.
fn records(
    path: &Path,
    reader: impl BufRead,
    mut take: impl FnMut(&StringRecord) -> Result<(), String>,
) -> Result<(), Error> {
    // A quote that is never closed makes one record of all the rest: that is bounded too.
    let bounded = reader.take(SET_BYTES_MAX as u64 + 1);
    let mut table = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bounded);
    let mut record = StringRecord::new();
    loop {
        let at = table.position().clone();
        let refuse = |problem: String| Error::Line {
            path: path.to_owned(),
            line: at.line() as usize,
            offset: at.byte(),
            problem,
        };
        match table.read_record(&mut record) {
            Ok(false) if table.get_ref().limit() == 0 => {
                return Err(refuse(format!("a file of more than {SET_BYTES_MAX} bytes: split it")));
            }
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => {
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) => Error::read(path, error),
                    csv::ErrorKind::Utf8 { err, .. } => refuse(format!("not UTF-8: {err}")),
                    other => refuse(format!("not comma-separated text: {other:?}")),
                });
            }
        }
        if record.as_slice().len() > LINE_BYTES_MAX {
            return Err(refuse(format!("a record of more than {LINE_BYTES_MAX} bytes")));
        }
        if record.iter().any(|field| !field.trim().is_empty()) {
            take(&record).map_err(refuse)?;
        }
    }
}
