//! Counting: how many answers are right, and how far that is from what it would be in the long run.
//!
//! A share of right answers comes with its 95 % Wilson interval: shares as far apart as its ends
//! would not surprise. An item that was asked several times counts once, with the share of its
//! right answers, since asking again is no new question; the interval is that of so many items,
//! which makes it rather too wide than too narrow.

use std::collections::BTreeMap;

use serde::Serialize;

use super::budget::Close;
use super::item::Item;
use super::report::{Answer, Finish};
use crate::stats;

/// An interval of shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The Wilson interval of a share that was found in `n` cases; everything if there are none.
pub fn wilson(share: f64, n: usize) -> Interval {
    let (low, high) = stats::wilson_of(share, n);
    Interval { low, high }
}

/// What a number of answers comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Items that were answered.
    pub items: usize,
    /// Answers; more than items if each was asked several times.
    pub answers: usize,
    /// Right ones.
    pub right: usize,
    /// Items that were right at least once.
    pub items_right_once: usize,
    /// Items that were right every time.
    pub items_right_always: usize,
    /// Answers from which no answer could be taken.
    pub unanswered: usize,
    /// The mean of the items' shares of right answers; `None` without items.
    pub accuracy: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Points reached: a right item counts its points, one that was right half the time half.
    pub points: f64,
    /// Points that could be reached.
    pub points_max: u32,
    /// Answers that were cut by the limit of tokens or by the context.
    pub cut: usize,
    /// Answers whose reasoning was ended where it was about to end.
    pub closed_soft: usize,
    /// Answers whose reasoning was ended where it was.
    pub closed_hard: usize,
    /// Tokens of prompts.
    pub prompt_tokens: usize,
    /// Tokens of answers, reasoning included.
    pub tokens: usize,
    /// Those of reasoning.
    pub reasoning_tokens: usize,
    /// Time from the beginning of each answer's prompt to its end, in all.
    pub seconds: f64,
}

impl Tally {
    /// Of all answers, each with its item.
    pub fn of<'a>(answers: impl IntoIterator<Item = (&'a Item, &'a Answer)>) -> Tally {
        let mut tally = Tally::default();
        let mut items: BTreeMap<&str, (u32, usize, usize)> = BTreeMap::new();
        for (item, answer) in answers {
            let counts = items.entry(&answer.id).or_insert((item.points, 0, 0));
            counts.1 += usize::from(answer.right);
            counts.2 += 1;
            tally.add(answer);
        }
        tally.items = items.len();
        let mut shares = 0.0;
        for (points, right, asked) in items.into_values() {
            let share = right as f64 / asked as f64;
            shares += share;
            tally.points += share * f64::from(points);
            tally.points_max = tally.points_max.saturating_add(points);
            tally.items_right_once += usize::from(right > 0);
            tally.items_right_always += usize::from(right == asked);
        }
        if tally.items > 0 {
            let share = shares / tally.items as f64;
            (tally.accuracy, tally.interval) = (Some(share), Some(wilson(share, tally.items)));
        }
        tally
    }

    fn add(&mut self, answer: &Answer) {
        self.answers += 1;
        self.right += usize::from(answer.right);
        self.unanswered += usize::from(answer.found.is_none());
        self.cut += usize::from(matches!(answer.finish, Finish::Length | Finish::Context));
        self.closed_soft += usize::from(answer.closed == Some(Close::Soft));
        self.closed_hard += usize::from(answer.closed == Some(Close::Hard));
        self.prompt_tokens += answer.prompt_tokens;
        self.tokens += answer.tokens;
        self.reasoning_tokens += answer.reasoning_tokens;
        self.seconds += answer.seconds;
    }
}

/// Answers by domain, and all together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Items that were to be answered, each so many times.
    pub wanted: usize,
    /// How often each was to be answered.
    pub repeat: usize,
    /// All answers.
    pub all: Tally,
    /// Those of each domain, in the order of the set.
    pub domains: Vec<Domain>,
}

/// Answers to items of one domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Domain {
    /// Which.
    pub domain: String,
    /// What they come to.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Summary {
    /// Of the answers to `items`; answers to other items do not count.
    pub fn new(items: &[Item], answers: &[Answer], repeat: usize) -> Summary {
        let by_id: BTreeMap<&str, &Item> =
            items.iter().map(|item| (item.id.as_str(), item)).collect();
        let known = |answer: &'_ &Answer| by_id.contains_key(answer.id.as_str());
        let answers: Vec<(&Item, &Answer)> =
            answers.iter().filter(known).map(|a| (by_id[a.id.as_str()], a)).collect();
        let mut domains: Vec<&str> = Vec::new();
        for item in items {
            if !domains.contains(&item.domain.as_str()) {
                domains.push(&item.domain);
            }
        }
        let of = |domain: &str| {
            let own = answers.iter().copied().filter(|(item, _)| item.domain == domain);
            Domain { domain: domain.to_owned(), tally: Tally::of(own) }
        };
        let domains = domains.into_iter().map(of).collect();
        let all = Tally::of(answers.iter().copied());
        Summary { wanted: items.len(), repeat, all, domains }
    }

    /// Whether every item has every answer.
    pub fn is_complete(&self) -> bool {
        self.all.answers == self.wanted * self.repeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wilson (1927), as tabulated by Newcombe (1998): 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    #[test]
    fn intervals_are_those_of_the_literature() {
        let cases = [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (right, n, low, high) in cases {
            let found = wilson(right as f64 / n as f64, n);
            assert!((found.low - low).abs() < 5e-5, "{right} of {n}: {found:?}");
            assert!((found.high - high).abs() < 5e-5, "{right} of {n}: {found:?}");
        }
        assert_eq!(wilson(0.0, 0), Interval { low: 0.0, high: 1.0 });
    }
}
