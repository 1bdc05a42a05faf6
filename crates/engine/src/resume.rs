//! Where to go on from when a prompt arrives: a pure function, tested as a table.
//!
//! Raw windows and frontiers of the past are gone, so one can go on from a live state, or from
//! states that were kept: anchors in memory, checkpoints on disk. A state fits if its tokens begin
//! the prompt, or if what they spell does: a client sends text back, and its tokens may differ from
//! those the model wrote. Then the state's own tokens stay, and only the rest of the prompt is cut
//! into tokens. Whoever gathers the states may err: what does not fit is never chosen.

use spec::TokenId;

use crate::tree::AnchorId;

/// What is asked for.
pub struct Asked<'a> {
    /// The prompt.
    pub tokens: &'a [TokenId],
    /// What it spells; empty if there is no text to compare.
    pub spelling: &'a [u8],
    /// Tokens that a session holds at most. A state may hide what the prompt does not show, and
    /// then leave less room than the prompt needs.
    pub most: usize,
    /// Cuts the rest of a spelling into tokens.
    pub read: &'a dyn Fn(&[u8]) -> Option<Vec<TokenId>>,
}

/// A state that could be gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<Id> {
    /// Which one.
    pub id: Id,
    /// How many tokens it holds.
    pub len: usize,
    /// Those tokens; empty if only their text is known.
    pub tokens: Vec<TokenId>,
    /// What they spell; empty if text is not to be compared.
    pub spelling: Vec<u8>,
    /// Whether the logits after them are there.
    pub ready: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The session's state is the prompt's.
    Keep,
    /// The session holds the prompt's first `from` tokens: feed the rest.
    Extend {
        /// Tokens that need no work.
        from: usize,
    },
    /// The session went through an anchor before it departed from the prompt: back to there.
    Rewind {
        /// Tokens that need no work.
        from: usize,
        /// Where they are kept.
        anchor: AnchorId,
    },
    /// Another conversation has an anchor on the way: share its pages.
    Fork {
        /// Tokens that need no work.
        from: usize,
        /// Where they are kept.
        anchor: AnchorId,
    },
    /// A checkpoint on disk knows more than memory.
    Load {
        /// Tokens that need no work.
        from: usize,
        /// Its place in the list that was given.
        checkpoint: usize,
    },
    /// Nobody knows anything: feed the whole prompt.
    Cold,
}

/// A plan with the tokens that it leaves to feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where to go on from.
    pub plan: Plan,
    /// What to feed then.
    pub feed: Vec<TokenId>,
}

/// Reading a checkpoint takes time as well: it must save at least so many tokens.
const LOAD_TOKENS_MIN: usize = 64;

impl Plan {
    /// Tokens that need no work. [`Plan::Keep`] needs no work at all, and does not say how much.
    pub fn kept(&self) -> usize {
        match *self {
            Plan::Keep | Plan::Cold => 0,
            Plan::Extend { from }
            | Plan::Rewind { from, .. }
            | Plan::Fork { from, .. }
            | Plan::Load { from, .. } => from,
        }
    }
}

/// Chooses the state that leaves the least to feed; of equal ones the session's own, then memory.
pub fn plan(
    asked: &Asked,
    live: &State<()>,
    anchors: &[State<AnchorId>],
    checkpoints: &[State<usize>],
) -> Resume {
    let cold = Resume { plan: Plan::Cold, feed: asked.tokens.to_vec() };
    let mut best = match rest(asked, live) {
        Some(feed) if live.tokens.is_empty() => Resume { plan: Plan::Extend { from: 0 }, feed },
        Some(feed) if feed.is_empty() => Resume { plan: Plan::Keep, feed },
        Some(feed) => Resume { plan: Plan::Extend { from: live.tokens.len() }, feed },
        None => cold,
    };
    let pairs = live.tokens.iter().zip(asked.tokens);
    let common = pairs.take_while(|(a, b)| a == b).count();
    for state in anchors {
        let (from, anchor) = (state.len, state.id);
        match rest(asked, state) {
            Some(feed) if feed.len() < best.feed.len() => {
                let own = from <= common && from > 0;
                let (rewind, fork) = (Plan::Rewind { from, anchor }, Plan::Fork { from, anchor });
                best = Resume { plan: if own { rewind } else { fork }, feed };
            }
            _ => {}
        }
    }
    for state in checkpoints {
        let (from, checkpoint) = (state.len, state.id);
        match rest(asked, state) {
            Some(feed) if feed.len() + LOAD_TOKENS_MIN <= best.feed.len() => {
                best = Resume { plan: Plan::Load { from, checkpoint }, feed };
            }
            _ => {}
        }
    }
    best
}

/// What is left to feed after `state`; `None` if it does not fit.
fn rest<Id>(asked: &Asked, state: &State<Id>) -> Option<Vec<TokenId>> {
    let known = state.tokens.len() == state.len;
    let rest = match asked.tokens.strip_prefix(state.tokens.as_slice()).filter(|_| known) {
        Some(rest) => rest.to_vec(),
        None if state.spelling.is_empty() => return None,
        None => (asked.read)(asked.spelling.strip_prefix(state.spelling.as_slice())?)?,
    };
    let fits = state.len + rest.len() <= asked.most;
    (fits && (state.ready || !rest.is_empty())).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<TokenId> {
        ids.iter().map(|&id| TokenId(id)).collect()
    }

    /// Letters spell themselves: token 97 is `a`. Tokens from 1000 on spell two letters.
    fn spelling(tokens: &[TokenId]) -> Vec<u8> {
        let letters = |token: &TokenId| match token.0 {
            pair @ 1000.. => vec![(pair / 1000) as u8 + 96, (pair % 1000) as u8],
            letter => vec![letter as u8],
        };
        tokens.iter().flat_map(letters).collect()
    }

    fn state<Id>(id: Id, text: &[u32], ready: bool) -> State<Id> {
        let tokens = ids(text);
        State { id, len: tokens.len(), spelling: spelling(&tokens), tokens, ready }
    }

    fn planned(
        prompt: &[u32],
        live: &[u32],
        anchors: &[(&[u32], bool)],
        disk: &[&[u32]],
    ) -> (Plan, Vec<u32>) {
        let tokens = ids(prompt);
        let read = |bytes: &[u8]| {
            (!bytes.contains(&b'!')).then(|| bytes.iter().map(|&b| TokenId(b.into())).collect())
        };
        let (spelling, read) = (&spelling(&tokens), &read);
        let asked = Asked { tokens: &tokens, spelling, most: MOST, read };
        let anchors: Vec<_> = (0..)
            .zip(anchors)
            .map(|(i, (text, ready))| state(AnchorId::numbered(i), text, *ready))
            .collect();
        // A checkpoint's tokens are not known before it is loaded, only that it fits.
        let stored = |(i, text)| State { tokens: Vec::new(), ..state(i, text, true) };
        let disk: Vec<_> = (0..).zip(disk.iter().copied()).map(stored).collect();
        let Resume { plan, feed } = plan(&asked, &state((), live, true), &anchors, &disk);
        (plan, feed.iter().map(|id| id.0).collect())
    }

    /// Tokens of a session in these tests.
    const MOST: usize = 400;

    /// `a` and `b` as one token.
    const AB: u32 = 1098;
    const A: u32 = 97;
    const B: u32 = 98;
    const C: u32 = 99;

    #[test]
    fn one_session_alone() {
        type Row<'a> = (&'a [u32], &'a [u32], Plan, &'a [u32]);
        let cases: [Row; 9] = [
            (&[], &[A, B], Plan::Extend { from: 0 }, &[A, B]),
            (&[A, B], &[A, B], Plan::Keep, &[]),
            (&[A], &[A, B, C], Plan::Extend { from: 1 }, &[B, C]),
            (&[A, B, C], &[A, B], Plan::Cold, &[A, B]),
            (&[A, C], &[A, B], Plan::Cold, &[A, B]),
            // The same text in other tokens: the state's stay, the rest is cut anew.
            (&[AB], &[A, B, C], Plan::Extend { from: 1 }, &[C]),
            (&[A, B], &[AB], Plan::Keep, &[]),
            (&[A, B, C], &[AB, C, AB], Plan::Extend { from: 3 }, &[A, B]),
            // A rest that cannot be cut is not guessed.
            (&[AB], &[A, B, 33], Plan::Cold, &[A, B, 33]),
        ];
        for (live, prompt, expected, feed) in cases {
            let want = (expected, feed.to_vec());
            assert_eq!(planned(prompt, live, &[], &[]), want, "{live:?} {prompt:?}");
        }
    }

    #[test]
    fn among_others() {
        let anchor = AnchorId::numbered(0);
        let long: Vec<u32> = (0..200).map(|i| A + i % 20).collect();
        let long = long.as_slice();
        type Row<'a> =
            (&'a str, &'a [u32], &'a [u32], &'a [(&'a [u32], bool)], &'a [&'a [u32]], Plan);
        let cases: [Row; 12] = [
            ("fork", &[A, B, C], &[], &[(&[A, B], false)], &[], Plan::Fork { from: 2, anchor }),
            ("rewind", &[A, B], &[A, C], &[(&[A], false)], &[], Plan::Rewind { from: 1, anchor }),
            (
                "departed before",
                &[A, B],
                &[C],
                &[(&[A], false)],
                &[],
                Plan::Fork { from: 1, anchor },
            ),
            (
                "own is as good",
                &[A, B, C],
                &[A, B],
                &[(&[A, B], true)],
                &[],
                Plan::Extend { from: 2 },
            ),
            (
                "other knows more",
                &[A, B, C],
                &[A],
                &[(&[A, B], true)],
                &[],
                Plan::Fork { from: 2, anchor },
            ),
            ("at its end", &[A, B], &[], &[(&[A, B], true)], &[], Plan::Fork { from: 2, anchor }),
            ("no logits there", &[A, B], &[], &[(&[A, B], false)], &[], Plan::Extend { from: 0 }),
            ("by text", &[A, B, C], &[], &[(&[AB], false)], &[], Plan::Fork { from: 1, anchor }),
            ("does not fit", &[A, B], &[], &[(&[C], true)], &[], Plan::Extend { from: 0 }),
            ("loaded", long, &[A], &[], &[&long[..150]], Plan::Load { from: 150, checkpoint: 0 }),
            ("not worth it", long, &[], &[], &[&long[..63]], Plan::Extend { from: 0 }),
            (
                "memory is near enough",
                long,
                &[],
                &[(&long[..100], false)],
                &[&long[..163]],
                Plan::Fork { from: 100, anchor },
            ),
        ];
        for (what, prompt, live, anchors, disk, expected) in cases {
            let (plan, feed) = planned(prompt, live, anchors, disk);
            assert_eq!(plan, expected, "{what}");
            let kept = plan.kept();
            if what != "by text" {
                assert_eq!(feed, &prompt[kept..], "{what}");
            }
        }
    }
    /// A state with hidden tokens is gone on from only if the rest has room behind it.
    #[test]
    fn hidden_tokens_need_room() {
        let prompt = ids(&[A, B, C]);
        let read = |bytes: &[u8]| Some(bytes.iter().map(|&b| TokenId(b.into())).collect());
        let asked = |most| Asked { tokens: &prompt, spelling: b"abc", most, read: &read };
        // Ten tokens that stand for `ab`.
        let hidden =
            State { len: 10, tokens: ids(&[B; 10]), ..state(AnchorId::numbered(0), &[], true) };
        let hidden = [State { spelling: b"ab".to_vec(), ..hidden }];
        let live = || state((), &[], false);
        let Resume { plan: found, feed } = plan(&asked(11), &live(), &hidden, &[]);
        assert_eq!(found, Plan::Fork { from: 10, anchor: hidden[0].id });
        assert_eq!(feed, ids(&[C]));
        let Resume { plan: found, feed } = plan(&asked(10), &live(), &hidden, &[]);
        assert_eq!((found, feed), (Plan::Extend { from: 0 }, prompt.clone()));
    }
}
