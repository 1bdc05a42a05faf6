//! `write`: a file is made, or replaced by what is given.

use std::sync::Arc;

use text::ToolSpec;

use super::arguments::{schema, text};
use super::result::{failed, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool, planned_path};
use crate::event::Shown;
use crate::files::{self, FILE_BYTES_MAX};
use crate::harmless;
use crate::workplace::Workplace;

/// Makes and replaces files.
#[derive(Debug)]
pub struct Write(pub Arc<Workplace>);

impl Tool for Write {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "write",
            Some(
                "Make a file, or replace all that it holds. Folders on the way are made. To change \
                 part of a file use edit."
                    .to_owned(),
            ),
            Some(schema(
                &[
                    ("path", "string", "The file, relative to the working tree"),
                    ("content", "string", "All that the file is to hold"),
                ],
                2,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let path = self.0.resolve(text(arguments, "path")?)?;
        let after = text(arguments, "content")?;
        if after.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("the content is larger than {FILE_BYTES_MAX} bytes"));
        }
        let title = title(&self.0.name(&path));
        // Where it cannot be read, running will say why.
        let before = files::read(&path, FILE_BYTES_MAX).ok().flatten();
        let before = before.map(|before| harmless::shown(&harmless::marked(&before.bytes)));
        let after = harmless::shown(after);
        let detail = Shown::Change { path: path.clone(), before, after };
        Ok(Plan { title, needs: vec![Need::Write(path)], detail })
    }

    fn run(
        &self,
        arguments: &Arguments,
        plan: &Plan,
        _: &mut dyn FnMut(&str),
        _: &Stop,
    ) -> Outcome {
        self.write(arguments, plan).unwrap_or_else(failed)
    }
}

impl Write {
    fn write(&self, arguments: &Arguments, plan: &Plan) -> Result<Outcome, String> {
        let (path, content) = (planned_path(plan)?, text(arguments, "content")?);
        let name = self.0.name(path);
        let said = |error: std::io::Error| format!("{name}: {error}; nothing was changed");
        let before = files::read(path, FILE_BYTES_MAX).map_err(said)?;
        self.0.undo.change(path, Some(content.as_bytes())).map_err(said)?;
        let (bytes, lines) = (content.len(), content.lines().count());
        let how = if before.is_some() { "replaced" } else { "made" };
        Ok(Outcome {
            text: format!("{how} {name}: {lines} lines, {bytes} bytes"),
            shown: Shown::Change {
                path: path.to_owned(),
                before: before.map(|old| harmless::shown(&harmless::marked(&old.bytes))),
                after: harmless::shown(content),
            },
            failed: false,
        })
    }
}
