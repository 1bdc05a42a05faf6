//! A session: one token timeline with its KV state, asked for by whole prefixes.
//!
//! [`Engine::sync`] brings a session to exactly the tokens that are asked for. It never computes
//! what is already there, reports progress between chunks, and can be stopped there; what was fed
//! until then stays, so asking again goes on from that point.

use model::{Cache, Feed};
use spec::TokenId;

use crate::{Engine, Error, Plan, plan};

/// One conversation's state.
///
/// Its memory goes back to the engine when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Session {
    pub(crate) cache: Cache,
    /// The tokens whose state `cache` holds.
    tokens: Vec<TokenId>,
    /// Logits after the last token, `[V]`; empty if there is none.
    logits: Vec<f32>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop here; everything done so far stays valid.
    Stop,
}

/// How far a prompt has been fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tokens whose state exists, kept ones included.
    pub done: usize,
    /// Tokens of the prompt.
    pub total: usize,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What was done with the state that was there.
    pub plan: Plan,
    /// Tokens fed.
    pub fed: usize,
    /// Whether the whole prompt is in; if not, the callback stopped it.
    pub complete: bool,
}

impl Session {
    pub(crate) fn new(cache: Cache) -> Session {
        Session { cache, tokens: Vec::new(), logits: Vec::new() }
    }

    /// The tokens of the session, in order.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Logits after the last token, `[V]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn clear(&mut self) {
        self.cache.clear();
        self.tokens.clear();
        self.logits.clear();
    }
}

impl Engine {
    /// Brings `session` to `prompt`: keeps, extends or restarts it, and leaves the logits after the
    /// prompt's last token in it.
    ///
    /// `progress` is called before the first chunk and after each one.
    ///
    /// # Errors
    /// An empty prompt, one that does not leave room for a token, or a token outside the
    /// vocabulary: the session then holds the chunks that were fed before. A device error, or
    /// logits that are not numbers: the session is then empty.
    pub fn sync(
        &mut self,
        session: &mut Session,
        prompt: &[TokenId],
        progress: &mut dyn FnMut(Progress) -> Flow,
    ) -> Result<Synced, Error> {
        let total = prompt.len();
        self.check_prompt(total, 1)?;
        let plan = plan(session.tokens(), prompt);
        let from = match plan {
            Plan::Keep => total,
            Plan::Extend { from } => from,
            Plan::Restart => {
                session.clear();
                0
            }
        };
        let mut flow = progress(Progress { done: from, total });
        let mut done = from;
        for chunk in prompt[from..].chunks(self.options().step_tokens) {
            if flow == Flow::Stop {
                return Ok(Synced { plan, fed: done - from, complete: false });
            }
            self.feed(session, chunk, 1)?;
            done += chunk.len();
            flow = progress(Progress { done, total });
        }
        Ok(Synced { plan, fed: done - from, complete: true })
    }

    /// Appends tokens, at most one step of them, and reads the logits of the last `outputs` ones
    /// into `self.rows`.
    fn feed(
        &mut self,
        session: &mut Session,
        tokens: &[TokenId],
        outputs: usize,
    ) -> Result<(), Error> {
        let feed = Feed { cache: &mut session.cache, tokens, outputs };
        if let Err(error) = self.model.forward(&mut *self.backend, &mut [feed]) {
            if matches!(error, model::Error::Step { .. }) {
                session.clear();
            }
            return Err(error.into());
        }
        session.tokens.extend_from_slice(tokens);
        let vocab = self.shape().vocab;
        let Engine { model, backend, rows: logits, .. } = self;
        model.logits_into(&mut **backend, logits);
        if let Some(bad) = logits.iter().position(|v| !v.is_finite()) {
            let position = session.tokens.len() - outputs + bad / vocab;
            session.clear();
            return Err(Error::NotFinite { file: self.file().name().to_owned(), position });
        }
        session.logits.clear();
        session.logits.extend_from_slice(&logits[logits.len().saturating_sub(vocab)..]);
        Ok(())
    }

    /// Appends one token.
    ///
    /// # Errors
    /// The context is full, a device error, or logits that are not numbers.
    pub fn step(&mut self, session: &mut Session, token: TokenId) -> Result<(), Error> {
        self.feed(session, &[token], 1)
    }

    /// Computes the logits of the last `wanted` positions of `prompt`, or of all if there are
    /// fewer, in a session of its own. `sink` is called after each chunk: (tokens fed, new rows
    /// `[n, V]`).
    ///
    /// The engine must have been opened with `all_logits`.
    ///
    /// # Errors
    /// As for [`Engine::sync`].
    pub fn logits_of_last(
        &mut self,
        wanted: usize,
        prompt: &[TokenId],
        sink: &mut dyn FnMut(usize, &[f32]) -> Flow,
    ) -> Result<(), Error> {
        assert!(self.options().all_logits, "an engine opened for all logits");
        self.check_prompt(prompt.len(), 0)?;
        let mut session = self.open_session()?;
        let mut result = Ok(());
        let first_wanted = prompt.len().saturating_sub(wanted);
        let mut fed = 0;
        for chunk in prompt.chunks(self.options().step_tokens) {
            fed += chunk.len();
            let outputs = fed.saturating_sub(first_wanted).min(chunk.len());
            match self.feed(&mut session, chunk, outputs) {
                Ok(()) if sink(fed, &self.rows) == Flow::Continue => {}
                Ok(()) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        result
    }

    /// A prompt must have a token, and leave room for `room` more.
    fn check_prompt(&self, prompt: usize, room: usize) -> Result<(), Error> {
        let context = self.options().context;
        if prompt == 0 {
            return Err(Error::EmptyPrompt);
        }
        if prompt + room > context {
            let (needed, native) = (prompt + room, self.shape().context_max);
            return Err(Error::PromptTooLong { prompt, context, needed, native });
        }
        Ok(())
    }
}
