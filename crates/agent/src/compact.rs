//! Making room: a conversation that nears the end of the context is summed up.
//!
//! The model itself writes the summary, as an answer that nobody sees. Instructions, the summary
//! and the last turns word for word are the conversation from then on; what people see, and the
//! file, keep everything. It is done before a turn, or between a call and its result, when the
//! context is nearly full or what comes would not fit; a result that does not fit even then is cut,
//! and says so.

use spec::TokenId;
use text::{Block, Part, ToolResult};

use crate::event::{Cost, Past, TurnEnd};
use crate::format::Thinking;
use crate::talk::{Kind, Record};
use crate::turn::Loop;

/// Tokens of a summary at most.
const SUMMARY_TOKENS_MAX: usize = 4096;

/// Tokens of the last turns at most.
const TAIL_TOKENS_MAX: usize = 50_000;

/// So few tokens left are little in a large context.
const LEFT_TOKENS: usize = 8192;

/// Tokens that are left free behind results, for the answer to them.
const RESERVE_TOKENS: usize = 1024;

/// A summary in fewer tokens says nothing.
const SUMMARY_TOKENS_MIN: usize = 32;

/// Characters of the prompt under way that are repeated word for word.
const PROMPT_CHARS: usize = 4000;

/// Tokens of a context from which on a conversation is summed up: 85 % of it, or all but 8192, but
/// never less than three quarters.
pub(crate) fn soft_limit(context: usize) -> usize {
    let share = context - context * 15 / 100;
    share.min(context.saturating_sub(LEFT_TOKENS)).max(context - context / 4)
}

/// Tokens that are left free for the answer.
fn reserve(context: usize) -> usize {
    RESERVE_TOKENS.min(context / 8)
}

impl Loop {
    /// Makes room for `more` tokens, if that is needed and possible.
    pub fn make_room(&mut self, more: usize, cost: &mut Cost) -> Result<(), TurnEnd> {
        let held = self.talk.tokens().len();
        let (soft, hard) = (soft_limit(self.context), self.context - reserve(self.context));
        let full = held >= soft || held + more > hard;
        if full && held > self.talk.shared() { self.compact(cost) } else { Ok(()) }
    }

    /// Takes the results of calls into the conversation, cut to what there is room for.
    pub fn take_results(&mut self, blocks: Vec<Block>, cost: &mut Cost) -> Result<(), TurnEnd> {
        let failed = |error: crate::Error| TurnEnd::Failed(error.to_string());
        let asking = |agent: &Loop, blocks| agent.format.asking(None, blocks, agent.thinking);
        let mut ids = asking(self, blocks.clone()).map_err(failed)?;
        self.make_room(ids.len(), cost)?;
        let room = self.context.saturating_sub(self.talk.tokens().len() + reserve(self.context));
        if ids.len() > room {
            let results = blocks.iter().filter(|block| matches!(block, Block::ToolResult(_)));
            let each = room / results.count().max(1);
            let cut = blocks.into_iter().map(|block| self.cut_block(block, each)).collect();
            ids = asking(self, cut).map_err(failed)?;
        }
        if ids.len() + self.talk.tokens().len() >= self.context {
            return Err(TurnEnd::ContextFull);
        }
        self.add(Kind::Results, &ids);
        Ok(())
    }

    fn cut_block(&self, block: Block, tokens_max: usize) -> Block {
        let Block::ToolResult(ToolResult { call_id, parts }) = block else { return block };
        let cut = |part| match part {
            Part::Text(text) => Part::Text(self.cut(&text, tokens_max)),
            other => other,
        };
        Block::ToolResult(ToolResult { call_id, parts: parts.into_iter().map(cut).collect() })
    }

    /// The beginning of a result that is too long, and how to see the rest of it.
    fn cut(&self, text: &str, tokens_max: usize) -> String {
        /// Tokens of what is said about the cut, and of the tags around a result.
        const AROUND: usize = 96;
        let ids = self.format.tokenizer.encode_text(text);
        let kept = tokens_max.saturating_sub(AROUND);
        if ids.len() <= kept {
            return text.to_owned();
        }
        let bytes = self.format.tokenizer.decode(&ids[..kept]);
        let beginning = String::from_utf8_lossy(&bytes);
        let beginning = beginning.trim_end_matches('\u{fffd}');
        format!(
            "{beginning}\n[cut here: the first {} of {} bytes, {} lines; the context has no room \
             for more. Ask for a smaller part to see the rest.]",
            beginning.len(),
            text.len(),
            beginning.lines().count()
        )
    }

    /// Sums the conversation up.
    pub fn compact(&mut self, cost: &mut Cost) -> Result<(), TurnEnd> {
        let failed = |error: crate::Error| TurnEnd::Failed(error.to_string());
        let held = self.talk.tokens().len();
        self.notice("summing up the conversation, to make room");
        let summary = self.summary(cost)?;
        let tail = self.tail();
        let mut about = match &summary {
            Some(summary) => format!("{SUMMED_UP}\n\n{summary}"),
            None => LEFT_OUT.to_owned(),
        };
        if !tail.iter().any(|(kind, _)| *kind == Kind::Prompt)
            && let Some(prompt) = self.last_prompt()
        {
            about += &format!("\n\nThe request that is being worked on:\n{prompt}");
        }
        let reminder = self.settings.reminder.clone();
        let blocks = vec![Block::Text(about)];
        let mut ids = self.format.asking(reminder.as_deref(), blocks, Thinking::Off);
        if let Ok(ids) = &mut ids {
            ids.extend(self.format.answer(GOING_ON).map_err(failed)?);
        }
        let ids = ids.map_err(failed)?;
        let system = self.talk.tokens()[..self.talk.shared()].to_vec();
        self.note(Record::Restarted);
        self.add(Kind::System, &system);
        self.add(Kind::Summary, &ids);
        for (kind, ids) in tail {
            self.add(kind, &ids);
        }
        let now = self.talk.tokens().len();
        self.compactions += 1;
        let line = format!("summed up: {held} tokens became {now}; nothing is lost in /history");
        self.note(Record::Past(Past::Notice(line.clone())));
        if let Some(summary) = summary {
            self.note(Record::Past(Past::Notice(format!("summary: {summary}"))));
        }
        self.notice(line);
        Ok(())
    }

    /// What the model says about the conversation; `None` if there is no room for that.
    fn summary(&mut self, cost: &mut Cost) -> Result<Option<String>, TurnEnd> {
        let blocks = vec![Block::Text(SUM_UP.to_owned())];
        let failed = |error: crate::Error| TurnEnd::Failed(error.to_string());
        let asking = self.format.asking(None, blocks, Thinking::Off).map_err(failed)?;
        let mut prompt = self.talk.tokens().to_vec();
        prompt.extend(asking);
        let most = self.context.saturating_sub(prompt.len() + 1);
        // It has to leave room for the conversation that goes on.
        let most = most.min(SUMMARY_TOKENS_MAX).min(self.context / 8);
        if most < SUMMARY_TOKENS_MIN {
            return Ok(None);
        }
        self.ask_aside(prompt, most, cost)
    }

    /// The last turns, word for word.
    fn tail(&self) -> Vec<(Kind, Vec<TokenId>)> {
        let mut tail = self.talk.tail((self.context / 10).min(TAIL_TOKENS_MAX));
        let last = self.talk.last_exchange();
        let tokens: usize = last.iter().map(|(_, at)| at.len()).sum();
        if tail.is_empty() && tokens <= self.context / 4 {
            tail = last;
        }
        let ids = |at: std::ops::Range<usize>| self.talk.tokens()[at].to_vec();
        tail.into_iter().map(|(kind, at)| (kind, ids(at))).collect()
    }

    fn last_prompt(&self) -> Option<String> {
        let mut past = self.talk.past().iter().rev();
        past.find_map(|past| match past {
            Past::Prompt(text) => Some(text.chars().take(PROMPT_CHARS).collect()),
            _ => None,
        })
    }
}

const SUM_UP: &str = "The conversation gets too long and will go on from a summary. Write that \
    summary now, as plain text, without calling tools: what was asked, what was done and found \
    (files, commands, decisions, by their exact names), what is still to be done.";

const SUMMED_UP: &str = "What was said so far, summed up:";

const LEFT_OUT: &str = "The beginning of this conversation is left out, since it was too long.";

const GOING_ON: &str = "I go on from there.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_by_context() {
        // 85 %; all but 8192; not less than three quarters.
        let cases = [(1_000_000, 850_000), (100_000, 85_000), (40_000, 31_808), (4096, 3072)];
        for (context, expected) in cases {
            assert_eq!(soft_limit(context), expected, "{context}");
        }
    }
}
