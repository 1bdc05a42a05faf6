//! The help: keys of the screen, and the commands on offer.

use crate::paint::{Face, Ink, Line, Run, Wrap};

use super::Look;

/// What keys do.
const KEYS: &[(&str, &str)] = &[
    ("Enter", "send; while the model runs, the prompt waits"),
    ("Alt+Enter, Ctrl+J", "a new line"),
    ("Esc", "stop the turn"),
    ("Ctrl+C", "stop the turn or clear the line; twice: quit"),
    ("Ctrl+D", "quit, on an empty line"),
    ("Up, Down", "lines, then earlier prompts"),
    ("Tab", "complete a command"),
    ("PageUp, PageDown", "scroll; Ctrl+End follows the end again"),
    ("Shift+Up, Shift+Down", "scroll by a row"),
    ("Ctrl+T", "show or fold reasoning"),
    ("Ctrl+O", "show or fold long results"),
    ("Ctrl+A, E, K, U, W, Y", "begin, end, cut to end, to begin, a word, put back"),
    ("Alt+B, F, D", "words: back, forth, cut"),
    ("Ctrl+L", "draw everything again"),
    ("Ctrl+Z", "suspend"),
    ("?, F1, /help", "this help"),
];

/// Commands that the screen knows itself.
const OWN: &[(&str, &str)] = &[("help", "this help"), ("quit", "leave")];

/// All commands, without their slash.
pub fn commands(look: &Look) -> impl Iterator<Item = (&str, &str)> {
    let given = look.commands.iter().map(|(name, what)| (name.as_str(), what.as_str()));
    let own = OWN.iter().copied();
    let is_given = |name: &str| look.commands.iter().any(|(given, _)| given == name);
    given.chain(own.filter(move |(name, _)| !is_given(name)))
}

/// The help as lines.
pub fn lines(look: &Look) -> Vec<Line> {
    let mut lines = vec![Line::of("Keys", Face::BOLD)];
    lines.extend(KEYS.iter().map(|(key, what)| line(key, what)));
    lines.push(Line::default());
    lines.push(Line::of("Commands", Face::BOLD));
    lines.extend(commands(look).map(|(name, what)| line(&format!("/{name}"), what)));
    lines
}

fn line(key: &str, what: &str) -> Line {
    Line {
        lead: vec![Run::new(format!("{key:<22} "), Face::ink(Ink::Cyan))],
        hang: vec![Run::plain(" ".repeat(23))],
        runs: vec![Run::plain(what)],
        wrap: Wrap::Words,
    }
}
