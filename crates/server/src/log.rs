//! One line per request: how large it was, where its beginning came from, how fast it went.
//!
//! Lines are pairs of names and values, for people and programs alike. Nothing that was said is in
//! them: what a refusal quotes of the request is left out. A request whose client goes away before
//! there is an answer has its line as well, since a line that nobody has ended ends itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use crate::answer::talk::Course;
use crate::app::App;
use crate::ask::{Ask, What};
use crate::dialect::Dialect;
use crate::http::Peer;
use crate::metrics::source_name;
use crate::refusal::Refusal;
use crate::said::{Answer, openai_finish};

/// What is said of a client that went away.
pub const GONE: &str = "the client went away";

/// Characters of an error that are shown.
const ERROR_CHARS: usize = 200;

/// A line that is not written yet.
#[derive(Debug)]
pub struct Line {
    app: Arc<App>,
    /// Under which its end is counted; `None` counts nowhere.
    dialect: Option<Dialect>,
    text: String,
    /// Bytes of the body.
    pub body_bytes: usize,
    rest: String,
    /// When the request came.
    pub began: Instant,
    ended: bool,
}

impl Line {
    /// Of a request that came.
    pub fn new(
        app: Arc<App>,
        dialect: Option<Dialect>,
        (id, path): (&str, &str),
        peer: Peer,
    ) -> Line {
        let path: String = path.chars().filter(|c| !c.is_whitespace()).take(80).collect();
        let client = match peer.addresses {
            Some((theirs, _)) => theirs.ip().to_string(),
            None => "unix".to_owned(),
        };
        let text = format!("request={id} path={path} client={client}");
        let (rest, began) = (String::new(), Instant::now());
        Line { app, dialect, text, body_bytes: 0, rest, began, ended: false }
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

    /// How many tokens there were, where nothing else was asked.
    pub fn counted(&mut self, tokens: usize) {
        let _ = write!(self.rest, " prompt={tokens}");
    }

    /// How it went.
    pub fn course(&mut self, course: &Course, answers: &[Answer]) {
        let usage = &course.usage;
        let seen = usage.seen;
        let fed = seen.prompt - seen.cached;
        let (prefill, decode) = (course.prefill, course.decode);
        let _ = write!(self.rest, " prompt={} cached={}", seen.prompt, seen.cached);
        if let Some(source) = course.source {
            let _ = write!(self.rest, " from={}", source_name(source));
        }
        let _ = write!(self.rest, " generated={} reasoning={}", usage.generated, usage.reasoning);
        if let Some(finish) = answers.first().and_then(|answer| answer.reply.finish.as_ref()) {
            let _ = write!(self.rest, " finish={}", openai_finish(finish));
        }
        let _ = write!(self.rest, " waited={:.3}", course.waited);
        self.speed("prefill", fed, prefill);
        self.speed("decode", usage.generated, decode);
        if course.tries > 0 {
            let _ = write!(self.rest, " tried_again={}", course.tries);
        }
        if let Some(first) = course.first_token {
            let _ = write!(self.rest, " first_token={first:.3}");
        }
    }

    /// Seconds, and tokens in each of them, where there is something to divide.
    fn speed(&mut self, name: &str, tokens: usize, seconds: f64) {
        let _ = write!(self.rest, " {name}={seconds:.3}");
        if seconds > 0.0 {
            let speed = tokens as f64 / seconds;
            let _ = write!(self.rest, " {name}_speed={speed:.1}");
        }
    }

    /// Writes and counts it, unless that was done. `error` is for people, and nothing of the
    /// request; where there is one after the headers were sent, the request counts as failed.
    pub fn end(&mut self, status: u16, error: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let failed = status == 200 && !error.is_empty();
        if let Some(dialect) = self.dialect {
            self.app.metrics.request(dialect, if failed { 500 } else { status });
        }
        let took = self.began.elapsed().as_secs_f64();
        let bytes = self.body_bytes;
        let _ = write!(self.text, " status={status} bytes={bytes}{} took={took:.3}", self.rest);
        if !error.is_empty() {
            let error: String = error.chars().take(ERROR_CHARS).collect();
            let _ = write!(self.text, " error={error:?}");
        }
        self.app.settings.log.say(&self.text);
    }

    /// The same, of a request that was refused.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.end(refusal.status(), &unquoted(&refusal.message));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end(499, GONE);
    }
}

/// A word without what would break the line.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric() || "_.-".contains(*c)).take(40).collect()
}

/// A message without what stands between quotation marks, which may be what somebody said.
pub fn unquoted(message: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for c in message.chars() {
        let mark = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        if mark && !inside {
            out.push_str("\"...\"");
        } else if !mark && !inside {
            out.push(c);
        }
        inside ^= mark;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_what_they_quote() {
        for (message, shown) in [
            ("nothing quoted", "nothing quoted"),
            (r#"role: expected user, found "secret""#, r#"role: expected user, found "...""#),
            (r#"a "s \" e" b "t\\" c"#, r#"a "..." b "..." c"#),
            (r#"cut in the middle: "secr"#, r#"cut in the middle: "...""#),
        ] {
            assert_eq!(unquoted(message), shown);
        }
    }
}
