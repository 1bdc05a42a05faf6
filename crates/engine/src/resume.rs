//! What to do with a session's state when a prompt arrives: a pure function, tested as a table.
//!
//! Raw rows and frontiers of the past are gone, so a session can only go on from where it is; a
//! prompt that departs from it starts over.

use spec::TokenId;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The state is the prompt's.
    Keep,
    /// The state holds the prompt's first `from` tokens: feed the rest.
    Extend {
        /// Tokens that need no work.
        from: usize,
    },
    /// The state holds something else: forget it and feed the whole prompt.
    Restart,
}

/// The plan for a session that holds `live` when `prompt` is asked for.
pub fn plan(live: &[TokenId], prompt: &[TokenId]) -> Plan {
    match prompt.strip_prefix(live) {
        Some([]) => Plan::Keep,
        Some(_) => Plan::Extend { from: live.len() },
        None => Plan::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};
    use spec::TokenId;

    #[test]
    fn table() {
        let cases: [(&[u32], &[u32], Plan); 6] = [
            (&[], &[1, 2], Plan::Extend { from: 0 }),
            (&[1, 2], &[1, 2], Plan::Keep),
            (&[1], &[1, 2, 3], Plan::Extend { from: 1 }),
            (&[1, 2, 3], &[1, 2], Plan::Restart),
            (&[1, 9], &[1, 2], Plan::Restart),
            (&[9], &[1, 2], Plan::Restart),
        ];
        for (live, prompt, expected) in cases {
            let ids = |ids: &[u32]| ids.iter().map(|&id| TokenId(id)).collect::<Vec<_>>();
            assert_eq!(plan(&ids(live), &ids(prompt)), expected, "{live:?} {prompt:?}");
        }
    }
}
