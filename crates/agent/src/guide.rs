//! What the model may say next, decided in the engine's thread.
//!
//! Where tags and numbers of a call stand, the most probable token is taken: structure that is
//! sampled freely breaks, and payload that is not repeats itself. When the calls are complete, or
//! broken, only the end of the answer is left.

use engine::{Constraint, TokenSet};
use spec::TokenId;
use text::Ear;

/// Guides one answer.
#[derive(Debug)]
pub(crate) struct Guide {
    ear: Ear,
    end: TokenId,
}

impl Guide {
    /// Guides an answer that `ear` hears and `end` ends.
    pub fn new(ear: Ear, end: TokenId) -> Guide {
        Guide { ear, end }
    }
}

impl Constraint for Guide {
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), String> {
        match self.ear.is_done() {
            true => allowed.insert(self.end),
            false => allowed.fill(),
        }
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), String> {
        if token != self.end {
            self.ear.hear(token);
        }
        Ok(())
    }

    fn is_greedy(&self) -> bool {
        self.ear.region().is_form()
    }
}
