//! The four dialects behind one door: a path says which, a body says what.
//!
//! A [`Job`] is what is left when a body was read: what is asked, and the two ways in which its
//! dialect writes the answer.

use std::sync::Arc;

use serde_json::Value;

use crate::ask::Ask;
use crate::body::ReadOptions;
use crate::dialogue::{Dialogue, check_orphans};
use crate::offers::Offers;
use crate::refusal::Refusal;
use crate::replay::{Live, Replay};
use crate::said::{ANTHROPIC_CALL, Answer, Head, OPENAI_CALL, Usage, Writer};
use crate::{What, chat, completions, messages, responses};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

/// Writes a whole answer.
pub type Whole = Box<dyn FnOnce(&[Answer], &Usage) -> Value + Send>;

/// A request that was read.
pub struct Job {
    /// What is asked.
    pub ask: Ask,
    /// Writes it in pieces.
    pub writer: Box<dyn Writer>,
    /// Writes it whole.
    pub whole: Whole,
}

impl Dialect {
    /// What ids of calls begin with.
    pub fn call_prefix(self) -> &'static str {
        match self {
            Dialect::Messages => ANTHROPIC_CALL,
            _ => OPENAI_CALL,
        }
    }

    /// Its name in figures and logs.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Chat => "chat",
            Dialect::Completions => "completions",
            Dialect::Responses => "responses",
            Dialect::Messages => "messages",
        }
    }

    /// Reads a body. `head` lacks the model's name, which is in it.
    ///
    /// # Errors
    /// What is wrong with it, or not supported.
    pub fn read(self, body: &[u8], mut head: Head, options: ReadOptions) -> Result<Job, Refusal> {
        match self {
            Dialect::Chat => {
                let chat::Chat { ask, include_usage } = chat::read(body, options)?;
                head.model = ask.model.clone();
                let stream = chat::Stream::new(head.clone(), ask.answers, include_usage);
                let whole: Whole =
                    Box::new(move |answers, usage| chat::whole(&head, answers, usage));
                Ok(Job { ask, writer: Box::new(stream), whole })
            }
            Dialect::Completions => {
                let completion = completions::read(body, options)?;
                let completions::Completion { ask, include_usage, echo } = completion;
                head.model = ask.model.clone();
                let echo = match &ask.what {
                    What::Raw(text) if echo => text.clone(),
                    _ => String::new(),
                };
                let (first, answers) = (echo.clone(), ask.answers);
                let stream = completions::Stream::new(head.clone(), answers, include_usage, first);
                let whole: Whole = Box::new(move |answers, usage| {
                    completions::whole(&head, answers, usage, &echo)
                });
                Ok(Job { ask, writer: Box::new(stream), whole })
            }
            Dialect::Responses => {
                let responses::Responses { ask, summary, echo } = responses::read(body, options)?;
                head.model = ask.model.clone();
                let offers = offers(&ask);
                let stream =
                    responses::Stream::new(head.clone(), offers.clone(), summary, echo.clone());
                let whole: Whole = Box::new(move |answers, usage| {
                    let parts = (&offers, summary, &echo);
                    responses::whole(&head, first(answers), usage, parts)
                });
                Ok(Job { ask, writer: Box::new(stream), whole })
            }
            Dialect::Messages => {
                let purpose = messages::Purpose::Answer;
                let messages::Messages { ask } = messages::read(body, purpose, options)?;
                head.model = ask.model.clone();
                let stream = messages::Stream::new(head.clone());
                let whole: Whole =
                    Box::new(move |answers, usage| messages::whole(&head, first(answers), usage));
                Ok(Job { ask, writer: Box::new(stream), whole })
            }
        }
    }

    /// The live conversation that a dialogue of results alone goes on from, in the dialects that
    /// know such.
    ///
    /// # Errors
    /// It cannot be gone on from.
    pub fn go_on(
        self,
        dialogue: &mut Dialogue,
        replay: &Replay,
    ) -> Result<Option<Arc<Live>>, Refusal> {
        match self {
            Dialect::Chat | Dialect::Completions => Ok(None),
            Dialect::Responses => dialogue.go_on(replay, "input"),
            Dialect::Messages => dialogue.go_on(replay, "messages"),
        }
    }

    /// Refuses results whose calls nobody knows, in the dialects that demand whole histories.
    ///
    /// # Errors
    /// There is one.
    pub fn check(self, dialogue: &Dialogue, known: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        match self {
            Dialect::Chat | Dialect::Completions => Ok(()),
            Dialect::Responses => check_orphans(dialogue, known, "input"),
            Dialect::Messages => check_orphans(dialogue, known, "messages"),
        }
    }

    /// The body that tells a refusal.
    pub fn refusal(self, refusal: &Refusal, request_id: &str) -> Value {
        match self {
            Dialect::Messages => refusal.anthropic(request_id),
            _ => refusal.openai(),
        }
    }
}

fn offers(ask: &Ask) -> Offers {
    match &ask.what {
        What::Dialogue(dialogue) => dialogue.offers.clone(),
        What::Raw(_) => Offers::default(),
    }
}

/// Dialects without a number of answers have one.
fn first(answers: &[Answer]) -> &Answer {
    answers.first().expect("every request has at least one answer")
}
