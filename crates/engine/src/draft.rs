//! Guessing what comes next, for nothing: prompt lookup.
//!
//! Answers repeat their context: file names, code, quoted text. The last tokens are looked for
//! earlier in the conversation, and what followed there is guessed to follow here. The model then
//! verifies all guesses in one step. A wrong guess costs a place in the step, so the drafter keeps
//! account of its own yield, and is silent for a while when it does not pay.

use std::collections::HashMap;

use spec::TokenId;

/// Tokens that must agree before the ones after them are believed.
const KEY: usize = 3;

/// Guesses over which the yield is taken.
const WINDOW: usize = 32;

/// Answer tokens without a guess, once guesses did not pay.
const SILENCE: usize = 64;

/// Guesses from the conversation's own past.
#[derive(Debug, Default)]
pub struct Drafter {
    /// Where the tokens after a key were last seen.
    places: HashMap<[TokenId; KEY], usize>,
    /// How many tokens of the conversation are in `places`.
    indexed: usize,
    drafted: usize,
    accepted: usize,
    silent: usize,
    /// The length of the next guess.
    len: usize,
}

impl Drafter {
    /// Guesses up to `most` tokens that follow `tokens`.
    pub fn draft(&mut self, tokens: &[TokenId], most: usize) -> Vec<TokenId> {
        let Some((_, key)) = tokens.split_last_chunk::<KEY>() else { return Vec::new() };
        if most == 0 {
            return Vec::new();
        }
        // Every key that has a successor, and not the last one, which would find itself.
        for end in self.indexed.max(KEY)..tokens.len() {
            let (_, key) = tokens[..end].split_last_chunk::<KEY>().expect("end is past a key");
            self.places.insert(*key, end);
        }
        self.indexed = tokens.len();
        if self.silent > 0 {
            self.silent -= 1;
            return Vec::new();
        }
        let Some(&place) = self.places.get(key) else { return Vec::new() };
        let len = self.len.clamp(1, most);
        tokens[place..].iter().take(len).copied().collect()
    }

    /// Takes note of how many of `drafted` tokens were right: good guesses become longer, bad ones
    /// shorter, and none are made for a while when fewer than half are right.
    pub fn learn(&mut self, drafted: usize, accepted: usize) {
        if drafted == 0 {
            return;
        }
        self.len = if accepted == drafted { 2 * drafted } else { 1 + accepted };
        self.drafted += drafted;
        self.accepted += accepted;
        if self.drafted >= WINDOW {
            if 2 * self.accepted < self.drafted {
                self.silent = SILENCE;
            }
            (self.drafted, self.accepted) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<TokenId> {
        text.bytes().map(|byte| TokenId(byte.into())).collect()
    }

    #[test]
    fn what_followed_before() {
        let cases = [
            ("the cat. the", 4, " "),
            ("the cat. the ", 4, "c"),
            ("abc", 4, ""),
            ("abcabc", 4, "a"),
            ("aaaaaa", 4, "a"),
            ("abc1abc2abc", 4, "2"),
            ("", 4, ""),
            ("abcabc", 0, ""),
        ];
        for (text, most, expected) in cases {
            let drafted = Drafter::default().draft(&ids(text), most);
            assert_eq!(drafted, ids(expected), "{text:?}");
        }
    }

    #[test]
    fn the_yield_decides() {
        let text = ids("the quick brown fox. the ");
        let mut drafter = Drafter::default();
        let lens = [1, 2, 4, 5].map(|len| {
            let drafted = drafter.draft(&text, 5);
            assert_eq!(drafted.len(), len);
            drafter.learn(len, len);
            drafted.len()
        });
        assert_eq!(lens.iter().sum::<usize>(), 12);
        drafter.learn(5, 1);
        assert_eq!(drafter.draft(&text, 5).len(), 2, "one was right, so two are guessed");
        // 32 guesses, 13 of them right: silent for 64 tokens.
        drafter.learn(15, 0);
        for _ in 0..SILENCE {
            assert_eq!(drafter.draft(&text, 5), []);
        }
        assert_eq!(drafter.draft(&text, 5).len(), 1);
    }
}
