//! Prompts that begin alike and come at the same time: a pure choice, tested as a table.
//!
//! Whoever wants several answers to one question, or starts several helpers with the same
//! instructions, sends prompts that share nearly everything before the first of them is read. Each
//! of them could compute the shared beginning. Instead the later ones wait for the first, which
//! keeps its state where they depart, and go on from there.

use spec::TokenId;

/// A prompt that is being read, for the same steering.
pub struct Reading<'a> {
    /// Whose it is.
    pub task: u64,
    /// What the session holds.
    pub held: &'a [TokenId],
    /// What will be fed.
    pub rest: &'a [TokenId],
}

/// To wait until a task's session has so many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Whose session.
    pub task: u64,
    /// How many.
    pub until: usize,
}

/// Waiting must save so many tokens; fewer are computed sooner than a state is kept and gone back
/// to.
pub const FOLLOW_TOKENS_MIN: usize = 64;

/// Whom a prompt should follow: of those who have yet to compute a part of its beginning, the one
/// that will have most of it.
pub fn leader<'a>(
    prompt: &[TokenId],
    reading: impl IntoIterator<Item = Reading<'a>>,
) -> Option<Follow> {
    let ahead = reading.into_iter().filter_map(|Reading { task, held, rest }| {
        let to_come = prompt.strip_prefix(held)?.iter().zip(rest);
        let common = to_come.take_while(|(a, b)| a == b).count();
        (common > 0).then_some(Follow { task, until: held.len() + common })
    });
    // Of equal ones the first, which is nearest to it.
    ahead.reduce(|best, other| if other.until > best.until { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<TokenId> {
        text.bytes().map(|byte| TokenId(byte.into())).collect()
    }

    #[test]
    fn who_is_followed() {
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<(u64, usize)>);
        let cases: [Row; 9] = [
            ("nobody reads", "abcdef", &[], None),
            ("the same prompt", "abcdef", &[("", "abcdef")], Some((0, 6))),
            ("the same, half read", "abcdef", &[("abc", "def")], Some((0, 6))),
            ("another ending", "abcxyz", &[("a", "bcdef")], Some((0, 3))),
            ("departed before", "abxyz", &[("abc", "def")], None),
            ("departs just there", "abcxyz", &[("abc", "def")], None),
            ("nothing in common", "xyz", &[("", "abc")], None),
            ("a longer one", "abc", &[("", "abcdef")], Some((0, 3))),
            (
                "the longest, of equal ones the first",
                "abcdef",
                &[("", "abx"), ("a", "bcde"), ("", "abcde")],
                Some((1, 5)),
            ),
        ];
        for (what, prompt, reading, expected) in cases {
            let texts: Vec<_> = reading.iter().map(|(held, rest)| (ids(held), ids(rest))).collect();
            let numbered = (0..).zip(&texts);
            let reading = numbered.map(|(task, (held, rest))| Reading { task, held, rest });
            let expected = expected.map(|(task, until)| Follow { task, until });
            assert_eq!(leader(&ids(prompt), reading), expected, "{what}");
        }
    }
}
