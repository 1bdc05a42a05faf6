//! What a turn costs, with the sizes of DeepSeek V4 Flash.
//!
//! The state is modelled byte by byte where it matters: which bytes of a tail change from turn to
//! turn and which stay, by the layout of slot pages (rings of 128 raw rows in 43 layers, frontiers
//! of 128 positions in 20 layers and of 8 in 21). Values are noise that follows from the position.

use std::sync::Arc;

use kvstore::{Entry, Fingerprint, PageKey, PageSource, Policy, Reason, Saved, Settings, Store};

use crate::disk::Sim;
use crate::talk::bytes;

const PAGE_TOKENS: usize = 128;
/// 21 layers of 32 rows of 583 and of 68 bytes, 20 layers of one row of 583.
const PAGE_BYTES: usize = 449_132;
const VOCAB: usize = 129_280;

/// A ring of a slot page: `positions` entries of `bytes` each; the one of position p is at p mod
/// `positions`. Of a window of `live` positions only those since its last multiple count.
struct Ring {
    count: usize,
    positions: usize,
    bytes: usize,
    live: Option<usize>,
}

const RINGS: [Ring; 6] = [
    // Raw rows: codes, scales, rotary channels, each its own section.
    Ring { count: 43, positions: 128, bytes: 448, live: None },
    Ring { count: 43, positions: 128, bytes: 7, live: None },
    Ring { count: 43, positions: 128, bytes: 128, live: None },
    // Frontiers: values and gates as floats.
    Ring { count: 20, positions: 128, bytes: 2 * 512 * 4, live: Some(128) },
    Ring { count: 21, positions: 8, bytes: 2 * 1024 * 4, live: None },
    Ring { count: 21, positions: 8, bytes: 2 * 256 * 4, live: None },
];

/// A conversation that only grows.
struct Talk {
    name: &'static str,
    known: Vec<PageKey>,
}

impl Talk {
    fn tail(&self, tokens: usize) -> Vec<u8> {
        let mut tail = Vec::with_capacity(16 << 20);
        for (kind, ring) in RINGS.iter().enumerate() {
            for layer in 0..ring.count {
                let start = tail.len();
                tail.resize(start + ring.positions * ring.bytes, 0);
                let first = ring.live.map_or(0, |window| tokens / window * window);
                for position in first.max(tokens.saturating_sub(ring.positions))..tokens {
                    let name = format!("{} {kind} {layer} {position}", self.name);
                    let at = start + position % ring.positions * ring.bytes;
                    tail[at..at + ring.bytes].copy_from_slice(&bytes(&name, ring.bytes));
                }
            }
        }
        // The unfinished row page.
        let unfinished = tokens % PAGE_TOKENS * PAGE_BYTES / PAGE_TOKENS;
        tail.extend(bytes(&format!("{} rows {tokens}", self.name), unfinished));
        tail
    }

    fn entry(&self, tokens: usize, reason: Reason) -> Entry {
        let new = |page| PageSource::New(bytes(&format!("{} page {page}", self.name), PAGE_BYTES));
        let known = self.known.iter().map(|key| PageSource::Known(*key));
        let pages = known.chain((self.known.len()..tokens / PAGE_TOKENS).map(new)).collect();
        let logits = bytes(&format!("logits {tokens}"), 4 * VOCAB);
        Entry {
            tokens: (0..tokens as u32).collect(),
            also: Vec::new(),
            variant: String::new(),
            text: bytes(self.name, 4 * tokens),
            pages,
            tail: self.tail(tokens),
            logits: logits.chunks(4).map(|b| f32::from(b[0])).collect(),
            notes: Vec::new(),
            reason,
        }
    }

    fn save(&mut self, store: &Store, tokens: usize, reason: Reason) -> Saved {
        let saved = store.save(&self.entry(tokens, reason)).unwrap();
        self.known.clone_from(&saved.pages);
        saved
    }
}

fn store() -> (Store, Talk) {
    let settings = Settings {
        dir: "kv".into(),
        budget: u64::MAX,
        model: Fingerprint([1; 32]),
        recipe: "flash".to_owned(),
        page_bytes: PAGE_BYTES,
    };
    let store = Store::open_on(Arc::new(Sim::new()), settings).unwrap();
    (store, Talk { name: "talk", known: Vec::new() })
}

/// Bytes of a whole state, every part of it written out.
fn full_state(talk: &Talk, tokens: usize) -> u64 {
    let pages = (tokens / PAGE_TOKENS * PAGE_BYTES) as u64;
    let rest = talk.tail(tokens).len() + 4 * VOCAB + 4 * tokens + 4 * tokens;
    pages + rest as u64
}

const PREFIX: usize = 16 << 10;
const TURNS: usize = 10;
const TURN_TOKENS: usize = 200;

#[test]
fn ten_turns_and_their_prefix_cost_less_than_1_3_states() {
    let (store, mut talk) = store();
    let policy = Policy::default();
    let mut written = talk.save(&store, PREFIX, Reason::Cold).bytes_written;
    let (mut held, mut tokens, mut saves) = (PREFIX, PREFIX, 1);
    for turn in 1..=TURNS {
        tokens += TURN_TOKENS;
        let reason = if turn < TURNS { Reason::TurnEnd } else { Reason::Shutdown };
        if policy.wants(reason, tokens, held) {
            written += talk.save(&store, tokens, reason).bytes_written;
            (held, saves) = (tokens, saves + 1);
        }
    }
    assert_eq!(held, tokens, "the end is saved");
    let ratio = written as f64 / full_state(&talk, tokens) as f64;
    println!("{saves} checkpoints, {written} bytes: {ratio:.2} states");
    assert!(ratio < 1.3, "{ratio}");
}

#[test]
fn a_save_after_a_turn_costs_the_new_rows_and_the_tail() {
    let (store, mut talk) = store();
    let first = talk.save(&store, PREFIX, Reason::Cold).bytes_written;
    let mut written = 0;
    for turn in 1..=TURNS {
        let tokens = PREFIX + turn * TURN_TOKENS;
        let saved = talk.save(&store, tokens, Reason::TurnEnd);
        written += saved.bytes_written;
        let new_pages = (tokens / PAGE_TOKENS - (tokens - TURN_TOKENS) / PAGE_TOKENS) * PAGE_BYTES;
        // What counts of a tail: everything but frontiers of windows that have just begun.
        let counts =
            talk.tail(tokens).chunks(16 << 10).filter(|b| b.iter().any(|&b| b != 0)).count();
        let most = new_pages + counts * (16 << 10) + 4 * VOCAB + 200_000;
        assert!(saved.bytes_written < most as u64, "turn {turn}: {} {most}", saved.bytes_written);
    }
    let full = full_state(&talk, PREFIX + TURNS * TURN_TOKENS) as f64;
    let (turns, all) = (written as f64 / full, (first + written) as f64 / full);
    println!("every turn saved: {turns:.2} states for ten turns, {all:.2} with the prefix");
    assert!(turns < 1.5, "{turns}");
}
