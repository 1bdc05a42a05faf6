//! `read`: a file, or some lines of it, with their numbers.
//!
//! Bounded in lines and bytes; what is left out is said with the call that goes on. Files that are
//! not text are refused, as they would fill the context and say nothing.

use std::sync::Arc;

use text::ToolSpec;

use super::arguments::{number, schema, text};
use super::result::{done, failed, line, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool, planned_path};
use crate::event::Shown;
use crate::files::{self, FILE_BYTES_MAX};
use crate::harmless;
use crate::workplace::Workplace;

const LINE_BYTES_MAX: usize = 2000;
const LINES_MAX: u64 = 1_000_000;
/// A byte of zero stands in what is not text, and nearly always at its beginning.
const LOOKED_AT_BYTES: usize = 8 << 10;

/// Reads files.
#[derive(Debug)]
pub struct Read(pub Arc<Workplace>);

impl Tool for Read {
    fn spec(&self) -> ToolSpec {
        let lines = self.0.limits().read_lines;
        ToolSpec::new(
            "read",
            Some(format!(
                "Read a text file. Every line comes with its number and a tab, which are not part \
                 of the file. At most {lines} lines unless max_lines says otherwise."
            )),
            Some(schema(
                &[
                    ("path", "string", "The file, relative to the working tree"),
                    ("start_line", "integer", "First line to read, from 1"),
                    ("max_lines", "integer", "How many lines to read"),
                ],
                1,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let path = self.0.resolve(text(arguments, "path")?)?;
        number(arguments, "start_line", 1..=LINES_MAX)?;
        number(arguments, "max_lines", 1..=LINES_MAX)?;
        let title = title(&self.0.name(&path));
        let detail = Shown::Text(title.clone());
        Ok(Plan { title, needs: vec![Need::Read(path)], detail })
    }

    fn run(
        &self,
        arguments: &Arguments,
        plan: &Plan,
        _: &mut dyn FnMut(&str),
        _: &Stop,
    ) -> Outcome {
        self.read(arguments, plan).map_or_else(failed, done)
    }
}

impl Read {
    fn read(&self, arguments: &Arguments, plan: &Plan) -> Result<String, String> {
        let path = planned_path(plan)?;
        let name = self.0.name(path);
        let content = files::read(path, FILE_BYTES_MAX).map_err(|e| format!("{name}: {e}"))?;
        let content = content.ok_or_else(|| format!("{name}: there is no such file"))?;
        let bytes = content.bytes;
        if bytes[..bytes.len().min(LOOKED_AT_BYTES)].contains(&0) {
            let count = bytes.len();
            return Err(format!("{name}: a binary file of {count} bytes; only text can be read"));
        }
        let start = number(arguments, "start_line", 1..=LINES_MAX)?.unwrap_or(1) as usize;
        let limits = self.0.limits();
        let max = number(arguments, "max_lines", 1..=LINES_MAX)?;
        let max = max.map_or(limits.read_lines, |max| max as usize);
        numbered(&name, &harmless::marked(&bytes), start, max, limits.result_bytes)
    }
}

/// Lines with their numbers, and what to do for more.
fn numbered(
    name: &str,
    text: &str,
    start: usize,
    lines_max: usize,
    bytes_max: usize,
) -> Result<String, String> {
    let total = text.lines().count();
    if total == 0 {
        return Ok(format!("[{name} is empty]"));
    }
    if start > total {
        return Err(format!("{name} has {total} lines; start_line {start} is behind its end"));
    }
    let mut out = String::new();
    let mut end = start - 1;
    for content in text.lines().skip(start - 1).take(lines_max) {
        let next = format!("{}\t{}\n", end + 1, line(content, LINE_BYTES_MAX));
        if !out.is_empty() && out.len() + next.len() > bytes_max {
            break;
        }
        out.push_str(&next);
        end += 1;
    }
    if end < total {
        let next = end + 1;
        out.push_str(&format!("[lines {start}-{end} of {total}; go on with start_line {next}]"));
    } else {
        out.pop();
    }
    Ok(out)
}
