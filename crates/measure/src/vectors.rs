//! Recorded answers of the published model: for each token of a greedy answer, the most probable
//! tokens and their log-probabilities, as the official API gave them.
//!
//! The format is that of the ds4 project's test vectors, a text file of lines:
//!
//! ```text
//! # a comment
//! case ID CONTEXT STEPS PROMPT-FILE
//! step INDEX CHOSEN COUNT
//! top TOKEN LOGPROB          COUNT times, most probable first
//! end
//! ```
//!
//! Tokens are the bytes they stand for, in hexadecimal, since the API tells no ids. The prompt is
//! one user turn without instructions, and the answer begins without reasoning.

use std::collections::HashMap;
use std::io::BufRead;

use engine::{Engine, Flow};
use spec::TokenId;
use text::Tokenizer;

use crate::Error;
use crate::lines::{Line, Lines};
use crate::score::Tokens;
use crate::softmax::Row;
use crate::stats::Mean;

/// Bounds of a file: cases, steps of a case, tokens of a step.
const CASES_MAX: usize = 10_000;
const STEPS_MAX: usize = 100_000;
const TOP_MAX: usize = 1000;

/// Bytes of the longest token that is read.
const TOKEN_BYTES_MAX: usize = 4096;

/// A prompt and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// Where the prompt is, as the file names it.
    pub prompt_file: String,
    /// The answer, at least one token.
    pub steps: Vec<Step>,
}

/// One token of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The bytes that it stands for.
    pub chosen: Vec<u8>,
    /// The most probable tokens and their log-probabilities.
    pub top: Vec<(Vec<u8>, f64)>,
}

/// Reads all cases.
///
/// # Errors
/// With the file and line: a word that is not expected there, a number or hexadecimal bytes that
/// are none, a count that is not kept, or the end of the file inside a case.
pub fn read_cases<R: BufRead>(lines: &mut Lines<R>) -> Result<Vec<Case>, Error> {
    let mut cases: Vec<Case> = Vec::new();
    let mut open: Option<Open> = None;
    while let Some(line) = lines.next()? {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        // White space that is not of ASCII is no blank line to the reader of lines.
        let Some(word) = words.first().filter(|word| !word.starts_with('#')) else { continue };
        let refuse = |problem: String| line.refuse(problem);
        open = match (open, *word) {
            (None, "case") if cases.len() == CASES_MAX => {
                return Err(refuse(format!("more than {CASES_MAX} cases")));
            }
            (None, "case") => Some(begin(&line).map_err(refuse)?),
            (None, _) => return Err(refuse(expected("case", word))),
            (Some(case), _) => match case.go_on(&words).map_err(refuse)? {
                Ended::Yes(case) => {
                    cases.push(case);
                    None
                }
                Ended::No(case) => Some(case),
            },
        };
    }
    match open {
        None => Ok(cases),
        Some(open) => Err(lines.refuse_end(format!("case {:?} has no end", open.case.id))),
    }
}

fn expected(expected: &str, found: &str) -> String {
    format!("expected {expected}, found {found:?}")
}

/// A case of which more is to come.
struct Open {
    case: Case,
    steps: usize,
    /// Tokens of the last step that are still to come.
    missing: usize,
}

enum Ended {
    Yes(Case),
    No(Open),
}

/// The name of a prompt's file may have spaces.
fn begin(line: &Line<'_>) -> Result<Open, String> {
    let form = || "expected: case ID CONTEXT STEPS PROMPT-FILE".to_owned();
    let mut rest = line.text.trim().strip_prefix("case").ok_or_else(form)?.trim_start();
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace)?;
        rest = after.trim_start();
        Some(word)
    };
    let (id, _context, steps) = (|| Some((word()?, word()?, word()?)))().ok_or_else(form)?;
    let steps = number(steps, 1, STEPS_MAX)?;
    if rest.is_empty() {
        return Err(form());
    }
    let case = Case { id: id.to_owned(), prompt_file: rest.to_owned(), steps: Vec::new() };
    Ok(Open { case, steps, missing: 0 })
}

impl Open {
    fn go_on(mut self, words: &[&str]) -> Result<Ended, String> {
        match *words {
            ["top", token, probability] if self.missing > 0 => {
                let finite = |value: &f64| value.is_finite() && *value <= 0.0;
                let value: Option<f64> = probability.parse().ok().filter(finite);
                let value = value.ok_or_else(|| expected("a log-probability", probability))?;
                let last = self.case.steps.last_mut().expect("a step that misses tokens");
                last.top.push((bytes(token)?, value));
                self.missing -= 1;
            }
            [word, ..] if self.missing > 0 => return Err(expected("top TOKEN LOGPROB", word)),
            ["step", index, chosen, count] if self.case.steps.len() < self.steps => {
                let place = self.case.steps.len();
                number(index, place, place)?;
                self.missing = number(count, 0, TOP_MAX)?;
                self.case.steps.push(Step { chosen: bytes(chosen)?, top: Vec::new() });
            }
            [word, ..] if self.case.steps.len() < self.steps => {
                return Err(expected("step INDEX CHOSEN COUNT", word));
            }
            ["end"] => return Ok(Ended::Yes(self.case)),
            _ => return Err(expected("end", words[0])),
        }
        Ok(Ended::No(self))
    }
}

fn number(word: &str, least: usize, most: usize) -> Result<usize, String> {
    let value = word.parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| match least == most {
        true => expected(&least.to_string(), word),
        false => expected(&format!("a number from {least} to {most}"), word),
    })
}

fn bytes(word: &str) -> Result<Vec<u8>, String> {
    let wrong = || expected("bytes in hexadecimal", word);
    let (pairs, rest) = word.as_bytes().as_chunks();
    if pairs.is_empty() || !rest.is_empty() || pairs.len() > TOKEN_BYTES_MAX {
        return Err(wrong());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? * 16 + digit(*low)?) as u8);
    pairs.iter().map(byte).collect::<Option<_>>().ok_or_else(wrong)
}

/// Which token stands for some bytes; of several, the lowest.
#[derive(Debug)]
pub struct ByBytes<'a>(HashMap<&'a [u8], TokenId>);

impl<'a> ByBytes<'a> {
    /// Of a vocabulary.
    pub fn new(tokenizer: &'a Tokenizer) -> ByBytes<'a> {
        let ids = (0..tokenizer.len() as u32).rev().map(TokenId);
        ByBytes(ids.map(|id| (tokenizer.token_bytes(id), id)).collect())
    }

    /// The token.
    pub fn find(&self, bytes: &[u8]) -> Option<TokenId> {
        self.0.get(bytes).copied()
    }
}

impl Case {
    /// The prompt with the answer behind it, but for its last token.
    ///
    /// # Errors
    /// A chosen token that the vocabulary lacks.
    pub fn tokens(&self, prompt: Vec<TokenId>, ids: &ByBytes<'_>) -> Result<Tokens, Error> {
        let first = prompt.len();
        let mut all = prompt;
        for (step, chosen) in self.steps.iter().map(|step| &step.chosen).enumerate() {
            let unknown = || Error::UnknownToken {
                case: self.id.clone(),
                step,
                token: String::from_utf8_lossy(chosen).into_owned(),
            };
            all.push(ids.find(chosen).ok_or_else(unknown)?);
        }
        Ok(Tokens { all, first })
    }
}

/// How one step of the model compares with what was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The token that was chosen.
    pub chosen: TokenId,
    /// The most probable one here.
    pub top: TokenId,
    /// Negative log-likelihood of the chosen one, in nats.
    pub nll: f64,
    /// Recorded tokens, and those of them that are among as many most probable ones here.
    pub recorded: usize,
    /// See `recorded`.
    pub shared: usize,
    /// Log-probability here minus the recorded one, of all recorded tokens that the vocabulary has.
    pub differences: Vec<f64>,
}

impl Compared {
    fn new(row: &Row<'_>, chosen: TokenId, step: &Step, ids: &ByBytes<'_>) -> Compared {
        let known = step.top.iter().filter_map(|(bytes, value)| Some((ids.find(bytes)?, *value)));
        let known: Vec<(TokenId, f64)> = known.collect();
        let own = row.tops(step.top.len());
        Compared {
            chosen,
            top: row.top(),
            nll: -row.log_probability(chosen),
            recorded: step.top.len(),
            shared: known.iter().filter(|(token, _)| own.contains(token)).count(),
            differences: known.iter().map(|(id, then)| row.log_probability(*id) - then).collect(),
        }
    }

    /// Mean of the absolute differences.
    pub fn mean_difference(&self) -> f64 {
        Mean::of(self.differences.iter().map(|difference| difference.abs())).mean()
    }

    /// The largest absolute difference.
    pub fn max_difference(&self) -> f64 {
        self.differences.iter().fold(0.0, |max, difference| max.max(difference.abs()))
    }
}

/// Asks the model for every step of a case, along the recorded answer; `None` if `fed` stopped it.
///
/// The engine must have been opened with `all_logits` and room for the tokens.
///
/// # Errors
/// The engine's.
pub fn compare(
    engine: &mut Engine,
    case: &Case,
    tokens: &Tokens,
    ids: &ByBytes<'_>,
    fed: &mut dyn FnMut(usize) -> Flow,
) -> Result<Option<Vec<Compared>>, Error> {
    let Tokens { all, first } = tokens;
    let vocab = engine.shape().vocab;
    let mut compared: Vec<Compared> = Vec::new();
    let (mut before, mut flow) = (0, Flow::Continue);
    engine.logits_of_last(all.len() - first, &all[..all.len() - 1], &mut |done, logits| {
        for row in logits.chunks_exact(vocab) {
            let place = compared.len();
            let (chosen, step) = (all[first + place], &case.steps[place]);
            compared.push(Compared::new(&Row::new(row), chosen, step, ids));
        }
        flow = fed(done - before);
        before = done;
        flow
    })?;
    Ok((flow == Flow::Continue).then_some(compared))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SAMPLE: &str = "\
# made up
case one 4096 2 prompts/a b.txt
step 0 4869 2
top 4869 -0.25
top 20 -2.5
step 1 21 0
end

case two 64 1 c.txt
step 0 c3A9 1
top c3a9 -0
end
";

    fn read(text: &str) -> Result<Vec<Case>, String> {
        let mut lines = Lines::new(Path::new("a.vec"), text.as_bytes());
        read_cases(&mut lines).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sample() {
        let cases = read(SAMPLE).expect("two cases");
        assert_eq!(cases.len(), 2);
        assert_eq!(
            (cases[0].id.as_str(), cases[0].prompt_file.as_str()),
            ("one", "prompts/a b.txt")
        );
        let top = vec![(b"Hi".to_vec(), -0.25), (b" ".to_vec(), -2.5)];
        assert_eq!(cases[0].steps[0], Step { chosen: b"Hi".to_vec(), top });
        assert_eq!(cases[1].steps[0].chosen, "é".as_bytes());
    }

    #[test]
    fn damage_is_named_by_its_line() {
        let cases = [
            ("case one 4096 2 prompts", "step 0 48 0", "line 2", "expected case, found \"step\""),
            ("4096 2", "4096 0", "line 2", "a number from 1 to"),
            ("4869 2", "4869 3", "line 6", "expected top TOKEN LOGPROB, found \"step\""),
            ("4869 2", "4869 1", "line 5", "expected step INDEX CHOSEN COUNT, found \"top\""),
            ("step 1", "step 2", "line 6", "expected 1, found \"2\""),
            ("top 20", "top 2x", "line 5", "bytes in hexadecimal, found \"2x\""),
            ("top 20", "top 200", "line 5", "bytes in hexadecimal"),
            ("-2.5", "2.5", "line 5", "a log-probability, found \"2.5\""),
            ("-2.5", "NaN", "line 5", "a log-probability"),
            ("end\n\n", "\n\n", "line 9", "expected end, found \"case\""),
            ("c3a9 -0\nend\n", "c3a9 -0\n", "line 12", "case \"two\" has no end"),
        ];
        for (from, to, line, piece) in cases {
            assert!(SAMPLE.contains(from), "{from}");
            let error = read(&SAMPLE.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(line) && error.contains(piece), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn messages_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("official.vec");
        let read = |path: &Path| read_cases(&mut Lines::open(path)?);
        let missing = read(&path).unwrap_err().to_string();
        assert!(missing.contains("official.vec: could not be read"), "{missing}");
        std::fs::write(&path, SAMPLE).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        std::fs::write(&path, b"case \xff").unwrap();
        let damaged = read(&path).unwrap_err().to_string();
        assert!(damaged.contains("official.vec, line 1 (byte 0): not UTF-8"), "{damaged}");
    }

    proptest::proptest! {
        /// Any change of a sample is read or refused.
        #[test]
        fn any_change_is_read(
            at in 0usize..SAMPLE.len(),
            with in "[ -~\n]{0,6}",
            cut in 0usize..9,
        ) {
            let end = (at + cut).min(SAMPLE.len());
            let _ = read(&[&SAMPLE[..at], &with, &SAMPLE[end..]].concat());
        }
    }
}
