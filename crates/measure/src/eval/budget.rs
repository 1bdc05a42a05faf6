//! How long a model may think before it has to answer.
//!
//! Reasoning that uses up all tokens leaves no answer. So the end of reasoning is taken where the
//! model is about to come to it (soft: it is among the three most probable tokens), when fewer than
//! so many tokens are left; and it is forced when still fewer are (hard). What is said after it is
//! the model's own.

use serde::{Deserialize, Serialize};
use spec::TokenId;

/// Limits of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Tokens of a reply, reasoning included.
    pub tokens_max: usize,
    /// With this many tokens left, or fewer, reasoning is ended where it is about to end.
    pub soft: usize,
    /// With this many tokens left, or fewer, reasoning is ended.
    pub hard: usize,
}

/// How reasoning was ended for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Close {
    /// Where it was about to end.
    Soft,
    /// Where it was.
    Hard,
}

/// Tokens before the end from which on reasoning is ended, if the budget is large enough.
const SOFT: usize = 1024;
const HARD: usize = 512;

/// How probable the end of reasoning must be to be taken: among so many tokens.
const RANKS: usize = 3;

impl Budget {
    /// So many tokens in all; small budgets leave a quarter and an eighth for the answer.
    pub fn new(tokens_max: usize) -> Budget {
        Budget { tokens_max, soft: SOFT.min(tokens_max / 4), hard: HARD.min(tokens_max / 8) }
    }

    /// Whether reasoning is to be ended by `end` when so many tokens are left. `logits`: `[V]`.
    pub fn close(&self, left: usize, logits: &[f32], end: TokenId) -> Option<Close> {
        match left {
            _ if left <= self.hard => Some(Close::Hard),
            _ if left <= self.soft && is_probable(logits, end) => Some(Close::Soft),
            _ => None,
        }
    }
}

/// Whether fewer than [`RANKS`] tokens are more probable; of equal ones the lowest id is.
fn is_probable(logits: &[f32], token: TokenId) -> bool {
    let place = token.0 as usize;
    let Some(&own) = logits.get(place) else { return false };
    let before = |&(id, logit): &(usize, &f32)| *logit > own || *logit == own && id < place;
    logits.iter().enumerate().filter(before).take(RANKS).count() < RANKS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model that wants to go on thinking, told by what it would say next: the end of reasoning
    /// is token 4, behind three, two or no others.
    #[test]
    fn reasoning_ends_softly_where_it_is_about_to_and_hard_before_it_is_too_late() {
        let behind = |others: usize| {
            let mut logits = [0.0; 8];
            logits[4] = 1.0;
            logits[5..5 + others.min(3)].fill(2.0);
            logits
        };
        let budget = Budget { tokens_max: 100, soft: 20, hard: 10 };
        let end = TokenId(4);
        let cases = [
            (21, 0, None),
            (20, 0, Some(Close::Soft)),
            (20, 2, Some(Close::Soft)),
            (20, 3, None),
            (11, 3, None),
            (10, 3, Some(Close::Hard)),
            (1, 3, Some(Close::Hard)),
        ];
        for (left, others, expected) in cases {
            assert_eq!(budget.close(left, &behind(others), end), expected, "{left} {others}");
        }
        assert_eq!(budget.close(15, &[0.0; 8], end), None, "ties go to the lowest id");
        assert_eq!(budget.close(15, &[0.0; 8], TokenId(2)), Some(Close::Soft));
        assert_eq!(budget.close(15, &[0.0; 8], TokenId(9)), None, "no such token");
        let off = Budget { soft: 0, hard: 0, ..budget };
        assert_eq!(off.close(1, &behind(0), end), None);
    }

    #[test]
    fn small_budgets_leave_a_part_for_the_answer() {
        assert_eq!(Budget::new(16_000), Budget { tokens_max: 16_000, soft: 1024, hard: 512 });
        assert_eq!(Budget::new(400), Budget { tokens_max: 400, soft: 100, hard: 50 });
    }
}
