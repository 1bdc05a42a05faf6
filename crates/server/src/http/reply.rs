//! The way of one request: body, job, talk, answer.
//!
//! What takes time besides the model (parsing megabytes, cutting them into tokens) is done on
//! threads that may wait. A streamed answer is written by a task of its own, which the client ends
//! by going away; a whole answer ends with its connection in the same way, since dropping a talk
//! cancels it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use engine::AnchorId;
use http_body::Frame;
use serde_json::{Value, json};
use text::Reply;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{interval_at, timeout};

use super::listen::Peer;
use crate::answer::talk::{Said, Talk};
use crate::app::{App, Place, random};
use crate::ask::What;
use crate::body::BODY_BYTES_MAX;
use crate::dialect::{Dialect, Job};
use crate::log::{GONE, Line, unquoted};
use crate::messages;
use crate::refusal::{Reason, Refusal};
use crate::replay::{self, Live, Replay, Turn};
use crate::said::{Answer, CallIds, Prob};

/// Pieces of a stream that may wait for the client.
const PIECES: usize = 16;

/// Bytes of the body of a request that is refused before it is read.
const AWAY_BYTES_MAX: usize = 4 << 20;

/// How long they may take.
const AWAY: Duration = Duration::from_secs(2);

/// A name for a request, in answers and logs.
pub fn request_id() -> String {
    format!("req_{:032x}", random())
}

/// Answers a request.
pub async fn reply(app: Arc<App>, dialect: Dialect, peer: Peer, request: Request) -> Response {
    let id = request_id();
    let path = request.uri().path().to_owned();
    let mut line = Line::new(app.clone(), Some(dialect), (&id, &path), peer);
    let refused = |refusal: &Refusal| refusal_response(&dialect.refusal(refusal, &id), refusal);
    let mut response = match begin(&app, dialect, peer, request, &mut line).await {
        Err(refusal) => {
            line.refused(&refusal);
            refused(&refusal)
        }
        Ok((job, begun)) => {
            let heard = Heard::new(app, begun, job.ask.logprobs.is_some(), line);
            match job.ask.stream {
                true => stream(job, heard),
                false => match whole(job, heard).await {
                    Ok(value) => json_response(&value),
                    Err(refusal) => refused(&refusal),
                },
            }
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id.clone());
        response.headers_mut().insert("request-id", id);
    }
    response
}

/// Answers that have begun.
struct Begun {
    talk: Talk,
    ids: Vec<CallIds>,
    /// The hash of the conversation's instructions and tools.
    head: Option<[u8; 32]>,
    place: Place,
}

async fn begin(
    app: &Arc<App>,
    dialect: Dialect,
    peer: Peer,
    request: Request,
    line: &mut Line,
) -> Result<(Job, Begun), Refusal> {
    let client = peer.addresses.map(|(theirs, _)| theirs.ip());
    let entered = app.model().and_then(|model| Ok((model, app.enter(client)?)));
    let (model, place) = match entered {
        Ok(entered) => entered,
        Err(refusal) => {
            read_away(request).await;
            return Err(refusal);
        }
    };
    let body = read_body(app, request).await?;
    line.body_bytes = body.len();
    let (head, seed) = (app.head(), random() as u64 ^ (random() >> 64) as u64);
    let nonce = head.nonce;
    let (shared, known) = (app.clone(), model.clone());
    let work = move || {
        if let Some(trace) = &shared.settings.trace {
            trace.say(&format!("<- {}", String::from_utf8_lossy(&body)));
        }
        let mut job = dialect.read(&body, head, shared.settings.read)?;
        let (mut restored, mut live, mut head) = (Vec::new(), None, None);
        if let What::Dialogue(dialogue) = &mut job.ask.what {
            let replay = shared.replay.lock().unwrap_or_else(PoisonError::into_inner);
            head = replay::head(&dialogue.conversation);
            live = dialect.go_on(dialogue, &replay)?;
            match &live {
                Some(live) => (restored, head) = (live.turns.clone(), live.head),
                None => {
                    dialect.check(dialogue, |id| replay.knows(id))?;
                    restored = replay.restore(dialogue);
                }
            }
        }
        let id = |answer| CallIds::new(dialect.call_prefix(), nonce, answer);
        let ids: Vec<CallIds> = (0..job.ask.answers).map(id).collect();
        let replayed = restored.len();
        let prepared = known.prepare(&job.ask, seed, ids.clone(), restored, live.as_deref())?;
        Ok::<_, Refusal>((job, prepared, ids, replayed, head))
    };
    let (job, prepared, ids, replayed, head) = blocking(work).await?;
    line.of(&job.ask, replayed);
    let answers = job.ask.answers;
    let talk = Talk::begin(model, prepared, answers, job.ask.stream)?;
    Ok((job, Begun { talk, ids, head, place }))
}

/// Work that takes more than a moment, elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let broke = |_| Err(Refusal::new(Reason::Failed, "the request could not be worked on"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(broke)
}

async fn read_body(app: &App, request: Request) -> Result<Bytes, Refusal> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        let message = "compressed bodies are not read: send it as it is";
        return Err(Refusal::new(Reason::Encoding, message));
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let large = || {
        let message = format!("a body of more than {BODY_BYTES_MAX} bytes");
        Refusal::new(Reason::TooLarge, message)
    };
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(large());
    }
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX + 1);
    match timeout(app.settings.limits.body, body).await {
        Err(_) => Err(Refusal::new(Reason::Timeout, "the body did not arrive in time")),
        Ok(Ok(bytes)) if bytes.len() <= BODY_BYTES_MAX => Ok(bytes),
        Ok(Ok(_)) => Err(large()),
        Ok(Err(error)) if format!("{error:?}").contains("LengthLimit") => Err(large()),
        Ok(Err(error)) => Err(Refusal::new(Reason::Invalid, format!("the body: {error}"))),
    }
}

/// What was heard of answers. However they end, figures and a line tell of them.
struct Heard {
    app: Arc<App>,
    talk: Talk,
    answers: Vec<Answer>,
    ids: Vec<CallIds>,
    /// The hash of the conversation's instructions and tools.
    head: Option<[u8; 32]>,
    line: Line,
    /// Seconds from the request to the beginning of the talk.
    before: f64,
    told: bool,
    _place: Place,
}

impl Heard {
    fn new(app: Arc<App>, begun: Begun, with_probs: bool, line: Line) -> Heard {
        let Begun { talk, ids, head, place } = begun;
        let probs = with_probs.then(Vec::new);
        let answer = || Answer { reply: Reply::default(), probs: probs.clone() };
        let answers = ids.iter().map(|_| answer()).collect();
        let before = line.began.elapsed().as_secs_f64();
        Heard { app, talk, answers, ids, head, line, before, told: false, _place: place }
    }

    /// Takes note of something that was said.
    fn note(&mut self, answer: usize, event: &text::Event, probs: &[Prob]) {
        let noted = &mut self.answers[answer];
        noted.reply.add(event.clone());
        noted.probs.iter_mut().for_each(|all| all.extend_from_slice(probs));
    }

    /// All answers are over: what was sampled is remembered before anybody can ask again.
    fn finish(&mut self, job: &Job) {
        let app = self.app.clone();
        let mut replay = app.replay.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, (answer, ids)) in self.answers.iter().zip(&self.ids).enumerate() {
            let state = self.talk.state(place);
            match Turn::of(&answer.reply, |index| ids.call(index)) {
                Some(turn) => {
                    let turn = Arc::new(turn);
                    replay.remember(&turn);
                    if let Some((state, tokens)) = state {
                        let turns = self.talk.turns().iter().chain([&turn]).cloned().collect();
                        replay.wait(Live { state, tokens, turns, head: self.head });
                    }
                }
                None => self.remember_thoughts(job, &mut replay, &answer.reply, state),
            }
        }
        drop(replay);
        self.tell(200, "");
    }

    /// Of a turn without calls its reasoning is remembered, and how the conversation will look when
    /// it comes back without it.
    fn remember_thoughts(
        &self,
        job: &Job,
        replay: &mut Replay,
        reply: &Reply,
        state: Option<(AnchorId, usize)>,
    ) {
        let What::Dialogue(dialogue) = &job.ask.what else { return };
        if dialogue.rendered > 0 {
            return; // What came before is not known here.
        }
        let Some(turn) = Turn::of_thoughts(&dialogue.conversation, reply) else { return };
        let turn = Arc::new(turn);
        replay.remember(&turn);
        if let Some((state, _)) = state {
            self.talk.remember(state, reply, &turn);
        }
    }

    /// Tells of it, once.
    fn tell(&mut self, status: u16, error: &str) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let mut course = self.talk.so_far();
        course.first_token = course.first_token.map(|seconds| seconds + self.before);
        self.app.metrics.course(&course);
        self.line.course(&course, &self.answers);
        self.line.end(status, error);
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.tell(499, GONE);
    }
}

/// An answer in one piece.
async fn whole(job: Job, mut heard: Heard) -> Result<Value, Refusal> {
    loop {
        for said in heard.talk.next().await {
            match said {
                Said::Seen(_) => {}
                Said::Event(answer, event, probs) => heard.note(answer, &event, &probs),
                Said::Failed(refusal) => {
                    heard.tell(refusal.status(), &unquoted(&refusal.message));
                    return Err(refusal);
                }
                Said::Over(usage) => {
                    heard.finish(&job);
                    let value = (job.whole)(&heard.answers, &usage);
                    if let Some(trace) = &heard.app.settings.trace {
                        trace.say(&format!("-> {value}"));
                    }
                    return Ok(value);
                }
            }
        }
    }
}

/// An answer in pieces: the headers at once, the rest from a task.
fn stream(job: Job, heard: Heard) -> Response {
    let (out, pieces) = channel(PIECES);
    tokio::spawn(write(job, heard, Out(out)));
    let mut response = Response::new(Body::new(Pieces(pieces)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Writes until the answer is over or the client is gone.
async fn write(mut job: Job, mut heard: Heard, out: Out) {
    let app = heard.app.clone();
    let every = app.settings.limits.keep_alive;
    let mut clock = interval_at(tokio::time::Instant::now() + every, every);
    let mut last = Instant::now();
    let mut open = out.send(&app, job.writer.open()).await;
    while open {
        let said = tokio::select! {
            said = heard.talk.next() => said,
            _ = clock.tick() => {
                if last.elapsed() >= every / 2 {
                    open = out.send(&app, job.writer.keep_alive()).await;
                }
                continue;
            }
            () = out.0.closed() => return,
        };
        let (mut bytes, mut over) = (String::new(), false);
        for said in said {
            match said {
                Said::Seen(seen) => bytes += &job.writer.start(seen),
                Said::Event(answer, event, probs) => {
                    heard.note(answer, &event, &probs);
                    bytes += &job.writer.event(answer, &event, &probs);
                }
                Said::Failed(refusal) => {
                    bytes += &job.writer.fail(&refusal);
                    heard.tell(200, &unquoted(&refusal.message));
                    over = true;
                }
                Said::Over(usage) => {
                    heard.finish(&job);
                    bytes += &job.writer.end(&usage);
                    over = true;
                }
            }
        }
        if !bytes.is_empty() {
            last = Instant::now();
            open = out.send(&app, bytes).await;
        }
        if over {
            return;
        }
    }
}

/// Where pieces go.
struct Out(Sender<Bytes>);

impl Out {
    /// Waits until the client has room. `false`: it is gone.
    async fn send(&self, app: &App, bytes: String) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if let Some(trace) = &app.settings.trace {
            trace.say(&format!("-> {}", bytes.trim_end()));
        }
        self.0.send(bytes.into()).await.is_ok()
    }
}

/// The body of a stream.
struct Pieces(Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The number of tokens of a messages request.
pub async fn count(app: Arc<App>, peer: Peer, request: Request) -> Response {
    let id = request_id();
    let path = request.uri().path().to_owned();
    let mut line = Line::new(app.clone(), None, (&id, &path), peer);
    match tokens(&app, request, &mut line).await {
        Ok(tokens) => {
            line.counted(tokens);
            line.end(200, "");
            json_response(&json!({ "input_tokens": tokens }))
        }
        Err(refusal) => {
            line.refused(&refusal);
            refusal_response(&refusal.anthropic(&id), &refusal)
        }
    }
}

async fn tokens(app: &App, request: Request, line: &mut Line) -> Result<usize, Refusal> {
    let model = app.model()?;
    let body = read_body(app, request).await?;
    line.body_bytes = body.len();
    let options = app.settings.read;
    blocking(move || {
        let read = messages::read(&body, messages::Purpose::Count, options)?;
        Ok(model.tokens(&read.ask)?.0.len())
    })
    .await
}

/// Reads the body of a request that is refused, up to a bound. Whoever is still sending when the
/// connection is closed may find an error of the network there instead of the refusal.
pub async fn read_away(request: Request) {
    // Who asks first whether to send a body has sent none.
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let body = axum::body::to_bytes(request.into_body(), AWAY_BYTES_MAX);
    // What it was, and whether it came, does not matter.
    let _ = timeout(AWAY, body).await;
}

/// A refusal in the words of the family that the path belongs to, or that the headers speak.
pub fn refuse(path: &str, headers: &HeaderMap, refusal: &Refusal) -> Response {
    let anthropic = path.contains("/messages") || headers.contains_key("anthropic-version");
    let body = match anthropic {
        true => refusal.anthropic(&request_id()),
        false => refusal.openai(),
    };
    refusal_response(&body, refusal)
}

fn refusal_response(body: &Value, refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status());
    let mut response =
        with_status(json_response(body), status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(seconds) = refusal.retry_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// JSON as a response.
pub fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The same with another status.
pub fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}
