//! The tree against a plain list of anchors, and its choice of what goes first.

use std::rc::Rc;
use std::sync::Arc;

use model::{Snapshot, Steer};
use proptest::prelude::*;
use spec::TokenId;

use super::{Kept, Share, Tree};

type Page = Rc<Vec<TokenId>>;

impl Share for Page {
    fn holders(&self) -> usize {
        Rc::strong_count(self)
    }

    fn address(&self) -> usize {
        Rc::as_ptr(self) as usize
    }
}

const PAGE_BYTES: usize = 1000;

fn ids(len: usize, kind: u32) -> Vec<TokenId> {
    (0..len as u32).map(|i| TokenId(if i < 200 { i } else { i + kind })).collect()
}

/// Pages that hold their tokens, so that a wrong one shows.
fn pages(tokens: &[TokenId]) -> Vec<Page> {
    tokens.chunks_exact(128).map(|tokens| Rc::new(tokens.to_vec())).collect()
}

/// Not steered, or one of several ways.
fn way(number: i32) -> Steer {
    Steer::new(number as f32, 0.0).expect("a scale")
}

fn kept(tokens: &[TokenId], ready: bool) -> Kept<Page> {
    let last = tokens.chunks_exact(128).remainder();
    Kept {
        state: Arc::new(Snapshot { tokens: tokens.len(), bytes: vec![7; 100] }),
        last: (!last.is_empty()).then(|| Rc::new(last.to_vec())),
        logits: vec![0.5; ready as usize],
        spelled: Vec::new(),
    }
}

/// Two anchors in one page: the removal of neither frees it, that of both does.
#[test]
fn what_only_anchors_share_is_let_go() {
    let mut tree = Tree::new(PAGE_BYTES);
    let (early, late) = (ids(300, 0), ids(310, 0));
    let full = pages(&late);
    let last = Rc::new(late[256..].to_vec());
    for tokens in [&early, &late] {
        let kept = Kept { last: Some(last.clone()), ..kept(tokens, true) };
        tree.insert(Steer::NONE, tokens, &full, kept);
    }
    assert_eq!(tree.evict(true), None, "a session has them");
    drop(full);
    let in_use = last.clone();
    drop(last);
    assert_eq!(tree.evict(true), Some(0), "two full pages are there for both");
    drop(in_use);
    assert_eq!(tree.evict(true), Some(3));
    assert_eq!(tree.evict(true), None);
}

#[test]
fn pages_are_shared_and_let_go() {
    let mut tree = Tree::new(PAGE_BYTES);
    let (a, b) = (ids(400, 0), ids(600, 1));
    tree.insert(Steer::NONE, &a, &pages(&a), kept(&a, true));
    let of_b = pages(&b);
    tree.insert(Steer::NONE, &b, &of_b, kept(&b, false));
    // The first page is the one that a brought; the second differs.
    assert!(Rc::ptr_eq(tree.pages(Steer::NONE, &b)[0], tree.pages(Steer::NONE, &a)[0]));
    assert!(Rc::ptr_eq(tree.pages(Steer::NONE, &b)[1], &of_b[1]));
    assert_eq!((tree.pages(Steer::NONE, &a).len(), tree.pages(Steer::NONE, &b).len()), (3, 4));
    assert_eq!(tree.len(), 2);
    assert_eq!(tree.bytes(), 204);

    // What a session holds is not freed, but the tree lets it go.
    let (held, _) = tree.resume(tree.find(Steer::NONE, &a).expect("its anchor").0);
    assert_eq!(held.len(), 4);
    drop(of_b);
    assert_eq!(tree.evict(true), Some(4), "b's own three pages, and its last");
    assert_eq!(tree.evict(true), None, "everything else is in use");
    assert_eq!(tree.evict(false), Some(0));
    assert_eq!((tree.len(), tree.bytes(), tree.pages(Steer::NONE, &a).len()), (0, 0, 0));
    assert!(held.iter().all(Share::is_unshared));
}

#[test]
fn what_is_cheap_to_compute_again_goes_first() {
    let mut tree = Tree::new(PAGE_BYTES);
    let long = ids(1280, 0);
    // A chain: the anchor after 1280 tokens costs 128 to come back to, the one before it 1024.
    for end in [128, 1152, 1280] {
        tree.insert(Steer::NONE, &long[..end], &pages(&long[..end]), kept(&long[..end], false));
    }
    assert_eq!(tree.evict(false), Some(1));
    assert_eq!(tree.find(Steer::NONE, &long).map(|(_, end)| end), Some(1152));

    // Of equals, what was used last stays.
    let mut tree = Tree::new(PAGE_BYTES);
    let (a, b) = (ids(256, 5), ids(256, 9));
    tree.insert(Steer::NONE, &a, &pages(&a), kept(&a, true));
    tree.insert(Steer::NONE, &b, &pages(&b), kept(&b, true));
    let (first, _) = tree.find(Steer::NONE, &a).expect("its anchor");
    tree.resume(first);
    assert_eq!(tree.evict(false), Some(1));
    assert_eq!(tree.find(Steer::NONE, &a), Some((first, 256)));
    assert_eq!(tree.find(Steer::NONE, &b), None);
}

#[test]
fn a_place_is_known_once_and_learns() {
    let mut tree = Tree::new(PAGE_BYTES);
    let a = ids(130, 0);
    let first = tree.insert(Steer::NONE, &a, &pages(&a), kept(&a, false));
    assert!(!tree.is_ready(first));
    assert_eq!(tree.find(Steer::NONE, &a), None, "nothing to sample from, and nothing to feed");
    let spelled = vec![(5, [3; 32])];
    let again = tree.insert(Steer::NONE, &a, &pages(&a), Kept { spelled, ..kept(&a, true) });
    assert_eq!((first, tree.len()), (again, 1));
    assert!(tree.is_ready(first));
    assert_eq!(
        tree.find_spelled(Steer::NONE, |bytes| (bytes == 5).then_some([3; 32])),
        Some((first, 5))
    );
    assert_eq!(tree.find_spelled(Steer::NONE, |_| Some([4; 32])), None);
    // Told that it stands for another text, it is found by both, and by the longer one first.
    tree.learn(first, (7, [4; 32]));
    assert_eq!(tree.find_spelled(Steer::NONE, |_| Some([4; 32])), Some((first, 7)));
    assert_eq!(tree.find_spelled(Steer::NONE, |_| Some([3; 32])), Some((first, 5)));
    assert_eq!(tree.find_spelled(way(1), |_| Some([4; 32])), None, "on another way");
    assert_eq!(tree.bytes(), 104);
}

proptest! {
    /// Anchors anywhere, in conversations that share beginnings, some steered; found as a plain
    /// list finds them, with the right pages, while some go.
    #[test]
    fn as_a_list_of_anchors(
        anchors in proptest::collection::vec((0i32..3, 1usize..700, 0u32..4, any::<bool>()), 1..40),
        evictions in 0usize..20,
        prompts in proptest::collection::vec((0i32..3, 1usize..700, 0u32..4), 10),
    ) {
        let mut tree = Tree::new(PAGE_BYTES);
        let mut list: Vec<((Steer, Vec<TokenId>), bool)> = Vec::new();
        for (steer, len, kind, ready) in anchors {
            let (way, tokens) = (way(steer), ids(len, kind));
            tree.insert(way, &tokens, &pages(&tokens), kept(&tokens, ready));
            let place = (way, tokens);
            match list.iter_mut().find(|(known, _)| *known == place) {
                Some((_, known)) => *known |= ready,
                None => list.push((place, ready)),
            }
        }
        for round in 0..2 {
            prop_assert_eq!(tree.len(), list.len());
            for (steer, len, kind) in &prompts {
                let (way, prompt) = (way(*steer), ids(*len, *kind));
                let fits = list.iter().filter(|((on, tokens), ready)| {
                    let goes_on = tokens.len() < prompt.len() || *ready;
                    *on == way && prompt.starts_with(tokens) && goes_on
                });
                let want = fits.map(|((_, tokens), _)| tokens.len()).max();
                let found = tree.find(way, &prompt);
                prop_assert_eq!(found.map(|(_, end)| end), want);
                if let Some((id, end)) = found {
                    prop_assert_eq!(&tree.tokens(id), &prompt[..end]);
                    prop_assert_eq!(tree.way(id), way);
                    let (held, _) = tree.resume(id);
                    let held: Vec<TokenId> = held.iter().flat_map(|page| page.to_vec()).collect();
                    prop_assert_eq!(&held, &prompt[..end]);
                }
            }
            if round == 0 {
                for _ in 0..evictions.min(list.len()) {
                    let before = tree.len();
                    tree.evict(false).expect("an anchor to evict");
                    prop_assert_eq!(tree.len(), before - 1);
                }
                let left: Vec<_> = tree.all();
                list.retain(|(place, _)| left.contains(place));
            }
        }
        while tree.evict(false).is_some() {}
        prop_assert_eq!((tree.len(), tree.bytes(), tree.nodes()), (0, 0, 1));
    }
}

impl Tree<Page> {
    /// The way and the tokens of every anchor.
    fn all(&self) -> Vec<(Steer, Vec<TokenId>)> {
        let ids = self.nodes.iter().flat_map(|node| &node.anchors).map(|anchor| anchor.id);
        ids.map(|id| (self.way(id), self.tokens(id))).collect()
    }

    fn nodes(&self) -> usize {
        self.nodes.len() - self.vacant.len()
    }
}
