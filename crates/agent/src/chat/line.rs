//! The line that is asked for: commands complete, and a line that is not done goes on.
//!
//! A line goes on below if it ends in a backslash or has opened a fence of code. Pasted text keeps
//! its line ends.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper, Result};

use super::Look;
use crate::screen::HISTORY_ENTRIES_MAX;
use crate::terminal::{Found, Signals};

/// What stands before the line.
const PROMPT: &str = "> ";

/// Between two looks whether the program is to end.
const POLL: Duration = Duration::from_millis(50);

/// Asks for lines in a thread of its own, so that the end need not wait for a key.
pub struct Asker {
    ask: SyncSender<()>,
    asked: Receiver<io::Result<Asked>>,
    found: Found,
}

impl Asker {
    /// Ready to ask.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(look: &Look) -> io::Result<Asker> {
        let (ask, wanted) = sync_channel(1);
        let (tell, asked) = sync_channel(1);
        let (look, found) = (look.clone(), Found::look());
        let work = move || {
            let mut lines = Lines::new(&look);
            while let Ok(()) = wanted.recv() {
                let asked = match &mut lines {
                    Ok(lines) => lines.ask().map_err(io::Error::other),
                    Err(error) => Err(io::Error::other(error.to_string())),
                };
                if tell.send(asked).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("chat-line".to_owned()).spawn(work)?;
        Ok(Asker { ask, asked, found })
    }

    /// Asks for a line. While it is asked for Ctrl+C is a key; one that came just before that
    /// interrupts nothing any more, and is forgotten.
    ///
    /// # Errors
    /// The terminal cannot be used, or what was typed cannot be remembered.
    pub fn ask(&self, signals: Signals) -> io::Result<Asked> {
        if signals.take_interrupt() {
            return Ok(Asked::Interrupted);
        }
        let gone = || io::Error::other("the thread that asks for lines has ended");
        self.ask.send(()).map_err(|_| gone())?;
        loop {
            match self.asked.recv_timeout(POLL) {
                Ok(asked) => return asked,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) if signals.is_ended() => {
                    // The thread waits for a key and is left to itself.
                    self.found.restore();
                    return Ok(Asked::End);
                }
                Err(RecvTimeoutError::Timeout) => {
                    signals.take_interrupt();
                }
            }
        }
    }
}

/// Asks for lines and remembers them.
struct Lines {
    editor: Editor<Commands, FileHistory>,
    look: Look,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A line that is not blank.
    Line(String),
    /// Nothing: a blank line.
    Nothing,
    /// Ctrl+C.
    Interrupted,
    /// Ctrl+D on an empty line, the end of the input, or a signal that ends the program.
    End,
}

impl Lines {
    /// Ready to ask; what was remembered is read.
    fn new(look: &Look) -> Result<Lines> {
        let config = Config::builder()
            .max_history_size(HISTORY_ENTRIES_MAX)?
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        let mut names: Vec<String> = look.commands.iter().map(|(name, _)| name.clone()).collect();
        names.push(super::run::REASONING.to_owned());
        editor.set_helper(Some(Commands { names }));
        if let Some(path) = &look.history {
            // There is none before the first time.
            let _ = editor.load_history(path);
        }
        Ok(Lines { editor, look: look.clone() })
    }

    /// Asks for a line.
    fn ask(&mut self) -> Result<Asked> {
        let line = match self.editor.readline(PROMPT) {
            Ok(line) => joined(&line),
            Err(ReadlineError::Interrupted) => return Ok(Asked::Interrupted),
            Err(ReadlineError::Eof) => return Ok(Asked::End),
            Err(error) => return Err(error),
        };
        if line.trim().is_empty() {
            return Ok(Asked::Nothing);
        }
        if self.editor.add_history_entry(line.as_str())?
            && let Some(path) = &self.look.history
        {
            self.editor.append_history(path)?;
        }
        Ok(Asked::Line(line))
    }
}

/// A line without the backslashes that made it go on.
fn joined(line: &str) -> String {
    line.replace("\\\n", "\n")
}

/// Whether the line goes on below.
fn goes_on(line: &str) -> bool {
    let fences = line.lines().filter(|line| line.trim_start().starts_with("```")).count();
    line.ends_with('\\') || fences % 2 == 1
}

struct Commands {
    names: Vec<String>,
}

impl Commands {
    fn matching(&self, line: &str, at: usize) -> Vec<String> {
        let typed = line.get(..at).and_then(|typed| typed.strip_prefix('/'));
        let Some(typed) = typed.filter(|typed| !typed.contains(char::is_whitespace)) else {
            return Vec::new();
        };
        let names = self.names.iter().filter(|name| name.starts_with(typed));
        names.map(|name| format!("/{name}")).collect()
    }
}

impl Completer for Commands {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let pair = |name: String| Pair { display: name.clone(), replacement: name + " " };
        Ok((0, self.matching(line, at).into_iter().map(pair).collect()))
    }
}

impl Hinter for Commands {
    type Hint = String;
}

impl Highlighter for Commands {}

impl Validator for Commands {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(if goes_on(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Helper for Commands {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on() {
        let cases = [
            ("a", false),
            ("a \\", true),
            ("a \\\nb", false),
            ("```rust", true),
            ("```rust\nx\n```", false),
        ];
        for (line, expected) in cases {
            assert_eq!(goes_on(line), expected, "{line:?}");
        }
        assert_eq!(joined("a \\\nb"), "a \nb");
    }

    #[test]
    fn commands_complete_in_the_first_word() {
        let commands = Commands { names: ["stats", "strip", "list"].map(str::to_owned).into() };
        assert_eq!(commands.matching("/st", 3), ["/stats", "/strip"]);
        assert_eq!(commands.matching("/list x", 7), [""; 0]);
        assert_eq!(commands.matching("st", 2), [""; 0]);
        assert_eq!(commands.matching("/\u{4e2d}", 2), [""; 0], "inside a character");
    }
}
