//! One line per request: how large it was, where its beginning came from, how fast it went.
//!
//! Lines are pairs of names and values, for people and programs alike. Nothing that was said is in
//! them.

use std::fmt::Write as _;

use crate::answer::talk::Course;
use crate::app::App;
use crate::ask::{Ask, What};
use crate::http::Peer;
use crate::metrics::source_name;
use crate::said::{Answer, openai_finish};

/// A line that is not written yet.
#[derive(Debug)]
pub struct Line {
    text: String,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// What went wrong after the headers were sent.
    pub error: String,
    rest: String,
    began: std::time::Instant,
}

impl Line {
    /// Of a request that came.
    pub fn new(id: &str, path: &str, peer: Peer) -> Line {
        let path: String = path.chars().filter(|c| !c.is_whitespace()).take(80).collect();
        let client = match peer.addresses {
            Some((theirs, _)) => theirs.ip().to_string(),
            None => "unix".to_owned(),
        };
        let text = format!("request={id} path={path} client={client}");
        let (rest, began) = (String::new(), std::time::Instant::now());
        Line { text, body_bytes: 0, error: String::new(), rest, began }
    }

    /// What was asked, in numbers.
    pub fn of(&mut self, ask: &Ask, restored: usize) {
        let stream = ask.stream;
        let _ = write!(self.text, " stream={stream}");
        if let What::Dialogue(dialogue) = &ask.what {
            let messages = dialogue.conversation.messages.len();
            let tools = dialogue.offers.specs().count();
            let _ = write!(self.text, " messages={messages} tools={tools} replayed={restored}");
        }
        if !ask.ignored.is_empty() {
            let names: Vec<String> = ask.ignored.iter().map(|name| plain(name)).collect();
            let _ = write!(self.text, " ignored={}", names.join(","));
        }
    }

    /// How it went.
    pub fn course(&mut self, course: &Course, answers: &[Answer]) {
        let usage = &course.usage;
        let seen = usage.seen;
        let speed = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
        let fed = seen.prompt - seen.cached;
        let (prefill, decode) = (course.prefill, course.decode);
        self.rest.clear();
        let _ = write!(self.rest, " prompt={} cached={}", seen.prompt, seen.cached);
        if let Some(source) = course.source {
            let _ = write!(self.rest, " from={}", source_name(source));
        }
        let _ = write!(self.rest, " generated={} reasoning={}", usage.generated, usage.reasoning);
        if let Some(finish) = answers.first().and_then(|answer| answer.reply.finish.as_ref()) {
            let _ = write!(self.rest, " finish={}", openai_finish(finish));
        }
        let _ = write!(self.rest, " waited={:.3} prefill={prefill:.3}", course.waited);
        let _ = write!(self.rest, " prefill_speed={:.1}", speed(fed, prefill));
        let generated = usage.generated;
        let _ =
            write!(self.rest, " decode={decode:.3} decode_speed={:.1}", speed(generated, decode));
        if course.tries > 0 {
            let _ = write!(self.rest, " tried_again={}", course.tries);
        }
        if let Some(first) = course.first_token {
            let _ = write!(self.rest, " first_token={first:.3}");
        }
    }

    /// Writes it. `error` is what the client was told, which may quote it and is cut.
    pub fn end(mut self, app: &App, status: u16, error: &str) {
        let took = self.began.elapsed().as_secs_f64();
        let bytes = self.body_bytes;
        let _ = write!(self.text, " status={status} bytes={bytes}{} took={took:.3}", self.rest);
        if !error.is_empty() {
            let error: String = error.chars().take(200).collect();
            let _ = write!(self.text, " error={error:?}");
        }
        app.settings.log.say(&self.text);
    }
}

/// A word without what would break the line.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric() || "_.-".contains(*c)).take(40).collect()
}
