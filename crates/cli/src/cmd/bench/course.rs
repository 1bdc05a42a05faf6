//! What is timed, and how.
//!
//! One list of random tokens serves everything: the token at a position is the same whether a
//! prompt or a decoding step brings it there. Each figure is measured several times after one time
//! that does not count, in which pages are mapped and caches filled. What a figure means is told by
//! the command's help; this room knows no formats and prints nothing.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use backend::Reserved;
use engine::{Engine, Flow, Session};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use spec::TokenId;

use super::report::{Decode, Percentiles, Prefill, Profile, Spread};
use crate::interrupt;
use crate::meant::Bench;
use crate::progress::Progress;

/// A model under measurement.
pub struct Course<'a> {
    engine: Engine,
    /// One per position.
    ids: Vec<TokenId>,
    decode: usize,
    repeat: usize,
    progress: &'a Progress,
}

/// Tokens that are written while kernels are timed.
const PROFILE_TOKENS: usize = 8;

/// Where the tokens of the next session begin in the list, from those of one.
const SESSION_STRIDE: usize = 997;

/// Tokens of the longest session, with the one that a prompt must leave room for.
pub fn context(meant: &Bench) -> usize {
    let room = if meant.profile { PROFILE_TOKENS } else { 1 };
    let prompts = meant.prompts.iter().map(|tokens| tokens.saturating_add(room));
    let decoded = meant.decode.saturating_mul(meant.repeat + 1);
    let contexts = meant.contexts.iter().map(|context| context.saturating_add(decoded));
    // A context is read as a prompt is.
    let read = meant.contexts.iter().map(|context| context.saturating_add(room));
    prompts.chain(contexts).chain(read).max().unwrap_or(1)
}

/// Tokens that will be fed in all.
pub fn tokens(meant: &Bench) -> usize {
    let times = meant.repeat + 1;
    let prompts: usize = meant.prompts.iter().map(|tokens| tokens * times).sum();
    let contexts: usize = meant.contexts.iter().map(|context| context + meant.decode * times).sum();
    prompts + contexts * meant.sessions.iter().sum::<usize>()
}

impl<'a> Course<'a> {
    /// Draws the tokens.
    pub fn new(engine: Engine, meant: &Bench, progress: &'a Progress) -> Course<'a> {
        let ids = random_ids(&engine, meant.seed, engine.options().context);
        Course { engine, ids, decode: meant.decode, repeat: meant.repeat, progress }
    }

    /// Reads the first `tokens` tokens into empty sessions. `None`: Ctrl+C.
    pub fn prefill(&mut self, tokens: usize) -> Result<Option<Prefill>> {
        let mut times = Vec::new();
        let mut hashes = Vec::new();
        for _ in 0..=self.repeat {
            let mut session = self.engine.open_session()?;
            let start = Instant::now();
            let complete = self.read(&mut session, tokens)?;
            times.push(start.elapsed());
            hashes.push(hash(session.logits()));
            if !complete {
                return Ok(None);
            }
        }
        let counted = &times[1..];
        let rates: Vec<f64> = counted.iter().map(|&time| rate(tokens, time)).collect();
        Ok(Some(Prefill {
            tokens,
            tokens_per_second: Spread::of(rates.iter().copied()),
            tokens_per_second_each: rates,
            first_token_seconds: Spread::of(counted.iter().map(Duration::as_secs_f64)),
            repeatable: hashes.iter().all(|hash| *hash == hashes[0]),
            logits_hash: hashes.swap_remove(0),
        }))
    }

    /// Feeds tokens one by one after `context` others, to some sessions together, each of which has
    /// tokens of its own. `None`: Ctrl+C.
    pub fn decode(&mut self, context: usize, sessions: usize) -> Result<Option<Decode>> {
        let Some(mut open) = self.sessions(sessions, context)? else { return Ok(None) };
        let (mut rates, mut steps) = (Vec::new(), Vec::new());
        let mut logits_hash = String::new();
        for time in 0..=self.repeat {
            let first = context + time * self.decode;
            let start = Instant::now();
            for position in first..first + self.decode {
                let step = Instant::now();
                self.write(&mut open, position)?;
                if time > 0 {
                    steps.push(step.elapsed().as_secs_f64());
                }
                self.progress.add(sessions as u64);
                if interrupt::requested() {
                    return Ok(None);
                }
            }
            let took = start.elapsed();
            if time == 0 {
                logits_hash = hash(open[0].logits());
            } else {
                rates.push(rate(self.decode * sessions, took));
            }
        }
        Ok(Some(Decode {
            sessions,
            context,
            tokens: self.decode,
            tokens_per_second: Spread::of(rates.iter().copied()),
            tokens_per_second_each: rates,
            step_seconds: Percentiles::of(steps),
            share_of_bound: None,
            logits_hash,
        }))
    }

    /// Bytes that are held for all that.
    pub fn reserved(&self) -> Reserved {
        self.engine.reserved()
    }

    /// Tokens of one session of several: the list, from another place on for each.
    fn ids_of(&self, session: usize, positions: Range<usize>) -> Vec<TokenId> {
        let first = session * SESSION_STRIDE;
        positions.map(|position| self.ids[(first + position) % self.ids.len()]).collect()
    }

    /// What every kernel takes while a prompt is read (the longest that was measured), and then
    /// while tokens are written behind it. `None`: Ctrl+C.
    pub fn profile(&mut self, meant: &Bench) -> Result<Option<Profile>> {
        let prompt = meant.prompts.iter().chain(&meant.contexts).max().copied().unwrap_or(0).max(1);
        let mut session = self.engine.open_session()?;
        self.engine.profile();
        if !self.read(&mut session, prompt)? {
            return Ok(None);
        }
        let reading = self.engine.profile();
        for position in prompt..prompt + PROFILE_TOKENS {
            self.engine.step(&mut session, self.ids[position])?;
        }
        let writing = self.engine.profile();
        let writing_what = format!("writing {PROFILE_TOKENS} tokens behind it");
        let mut all =
            vec![("reading the longest prompt".to_owned(), reading), (writing_what, writing)];
        drop(session);
        let sessions = meant.sessions.iter().copied().max().unwrap_or(1);
        if let (true, Some(&context)) = (sessions > 1, meant.contexts.first()) {
            let Some(mut open) = self.sessions(sessions, context)? else { return Ok(None) };
            self.engine.profile();
            for position in context..context + PROFILE_TOKENS {
                self.write(&mut open, position)?;
            }
            let what = format!("writing {PROFILE_TOKENS} tokens in {sessions} sessions together");
            all.push((what, self.engine.profile()));
        }
        Ok(Some(all))
    }

    /// So many sessions with a context, each of tokens of its own. `None`: Ctrl+C.
    fn sessions(&mut self, count: usize, context: usize) -> Result<Option<Vec<Session>>> {
        let mut open = Vec::new();
        for number in 0..count {
            let mut session = self.engine.open_session()?;
            let first = self.ids_of(number, 0..context);
            if context > 0 && !self.feed(&mut session, &first)? {
                return Ok(None);
            }
            open.push(session);
        }
        Ok(Some(open))
    }

    /// Writes the token at a position in every session.
    fn write(&mut self, sessions: &mut [Session], position: usize) -> Result<()> {
        let next = |number| self.ids_of(number, position..position + 1)[0];
        let mut steps: Vec<_> =
            sessions.iter_mut().enumerate().map(|(i, session)| (session, next(i))).collect();
        Ok(self.engine.step_each(&mut steps)?)
    }

    /// Reads the first `tokens` tokens; `false` if Ctrl+C ended it early.
    fn read(&mut self, session: &mut Session, tokens: usize) -> Result<bool> {
        let ids = self.ids_of(0, 0..tokens);
        self.feed(session, &ids)
    }

    fn feed(&mut self, session: &mut Session, ids: &[TokenId]) -> Result<bool> {
        let mut before = 0;
        let synced = self.engine.sync(session, ids, &mut |at| {
            self.progress.add((at.done - before) as u64);
            before = at.done;
            if interrupt::requested() { Flow::Stop } else { Flow::Continue }
        })?;
        Ok(synced.complete)
    }
}

/// Tokens of plain text; all tokens, where the file does not say what they stand for.
fn random_ids(engine: &Engine, seed: u64, count: usize) -> Vec<TokenId> {
    let all = (0..engine.shape().vocab as u32).map(TokenId);
    let plain: Vec<TokenId> = match engine.tokenizer() {
        Ok(tokenizer) => all.filter(|&id| !tokenizer.token_kind(id).is_added()).collect(),
        Err(_) => all.collect(),
    };
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    // A vocabulary of nothing but special tokens cannot encode text, so no tokenizer has it.
    (0..count).map(|_| plain[random.random_range(0..plain.len() as u32) as usize]).collect()
}

fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(1e-9)
}

/// 64-bit FNV-1a of the bytes, little endian.
fn hash(logits: &[f32]) -> String {
    let bytes = logits.iter().flat_map(|logit| logit.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meant::Compute;
    use crate::open::Model;
    use crate::typed::Device;

    fn meant(prompts: &[usize], contexts: &[usize], decode: usize, repeat: usize) -> Bench {
        Bench {
            model: Model::BuiltIn,
            synthetic: None,
            profile: false,
            prompts: prompts.to_vec(),
            contexts: contexts.to_vec(),
            decode,
            sessions: vec![1],
            repeat,
            seed: 0,
            compute: Compute { device: Device::Cpu, threads: None },
            steer: None,
            csv: None,
            plot: None,
            json: false,
        }
    }

    #[test]
    fn sessions_are_as_long_as_they_must_be() {
        let cases = [
            (meant(&[512], &[], 0, 5), 513, 6 * 512),
            (meant(&[512], &[0], 32, 5), 513, 6 * 512 + 6 * 32),
            (meant(&[], &[0, 2048], 32, 5), 2048 + 192, 2048 + 2 * 192),
            (meant(&[7, 9], &[100], 1, 1), 102, 2 * 16 + 102),
        ];
        for (meant, context, tokens) in cases {
            assert_eq!(super::context(&meant), context, "{meant:?}");
            assert_eq!(super::tokens(&meant), tokens, "{meant:?}");
        }
        assert_eq!(super::context(&meant(&[], &[usize::MAX], 2, 1)), usize::MAX);
    }

    /// A test vector of the hash's authors: "chongo was here!" and a newline. Its first 16 bytes
    /// are four floats.
    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hash(&[]), "cbf29ce484222325");
        let floats = [*b"chon", *b"go w", *b"as h", *b"ere!"].map(f32::from_le_bytes);
        let before = u64::from_str_radix(&hash(&floats), 16).unwrap();
        let hash = (before ^ u64::from(b'\n')).wrapping_mul(0x0000_0100_0000_01b3);
        assert_eq!(hash, 0x4681_0940_eff5_f915);
    }
}
