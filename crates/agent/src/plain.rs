//! A conversation without a terminal: prompts in, text or lines of JSON out.
//!
//! For scripts. The answer goes to one stream, what is done on the way to another; with JSON there
//! is one object per event, in a form that `dwarfstar agent --help` documents and that changes with
//! notice only. Nobody can be asked, so what would need a yes is refused and says which flag allows
//! it.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::event::{Cost, Event, Past, Shown, Status, TurnEnd, Verdict, Wish};

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// Lines of JSON instead of text.
    pub json: bool,
    /// No notes beside the answer.
    pub quiet: bool,
}

/// What the model is told about a call that would have needed a yes.
const NOBODY: &str = "nobody can be asked here, so this call is refused. Go on without it.";

/// Holds a conversation: the prompts one after the other, until one of their turns fails. How the
/// last turn ended; `None` if there was no prompt. `stop` is asked now and then.
///
/// # Errors
/// What could not be written. The agent is told to end then.
pub fn run(
    agent: Agent,
    prompts: impl IntoIterator<Item = io::Result<String>>,
    (out, notes): (&mut dyn Write, &mut dyn Write),
    plain: Plain,
    mut stop: impl FnMut() -> bool,
) -> io::Result<Option<TurnEnd>> {
    let Agent { wishes, events, thread, .. } = agent;
    let mut writer = Writer { out, notes, plain, calls: Vec::new(), open: false };
    let mut talk = Exchange { wishes, events, stop: &mut stop, stopped: false };
    let held = talk.hold(prompts, &mut writer);
    let Exchange { wishes, events, .. } = talk;
    let _ = wishes.send(Wish::Quit);
    drop(wishes);
    let mut written = Ok(());
    for event in events {
        if written.is_ok() && held.is_ok() && !matches!(event, Event::Status(_)) {
            written = writer.event(&event);
        }
    }
    // It has told that it is closed.
    let _ = thread.join();
    written.and(held)
}

/// The lines of `input`, each a prompt.
pub fn lines(mut input: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        match read {
            Ok(0) => None,
            Ok(read) if read as u64 > LINE_BYTES_MAX => Some(Err(io::Error::other(format!(
                "a line of the input has more than {LINE_BYTES_MAX} bytes"
            )))),
            Ok(_) => Some(String::from_utf8(line).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "the input is not UTF-8 text")
            })),
            Err(error) => Some(Err(error)),
        }
    })
}

/// Bytes of a line of the input at most.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What is said to the agent, and what it says.
struct Exchange<'a> {
    wishes: Sender<Wish>,
    events: Receiver<Event>,
    stop: &'a mut dyn FnMut() -> bool,
    stopped: bool,
}

impl Exchange<'_> {
    fn hold(
        &mut self,
        prompts: impl IntoIterator<Item = io::Result<String>>,
        writer: &mut Writer<'_>,
    ) -> io::Result<Option<TurnEnd>> {
        // The loop tells how things stand when it begins, and whenever it waits for a wish again.
        let mut last = self.until_idle(true, writer)?;
        for prompt in prompts {
            let prompt = prompt?;
            if self.stopped {
                return Ok(Some(TurnEnd::Stopped));
            }
            let wish = match prompt.trim() {
                "" => continue,
                line if line.starts_with('/') => Wish::Command(line.to_owned()),
                text => Wish::Prompt(text.to_owned()),
            };
            let is_command = matches!(wish, Wish::Command(_));
            if self.wishes.send(wish).is_err() {
                break;
            }
            last = self.until_idle(is_command, writer)?.or(last);
            if last.as_ref().is_some_and(|end| *end != TurnEnd::Done) {
                break;
            }
        }
        Ok(last)
    }

    /// Hears everything until nothing runs or waits any more. How the last turn ended; without
    /// one it is idle only if `no_turn`.
    fn until_idle(
        &mut self,
        no_turn: bool,
        writer: &mut Writer<'_>,
    ) -> io::Result<Option<TurnEnd>> {
        let (mut last, mut runs) = (None, !no_turn);
        loop {
            let event = self.events.recv_timeout(POLL);
            if !self.stopped && (self.stop)() {
                self.stopped = true;
                let _ = self.wishes.send(Wish::Stop);
            }
            let event = match event {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(last),
            };
            if let Event::Consent(consent) = &event {
                let no = Verdict::No(Some(NOBODY.to_owned()));
                let _ = self.wishes.send(Wish::Consent(consent.call, no));
            }
            writer.event(&event)?;
            match event {
                Event::TurnBegan { .. } => runs = true,
                Event::TurnEnded { end, .. } => {
                    runs = false;
                    last = Some(end);
                }
                Event::Closed => return Ok(last),
                Event::Status(status) if !runs && status.queued == 0 => return Ok(last),
                _ => {}
            }
        }
    }
}

/// Between two looks whether to stop.
const POLL: Duration = Duration::from_millis(50);

struct Writer<'a> {
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
    plain: Plain,
    /// Names of the calls of the answer.
    calls: Vec<String>,
    /// The answer's last line is not ended.
    open: bool,
}

impl Writer<'_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Said(text::Event::CallBegin { index, name }) = event {
            self.calls.truncate(*index);
            self.calls.push(name.clone());
        }
        if self.plain.json {
            writeln!(self.out, "{}", to_json(event))?;
            return self.out.flush();
        }
        match event {
            Event::Said(text::Event::Text(text)) => {
                self.out.write_all(text.as_bytes())?;
                self.open = !text.ends_with('\n');
                self.out.flush()
            }
            Event::Answer(text) => {
                self.end_line()?;
                self.out.write_all(text.as_bytes())?;
                self.open = !text.ends_with('\n');
                self.end_line()
            }
            _ => self.note(event),
        }
    }

    fn note(&mut self, event: &Event) -> io::Result<()> {
        let line = match event {
            Event::Consent(consent) => format!(
                "refused: {}: {}; --mode auto-edit or --mode full allows more",
                consent.title, consent.reason
            ),
            Event::ToolBegan { call, title } => {
                format!("{}: {title}", self.calls.get(*call).map_or("tool", String::as_str))
            }
            Event::ToolEnded { shown: Shown::Text(text), failed: true, .. } => {
                format!("failed: {}", text.lines().next().unwrap_or(""))
            }
            Event::Notice(line) => line.clone(),
            Event::TurnEnded { end, .. } => {
                self.end_line()?;
                match end {
                    TurnEnd::Done => return Ok(()),
                    TurnEnd::Stopped => "stopped".to_owned(),
                    TurnEnd::Length => "the answer was cut: it came to its most tokens".to_owned(),
                    TurnEnd::ContextFull => "the context is full: use a larger --ctx".to_owned(),
                    TurnEnd::Failed(why) => format!("failed: {why}"),
                }
            }
            _ => return Ok(()),
        };
        if self.plain.quiet {
            return Ok(());
        }
        self.end_line()?;
        let harmless = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let line: String = line.chars().map(harmless).collect();
        writeln!(self.notes, "{line}")
    }

    fn end_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            writeln!(self.out)?;
            self.out.flush()?;
        }
        Ok(())
    }
}

/// An event as an object of its own.
pub fn to_json(event: &Event) -> Value {
    match event {
        Event::TurnBegan { prompt, queued } => {
            json!({"event": "turn_began", "prompt": prompt, "queued": queued})
        }
        Event::Queued { queued } => json!({"event": "queued", "queued": queued}),
        Event::Prefill { done, total } => {
            json!({"event": "prefill", "done": done, "total": total})
        }
        Event::Said(said) => said_json(said),
        Event::Consent(consent) => json!({
            "event": "refused", "call": consent.call, "tool": consent.tool,
            "title": consent.title, "reason": consent.reason,
        }),
        Event::ToolBegan { call, title } => {
            json!({"event": "tool_began", "call": call, "title": title})
        }
        Event::ToolOutput { call, text } => {
            json!({"event": "tool_output", "call": call, "text": text})
        }
        Event::ToolEnded { call, shown, failed, took } => json!({
            "event": "tool_ended", "call": call, "failed": failed,
            "milliseconds": took.as_millis() as u64, "shown": shown_json(shown),
        }),
        Event::TurnEnded { end, cost } => turn_json(end, cost),
        Event::Notice(text) => json!({"event": "notice", "text": text}),
        Event::Status(status) => status_json(status),
        Event::Answer(text) => json!({"event": "answer", "text": text}),
        Event::Opened { title, history } => {
            let prompts = history.iter().filter(|past| matches!(past, Past::Prompt(_))).count();
            json!({"event": "opened", "title": title, "turns": prompts})
        }
        Event::Closed => json!({"event": "closed"}),
    }
}

fn said_json(said: &text::Event) -> Value {
    match said {
        text::Event::Reasoning(text) => json!({"event": "reasoning", "text": text}),
        text::Event::ReasoningEnd => json!({"event": "reasoning_end"}),
        text::Event::Text(text) => json!({"event": "text", "text": text}),
        text::Event::CallBegin { index, name } => {
            json!({"event": "call_began", "call": index, "tool": name})
        }
        text::Event::CallArguments(text) => json!({"event": "call_arguments", "text": text}),
        text::Event::CallEnd => json!({"event": "call_ended"}),
        text::Event::CallsEnd { .. } => json!({"event": "calls_ended"}),
        text::Event::CallsDropped { first, .. } => {
            json!({"event": "calls_dropped", "first": first})
        }
        _ => json!({"event": "finish"}),
    }
}

fn shown_json(shown: &Shown) -> Value {
    match shown {
        Shown::Text(text) => json!({"text": text}),
        Shown::Change { path, before, after } => {
            json!({"path": path.display().to_string(), "before": before, "after": after})
        }
    }
}

fn turn_json(end: &TurnEnd, cost: &Cost) -> Value {
    let (end, why) = match end {
        TurnEnd::Done => ("done", None),
        TurnEnd::Stopped => ("stopped", None),
        TurnEnd::Length => ("length", None),
        TurnEnd::ContextFull => ("context_full", None),
        TurnEnd::Failed(why) => ("failed", Some(why)),
    };
    json!({
        "event": "turn_ended", "end": end, "why": why, "read": cost.read, "cached": cost.cached,
        "written": cost.written, "calls": cost.calls,
        "prefill_milliseconds": cost.prefill.as_millis() as u64,
        "decode_milliseconds": cost.decode.as_millis() as u64,
    })
}

fn status_json(status: &Status) -> Value {
    json!({
        "event": "status", "title": status.title, "tokens": status.tokens,
        "context": status.context, "speed": status.speed, "queued": status.queued,
        "branch": status.branch, "thinking": status.thinking, "mode": status.mode,
        "protection": status.protection,
    })
}
