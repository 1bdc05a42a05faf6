//! `search`: lines of files that match, found by ripgrep's library.
//!
//! What the project ignores is left out, and `.git`, links and files that are not text. Results
//! are in the order of their paths, so that the same search gives the same answer.

use std::io;
use std::path::Path;
use std::sync::Arc;

use globset::{Glob, GlobMatcher};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use text::ToolSpec;

use super::arguments::{flag, number, schema, text, text_or};
use super::result::{done, failed, line, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool, planned_path};
use crate::event::Shown;
use crate::files;
use crate::harmless;
use crate::workplace::Workplace;

const RESULTS_DEFAULT: u64 = 100;
const RESULTS_MAX: u64 = 1000;
const CONTEXT_MAX: u64 = 20;
const QUERY_BYTES_MAX: usize = 4096;
const LINE_BYTES_MAX: usize = 400;
const HEAP_BYTES_MAX: usize = 16 << 20;
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// Searches in files.
#[derive(Debug)]
pub struct Search(pub Arc<Workplace>);

/// What is looked for, and how much of it is told.
struct Query {
    matcher: RegexMatcher,
    glob: Option<GlobMatcher>,
    context: usize,
    results_max: usize,
}

impl Tool for Search {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "search",
            Some(
                "Search for text in files. Results are path:line:text. Files that the project \
                 ignores are left out."
                    .to_owned(),
            ),
            Some(schema(
                &[
                    ("query", "string", "What to look for"),
                    ("path", "string", "File or folder, the working tree if left out"),
                    ("mode", "string", "literal or regex; literal if left out"),
                    ("glob", "string", "Only files like this, such as *.rs or src/**/*.py"),
                    ("context", "integer", "Lines to show around each match"),
                    ("max_results", "integer", "100 if left out"),
                    ("case_sensitive", "boolean", "false if left out"),
                ],
                1,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        query(arguments)?;
        let path = self.0.resolve(text_or(arguments, "path", ".")?)?;
        let place = title(&self.0.name(&path));
        let title = format!("{} in {place}", title(text(arguments, "query")?));
        let detail = Shown::Text(title.clone());
        Ok(Plan { title, needs: vec![Need::Read(path)], detail })
    }

    fn run(
        &self,
        arguments: &Arguments,
        plan: &Plan,
        _: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Outcome {
        self.search(arguments, plan, stop).map_or_else(failed, done)
    }
}

fn query(arguments: &Arguments) -> Result<Query, String> {
    let query = text(arguments, "query")?;
    if query.is_empty() || query.len() > QUERY_BYTES_MAX {
        return Err(format!("the query must have 1 to {QUERY_BYTES_MAX} bytes"));
    }
    let literal = match text_or(arguments, "mode", "literal")? {
        "literal" => true,
        "regex" => false,
        other => return Err(format!("the mode must be literal or regex, not {other}")),
    };
    let mut builder = RegexMatcherBuilder::new();
    builder
        .case_insensitive(!flag(arguments, "case_sensitive")?)
        .fixed_strings(literal)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .line_terminator(Some(b'\n'));
    let matcher = builder.build(query).map_err(|error| {
        format!("{error}; a search is within lines, and special characters of a regex need a \\")
    })?;
    let glob = match text_or(arguments, "glob", "")? {
        "" => None,
        glob => Some(Glob::new(glob).map_err(|error| error.to_string())?.compile_matcher()),
    };
    let context = number(arguments, "context", 0..=CONTEXT_MAX)?.unwrap_or(0) as usize;
    let results = number(arguments, "max_results", 1..=RESULTS_MAX)?.unwrap_or(RESULTS_DEFAULT);
    Ok(Query { matcher, glob, context, results_max: results as usize })
}

impl Search {
    fn search(&self, arguments: &Arguments, plan: &Plan, stop: &Stop) -> Result<String, String> {
        let query = query(arguments)?;
        let path = planned_path(plan)?;
        let shown = self.0.name(path);
        if path.symlink_metadata().is_err() {
            return Err(format!("{shown}: there is no such file or folder"));
        }
        let mut searcher = SearcherBuilder::new()
            .line_number(true)
            .before_context(query.context)
            .after_context(query.context)
            .heap_limit(Some(HEAP_BYTES_MAX))
            .binary_detection(BinaryDetection::quit(0))
            .build();
        let mut found = Found {
            out: String::new(),
            name: String::new(),
            count: 0,
            results_max: query.results_max,
            bytes_max: self.0.limits().result_bytes,
            full: false,
        };
        let walker = ignore::WalkBuilder::new(path)
            .hidden(false)
            .require_git(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .sort_by_file_path(Path::cmp)
            .build();
        for entry in walker.flatten() {
            if stop.is_stopped() {
                return Err("stopped".to_owned());
            }
            let file = entry.path();
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            if !is_file || !query.takes(file, path) {
                continue;
            }
            // One that cannot be opened or read has nothing to say.
            let Ok(opened) = files::open(file) else {
                continue;
            };
            found.name = harmless::shown_in_line(&self.0.name(file));
            let _ = searcher.search_file(&query.matcher, &opened, &mut found);
            if found.full {
                break;
            }
        }
        Ok(found.text())
    }
}

impl Query {
    /// Whether a file is one of those asked for: by its name, or by its path in the folder.
    fn takes(&self, file: &Path, folder: &Path) -> bool {
        let Some(glob) = &self.glob else {
            return true;
        };
        let inner = file.strip_prefix(folder).unwrap_or(file);
        glob.is_match(inner) || file.file_name().is_some_and(|name| glob.is_match(name))
    }
}

/// Lines that were found so far.
struct Found {
    out: String,
    /// The file that is searched.
    name: String,
    count: usize,
    results_max: usize,
    bytes_max: usize,
    full: bool,
}

impl Found {
    fn add(&mut self, number: Option<u64>, bytes: &[u8], mark: char) -> bool {
        let text = harmless::marked(bytes);
        let text = line(text.trim_end_matches(['\n', '\r']), LINE_BYTES_MAX);
        let number = number.unwrap_or(0);
        let next = format!("{}{mark}{number}{mark}{text}\n", self.name);
        if self.out.len() + next.len() > self.bytes_max {
            self.full = true;
            return false;
        }
        self.out.push_str(&next);
        true
    }

    fn text(mut self) -> String {
        if self.full {
            self.out.push_str(&format!(
                "[the first {} matches; there are more, narrow the search by path or glob]",
                self.count
            ));
        } else if self.count == 0 {
            self.out.push_str("[no matches]");
        } else {
            self.out.pop();
        }
        self.out
    }
}

impl Sink for Found {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        if self.count == self.results_max {
            self.full = true;
            return Ok(false);
        }
        let added = self.add(found.line_number(), found.bytes(), ':');
        self.count += usize::from(added);
        Ok(added)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        Ok(self.add(context.line_number(), context.bytes(), '-'))
    }

    fn context_break(&mut self, _: &Searcher) -> io::Result<bool> {
        self.out.push_str("--\n");
        Ok(true)
    }
}
