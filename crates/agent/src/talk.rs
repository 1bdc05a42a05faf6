//! A conversation: its exact tokens, and what people see of it.
//!
//! A conversation is the sum of its [`Record`]s, in the order in which they happened: the same
//! records, read from a file, give the same conversation again. Tokens come in *segments* (a
//! prompt, an answer, the results of calls), so that turns can be taken back and what is summed up
//! can be cut where a turn begins. Nothing here renders or writes.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use spec::TokenId;

use crate::event::Past;

/// What a segment of tokens is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Instructions and tools: what all conversations of a project begin with.
    System,
    /// What was said before, summed up.
    Summary,
    /// A prompt of the person.
    Prompt,
    /// Results of calls, or a note to the model.
    Results,
    /// What the model said.
    Answer,
}

/// Something that happened to a conversation. The names are those of the files, see
/// `docs/conversation-file.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A segment was added.
    Tokens {
        /// What it is.
        kind: Kind,
        /// Its tokens.
        ids: Vec<u32>,
    },
    /// A turn of this name begins; whoever keeps what it changes in files knows it by that name.
    Began(String),
    /// Something to show.
    Past(Past),
    /// A call has this result, and the model was not told yet: what comes next tells it.
    Owes(String),
    /// Results of calls that the model will be told with the next prompt: all of them.
    Owed(Vec<String>),
    /// The last turn was taken back.
    Undone,
    /// All tokens go, and others come: the conversation was summed up.
    Restarted,
    /// It has another name.
    Title(String),
    /// A turn is over: what lists of conversations show, so that they need not read all of it.
    Turn {
        /// Seconds since 1970.
        at: u64,
        /// Tokens of the conversation.
        tokens: usize,
        /// Its name.
        title: String,
        /// The branch of the working tree.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Talk {
    tokens: Vec<TokenId>,
    /// Where segments begin, ascending.
    segments: Vec<(Kind, usize)>,
    past: Vec<Past>,
    owed: Vec<String>,
    title: Option<String>,
    /// Names of all turns.
    names: Vec<String>,
}

/// Characters of a title that is made of a prompt.
const TITLE_CHARS: usize = 60;

impl Talk {
    /// Lets something happen to it.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Tokens { kind, ids } => {
                self.segments.push((*kind, self.tokens.len()));
                self.tokens.extend(ids.iter().map(|id| TokenId(*id)));
                if matches!(kind, Kind::Prompt | Kind::Results) {
                    self.owed.clear();
                }
            }
            Record::Past(past) => {
                if let (Past::Prompt(text), None) = (past, &self.title) {
                    self.title = Some(title_of(text));
                }
                self.past.push(past.clone());
            }
            Record::Began(name) => self.names.push(name.clone()),
            Record::Owes(result) => self.owed.push(result.clone()),
            Record::Owed(results) => self.owed.clone_from(results),
            Record::Undone => self.undo(),
            Record::Restarted => {
                self.tokens.clear();
                self.segments.clear();
            }
            Record::Title(title) => self.title = Some(title.clone()),
            Record::Turn { .. } => {}
        }
    }

    /// Records that make this conversation, for a file that begins with it.
    pub fn records(&self) -> Vec<Record> {
        let title = self.title.iter().map(|title| Record::Title(title.clone()));
        let past = self.past.iter().map(|past| Record::Past(past.clone()));
        let segments = self.segments_from(0).into_iter().map(|(kind, at)| {
            let ids = self.tokens[at].iter().map(|id| id.0).collect();
            Record::Tokens { kind, ids }
        });
        let owed = (!self.owed.is_empty()).then(|| Record::Owed(self.owed.clone()));
        let names = self.names.iter().map(|name| Record::Began(name.clone()));
        title.chain(names).chain(segments).chain(past).chain(owed).collect()
    }

    /// All of its tokens, as the model has read and written them.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// What people see.
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// Results that the model was not told yet.
    pub fn owed(&self) -> &[String] {
        &self.owed
    }

    /// Its name.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or("new conversation")
    }

    /// Tokens that all conversations of the project begin with.
    pub fn shared(&self) -> usize {
        match self.segments.as_slice() {
            [(Kind::System, 0), (_, next), ..] => *next,
            [(Kind::System, 0)] => self.tokens.len(),
            _ => 0,
        }
    }

    /// Whether the person has not said anything yet.
    pub fn is_fresh(&self) -> bool {
        self.segments.iter().all(|(kind, _)| *kind == Kind::System)
    }

    /// Whether the model was asked and has not answered: what a crash leaves.
    pub fn awaits_answer(&self) -> bool {
        matches!(self.segments.last(), Some((Kind::Prompt | Kind::Results, _)))
    }

    /// The tokens before the answer that is last, and those of the answer; if an answer is last.
    pub fn last_answer(&self) -> Option<(&[TokenId], &[TokenId])> {
        let (kind, start) = self.segments.last()?;
        (*kind == Kind::Answer).then(|| self.tokens.split_at(*start))
    }

    /// Turns of the person that are still there token by token.
    pub fn turns(&self) -> usize {
        self.segments.iter().filter(|(kind, _)| *kind == Kind::Prompt).count()
    }

    /// Whether the last turn can be taken back.
    pub fn can_undo(&self) -> bool {
        self.turns() > 0
    }

    /// The name of the last turn.
    pub fn last_turn(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    /// Segments from the first that begins an exchange (a prompt or results, and what follows) so
    /// that at most `tokens_max` tokens follow; if there is one that begins a whole turn, that one.
    pub fn tail(&self, tokens_max: usize) -> Vec<(Kind, Range<usize>)> {
        let fits = |(_, start): &&(Kind, usize)| self.tokens.len() - start <= tokens_max;
        let begins = |wanted: Kind| {
            let mut fitting = self.segments.iter().filter(fits);
            fitting.find(|(kind, _)| *kind == wanted).map(|(_, start)| *start)
        };
        match begins(Kind::Prompt).or_else(|| begins(Kind::Results)) {
            Some(start) => self.segments_from(start),
            None => Vec::new(),
        }
    }

    /// The last prompt or results, and what followed.
    pub fn last_exchange(&self) -> Vec<(Kind, Range<usize>)> {
        let mut kinds = self.segments.iter().rev();
        let last = kinds.find(|(kind, _)| matches!(kind, Kind::Prompt | Kind::Results));
        last.map_or(Vec::new(), |(_, start)| self.segments_from(*start))
    }

    fn segments_from(&self, start: usize) -> Vec<(Kind, Range<usize>)> {
        let first = self.segments.partition_point(|(_, at)| *at < start);
        let ends = self.segments.iter().skip(first + 1).map(|(_, at)| *at);
        let ends = ends.chain([self.tokens.len()]);
        let segments = self.segments[first..].iter();
        segments.zip(ends).map(|((kind, at), end)| (*kind, *at..end)).collect()
    }

    fn undo(&mut self) {
        let Some(last) = self.segments.iter().rposition(|(kind, _)| *kind == Kind::Prompt) else {
            return;
        };
        self.tokens.truncate(self.segments[last].1);
        self.segments.truncate(last);
        self.owed.clear();
        self.names.pop();
        let prompt = self.past.iter().rposition(|past| matches!(past, Past::Prompt(_)));
        self.past.truncate(prompt.unwrap_or(0));
    }
}

/// The first line of a prompt, cut to a handy length.
fn title_of(prompt: &str) -> String {
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("untitled");
    let mut title: String = line.chars().filter(|c| !c.is_control()).take(TITLE_CHARS).collect();
    if line.chars().count() > TITLE_CHARS {
        title.push_str("...");
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(segments: &[(Kind, u32)]) -> Talk {
        let mut talk = Talk::default();
        for &(kind, count) in segments {
            talk.apply(&Record::Tokens { kind, ids: (0..count).collect() });
            if kind == Kind::Prompt {
                talk.apply(&Record::Past(Past::Prompt(format!("prompt of {count}"))));
            }
        }
        talk
    }

    use Kind::{Answer, Prompt, Results, Summary, System};

    #[test]
    fn a_turn_is_taken_back_with_all_its_answers() {
        let whole = [(System, 5), (Prompt, 3), (Answer, 4), (Prompt, 2), (Answer, 1), (Results, 6)];
        let mut undone = talk(&whole);
        undone.apply(&Record::Undone);
        assert_eq!(undone, talk(&whole[..3]));
        undone.apply(&Record::Undone);
        assert_eq!(undone.tokens().len(), 5);
        assert!(undone.is_fresh() && !undone.can_undo());
        let again = undone.clone();
        undone.apply(&Record::Undone);
        assert_eq!(undone, again, "there is nothing left to take back");
    }

    #[test]
    fn the_tail_begins_with_a_turn_where_one_fits() {
        let whole = [(System, 5), (Prompt, 3), (Answer, 4), (Results, 2), (Answer, 1)];
        let talk = talk(&whole);
        let kinds = |most| talk.tail(most).into_iter().map(|(kind, at)| (kind, at.len())).collect();
        let cases: [(usize, Vec<(Kind, usize)>); 4] = [
            (2, vec![]),
            (3, vec![(Results, 2), (Answer, 1)]),
            (9, vec![(Results, 2), (Answer, 1)]),
            (10, vec![(Prompt, 3), (Answer, 4), (Results, 2), (Answer, 1)]),
        ];
        for (most, expected) in cases {
            let found: Vec<(Kind, usize)> = kinds(most);
            assert_eq!(found, expected, "{most}");
        }
        assert_eq!(talk.last_exchange().len(), 2);
        let mut again = Talk::default();
        talk.records().iter().for_each(|record| again.apply(record));
        assert_eq!(again, talk, "its records make it again");
        assert_eq!(talk.shared(), 5);
    }

    #[test]
    fn a_summary_takes_the_place_of_tokens_and_leaves_what_is_shown() {
        let mut talk = talk(&[(System, 5), (Prompt, 3), (Answer, 4)]);
        talk.apply(&Record::Restarted);
        talk.apply(&Record::Tokens { kind: System, ids: vec![1; 5] });
        talk.apply(&Record::Tokens { kind: Summary, ids: vec![2; 7] });
        assert_eq!((talk.tokens().len(), talk.shared(), talk.past().len()), (12, 5, 1));
        assert!(!talk.can_undo(), "its turns are summed up");
    }

    #[test]
    fn titles_are_first_lines() {
        assert_eq!(title_of("\n  fix the\u{1b}[31m bug\nplease"), "fix the[31m bug");
        assert_eq!(title_of(&"x".repeat(61)), format!("{}...", "x".repeat(60)));
        assert_eq!(title_of(" \n"), "untitled");
    }
}
