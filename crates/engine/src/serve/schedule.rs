//! Who takes how many tokens in the next step: a pure function, tested as a table.
//!
//! Answers come first: each takes its next token, then the tokens drafted behind it. Prompts share
//! what is left, and while somebody answers, that is a slice and no more: so nobody waits for more
//! than a slice of somebody else's prompt, however long it is. Prompts begin in turn, and each gets
//! an equal part, unless parts would become too small to be worth a step's cost.

/// What a task could take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The next token of an answer.
    Answer {
        /// Guessed tokens that could be verified with it.
        drafts: usize,
    },
    /// Tokens of a prompt.
    Prompt {
        /// How many could be fed at once.
        tokens: usize,
    },
    /// Nothing now.
    Rest,
}

/// What a step can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Tokens in all; at least one for every task.
    pub step_tokens: usize,
    /// Tokens of prompts beside answers.
    pub slice_tokens: usize,
}

/// Smaller parts of a prompt are not worth a step of their own.
const PART_TOKENS_MIN: usize = 32;

/// Tokens for each task, in the order of `demands`. `turn` counts steps.
pub fn schedule(demands: &[Demand], room: Room, turn: usize) -> Vec<usize> {
    let mut left = room.step_tokens;
    let mut given = vec![0; demands.len()];
    let answers = demands.iter().filter(|demand| matches!(demand, Demand::Answer { .. })).count();
    assert!(answers <= left, "{answers} answers in a step of {left} tokens");
    left -= answers;
    for (given, demand) in given.iter_mut().zip(demands) {
        if let Demand::Answer { drafts } = demand {
            let drafts = left.min(*drafts);
            *given = 1 + drafts;
            left -= drafts;
        }
    }
    if answers > 0 {
        left = left.min(room.slice_tokens);
    }
    let tokens = |demand: &Demand| match demand {
        Demand::Prompt { tokens } => *tokens,
        _ => 0,
    };
    let prompts: Vec<usize> = (0..demands.len()).filter(|i| tokens(&demands[*i]) > 0).collect();
    let Some(first) = turn.checked_rem(prompts.len()) else { return given };
    let part = (left / prompts.len()).max(PART_TOKENS_MIN);
    // Equal parts, and what short prompts did not need goes to those who come first.
    for most in [part, usize::MAX] {
        for i in prompts[first..].iter().chain(&prompts[..first]) {
            let more = (tokens(&demands[*i]) - given[*i]).min(most).min(left);
            given[*i] += more;
            left -= more;
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room { step_tokens: 512, slice_tokens: 128 };

    fn answer(drafts: usize) -> Demand {
        Demand::Answer { drafts }
    }

    fn prompt(tokens: usize) -> Demand {
        Demand::Prompt { tokens }
    }

    #[test]
    fn table() {
        use Demand::Rest;
        type Row<'a> = (&'a str, &'a [Demand], usize, &'a [usize]);
        let cases: [Row; 12] = [
            ("nobody", &[], 3, &[]),
            ("a prompt alone has the step", &[prompt(9000)], 0, &[512]),
            ("the end of a prompt", &[prompt(7)], 0, &[7]),
            ("answers", &[answer(0), answer(0)], 0, &[1, 1]),
            ("a prompt beside an answer has a slice", &[answer(0), prompt(9000)], 0, &[1, 128]),
            ("two share it", &[prompt(9000), answer(0), prompt(9000)], 0, &[64, 1, 64]),
            ("what one does not need", &[prompt(10), answer(0), prompt(90)], 0, &[10, 1, 90]),
            ("what one leaves", &[prompt(10), answer(0), prompt(9000)], 1, &[10, 1, 118]),
            ("parts are not too small", &[answer(0); 1], 0, &[1]),
            ("who rests", &[Rest, answer(2), Rest, prompt(500)], 5, &[0, 3, 0, 128]),
            ("drafts before prompts", &[answer(7), answer(7), prompt(5)], 0, &[8, 8, 5]),
            ("rest only", &[Rest, Rest], 1, &[0, 0]),
        ];
        for (what, demands, turn, expected) in cases {
            assert_eq!(schedule(demands, ROOM, turn), expected, "{what}");
        }
        // Five prompts beside an answer: four parts of 32, and the fifth comes first next time.
        let five = [answer(0), prompt(999), prompt(999), prompt(999), prompt(999), prompt(999)];
        assert_eq!(schedule(&five, ROOM, 0), [1, 32, 32, 32, 32, 0]);
        assert_eq!(schedule(&five, ROOM, 4), [1, 32, 32, 32, 0, 32]);
        let tight = Room { step_tokens: 3, slice_tokens: 128 };
        assert_eq!(schedule(&[answer(5), answer(5), prompt(9)], tight, 0), [2, 1, 0]);
    }

    fn demand() -> impl Strategy<Value = Demand> {
        prop_oneof![
            (0usize..8).prop_map(answer),
            (1usize..3000).prop_map(prompt),
            Just(Demand::Rest),
        ]
    }

    proptest! {
        /// Whoever answers is never left out, nobody gets more than it asked for, a step is never
        /// too large, and every prompt moves within as many steps as there are prompts.
        #[test]
        fn nobody_starves(
            demands in proptest::collection::vec(demand(), 1..20),
            turn in 0usize..99,
        ) {
            let room = Room { step_tokens: 256, slice_tokens: 64 };
            let mut moved = vec![0; demands.len()];
            for turn in turn..turn + demands.len() {
                let given = schedule(&demands, room, turn);
                prop_assert!(given.iter().sum::<usize>() <= room.step_tokens);
                let answers = demands.iter().any(|d| matches!(d, Demand::Answer { .. }));
                let mut prompts = 0;
                for (i, (given, demand)) in given.iter().zip(&demands).enumerate() {
                    moved[i] += given;
                    match demand {
                        Demand::Answer { drafts } => prop_assert!((1..=1 + drafts).contains(given)),
                        Demand::Prompt { tokens } => {
                            prop_assert!(given <= tokens);
                            prompts += given;
                        }
                        Demand::Rest => prop_assert_eq!(*given, 0),
                    }
                }
                prop_assert!(!answers || prompts <= room.slice_tokens);
            }
            for (moved, demand) in moved.iter().zip(&demands) {
                prop_assert!(*moved > 0 || *demand == Demand::Rest);
            }
        }
    }
}
