//! Byte pair encoding: how the bytes of one piece of text become token ids.
//!
//! A piece starts as one symbol per byte; again and again the neighbours whose merge has the
//! lowest rank are joined, the leftmost of equals first, until no neighbours have a merge. This
//! room works on ids alone and knows neither texts nor how they are cut.
//!
//! Words are short, and a plain search for the lowest rank is fastest there. But a piece can be
//! a megabyte of one letter, so longer ones are merged with a heap: n log n at worst.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;
use spec::TokenId;

/// Pieces of up to this many bytes are merged by plain search.
const SEARCHED_BYTES_MAX: usize = 64;

/// Places in a piece are kept in 32 bits, which makes long pieces almost three times as fast.
/// What is beyond is encoded on its own.
const PIECE_BYTES_MAX: usize = 1 << 31;

/// The merges of a vocabulary.
pub(crate) struct Merges {
    /// By byte: its token.
    bytes: [u32; 256],
    /// By the ids of two neighbours.
    pairs: FxHashMap<(u32, u32), Merge>,
}

/// What two neighbours become.
#[derive(Clone, Copy)]
pub(crate) struct Merge {
    /// The lowest goes first. Below `u32::MAX`.
    pub(crate) rank: u32,
    /// The token of the joined text.
    pub(crate) id: u32,
}

impl Merge {
    /// Of neighbours that have no merge.
    const NONE: Merge = Merge { rank: u32::MAX, id: u32::MAX };

    fn is_some(self) -> bool {
        self.rank < Merge::NONE.rank
    }
}

/// Memory that [`Merges::encode`] uses again from piece to piece.
#[derive(Default)]
pub(crate) struct Scratch {
    symbols: Vec<Symbol>,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

/// One symbol of a piece and what would come of joining it with the next.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    next: Merge,
}

/// The neighbours of a symbol in a long piece, as places in it.
#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

/// A merge to be made: the rank above, the place of the left symbol below, so that the order
/// of these numbers is the order of merging.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    fn new(rank: u32, place: usize) -> Candidate {
        Candidate((u64::from(rank) << 32) | place as u64)
    }

    fn rank(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn place(self) -> usize {
        self.0 as u32 as usize
    }
}

impl Merges {
    /// `bytes` are the tokens of single bytes, `pairs` the merges by the ids of their parts.
    pub(crate) fn new(bytes: [u32; 256], pairs: FxHashMap<(u32, u32), Merge>) -> Merges {
        debug_assert!(pairs.values().all(|merge| merge.is_some()), "ranks are below u32::MAX");
        Merges { bytes, pairs }
    }

    /// Appends the tokens of `piece` to `ids`.
    pub(crate) fn encode(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        for part in piece.chunks(PIECE_BYTES_MAX) {
            self.start(part, &mut scratch.symbols);
            if part.len() <= SEARCHED_BYTES_MAX {
                self.merge_by_search(&mut scratch.symbols);
            } else {
                self.merge_by_queue(scratch);
            }
            ids.extend(scratch.symbols.iter().map(|symbol| TokenId(symbol.id)));
        }
    }

    /// One symbol per byte.
    fn start(&self, piece: &[u8], symbols: &mut Vec<Symbol>) {
        symbols.clear();
        let id = |&byte| self.bytes[usize::from(byte)];
        symbols.extend(piece.iter().map(|byte| Symbol { id: id(byte), next: Merge::NONE }));
        for left in 0..piece.len() - 1 {
            self.renew(symbols, left, left + 1);
        }
    }

    /// Looks up what becomes of the symbol at `left` and its neighbour at `right`, which may be
    /// the end.
    fn renew(&self, symbols: &mut [Symbol], left: usize, right: usize) -> Merge {
        let pair = symbols.get(right).map(|right| (symbols[left].id, right.id));
        let merge = pair.and_then(|pair| self.pairs.get(&pair)).copied().unwrap_or(Merge::NONE);
        symbols[left].next = merge;
        merge
    }

    /// Leaves in `symbols` what cannot be joined further. Quadratic, for few symbols.
    fn merge_by_search(&self, symbols: &mut Vec<Symbol>) {
        // Of equal ranks the search finds the first.
        while let Some((place, symbol)) =
            symbols.iter_mut().enumerate().min_by_key(|(_, symbol)| symbol.next.rank)
            && symbol.next.is_some()
        {
            symbol.id = symbol.next.id;
            symbols.remove(place + 1);
            self.renew(symbols, place, place + 1);
            if place > 0 {
                self.renew(symbols, place - 1, place);
            }
        }
    }

    /// Leaves in `symbols` what cannot be joined further, for many symbols.
    fn merge_by_queue(&self, scratch: &mut Scratch) {
        let Scratch { symbols, links, queue } = scratch;
        let end = symbols.len();
        links.clear();
        links.extend((0..end as u32).map(|p| Link { before: p.wrapping_sub(1), after: p + 1 }));
        let merges = symbols.iter().map(|symbol| symbol.next).enumerate();
        let possible = merges.filter(|(_, merge)| merge.is_some());
        *queue = possible.map(|(p, merge)| Reverse(Candidate::new(merge.rank, p))).collect();

        while let Some(Reverse(candidate)) = queue.pop() {
            let place = candidate.place();
            // When a symbol changes its old candidates stay in the queue: they are skipped.
            if symbols[place].next.rank != candidate.rank() {
                continue;
            }
            let gone = links[place].after as usize;
            let after = links[gone].after as usize;
            symbols[place].id = symbols[place].next.id;
            symbols[gone].next = Merge::NONE;
            links[place].after = after as u32;
            if after < end {
                links[after].before = place as u32;
            }
            let mut offer = |left: usize, right: usize| {
                let merge = self.renew(symbols, left, right);
                if merge.is_some() {
                    queue.push(Reverse(Candidate::new(merge.rank, left)));
                }
            };
            offer(place, after);
            if place > 0 {
                offer(links[place].before as usize, place);
            }
        }
        keep_linked(symbols, links);
    }
}

/// Drops the symbols that were joined into one before them.
fn keep_linked(symbols: &mut Vec<Symbol>, links: &[Link]) {
    let mut kept = 0;
    let mut place = 0;
    while place < symbols.len() {
        symbols[kept] = symbols[place];
        kept += 1;
        place = links[place].after as usize;
    }
    symbols.truncate(kept);
}

#[cfg(test)]
mod tests;
