//! Noticing that a model goes round in circles.
//!
//! The same call with the same result is worth a word when it comes for the third time in a turn:
//! first to the model, and if that does not help, to the person. What changes something makes other
//! calls worth repeating, so a change starts the count of all calls but its own again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// What a call says about the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It goes on.
    Fine,
    /// The model is told.
    TellModel,
    /// It was told, and repeats itself all the same.
    TellPerson,
}

/// Times that a call may give the same result.
const SAME_MAX: usize = 3;

/// The calls of a turn.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    hasher: RandomState,
    seen: HashMap<u64, usize>,
}

impl Repeats {
    /// Takes note of a call and its result; `changed` says that it has changed something.
    pub fn note(&mut self, name: &str, arguments: &str, result: &str, changed: bool) -> Repeat {
        let key = self.hasher.hash_one((name, arguments, result));
        if changed {
            self.seen.retain(|of, _| *of == key);
        }
        let times = self.seen.entry(key).or_default();
        *times += 1;
        match *times {
            ..SAME_MAX => Repeat::Fine,
            SAME_MAX => Repeat::TellModel,
            _ => Repeat::TellPerson,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_time_is_told_to_the_model_and_the_fourth_to_the_person() {
        use Repeat::{Fine, TellModel, TellPerson};
        let mut repeats = Repeats::default();
        let mut read = |result: &str| repeats.note("read", "{}", result, false);
        assert_eq!([read("a"), read("a"), read("b")], [Fine; 3]);
        assert_eq!([read("a"), read("a")], [TellModel, TellPerson]);
        assert_eq!(read("b"), Fine);
    }

    #[test]
    fn a_change_makes_other_calls_new_but_not_itself() {
        let mut repeats = Repeats::default();
        for expected in [Repeat::Fine, Repeat::Fine, Repeat::TellModel, Repeat::TellPerson] {
            assert_eq!(repeats.note("bash", "test", "fails", false), Repeat::Fine);
            assert_eq!(repeats.note("edit", "same", "done", true), expected);
        }
    }
}
