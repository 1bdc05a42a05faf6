//! The store against a map: any order of saves, loads, searches, removals, restarts and crashes.
//!
//! The map knows which checkpoints must be there; the store says which ones it had to evict. After
//! every step both agree on everything that can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvstore::{Entry, Error, Id, Store};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::disk::{Left, Sim};
use crate::talk::{entry, expected, known, settings, text};

#[derive(Clone, Debug)]
enum Act {
    /// Goes on from the n-th conversation (or from nothing) by these tokens, and saves.
    Save {
        from: usize,
        more: Vec<u32>,
        notes: u8,
        by_key: bool,
    },
    Load(usize),
    Remove(usize),
    Find {
        from: usize,
        more: Vec<u32>,
    },
    Restart,
    Crash(u64),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let more = prop::collection::vec(0u32..3, 0..7);
    let save = (0usize..40, more.clone(), 0u8..3, any::<bool>());
    let save = save.prop_map(|(from, more, notes, by_key)| Act::Save { from, more, notes, by_key });
    prop_oneof![
        6 => save,
        2 => (0usize..40).prop_map(Act::Load),
        1 => (0usize..40).prop_map(Act::Remove),
        2 => (0usize..40, more).prop_map(|(from, more)| Act::Find { from, more }),
        1 => Just(Act::Restart),
        1 => any::<u64>().prop_map(Act::Crash),
        1 => (0u64..100_000).prop_map(Act::Wait),
    ]
}

struct Twin {
    disk: Sim,
    store: Option<Store>,
    budget: u64,
    map: BTreeMap<Id, Entry>,
    /// All conversations that ever were, to go on from.
    talks: Vec<Vec<u32>>,
}

impl Twin {
    fn new(budget: u64) -> Twin {
        let mut twin = Twin {
            disk: Sim::new(),
            store: None,
            budget,
            map: BTreeMap::new(),
            talks: vec![vec![]],
        };
        twin.reopen();
        twin
    }

    fn reopen(&mut self) {
        self.store = None;
        let disk = Arc::new(self.disk.clone());
        self.store = Some(Store::open_on(disk, settings(self.budget)).unwrap());
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn talk(&self, from: usize, more: &[u32]) -> Vec<u32> {
        [&self.talks[from % self.talks.len()], more].concat()
    }

    fn nth(&self, nth: usize) -> Option<Id> {
        self.map.keys().nth(nth % self.map.len().max(1)).copied()
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Save { from, more, notes, by_key } => {
                let tokens = self.talk(from, &more);
                if !tokens.is_empty() {
                    self.save(&entry(&tokens, &[notes]), by_key);
                    self.talks.push(tokens);
                }
            }
            Act::Load(nth) => {
                if let Some(id) = self.nth(nth) {
                    assert_eq!(self.store().load(id).unwrap(), expected(id, &self.map[&id]));
                }
            }
            Act::Remove(nth) => {
                if let Some(id) = self.nth(nth) {
                    self.store().remove(id).unwrap();
                    self.map.remove(&id);
                    assert!(matches!(self.store().load(id), Err(Error::Gone { .. })));
                }
            }
            Act::Find { from, more } => self.find(&self.talk(from, &more)),
            Act::Restart => self.reopen(),
            Act::Crash(seed) => {
                self.disk = self.disk.crash(Left::Some(seed));
                self.reopen();
            }
            Act::Wait(seconds) => self.disk.wait(seconds),
        }
        self.agree();
    }

    fn save(&mut self, entry: &Entry, by_key: bool) {
        let given = if by_key { known(self.store(), entry.clone()) } else { entry.clone() };
        match self.store().save(&given) {
            Ok(saved) => {
                for id in &saved.evicted {
                    assert!(self.map.remove(id).is_some(), "{id} was there");
                }
                self.map.insert(saved.id, entry.clone());
            }
            Err(Error::NoRoom { .. }) => {
                let left: Vec<Id> = self.store().list().iter().map(|info| info.id).collect();
                self.map.retain(|id, _| left.contains(id));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn find(&self, tokens: &[u32]) {
        let longest = |is: &dyn Fn(&Entry) -> bool| {
            self.map.values().filter(|entry| is(entry)).map(|entry| entry.tokens.len()).max()
        };
        let prefix = |entry: &Entry| tokens.starts_with(&entry.tokens);
        let found = self.store().find_tokens("", tokens);
        assert_eq!(found.map(|found| found.tokens), longest(&prefix), "{tokens:?}");
        let prompt = text(tokens);
        let prefix = |entry: &Entry| prompt.starts_with(&entry.text);
        let found = self.store().find_text("", &prompt);
        assert_eq!(found.map(|found| found.tokens), longest(&prefix), "{tokens:?} as text");
    }

    fn agree(&self) {
        let mut listed: Vec<Id> = self.store().list().iter().map(|info| info.id).collect();
        listed.sort_unstable();
        assert_eq!(listed, self.map.keys().copied().collect::<Vec<_>>());
        assert_eq!(self.store().bytes(), self.disk.bytes(), "the budget counts what is there");
        assert!(self.disk.bytes() <= self.budget);
        assert_eq!(self.store().remarks(), [""; 0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_is_a_map(acts in prop::collection::vec(act(), 1..40), room in 0u64..60) {
        // From room for one or two checkpoints to room for all.
        let mut twin = Twin::new(8_000 + room * 2_000);
        for act in acts {
            twin.act(act);
        }
        for (id, entry) in &twin.map {
            assert_eq!(twin.store().load(*id).unwrap(), expected(*id, entry));
        }
        assert_eq!(twin.store().verify(|_, _| true).flaws, []);
    }
}
