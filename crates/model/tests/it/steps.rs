//! The same logits, however prompts are cut into steps.
//!
//! The tolerance is zero. Both CPU backends compute every result of a token from that token's
//! inputs alone, in one fixed order of summation: a matrix row is decoded and multiplied the same
//! way for one token or many, experts add up in ascending order, attention sums its rows in the
//! order of positions. Rows are rounded before anyone attends to them, whether they come from the
//! same step or from state. So the bits must agree, and any difference is a bug.

use backend::{Backend, RowFormat};
use model::Feed;
use proptest::prelude::*;
use spec::{LayerKind, TokenId};

use crate::support::{Rig, fast, prompts, tiny};

fn same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let differing = got.iter().zip(want).filter(|(g, w)| g.to_bits() != w.to_bits()).count();
    assert_eq!(differing, 0, "{what}: {differing} of {} logits differ", want.len());
}

#[test]
fn whole_chunked_and_token_by_token() {
    for rows in [RowFormat::ExactF32, RowFormat::RoundedF32, RowFormat::Packed] {
        // The reference takes its time.
        chunked(Rig::new(&tiny(), rows), &[37, 1], &format!("reference, {rows:?}"));
        chunked(fast(&tiny(), rows), &[7, 37, 1], &format!("fast, {rows:?}"));
    }
}

fn chunked<B: Backend>(mut rig: Rig<B>, chunks: &[usize], what: &str) {
    let prompts = prompts();
    for name in ["p7", "p130", "p300", "p700"] {
        let tokens = &prompts[name];
        let whole = rig.feed(tokens, 1024);
        for &chunk in chunks {
            same(&rig.feed(tokens, chunk), &whole, &format!("{name}, {what}, by {chunk}"));
        }
    }
}

/// Packed rows and the floats they stand for are the same state: the same logits for all golden
/// prompts, whole, in chunks and token by token. The model has a layer of every kind.
#[test]
fn packed_rows_lose_nothing() {
    let file = tiny();
    let kinds = model::read_shape(&file).expect("a shape").kinds;
    assert_eq!(kinds, [LayerKind::Window, LayerKind::Indexed, LayerKind::Compressed]);
    let formats = [RowFormat::Packed, RowFormat::UnpackedF32, RowFormat::RoundedF32];
    loses_nothing(formats.map(|rows| Rig::new(&file, rows)), "reference");
    loses_nothing(formats.map(|rows| fast(&file, rows)), "fast");
}

fn loses_nothing<B: Backend>([mut packed, mut unpacked, mut rounded]: [Rig<B>; 3], what: &str) {
    for (name, tokens) in prompts() {
        for chunk in [1024, 37, 1] {
            let (got, want) = (packed.feed(&tokens, chunk), unpacked.feed(&tokens, chunk));
            same(&got, &want, &format!("{name}, {what}, by {chunk}"));
        }
        // The comparison sees as little as the last bits of rotary channels.
        assert_ne!(packed.feed(&tokens, 1024), rounded.feed(&tokens, 1024), "{name}, {what}");
    }
}

/// One session in the middle of its prompt, one at its start, one decoding: one step for all.
#[test]
fn as_one_of_three_segments() {
    one_of_three(Rig::new(&tiny(), RowFormat::Packed));
    one_of_three(fast(&tiny(), RowFormat::Packed));
}

fn one_of_three<B: Backend>(mut rig: Rig<B>) {
    let prompts = prompts();
    let names = ["p300", "p130", "p700"];
    let alone = names.map(|name| rig.feed(&prompts[name], 1024));
    let steps: [[usize; 3]; 5] = [[120, 0, 1], [1, 64, 1], [100, 65, 300], [1, 1, 397], [78, 0, 1]];
    let mut together = [vec![], vec![], vec![]];
    let mut caches = [0, 1, 2].map(|_| rig.model.open(&mut rig.cpu).expect("a session"));
    for lengths in steps {
        let mut feeds: Vec<Feed> = Vec::new();
        for ((cache, name), len) in caches.iter_mut().zip(names).zip(lengths) {
            let start = cache.tokens();
            let tokens = &prompts[name][start..start + len];
            if len > 0 {
                feeds.push(Feed { cache, tokens, outputs: len });
            }
        }
        rig.model.forward(&mut rig.cpu, &mut feeds).expect("a step");
        let mut logits = rig.model.logits(&mut rig.cpu);
        for (out, len) in together.iter_mut().zip(lengths) {
            let rest = logits.split_off(len * rig.model.shape().vocab);
            out.extend(std::mem::replace(&mut logits, rest));
        }
    }
    for ((together, alone), name) in together.iter().zip(&alone).zip(names) {
        assert_eq!(together.len(), alone.len(), "{name} was fed whole");
        same(together, alone, name);
    }
}

/// A session's pages carry no trace of who had them before, and a cleared session is a new one.
#[test]
fn pages_change_hands() {
    let prompts = prompts();
    let mut rig = Rig::new(&tiny(), RowFormat::Packed);
    let want = rig.feed(&prompts["p300"], 1024);
    rig.feed(&prompts["p700"], 1024);
    same(&rig.feed(&prompts["p300"], 64), &want, "after another session");

    let mut cache = rig.model.open(&mut rig.cpu).expect("a session");
    for tokens in [&prompts["p700"], &prompts["p300"]] {
        cache.clear();
        let feed = Feed { cache: &mut cache, tokens, outputs: tokens.len() };
        rig.model.forward(&mut rig.cpu, &mut [feed]).expect("a step");
    }
    same(&rig.model.logits(&mut rig.cpu), &want, "after clearing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any tokens, any cuts.
    #[test]
    fn any_cut_gives_the_same_logits(
        tokens in proptest::collection::vec(0u32..512, 1..320),
        cuts in proptest::collection::vec(1usize..140, 1..12),
    ) {
        let tokens: Vec<TokenId> = tokens.into_iter().map(TokenId).collect();
        cut(Rig::new(&tiny(), RowFormat::Packed), &tokens, &cuts);
        cut(fast(&tiny(), RowFormat::Packed), &tokens, &cuts);
    }
}

fn cut<B: Backend>(mut rig: Rig<B>, tokens: &[TokenId], cuts: &[usize]) {
    let whole = rig.feed(tokens, 1024);
    let mut cache = rig.model.open(&mut rig.cpu).expect("a session");
    let mut got = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while cache.tokens() < tokens.len() {
        let start = cache.tokens();
        let end = tokens.len().min(start + cuts.next().expect("a cycle"));
        let tokens = &tokens[start..end];
        let feed = Feed { cache: &mut cache, tokens, outputs: end - start };
        rig.model.forward(&mut rig.cpu, &mut [feed]).expect("a step");
        got.extend(rig.model.logits(&mut rig.cpu));
    }
    same(&got, &whole, "random cuts");
}
