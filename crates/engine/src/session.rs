//! A session: one token timeline with its KV state, asked for by whole prefixes.
//!
//! [`Engine::sync`] brings a session to exactly the tokens that are asked for. It never computes
//! what is already there, reports progress between chunks, and can be stopped there; what was fed
//! until then stays, so asking again goes on from that point.

use model::{Cache, Feed, Steer};
use rayon::prelude::*;
use spec::TokenId;

use crate::{Engine, Error, Plan, Resume};

/// One conversation's state.
///
/// Its memory goes back to the engine when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Session {
    pub(crate) cache: Cache,
    /// The tokens whose state `cache` holds.
    pub(crate) tokens: Vec<TokenId>,
    /// Logits after the last token, `[V]`; empty if there is none, or nobody wanted them.
    pub(crate) logits: Vec<f32>,
    /// Tokens of its last checkpoint.
    pub(crate) saved: usize,
    /// Kept with its checkpoints, and not understood here.
    pub(crate) notes: Vec<u8>,
    /// What its tokens stand for, as the conversation will come back; empty if that is not known of
    /// just these tokens.
    pub(crate) visible: Vec<TokenId>,
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
        let (tokens, logits, notes, visible) = Default::default();
        Session { cache, tokens, logits, saved: 0, notes, visible }
    }

    /// The tokens of the session, in order.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Logits after the last token, `[V]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// How it is steered.
    pub fn steer(&self) -> Steer {
        self.cache.steer()
    }

    pub(crate) fn clear(&mut self) {
        self.cache.clear();
        self.tokens.clear();
        self.logits.clear();
        self.saved = 0;
        self.notes.clear();
        self.visible.clear();
    }

    /// Says which tokens the cache holds, after it was brought to another state. That it was saved
    /// is not known of this one.
    pub(crate) fn replace(&mut self, tokens: Vec<TokenId>, logits: &[f32]) {
        self.saved = 0;
        self.notes.clear();
        self.visible.clear();
        self.tokens = tokens;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
    }
}

/// Tokens for one session, as part of a step.
#[derive(Debug)]
pub(crate) struct Advance<'a> {
    /// Who goes on.
    pub session: &'a mut Session,
    /// With what.
    pub tokens: &'a [TokenId],
    /// How many of the last tokens want logits.
    pub outputs: usize,
}

/// Logits of a step from which on several threads look at them.
const SHARED_OUT_FROM: usize = 1 << 20;

/// Where the first number stands that is none, looking without a branch per number: a vocabulary
/// is checked for every token.
fn first_not_finite(numbers: &[f32]) -> Option<usize> {
    const INFINITY: i32 = 0x7f80_0000;
    let largest = |largest: i32, v: &f32| largest.max(v.to_bits() as i32 & i32::MAX);
    if numbers.iter().fold(0, largest) < INFINITY {
        return None;
    }
    numbers.iter().position(|v| !v.is_finite())
}

impl Engine {
    /// Brings `session` to `prompt`: goes on from the nearest state that is known, its own or
    /// another, and leaves the logits after the prompt's last token in it.
    ///
    /// `progress` is called before the first chunk and after each one. A session that goes on from
    /// a state of the same text in other tokens keeps those (see [`Plan`]).
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
        self.check_prompt(prompt.len(), 1)?;
        let Resume { plan, feed } = self.resume(session, prompt)?;
        let total = session.tokens.len() + feed.len();
        self.check_prompt(total, 1)?;
        let stops = self.stops(session.tokens.len(), total, None);
        let mut flow = progress(Progress { done: session.tokens.len(), total });
        let mut fed = 0;
        while fed < feed.len() {
            if flow == Flow::Stop {
                return Ok(Synced { plan, fed, complete: false });
            }
            let held = session.tokens.len();
            let stop = stops.iter().find(|(stop, _)| *stop > held);
            let left = stop.map_or(feed.len() - fed, |(stop, _)| stop - held);
            let chunk = self.chunk(held, left).min(self.options().step_tokens);
            self.feed(session, &feed[fed..fed + chunk], 1)?;
            fed += chunk;
            let state = self.keep_at_interval(session);
            if let Some((_, reason)) = stop.filter(|(stop, _)| *stop == held + chunk) {
                self.save(session, *reason, state.map(|kept| kept.snapshot));
            }
            flow = progress(Progress { done: session.tokens.len(), total });
        }
        Ok(Synced { plan, fed, complete: true })
    }

    /// Appends tokens, at most one step of them, and reads the logits of the last `outputs` ones,
    /// as [`Engine::advance`] does.
    fn feed(
        &mut self,
        session: &mut Session,
        tokens: &[TokenId],
        outputs: usize,
    ) -> Result<(), Error> {
        let mut damaged = self.advance(&mut [Advance { session, tokens, outputs }])?;
        damaged.pop().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Appends tokens to several sessions in one step, and reads the logits that are wanted. The
    /// last row of each feed goes to its session; all rows of those that want several to
    /// `self.rows` as well, `[R, V]`, session after session.
    ///
    /// Those whose logits are not numbers are returned, by their place in the list, and are empty.
    ///
    /// # Errors
    /// No room, or a token outside the vocabulary: nothing has changed. A device error: all
    /// sessions are empty.
    pub(crate) fn advance(&mut self, feeds: &mut [Advance]) -> Result<Vec<(usize, Error)>, Error> {
        self.go_on_saving();
        let missing =
            |feed: &Advance| self.model.row_pages_missing(&feed.session.cache, feed.tokens.len());
        self.make_room(feeds.iter().map(missing).sum());
        let mut steps: Vec<Feed> = feeds
            .iter_mut()
            .map(|Advance { session, tokens, outputs }| Feed {
                cache: &mut session.cache,
                tokens,
                outputs: *outputs,
            })
            .collect();
        if let Err(error) = self.model.forward(&mut *self.backend, &mut steps) {
            if matches!(error, model::Error::Step { .. }) {
                feeds.iter_mut().for_each(|feed| feed.session.clear());
            }
            return Err(error.into());
        }
        Ok(self.read_logits(feeds))
    }

    /// Notes what was fed, and reads what [`Engine::advance`] says.
    fn read_logits(&mut self, feeds: &mut [Advance]) -> Vec<(usize, Error)> {
        let Engine { model, backend, rows, file, .. } = self;
        let vocab = model.shape().vocab;
        let several = |feed: &Advance| if feed.outputs > 1 { feed.outputs } else { 0 };
        rows.resize(feeds.iter().map(several).sum::<usize>() * vocab, 0.0);
        let mut rest = rows.as_mut_slice();
        let mut outs: Vec<&mut [f32]> = Vec::with_capacity(feeds.len());
        for feed in feeds.iter_mut() {
            let (own, after) = rest.split_at_mut(several(feed) * vocab);
            rest = after;
            let Advance { session, tokens, outputs } = feed;
            session.tokens.extend_from_slice(tokens);
            session.visible.clear();
            session.logits.resize((*outputs).min(1) * vocab, 0.0);
            outs.push(if own.is_empty() { &mut session.logits } else { own });
        }
        model.logits_into(&mut **backend, &mut outs);
        // Sessions that decode together on a device that waits have megabytes to look at; a little
        // is looked at before other threads would have woken.
        let place = |logits: &mut &mut [f32]| first_not_finite(logits);
        let bad: Vec<Option<usize>> =
            if outs.iter().map(|out| out.len()).sum::<usize>() < SHARED_OUT_FROM {
                outs.iter_mut().map(place).collect()
            } else {
                outs.par_iter_mut().map(place).collect()
            };
        let mut rest = rows.as_slice();
        let mut damaged = Vec::new();
        for (i, (feed, bad)) in feeds.iter_mut().zip(bad).enumerate() {
            let (own, after) = rest.split_at(several(feed) * vocab);
            rest = after;
            let Advance { session, outputs, .. } = feed;
            if let Some(last) = own.len().checked_sub(vocab) {
                session.logits.copy_from_slice(&own[last..]);
            }
            if let Some(bad) = bad {
                let position = session.tokens.len() - *outputs + bad / vocab;
                session.clear();
                damaged.push((i, Error::NotFinite { file: file.name().to_owned(), position }));
            }
        }
        damaged
    }

    /// Appends one token.
    ///
    /// # Errors
    /// The context is full, a device error, or logits that are not numbers.
    pub fn step(&mut self, session: &mut Session, token: TokenId) -> Result<(), Error> {
        self.feed(session, &[token], 1)
    }

    /// Appends one token to each of several sessions, in one step.
    ///
    /// # Errors
    /// As for [`Engine::step`]; the first, where several sessions have logits that are not numbers.
    pub fn step_each(&mut self, steps: &mut [(&mut Session, TokenId)]) -> Result<(), Error> {
        let mut feeds: Vec<Advance> = steps
            .iter_mut()
            .map(|(session, token)| Advance {
                session,
                tokens: std::slice::from_ref(token),
                outputs: 1,
            })
            .collect();
        let damaged = self.advance(&mut feeds)?;
        damaged.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
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
            if let Err(error) = self.feed(&mut session, chunk, outputs) {
                result = Err(error);
                break;
            }
            let rows = if outputs > 1 { &self.rows } else { &session.logits };
            if sink(fed, rows) == Flow::Stop {
                break;
            }
        }
        result
    }

    /// A prompt must have a token, and leave room for `room` more.
    pub(crate) fn check_prompt(&self, prompt: usize, room: usize) -> Result<(), Error> {
        let context = self.context();
        if prompt == 0 {
            return Err(Error::EmptyPrompt);
        }
        if prompt + room > context && context < self.options().context {
            return Err(Error::PromptBeyondRows { prompt, rows: context });
        }
        if prompt + room > context {
            let (needed, native) = (prompt + room, self.shape().context_max);
            return Err(Error::PromptTooLong { prompt, context, needed, native });
        }
        Ok(())
    }

    /// Every token must be in the vocabulary.
    pub(crate) fn check_tokens(&self, tokens: &[TokenId]) -> Result<(), Error> {
        let last = self.shape().vocab - 1;
        match tokens.iter().find(|token| token.0 as usize > last) {
            Some(token) => Err(model::Error::Token { token: token.0, last }.into()),
            None => Ok(()),
        }
    }

    /// The error of a session that finds no row page.
    pub(crate) fn no_room(&self, position: usize) -> Error {
        let limit = self.model.limits().row_pages;
        let bytes = limit * self.model.layout().page_bytes;
        model::Error::Pages { position, limit, bytes }.into()
    }
}
