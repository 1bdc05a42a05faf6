//! From what was asked to what the engine is asked.
//!
//! A prompt is rendered and made into tokens once per request, however many answers are wanted.
//! What a prompt may not be (too long for the context) is told before the engine hears of it.

use std::sync::Arc;

use engine::serve::{Handle, Request};
use engine::{Adjustments, Grammars, Sampler, Sampling};
use spec::TokenId;
use text::{ArgumentTypes, ParserOptions, Tokenizer, opens_thinking, special};

use crate::answer::ear::Ear;
use crate::answer::form::{self, Begin};
use crate::answer::guide::{self, Guide, Keep};
use crate::ask::{Ask, Choice, Format, What};
use crate::offers::Offers;
use crate::prompt::{Form, prompt};
use crate::refusal::{Reason, Refusal};
use crate::replay::{Turn, notes};
use crate::said::CallIds;

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
    marker: Option<TokenId>,
}

/// A request, ready to be answered as often as is wanted.
#[derive(Debug)]
pub struct Prepared {
    /// The prompt.
    pub tokens: Vec<TokenId>,
    /// How answers are parsed.
    pub options: ParserOptions,
    sampling: Sampling,
    adjustments: Adjustments,
    seed: u64,
    tokens_max: usize,
    logprobs: Option<usize>,
    /// Grammars, as they are where an answer begins.
    grammars: guide::Grammars,
    /// The ids of calls, by answer.
    ids: Vec<CallIds>,
    /// Turns with calls in the history, as they were sampled.
    turns: Vec<Arc<Turn>>,
}

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
        let grammars = Grammars::new(&tokenizer).ok();
        let form = Form { context: info.options.context, ..form };
        Ok(Model { handle, tokenizer, grammars, form, choosing, end, marker })
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
    /// are those of the calls of each answer, `turns` those of the history that were restored.
    ///
    /// # Errors
    /// A prompt that is too long, or a form that cannot be demanded.
    pub fn prepare(
        &self,
        ask: &Ask,
        seed: u64,
        ids: Vec<CallIds>,
        turns: Vec<Arc<Turn>>,
    ) -> Result<Prepared, Refusal> {
        let (tokens, thinking) = self.tokens(ask)?;
        let context = self.context();
        if tokens.len() >= context {
            let reason = Reason::TooLong { tokens: tokens.len(), context };
            return Err(Refusal::new(reason, "the prompt is too long"));
        }
        let none = Offers::default();
        let offers = match &ask.what {
            What::Dialogue(dialogue) => &dialogue.offers,
            What::Raw(_) => &none,
        };
        let specs: Vec<_> = offers.specs().cloned().collect();
        let options = ParserOptions {
            thinking,
            tools_offered: !offers.is_empty(),
            special_tokens: true,
            stop: ask.stop.clone(),
            types: ArgumentTypes::of(&specs),
        };
        let (sampling, adjustments) = self.choosing(ask, thinking);
        let room = context - tokens.len();
        let mut prepared = Prepared {
            tokens_max: ask.tokens_max.unwrap_or(room).min(room),
            tokens,
            options,
            sampling,
            adjustments,
            seed: ask.wishes.seed.unwrap_or(seed),
            logprobs: ask.logprobs,
            grammars: guide::Grammars::default(),
            ids,
            turns,
        };
        prepared.grammars = self.demand(ask, offers)?;
        Ok(prepared)
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

    /// The grammars of the form that is demanded; what is wrong with them is told now.
    fn demand(&self, ask: &Ask, offers: &Offers) -> Result<guide::Grammars, Refusal> {
        let rules = |begin| {
            let named = match &ask.choice {
                Choice::Named(name) => Some(name.as_str()),
                _ => None,
            };
            self.marker.and_then(|marker| form::calls(offers, named, begin, marker))
        };
        let schema = match &ask.format {
            Format::Text => None,
            Format::Json(schema) => Some(form::json(schema)),
        };
        let must_call = matches!(ask.choice, Choice::Required | Choice::Named(_));
        let answer = match (must_call, schema) {
            (true, _) => {
                let rules = rules(Begin::Answer);
                let none = || Refusal::of("tool_choice", "cannot be demanded of these tools");
                Some(form::start(&["calls"], &[rules.ok_or_else(none)?]))
            }
            (false, Some(answer)) => Some(match rules(Begin::Answer) {
                Some(calls) => form::start(&["calls", "answer"], &[calls, answer]),
                None => form::start(&["answer"], &[answer]),
            }),
            (false, None) => None,
        };
        let field = if must_call { "tools" } else { "response_format" };
        let refused = |error| Refusal::of(field, error);
        let answer = answer.map(|form| self.compile(&form).map_err(refused)).transpose()?;
        let helps = answer.is_none() && !offers.is_empty();
        let calls = helps.then(|| rules(Begin::AfterMarker)).flatten();
        // What is only a help is left out where it does not work.
        let calls = calls.and_then(|calls| self.compile(&form::start(&["calls"], &[calls])).ok());
        Ok(guide::Grammars { answer, calls })
    }

    fn compile(&self, form: &str) -> Result<engine::Grammar, String> {
        let grammars = self.grammars.as_ref().ok_or("this vocabulary cannot be constrained")?;
        grammars.lark(form).map_err(|error| error.to_string())
    }

    /// An ear for an answer.
    pub fn ear(&self, prepared: &Prepared) -> Ear {
        Ear::new(self.tokenizer.clone(), prepared.options.clone())
    }

    /// What the engine is asked for one of the answers.
    ///
    /// # Errors
    /// A setting that means nothing.
    pub fn request(&self, prepared: &Prepared, answer: usize) -> Result<Request, Refusal> {
        let invalid = |error: engine::Error| Refusal::new(Reason::Invalid, error.to_string());
        let seed = prepared.seed.wrapping_add(answer as u64);
        let sampler = Sampler::new(prepared.sampling, seed).map_err(invalid)?;
        let sampler = sampler.adjusting(prepared.adjustments.clone()).map_err(invalid)?;
        let (tokens, tokens_max) = (prepared.tokens.clone(), prepared.tokens_max);
        let mut request = Request::new(tokens, sampler, tokens_max);
        request.stop = vec![self.end];
        request.logprobs = prepared.logprobs;
        request.notes = notes(prepared.turns.iter().map(Arc::as_ref));
        let options = &prepared.options;
        let guided = options.tools_offered || !options.stop.is_empty();
        if guided || prepared.grammars.answer.is_some() {
            let grammars = prepared.grammars.fork();
            let (turns, ids) = (prepared.turns.clone(), prepared.ids[answer]);
            let keep = Keep { turns, ids, reply: text::Reply::default() };
            let marks = (self.marker, self.end);
            let guide = Guide::new(self.ear(prepared), grammars, marks, keep);
            request.constraint = Some(Box::new(guide));
        }
        Ok(request)
    }
}
