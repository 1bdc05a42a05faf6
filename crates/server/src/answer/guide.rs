//! What may come next in an answer, decided in the engine's thread.
//!
//! The guide hears the answer as the client does. While the model reasons or writes text it allows
//! everything; where a form is demanded, it allows what the grammar does; in the structure of a
//! tool call it asks for the most probable token, since sampled structure breaks and greedy payload
//! repeats itself. When the answer is over for the client (a stop text, the end of the calls), only
//! the end of the turn is left, so that the state that is kept is that of the conversation.

use std::sync::Arc;

use engine::{Constraint, Grammar, TokenSet};
use spec::TokenId;
use text::{End, Reply};

use crate::replay::{Turn, notes};
use crate::said::CallIds;
use text::Ear;

/// Guides one answer.
#[derive(Debug)]
pub struct Guide {
    ear: Ear,
    /// From the end of the reasoning on.
    answer: Option<Grammar>,
    /// From the marker of a tool call on.
    calls: Option<Grammar>,
    active: Option<Grammar>,
    /// The special token of tags.
    marker: Option<TokenId>,
    end: TokenId,
    keep: Keep,
}

/// What becomes of the calls of an answer.
#[derive(Clone, Debug)]
pub struct Keep {
    /// Turns with calls that came before, as they were sampled.
    pub turns: Vec<Arc<Turn>>,
    /// The ids that the client is told.
    pub ids: CallIds,
    /// What was said so far.
    pub reply: Reply,
}

/// The grammars of an answer.
#[derive(Debug, Default)]
pub struct Grammars {
    /// Of the whole visible answer.
    pub answer: Option<Grammar>,
    /// Of what follows the marker of a call.
    pub calls: Option<Grammar>,
}

impl Grammars {
    /// The same, for another answer.
    pub fn fork(&self) -> Grammars {
        let fork = |grammar: &Option<Grammar>| grammar.as_ref().map(Grammar::fork);
        Grammars { answer: fork(&self.answer), calls: fork(&self.calls) }
    }
}

impl Guide {
    /// Guides an answer that `ear` hears.
    pub fn new(
        ear: Ear,
        grammars: Grammars,
        (marker, end): (Option<TokenId>, TokenId),
        keep: Keep,
    ) -> Guide {
        let Grammars { answer, calls } = grammars;
        let mut guide = Guide { ear, answer, calls, active: None, marker, end, keep };
        if !guide.ear.is_thinking() {
            guide.active = guide.answer.take();
        }
        guide
    }
}

impl Constraint for Guide {
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), String> {
        if self.ear.is_done() {
            allowed.insert(self.end);
            return Ok(());
        }
        match &mut self.active {
            Some(grammar) => grammar.allow(allowed),
            None => {
                allowed.fill();
                Ok(())
            }
        }
    }

    fn accept(&mut self, token: TokenId) -> Result<(), String> {
        if token == self.end {
            return Ok(());
        }
        if let Some(grammar) = &mut self.active {
            grammar.accept(token)?;
        }
        let was_thinking = self.ear.is_thinking();
        self.keep.reply.extend(self.ear.hear(token));
        if was_thinking && !self.ear.is_thinking() {
            self.active = self.answer.take();
        } else if !was_thinking && self.active.is_none() && Some(token) == self.marker {
            self.active = self.calls.take();
        }
        Ok(())
    }

    fn is_greedy(&self) -> bool {
        self.ear.region().is_form()
    }

    fn notes(&mut self) -> Option<Vec<u8>> {
        let Keep { turns, ids, reply } = &mut self.keep;
        reply.extend(self.ear.end(End::Stop));
        let turn = Turn::of(reply, |index| ids.call(index))?;
        Some(notes(turns.iter().map(Arc::as_ref).chain([&turn])))
    }
}
