//! From what was asked to what the engine is asked.
//!
//! A prompt is rendered and made into tokens once per request, however many answers are wanted.
//! What a prompt may not be (too long for the context) is told before the engine hears of it, and
//! so is a form that cannot be kept: nobody who demands one gets an answer without it.

use std::sync::Arc;

use engine::serve::{Handle, Request};
use engine::{Adjustments, AnchorId, Grammar, Grammars, Sampler, Sampling, Steer};
use spec::TokenId;
use text::{ArgumentTypes, Broken, ParserOptions, Reply, Tokenizer, opens_thinking, special};

use crate::answer::form::{self, Begin, Depth};
use crate::answer::guide::{self, Guide, Keep};
use crate::answer::strict;
use crate::ask::{Ask, Choice, Format, What};
use crate::offers::Offers;
use crate::prompt::{Form, prompt};
use crate::refusal::{Reason, Refusal};
use crate::replay::{Live, Turn, notes};
use crate::said::CallIds;
use text::Ear;

/// How tokens are chosen, as far as requests do not decide it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choosing {
    /// What is not said is this.
    pub sampling: Sampling,
    /// Wishes count even while the model reasons, for which it was trained with one setting.
    pub honour: bool,
}

/// A loaded model, as requests see it.
#[derive(Debug)]
pub struct Model {
    /// Where requests go.
    pub handle: Handle,
    /// Of the model.
    pub tokenizer: Arc<Tokenizer>,
    grammars: Option<Grammars>,
    form: Form,
    choosing: Choosing,
    end: TokenId,
    think_end: Option<TokenId>,
    marker: Option<TokenId>,
}

/// A request, ready to be answered as often as is wanted.
#[derive(Debug)]
pub struct Prepared {
    /// The prompt, or what follows `after`.
    pub tokens: Vec<TokenId>,
    /// A state that the prompt goes on from, and its tokens.
    pub after: Option<(AnchorId, usize)>,
    /// How answers are parsed.
    pub options: ParserOptions,
    /// How calls are sampled again that broke.
    pub again: Again,
    /// Whether the next prompt of the conversation will not show this answer's reasoning.
    hides_reasoning: bool,
    sampling: Sampling,
    adjustments: Adjustments,
    steer: Option<Steer>,
    seed: u64,
    tokens_max: usize,
    logprobs: Option<usize>,
    /// Grammars, as they are where an answer begins.
    pub grammars: guide::Grammars,
    /// The ids of calls, by answer.
    ids: Vec<CallIds>,
    /// Turns of the history that were restored.
    pub turns: Vec<Arc<Turn>>,
}

/// How calls are sampled again that broke.
#[derive(Debug)]
pub enum Again {
    /// Not at all: there are no calls, or the form of the whole answer is kept anyway.
    Never,
    /// Without a choice: the vocabulary cannot be constrained.
    Greedily,
    /// As this grammar of calls says, which is compiled when it is needed.
    Formed(String),
}

/// One way to an answer, after `tries` that did not come to one.
#[derive(Debug, Default)]
pub struct Attempt {
    /// How many broke.
    pub tries: usize,
    /// Tokens of the answer that stand.
    pub before: Vec<TokenId>,
    /// What they say.
    pub reply: Reply,
}

/// Calls that broke are sampled again so often at most.
pub const TRIES_MAX: usize = 2;

impl Model {
    /// A model that answers at `handle`.
    ///
    /// # Errors
    /// It has no tokenizer, or one without an end of turns.
    pub fn new(handle: Handle, form: Form, choosing: Choosing) -> Result<Model, engine::Error> {
        let info = handle.info();
        let none = || engine::Error::NoTokenizer { file: info.file.clone() };
        let tokenizer = info.tokenizer.clone().ok_or_else(none)?;
        let end = tokenizer.special(special::EOS).ok_or_else(none)?;
        let marker = tokenizer.special(special::DSML);
        let think_end = tokenizer.special(special::THINK_END);
        let grammars = Grammars::new(&tokenizer).ok();
        let form = Form { context: info.context, ..form };
        Ok(Model { handle, tokenizer, grammars, form, choosing, end, think_end, marker })
    }

    /// Tokens of the context.
    pub fn context(&self) -> usize {
        self.form.context
    }

    /// The tokens of a request's prompt, and whether it opens reasoning.
    ///
    /// # Errors
    /// A vocabulary without the markers of chats.
    pub fn tokens(&self, ask: &Ask) -> Result<(Vec<TokenId>, bool), Refusal> {
        let prompt = prompt(ask, self.form)?;
        let tokens = self.tokenizer.encode_prompt(&prompt);
        let tokens = tokens.map_err(|error| Refusal::new(Reason::Failed, error.to_string()))?;
        Ok((tokens, opens_thinking(&prompt)))
    }

    /// Makes a request ready. `seed` is random; it counts if the request has none of its own. `ids`
    /// are those of the calls of each answer, `turns` those of the history that were restored. If
    /// the dialogue goes on from a live conversation, that is `live`.
    ///
    /// # Errors
    /// A prompt that is too long, or a form that cannot be demanded.
    pub fn prepare(
        &self,
        ask: &Ask,
        seed: u64,
        ids: Vec<CallIds>,
        turns: Vec<Arc<Turn>>,
        live: Option<&Live>,
    ) -> Result<Prepared, Refusal> {
        let (tokens, thinking) = self.tokens(ask)?;
        let context = self.context();
        let after = live.map(|live| (live.state, live.tokens));
        let all = tokens.len() + after.map_or(0, |(_, before)| before);
        if all >= context {
            let reason = Reason::TooLong { tokens: all, context };
            return Err(Refusal::new(reason, "the prompt is too long"));
        }
        let none = Offers::default();
        let (offers, keeps_reasoning) = match &ask.what {
            What::Dialogue(dialogue) => (&dialogue.offers, dialogue.keeps_reasoning),
            What::Raw(_) => (&none, true),
        };
        let specs: Vec<_> = offers.specs().cloned().collect();
        let options = ParserOptions {
            thinking,
            tools_offered: !offers.is_empty(),
            special_tokens: true,
            stop: ask.stop.clone(),
            types: ArgumentTypes::of(&specs),
            broken: Broken::Text,
            real_markers: offers.has_strict(),
        };
        let (sampling, adjustments) = self.choosing(ask, thinking);
        let room = context - all;
        let (grammars, again) = self.demand(ask, offers)?;
        Ok(Prepared {
            tokens_max: ask.tokens_max.unwrap_or(room).min(room),
            tokens,
            after,
            hides_reasoning: thinking && !keeps_reasoning,
            options,
            again,
            sampling,
            adjustments,
            steer: self.steer(ask)?,
            seed: ask.wishes.seed.unwrap_or(seed),
            logprobs: ask.logprobs,
            grammars,
            ids,
            turns,
        })
    }

    /// What the request wishes, unless the model reasons and was trained with one setting.
    fn choosing(&self, ask: &Ask, thinking: bool) -> (Sampling, Adjustments) {
        let own = self.choosing.sampling;
        if thinking && !self.choosing.honour {
            return (own, Adjustments::default());
        }
        let wishes = &ask.wishes;
        let sampling = Sampling {
            temperature: wishes.temperature.unwrap_or(own.temperature),
            top_p: wishes.top_p.unwrap_or(own.top_p),
            top_k: wishes.top_k.unwrap_or(own.top_k),
            min_p: wishes.min_p.unwrap_or(own.min_p),
        };
        let adjustments = Adjustments {
            presence: wishes.presence.unwrap_or(0.0),
            frequency: wishes.frequency.unwrap_or(0.0),
            repetition: wishes.repetition.unwrap_or(1.0),
            bias: wishes.bias.iter().map(|(id, bias)| (TokenId(*id), *bias)).collect(),
        };
        (sampling, adjustments)
    }

    /// How the model is steered, if the request says it.
    fn steer(&self, ask: &Ask) -> Result<Option<Steer>, Refusal> {
        let Some(wish) = ask.wishes.steer else { return Ok(None) };
        let loaded = self.handle.info().steering;
        let own = loaded.unwrap_or_default();
        let (ffn, attention) = (wish.ffn.unwrap_or(own.ffn()), wish.attention);
        let steer = Steer::new(ffn, attention.unwrap_or(own.attention()));
        let steer = steer.map_err(|error| Refusal::of("steer", error.to_string()))?;
        if loaded.is_none() && !steer.is_none() {
            let why = "this server has no directions to steer with: start it with --steer FILE";
            return Err(Refusal::of("steer", why));
        }
        Ok(Some(steer))
    }

    /// The grammars of the form that is demanded, and how broken calls are sampled again; what
    /// cannot be kept is told now.
    fn demand(&self, ask: &Ask, offers: &Offers) -> Result<(guide::Grammars, Again), Refusal> {
        let must_call = matches!(ask.choice, Choice::Required | Choice::Named(_));
        if !must_call && offers.is_empty() && ask.format == Format::Text {
            return Ok((guide::Grammars::default(), Again::Never));
        }
        let named = match &ask.choice {
            Choice::Named(name) => Some(name.as_str()),
            _ => None,
        };
        let answer = match &ask.format {
            _ if must_call => None,
            Format::Text => None,
            Format::Json { schema, at } => {
                let answer = form::json(schema);
                // Its own trouble is told apart from that of tools.
                let alone = self.compile(&form::start(&["answer"], std::slice::from_ref(&answer)));
                alone.map_err(|error| Refusal::of(*at, format!("cannot be kept: {error}")))?;
                Some(answer)
            }
        };
        let calls = |begin| self.calls(offers, named, begin, answer.as_deref());
        if must_call || answer.is_some() {
            let answer = match (calls(Begin::Answer)?, answer) {
                (Some((grammar, _)), _) => grammar,
                (None, Some(answer)) if offers.is_empty() => {
                    let start = form::start(&["answer"], &[answer]);
                    self.compile(&start).map_err(|error| Refusal::new(Reason::Failed, error))?
                }
                _ => return Err(Refusal::of("tool_choice", "cannot be demanded of these tools")),
            };
            let grammars = guide::Grammars { answer: Some(answer), calls: None };
            return Ok((grammars, Again::Never));
        }
        let Some((calls, depth)) = calls(Begin::AfterMarker)? else {
            return Ok((guide::Grammars::default(), Again::Greedily));
        };
        let form = self.form_of(offers, named, (Begin::Answer, depth), None);
        let again = form.map_or(Again::Greedily, Again::Formed);
        Ok((guide::Grammars { answer: None, calls: Some(calls) }, again))
    }

    /// The grammar of calls, or of calls and another `answer`: as much of the schemas as the
    /// library can keep, and all of those of strict tools; how much that is. `None` if it keeps
    /// nothing and need not.
    fn calls(
        &self,
        offers: &Offers,
        named: Option<&str>,
        begin: Begin,
        answer: Option<&str>,
    ) -> Result<Option<(Grammar, Depth)>, Refusal> {
        if offers.is_empty() {
            return Ok(None);
        }
        for (spec, at) in offers.strict() {
            strict::check(&spec.parameters).map_err(|why| not_kept(at, &why))?;
        }
        // Whoever must call a tool should call it as its schema says.
        let named_spec = named.and_then(|name| offers.spec(name));
        let whole = named_spec.filter(|spec| strict::check(&spec.parameters).is_ok());
        let whole = whole.map(|_| Depth::Whole);
        for depth in whole.into_iter().chain([Depth::Types, Depth::Names]) {
            if let Ok(grammar) = self.calls_of(offers, named, (begin, depth), answer) {
                return Ok(Some((grammar, depth)));
            }
        }
        for (spec, at) in offers.strict() {
            let one = self.calls_of(offers, Some(&spec.name), (begin, Depth::Whole), None);
            one.map_err(|why| not_kept(at, &why))?;
        }
        match offers.strict().next() {
            None => Ok(None),
            Some((_, at)) => Err(not_kept(at, "together with the others its schema is too large")),
        }
    }

    fn calls_of(
        &self,
        offers: &Offers,
        named: Option<&str>,
        manner: (Begin, Depth),
        answer: Option<&str>,
    ) -> Result<Grammar, String> {
        self.compile(&self.form_of(offers, named, manner, answer)?)
    }

    fn form_of(
        &self,
        offers: &Offers,
        named: Option<&str>,
        manner: (Begin, Depth),
        answer: Option<&str>,
    ) -> Result<String, String> {
        let marker = self.marker.ok_or("this vocabulary has no marker of calls")?;
        let calls = form::calls(offers, named, manner, marker).ok_or("its schema is too large")?;
        Ok(match answer {
            Some(answer) => form::start(&["calls", "answer"], &[calls, answer.to_owned()]),
            None => form::start(&["calls"], &[calls]),
        })
    }

    fn compile(&self, form: &str) -> Result<Grammar, String> {
        let grammars = self.grammars.as_ref().ok_or("this vocabulary cannot be constrained")?;
        grammars.lark(form).map_err(|error| error.to_string())
    }

    /// What the conversation will look like when it comes back after an answer that ended of
    /// itself, if that is not what was sampled: its reasoning will not be shown.
    pub fn visible(&self, prepared: &Prepared, reply: &Reply) -> Option<Vec<TokenId>> {
        let (think, prompt) = prepared.tokens.split_last()?;
        let begins = prepared.after.is_none() && prepared.hides_reasoning;
        let opened = self.tokenizer.special(special::THINK) == Some(*think);
        let think_end = self.think_end.filter(|_| begins && opened && reply.reasoning_closed)?;
        let mut visible = [prompt, &[think_end]].concat();
        visible.extend(self.tokenizer.encode_text(&reply.text));
        Some(visible)
    }

    /// An ear for an attempt at an answer: the last one makes text of what breaks.
    pub fn ear(&self, prepared: &Prepared, attempt: &Attempt) -> Ear {
        let mut options = prepared.options.clone();
        options.thinking &= attempt.tries == 0;
        if prepared.tries_max() > attempt.tries {
            options.broken = Broken::End;
        }
        Ear::new(self.tokenizer.clone(), options)
    }

    /// What the engine is asked for an attempt at one of the answers.
    ///
    /// # Errors
    /// A setting that means nothing.
    pub fn request(
        &self,
        prepared: &Prepared,
        answer: usize,
        attempt: &Attempt,
    ) -> Result<Request, Refusal> {
        let invalid = |error: engine::Error| Refusal::new(Reason::Invalid, error.to_string());
        let tries = attempt.tries as u64;
        let seed = prepared.seed.wrapping_add(answer as u64).wrapping_add(tries << 32);
        let mut sampling = prepared.sampling;
        if tries > 0 && matches!(prepared.again, Again::Greedily) {
            sampling.temperature = 0.0;
        }
        let sampler = Sampler::new(sampling, seed).map_err(invalid)?;
        let sampler = sampler.adjusting(prepared.adjustments.clone()).map_err(invalid)?;
        let tokens = [prepared.tokens.as_slice(), &attempt.before].concat();
        let tokens_max = prepared.tokens_max.saturating_sub(attempt.before.len());
        let mut request = Request::new(tokens, sampler, tokens_max);
        request.after = prepared.after.map(|(state, _)| state);
        request.steer = prepared.steer;
        request.stop = vec![self.end];
        request.logprobs = prepared.logprobs;
        request.notes = notes(prepared.turns.iter().map(Arc::as_ref));
        let options = &prepared.options;
        let guided = options.tools_offered || !options.stop.is_empty();
        if guided || prepared.grammars.answer.is_some() {
            let grammars = match &prepared.again {
                Again::Formed(form) if tries > 0 => {
                    guide::Grammars { answer: self.compile(form).ok(), calls: None }
                }
                _ => prepared.grammars.fork(),
            };
            let (turns, ids) = (prepared.turns.clone(), prepared.ids[answer]);
            let keep = Keep { turns, ids, reply: attempt.reply.clone() };
            let marks = (self.marker, self.end);
            let guide = Guide::new(self.ear(prepared, attempt), grammars, marks, keep);
            request.constraint = Some(Box::new(guide));
        }
        Ok(request)
    }
}

impl Prepared {
    /// Tokens of the whole prompt.
    pub fn prompt(&self) -> usize {
        self.tokens.len() + self.after.map_or(0, |(_, before)| before)
    }

    /// How often calls that broke are sampled again.
    pub fn tries_max(&self) -> usize {
        match self.again {
            Again::Never => 0,
            // What was greedy would only break again.
            Again::Greedily if self.sampling.temperature == 0.0 => 0,
            Again::Greedily => 1,
            Again::Formed(_) => TRIES_MAX,
        }
    }

    /// Whether so many tokens of an answer leave room for more of it.
    pub fn leaves_room(&self, tokens: usize) -> bool {
        tokens < self.tokens_max
    }
}

fn not_kept(at: &str, why: &str) -> Refusal {
    Refusal::of(at, format!("strict, and its schema cannot be kept: {why}"))
}
