//! What keys do.
//!
//! A key belongs to what lies on top: the help, then a question, then the line that is typed. A
//! question is answered by a letter only if nothing was typed and the letter was not already on
//! its way when the question appeared. Start at [`View::key`].

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::event::{Verdict, Wish};

use super::view::View;

/// A second Ctrl+C within this time quits.
const QUIT_WITHIN: Duration = Duration::from_secs(2);
/// A letter that comes sooner after a question was shown does not answer it.
const ANSWER_AFTER: Duration = Duration::from_millis(400);
/// Rows that a turn of the mouse wheel moves.
pub const WHEEL_ROWS: isize = 3;

impl View {
    /// A key was pressed at some time, counted from when the screen was put up.
    pub fn key(&mut self, key: KeyEvent, now: Duration) -> Vec<Wish> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return self.interrupt(now);
        }
        if self.leaving && control && key.code == KeyCode::Char('d') {
            self.leave_now();
            return Vec::new();
        }
        if let Some(at) = self.help {
            self.help_key(key.code, at);
            return Vec::new();
        }
        self.hint = None;
        if let Some(wishes) = self.consent_key(key, now) {
            return wishes;
        }
        if self.place_key(key, control) {
            return Vec::new();
        }
        match key.code {
            KeyCode::Enter if !key.modifiers.intersects(NEWLINE) => self.send(),
            KeyCode::Esc if self.running => vec![Wish::Stop],
            KeyCode::Char('d') if control && self.input.is_empty() => self.quit(),
            KeyCode::Char('?') if self.input.is_empty() => {
                self.help = Some(0);
                Vec::new()
            }
            KeyCode::F(1) => {
                self.help = Some(0);
                Vec::new()
            }
            KeyCode::Tab => {
                self.complete();
                Vec::new()
            }
            _ => {
                self.edit_key(key, control);
                Vec::new()
            }
        }
    }

    /// The question that is shown has been drawn: from now on it can be answered.
    pub fn drawn(&mut self, now: Duration) {
        if !self.consents.is_empty() && self.asked_at.is_none() {
            self.asked_at = Some(now);
        }
    }

    fn interrupt(&mut self, now: Duration) -> Vec<Wish> {
        if self.leaving {
            self.leave_now();
            return Vec::new();
        }
        self.help = None;
        let again = self.interrupted_at.is_some_and(|at| now.saturating_sub(at) < QUIT_WITHIN);
        self.interrupted_at = Some(now);
        if again {
            return self.quit();
        }
        self.hint = Some("Ctrl+C again quits".into());
        if self.running {
            return vec![Wish::Stop];
        }
        self.input.take();
        Vec::new()
    }

    fn help_key(&mut self, code: KeyCode, at: usize) {
        self.help = match code {
            KeyCode::Down => Some(at + 1),
            KeyCode::Up => Some(at.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => Some(at + 10),
            KeyCode::PageUp => Some(at.saturating_sub(10)),
            KeyCode::Home => Some(0),
            _ => None,
        };
    }

    /// A key that answers the question that is shown; `None` if it is about something else.
    fn consent_key(&mut self, key: KeyEvent, now: Duration) -> Option<Vec<Wish>> {
        let consent = self.consents.front()?;
        let plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        let shown = self.asked_at.is_some_and(|at| now.saturating_sub(at) >= ANSWER_AFTER);
        if !self.input.is_empty() || !plain || !shown {
            return None;
        }
        let verdict = match key.code {
            KeyCode::Char('y' | 'Y') => Verdict::Once,
            KeyCode::Char('a' | 'A') if consent.always.is_some() => Verdict::Always,
            KeyCode::Char('n' | 'N') => Verdict::No(None),
            _ => return None,
        };
        let call = consent.call;
        self.consents.pop_front();
        self.asked_at = None;
        Some(vec![Wish::Consent(call, verdict)])
    }

    /// A key that changes what is seen of the transcript.
    fn place_key(&mut self, key: KeyEvent, control: bool) -> bool {
        match key.code {
            KeyCode::PageUp => self.transcript.page(false),
            KeyCode::PageDown => self.transcript.page(true),
            KeyCode::Home if control => self.transcript.go_to_start(),
            KeyCode::End if control => self.transcript.go_to_end(),
            KeyCode::Up if key.modifiers.contains(KeyModifiers::SHIFT) => self.scroll(-1),
            KeyCode::Down if key.modifiers.contains(KeyModifiers::SHIFT) => self.scroll(1),
            KeyCode::Char('l') if control => self.redraw = true,
            KeyCode::Char('t') if control => {
                let mut folds = self.transcript.folds();
                folds.reasoning = !folds.reasoning;
                self.transcript.set_folds(folds);
            }
            KeyCode::Char('o') if control => {
                let mut folds = self.transcript.folds();
                folds.results = !folds.results;
                self.transcript.set_folds(folds);
            }
            _ => return false,
        }
        true
    }

    /// Moves the transcript by rows, up if negative.
    pub fn scroll(&mut self, rows: isize) {
        self.transcript.scroll(rows);
    }

    fn edit_key(&mut self, key: KeyEvent, control: bool) {
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let input = &mut self.input;
        match key.code {
            KeyCode::Enter => drop(input.insert("\n")),
            KeyCode::Char('j') if control => drop(input.insert("\n")),
            KeyCode::Char('a') if control => input.home(),
            KeyCode::Char('e') if control => input.end(),
            KeyCode::Char('b') if control => input.left(),
            KeyCode::Char('f') if control => input.right(),
            KeyCode::Char('k') if control => input.cut_to_end(),
            KeyCode::Char('u') if control => input.cut_to_start(),
            KeyCode::Char('w') if control => input.cut_word_left(),
            KeyCode::Char('y') if control => input.yank(),
            KeyCode::Char('d') if control => input.delete(),
            KeyCode::Char('h') if control => input.backspace(),
            KeyCode::Char('p') if control => self.older(),
            KeyCode::Char('n') if control => self.newer(),
            KeyCode::Char('b') if alt => input.word_left(),
            KeyCode::Char('f') if alt => input.word_right(),
            KeyCode::Char('d') if alt => input.cut_word_right(),
            KeyCode::Char(_) if control || alt => {}
            KeyCode::Char(c) => drop(input.insert(c.encode_utf8(&mut [0; 4]))),
            KeyCode::Backspace if alt || control => input.cut_word_left(),
            KeyCode::Backspace => input.backspace(),
            KeyCode::Delete => input.delete(),
            KeyCode::Left if control || alt => input.word_left(),
            KeyCode::Right if control || alt => input.word_right(),
            KeyCode::Left => input.left(),
            KeyCode::Right => input.right(),
            KeyCode::Home => input.home(),
            KeyCode::End => input.end(),
            KeyCode::Up if !input.up() => self.older(),
            KeyCode::Down if !input.down() => self.newer(),
            _ => {}
        }
    }

    fn older(&mut self) {
        if let Some(prompt) = self.prompts.older(self.input.text()) {
            self.input.set(prompt);
        }
    }

    fn newer(&mut self) {
        if let Some(prompt) = self.prompts.newer() {
            self.input.set(prompt);
        }
    }

    /// Completes a command as far as it is certain, and shows what it could become.
    fn complete(&mut self) {
        let Some(typed) = self.input.text().strip_prefix('/') else { return };
        if typed.contains(char::is_whitespace) {
            return;
        }
        let names: Vec<&str> = super::help::commands(&self.look)
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(typed))
            .collect();
        match names[..] {
            [] => self.hint = Some(format!("no command begins with /{typed}; /help lists them")),
            [name] => self.input.set(&format!("/{name} ")),
            [first, ..] => {
                let same = |other: &&str| {
                    first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
                };
                let common = names.iter().map(same).min().unwrap_or(0);
                let all: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
                self.input.set(&format!("/{}", &first[..first.floor_char_boundary(common)]));
                self.hint = Some(all.join("  "));
            }
        }
    }
}

/// With these, Enter is a line end.
const NEWLINE: KeyModifiers = KeyModifiers::ALT.union(KeyModifiers::SHIFT);
