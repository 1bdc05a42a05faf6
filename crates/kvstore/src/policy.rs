//! When saving is worth it: pure rules over token counts.
//!
//! The cost of a checkpoint is its tail, which is written whole however few tokens are new; for the
//! published model that is as much as the rows of thousands of tokens. Its gain is the tokens that
//! need not be fed again. Who holds the session asks here and then submits, or does not.

use crate::entry::Reason;

/// The rules' numbers, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Nothing shorter is saved.
    pub min: usize,
    /// The longest first prompt of which a checkpoint is made that others may share.
    pub cold_max: usize,
    /// Where no boundary is known, a first prompt is cut back by so many, since its end is the part
    /// that will differ,
    pub trim: usize,
    /// and then down to a multiple of this.
    pub align: usize,
    /// On the way through a long prompt there is a checkpoint at every multiple of this.
    pub continued: usize,
    /// A turn's end is saved if so many tokens came since the last checkpoint.
    pub turn: usize,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { min: 512, cold_max: 30_000, trim: 32, align: 2048, continued: 10_240, turn: 1024 }
    }
}

/// A place in a prompt at which to save before going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// So many tokens have been fed then.
    pub tokens: usize,
    /// Why.
    pub reason: Reason,
}

impl Policy {
    /// Where to stop and save while a prompt of `prompt` tokens is fed, of which the session has
    /// `held` already. `boundary` is where what conversations share ends, if the caller knows it:
    /// instructions and tools, up to the first question.
    pub fn stops(&self, held: usize, prompt: usize, boundary: Option<usize>) -> Vec<Stop> {
        let cold = self.cold(prompt, boundary).filter(|&cold| cold > held);
        let mut stops: Vec<Stop> =
            cold.map(|tokens| Stop { tokens, reason: Reason::Cold }).into_iter().collect();
        let step = self.continued.max(1);
        let mut at = if self.continued == 0 { prompt } else { (held / step + 1) * step };
        while at < prompt {
            // Two checkpoints side by side are worth one.
            if cold.is_none_or(|cold| cold.abs_diff(at) >= self.min) {
                stops.push(Stop { tokens: at, reason: Reason::Continued });
            }
            at += step;
        }
        stops.sort_by_key(|stop| stop.tokens);
        stops
    }

    fn cold(&self, prompt: usize, boundary: Option<usize>) -> Option<usize> {
        let known = boundary.filter(|&at| at >= self.min && at <= prompt);
        let cut = prompt.saturating_sub(self.trim) / self.align.max(1) * self.align.max(1);
        let cold = known.unwrap_or(cut);
        (cold >= self.min && cold <= self.cold_max).then_some(cold)
    }

    /// Whether a session of `tokens` tokens, of which `saved` are in its last checkpoint, is saved
    /// for this reason.
    pub fn wants(&self, reason: Reason, tokens: usize, saved: usize) -> bool {
        let new = tokens.saturating_sub(saved);
        let enough = match reason {
            Reason::Cold | Reason::Continued => new > 0,
            Reason::TurnEnd => new >= self.turn.max(1),
            // The last chance: whatever would take a while to compute again.
            Reason::Evict | Reason::Shutdown => new >= self.trim.max(1),
        };
        enough && tokens >= self.min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(held: usize, prompt: usize, boundary: Option<usize>) -> Vec<(usize, Reason)> {
        let stops = Policy::default().stops(held, prompt, boundary);
        stops.into_iter().map(|stop| (stop.tokens, stop.reason)).collect()
    }

    #[test]
    fn a_prompt_is_saved_where_others_will_begin_the_same() {
        use Reason::{Cold, Continued};
        let cases = [
            ("too short", 0, 500, None, vec![]),
            ("no boundary: cut back and aligned", 0, 5000, None, vec![(4096, Cold)]),
            ("nothing is left of it", 0, 2050, None, vec![]),
            ("a boundary", 0, 5000, Some(3001), vec![(3001, Cold)]),
            ("a boundary at the end", 0, 3001, Some(3001), vec![(3001, Cold)]),
            ("a boundary too early", 0, 5000, Some(100), vec![(4096, Cold)]),
            ("a boundary beyond the prompt", 0, 5000, Some(5001), vec![(4096, Cold)]),
            ("saved already", 4096, 5000, None, vec![]),
            (
                "a long way",
                0,
                35_000,
                Some(3001),
                vec![(3001, Cold), (10_240, Continued), (20_480, Continued), (30_720, Continued)],
            ),
            (
                "from the middle",
                12_000,
                31_000,
                Some(3001),
                vec![(20_480, Continued), (30_720, Continued)],
            ),
            ("side by side", 0, 21_000, Some(10_300), vec![(10_300, Cold), (20_480, Continued)]),
            (
                "too long to be shared",
                0,
                40_000,
                None,
                vec![(10_240, Continued), (20_480, Continued), (30_720, Continued)],
            ),
        ];
        for (name, held, prompt, boundary, expected) in cases {
            assert_eq!(stops(held, prompt, boundary), expected, "{name}");
        }
    }

    #[test]
    fn zero_switches_waypoints_off() {
        let policy = Policy { continued: 0, ..Policy::default() };
        assert_eq!(policy.stops(0, 100_000, None), []);
    }

    #[test]
    fn a_turn_is_saved_when_enough_is_new() {
        let policy = Policy::default();
        let cases = [
            (Reason::TurnEnd, 400, 0, false),
            (Reason::TurnEnd, 2000, 0, true),
            (Reason::TurnEnd, 2000, 1500, false),
            (Reason::TurnEnd, 2524, 1500, true),
            (Reason::Evict, 1550, 1500, true),
            (Reason::Shutdown, 1510, 1500, false),
            (Reason::Shutdown, 1500, 1500, false),
            (Reason::Evict, 511, 0, false),
        ];
        for (reason, tokens, saved, expected) in cases {
            assert_eq!(policy.wants(reason, tokens, saved), expected, "{reason} {tokens} {saved}");
        }
    }
}
