//! Code in colours, line by line, as it comes.
//!
//! The grammars are those that `syntect` brings; what they find out is mapped to the sixteen
//! colours of the terminal, so that no theme has to guess whether the ground is light or dark.
//! Lines of unusual length, and code of unusual length, stay plain: a grammar must not be what a
//! person waits for. Start at [`Highlighter`].

use std::sync::OnceLock;

use syntect::parsing::{ParseState, Scope, ScopeStack, ScopeStackOp, SyntaxReference, SyntaxSet};

use crate::paint::{Face, Ink, Run};

/// Longer lines are not looked at: the time that grammars take grows with the square at worst.
const LINE_BYTES_MAX: usize = 160;
/// Code of more lines is plain from there on.
const LINES_MAX: usize = 5_000;

/// Looks at lines of code in their order.
#[derive(Clone)]
pub struct Highlighter {
    /// `None`: the language is not known, or the code is too long.
    state: Option<(ParseState, ScopeStack)>,
    lines: usize,
}

impl Highlighter {
    /// A highlighter for a language as a fence names it: `rust`, `py`, `c++`.
    pub fn new(language: &str) -> Highlighter {
        let state = grammar(language).map(|found| (ParseState::new(found), ScopeStack::new()));
        Highlighter { state, lines: 0 }
    }

    /// One that leaves everything plain.
    pub fn plain() -> Highlighter {
        Highlighter { state: None, lines: 0 }
    }

    /// A highlighter for a file, by what its name ends with.
    pub fn for_path(path: &str) -> Highlighter {
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        Highlighter::new(name.rsplit('.').next().unwrap_or_default())
    }

    /// The next line, without its end.
    pub fn line(&mut self, text: &str) -> Vec<Run> {
        self.lines += 1;
        if self.lines > LINES_MAX {
            self.state = None;
        }
        let Some((state, stack)) = &mut self.state else { return vec![Run::plain(text)] };
        if text.len() > LINE_BYTES_MAX {
            return vec![Run::plain(text)];
        }
        let whole = format!("{text}\n");
        match state.parse_line(&whole, grammars()) {
            Ok(steps) => runs(text, &steps, stack),
            Err(_) => {
                self.state = None;
                vec![Run::plain(text)]
            }
        }
    }

    /// A line that is not complete yet; it comes again.
    pub fn peek(&self, text: &str) -> Vec<Run> {
        self.clone().line(text)
    }
}

/// Reads the grammars, and has those of common languages compiled, which takes a while and is done
/// beside what is shown, so that the first code does not have to wait for it.
pub fn warm() {
    for language in ["rust", "python", "bash", "json", "js", "c", "cpp", "go", "html", "yaml"] {
        Highlighter::new(language).peek("fn main(a) { let x = \"1\" + 1; } // # end");
    }
}

fn runs(text: &str, steps: &[(usize, ScopeStackOp)], stack: &mut ScopeStack) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut from = 0;
    let mut add = |until: usize, stack: &ScopeStack| {
        let until = until.min(text.len());
        let Some(part) = text.get(from..until).filter(|part| !part.is_empty()) else { return };
        from = until;
        let face = face(stack);
        match runs.last_mut() {
            Some(run) if run.face == face => run.text.push_str(part),
            _ => runs.push(Run::new(part, face)),
        }
    };
    for (at, step) in steps {
        add(*at, stack);
        // A step that does not fit the stack leaves it as it is, and the colours may be wrong.
        let _ = stack.apply(step);
    }
    add(text.len(), stack);
    runs
}

/// The face of the innermost scope that has one.
fn face(stack: &ScopeStack) -> Face {
    let faces = faces();
    let of = |scope: &Scope| faces.iter().find(|(prefix, _)| prefix.is_prefix_of(*scope));
    stack.as_slice().iter().rev().find_map(of).map_or(Face::PLAIN, |(_, face)| *face)
}

fn faces() -> &'static [(Scope, Face)] {
    static FACES: OnceLock<Vec<(Scope, Face)>> = OnceLock::new();
    FACES.get_or_init(|| {
        let comment = Face::ink(Ink::Gray);
        let table = [
            ("comment", comment),
            ("punctuation.definition.comment", comment),
            ("string", Face::ink(Ink::Green)),
            ("punctuation.definition.string", Face::ink(Ink::Green)),
            ("constant.character.escape", Face::ink(Ink::Yellow)),
            ("constant", Face::ink(Ink::Yellow)),
            ("keyword.operator", Face::PLAIN),
            ("keyword", Face::ink(Ink::Magenta)),
            ("storage", Face::ink(Ink::Magenta)),
            ("entity.name.function", Face::ink(Ink::Blue)),
            ("entity.name.tag", Face::ink(Ink::Magenta)),
            ("entity.name", Face::ink(Ink::Cyan)),
            ("entity.other.attribute-name", Face::ink(Ink::Yellow)),
            ("support.function", Face::ink(Ink::Blue)),
            ("support", Face::ink(Ink::Cyan)),
            ("variable.function", Face::ink(Ink::Blue)),
            ("markup.heading", Face::BOLD),
            ("markup.inserted", Face::ink(Ink::Green)),
            ("markup.deleted", Face::ink(Ink::Red)),
            ("meta.diff.range", Face::ink(Ink::Cyan)),
        ];
        table.iter().filter_map(|(name, face)| Some((Scope::new(name).ok()?, *face))).collect()
    })
}

fn grammars() -> &'static SyntaxSet {
    static GRAMMARS: OnceLock<SyntaxSet> = OnceLock::new();
    GRAMMARS.get_or_init(SyntaxSet::load_defaults_newlines)
}

fn grammar(language: &str) -> Option<&'static SyntaxReference> {
    let language = language.trim().to_ascii_lowercase();
    let known = match language.as_str() {
        "" | "text" | "txt" | "plain" | "plaintext" | "output" => return None,
        // The grammar takes too long for lines of ordinary length.
        "makefile" | "make" | "mk" | "mak" | "gnumakefile" => return None,
        // Close relatives of a language whose grammar is there.
        "typescript" | "ts" | "tsx" | "jsx" | "mjs" | "cjs" | "javascript" => "js",
        "shell" | "console" | "zsh" | "shell-session" | "sh-session" => "bash",
        "golang" => "go",
        "c++" | "cc" | "hpp" | "cxx" | "cuda" | "cu" => "cpp",
        "toml" | "ini" | "conf" | "cfg" => "properties",
        "jsonc" | "json5" | "jsonl" => "json",
        "python3" | "pyi" => "python",
        "patch" => "diff",
        "kotlin" | "kt" => "java",
        other => other,
    };
    grammars().find_syntax_by_token(known)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_kinds_of_words_have_their_colours() {
        let inks = |language: &str, text: &str| -> Vec<(String, Ink)> {
            let runs = Highlighter::new(language).line(text);
            runs.into_iter().map(|run| (run.text.trim().to_owned(), run.face.ink)).collect()
        };
        let rust = inks("rust", "fn main() { let x = 7; } // ends");
        for expected in [("fn", Ink::Magenta), ("main", Ink::Blue), ("7", Ink::Yellow)] {
            assert!(rust.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} {rust:?}");
        }
        assert!(rust.iter().any(|(text, ink)| text.contains("ends") && *ink == Ink::Gray));
        let python = inks("py", "print(\"hello\")");
        assert!(python.iter().any(|(text, ink)| text.contains("hello") && *ink == Ink::Green));
        assert_eq!(inks("no such language", "fn x"), [("fn x".to_owned(), Ink::Plain)]);
        assert_eq!(inks("ts", "const a = 1;")[0].1, Ink::Magenta);
    }

    #[test]
    fn state_is_kept_from_line_to_line_and_not_by_a_look() {
        let mut code = Highlighter::new("rust");
        code.line("/* one");
        let ink = |runs: Vec<Run>| runs[0].face.ink;
        assert_eq!(ink(code.peek("let */ let")), Ink::Gray);
        assert_eq!(ink(code.line("let")), Ink::Gray, "looking has changed the state");
        code.line("*/");
        assert_eq!(ink(code.line("let a;")), Ink::Magenta);
    }

    #[test]
    fn no_text_is_lost() {
        for text in ["", "a", "fn \u{e4}(\"\u{4e2d}\") { /* \u{1b} */ }", &"x ".repeat(300)] {
            let runs = Highlighter::new("rust").line(text);
            assert_eq!(runs.iter().map(|run| run.text.as_str()).collect::<String>(), text);
        }
    }

    #[test]
    #[ignore = "a measurement; other work on the machine shows in it"]
    fn no_line_takes_long() {
        let mut worst = (Duration::ZERO, String::new());
        for name in grammars().syntaxes().iter().map(|syntax| &syntax.name) {
            for unit in ["a", "_", " ", "(", "<a ", "a.b", "a b ", "\\", "{\"", "a::b<"] {
                let line = unit.repeat(LINE_BYTES_MAX / unit.len());
                // The first time, expressions are compiled.
                Highlighter::new(name).line(&line);
                let began = Instant::now();
                Highlighter::new(name).line(&line);
                worst = worst.max((began.elapsed(), format!("{name}, {unit:?}")));
            }
        }
        println!("{worst:?}");
        assert!(worst.0 < Duration::from_millis(100), "{worst:?}");
    }
}
