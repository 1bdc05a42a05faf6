//! `list`: what stands in one folder.

use std::fmt::Write as _;
use std::sync::Arc;

use text::ToolSpec;

use super::arguments::{schema, text_or};
use super::result::{done, failed, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool, planned_path};
use crate::event::Shown;
use crate::files::{self, Kind};
use crate::harmless;
use crate::workplace::Workplace;

const ENTRIES_MAX: usize = 1000;

/// Lists folders.
#[derive(Debug)]
pub struct List(pub Arc<Workplace>);

impl Tool for List {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "list",
            Some(
                "List one folder: folders end with /, links with @, files have their size in bytes."
                    .to_owned(),
            ),
            Some(schema(
                &[
                    ("path", "string", "The folder, relative to the working tree, which is ."),
                ],
                1,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let path = self.0.resolve(text_or(arguments, "path", ".")?)?;
        let title = title(&self.0.name(&path));
        let detail = Shown::Text(title.clone());
        Ok(Plan { title, needs: vec![Need::Read(path)], detail })
    }

    fn run(&self, _: &Arguments, plan: &Plan, _: &mut dyn FnMut(&str), _: &Stop) -> Outcome {
        self.list(plan).map_or_else(failed, done)
    }
}

impl List {
    fn list(&self, plan: &Plan) -> Result<String, String> {
        let path = planned_path(plan)?;
        let name = self.0.name(path);
        let (entries, more) =
            files::entries(path, ENTRIES_MAX).map_err(|error| format!("{name}: {error}"))?;
        if entries.is_empty() {
            return Ok(format!("[{name} is an empty folder]"));
        }
        let mut out = String::new();
        let mut count = 0;
        for entry in &entries {
            let name = harmless::shown_in_line(&entry.name.to_string_lossy());
            let before = out.len();
            // A String takes everything.
            let _ = match entry.kind {
                Kind::Folder => writeln!(out, "{name}/"),
                Kind::Link => writeln!(out, "{name}@"),
                Kind::Other => writeln!(out, "{name} (no file)"),
                Kind::File => writeln!(out, "{name} {}", entry.bytes),
            };
            if out.len() > self.0.limits().result_bytes {
                out.truncate(before);
                break;
            }
            count += 1;
        }
        if more || count < entries.len() {
            out.push_str(&format!(
                "[the first {count} entries; there are more, use search or bash]"
            ));
        } else {
            out.pop();
        }
        Ok(out)
    }
}
