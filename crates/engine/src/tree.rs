//! The prefix tree: what has been computed, by the tokens that it was computed from.
//!
//! A node stands for a page: 128 tokens after those of its parent. An *anchor* is a place where a
//! session can go on: the row pages on the way to it, shared, and the rest of the state, kept. It
//! may stand in the middle of a page. A node exists as long as an anchor stands at it or below it.
//! What was computed depends on how the model was steered as well: each way has a root of its own.
//!
//! Pages here are whatever can be cloned and asked whether somebody else holds it too; nothing is
//! taken from a session that uses it. What goes first is what is cheap to compute again for the
//! bytes that it holds, and was not used for long.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{Snapshot, Steer};
use spec::TokenId;

/// Tokens per node.
const PAGE: usize = backend::PAGE_TOKENS;

/// A share of a page.
pub trait Share: Clone {
    /// How many hold the page.
    fn holders(&self) -> usize;

    /// Tells pages apart that exist at the same time.
    fn address(&self) -> usize;

    /// Whether nobody else holds the page.
    fn is_unshared(&self) -> bool {
        self.holders() == 1
    }
}

impl Share for model::Page {
    fn holders(&self) -> usize {
        model::Page::holders(self)
    }

    fn address(&self) -> usize {
        model::Page::address(self)
    }
}

/// Names an anchor for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnchorId(u64);

#[cfg(test)]
impl AnchorId {
    /// For tests of others.
    pub fn numbered(number: u64) -> AnchorId {
        AnchorId(number)
    }
}

/// Length and hash of a spelling.
pub type Spelled = (usize, [u8; 32]);

/// What is kept at an anchor besides full row pages.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<P> {
    /// The rest of the state.
    pub state: Arc<Snapshot>,
    /// The page that is filled in part, if the place is not between two pages.
    pub last: Option<P>,
    /// Logits after the last token; empty if nobody computed them.
    pub logits: Vec<f32>,
    /// Lengths and hashes of the texts by which it may be found: of what the tokens spell, and of
    /// what stands for that elsewhere.
    pub spelled: Vec<Spelled>,
}

#[derive(Debug)]
struct Anchor<P> {
    id: AnchorId,
    /// Tokens after the node's last.
    tail: Vec<TokenId>,
    kept: Kept<P>,
    used: u64,
}

#[derive(Debug)]
struct Node<P> {
    parent: usize,
    depth: usize,
    /// How the model was steered on the way to here.
    way: Steer,
    tokens: Vec<TokenId>,
    /// Roots have none.
    page: Option<P>,
    children: Vec<usize>,
    anchors: Vec<Anchor<P>>,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Tree<P> {
    /// The first is the root of what is not steered; unused places are in `vacant`.
    nodes: Vec<Node<P>>,
    vacant: Vec<usize>,
    /// Roots of other ways, while anchors stand below them.
    roots: Vec<usize>,
    next: u64,
    clock: u64,
    bytes: usize,
    /// Bytes of one page.
    page_bytes: usize,
}

const ROOT: usize = 0;

impl<P: Share> Tree<P> {
    /// An empty tree over pages of `page_bytes` bytes.
    pub fn new(page_bytes: usize) -> Tree<P> {
        let (nodes, vacant, roots) = (vec![Node::root(ROOT, Steer::NONE)], Vec::new(), Vec::new());
        Tree { nodes, vacant, roots, next: 0, clock: 0, bytes: 0, page_bytes }
    }

    /// Bytes that anchors hold besides row pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many anchors there are.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| node.anchors.len()).sum()
    }

    /// Puts an anchor after `tokens`, whose full pages are `pages`. An anchor that stands there
    /// already stays, and learns what it did not know.
    pub fn insert(
        &mut self,
        way: Steer,
        tokens: &[TokenId],
        pages: &[P],
        kept: Kept<P>,
    ) -> AnchorId {
        let full = tokens.chunks_exact(PAGE);
        let tail = full.remainder().to_vec();
        assert_eq!(pages.len(), full.len(), "full pages of {} tokens", tokens.len());
        let root = self.root(way).unwrap_or_else(|| self.plant(way));
        let node = full.zip(pages).fold(root, |node, (tokens, page)| {
            self.child(node, tokens).unwrap_or_else(|| self.grow(node, tokens, page.clone()))
        });
        self.clock += 1;
        let known = self.nodes[node].anchors.iter_mut().find(|anchor| anchor.tail == tail);
        if let Some(anchor) = known {
            anchor.used = self.clock;
            self.bytes -= anchor.kept.bytes();
            if anchor.kept.logits.is_empty() {
                anchor.kept.logits = kept.logits;
            }
            anchor.kept.learn(&kept.spelled);
            self.bytes += anchor.kept.bytes();
            return anchor.id;
        }
        let id = AnchorId(self.next);
        self.next += 1;
        self.bytes += kept.bytes();
        self.nodes[node].anchors.push(Anchor { id, tail, kept, used: self.clock });
        id
    }

    /// The pages that are known for a beginning of `tokens`, in order.
    pub fn pages(&self, way: Steer, tokens: &[TokenId]) -> Vec<&P> {
        self.path(way, tokens).filter_map(|node| self.nodes[node].page.as_ref()).collect()
    }

    /// The last anchor on the way along `prompt` from which one can go on: before its end, or at
    /// its end if the logits are known. With it, how many tokens it stands after.
    pub fn find(&self, way: Steer, prompt: &[TokenId]) -> Option<(AnchorId, usize)> {
        let at = |node: usize| {
            let depth = self.nodes[node].depth * PAGE;
            let anchors = self.nodes[node].anchors.iter();
            anchors.filter_map(move |anchor| {
                let end = depth + anchor.tail.len();
                let fits = prompt[depth..].starts_with(&anchor.tail);
                let goes_on = end < prompt.len() || !anchor.kept.logits.is_empty();
                (fits && goes_on).then_some((anchor.id, end))
            })
        };
        self.path(way, prompt).flat_map(at).max_by_key(|(_, end)| *end)
    }

    /// The anchor with the longest spelling that `known` has, and the bytes of that. `known` says
    /// the hash of so many bytes, and is asked for one length after the other, in ascending order.
    pub fn find_spelled(
        &self,
        way: Steer,
        mut known: impl FnMut(usize) -> Option<[u8; 32]>,
    ) -> Option<(AnchorId, usize)> {
        let same = self.nodes.iter().filter(|node| node.way == way);
        let anchors = same.flat_map(|node| &node.anchors);
        let entries = |anchor: &'_ Anchor<P>| {
            let id = anchor.id;
            anchor.kept.spelled.clone().into_iter().map(move |spelled| (spelled, id))
        };
        let mut spelled: Vec<(Spelled, AnchorId)> = anchors.flat_map(entries).collect();
        spelled.sort_unstable();
        let mut same = |((bytes, hash), _): &(Spelled, AnchorId)| {
            known(*bytes).is_some_and(|known| known == *hash)
        };
        // Not from the end: whoever knows hashes takes one pass for all lengths.
        let found = spelled.into_iter().filter(|entry| same(entry)).reduce(|_, longer| longer);
        found.map(|((bytes, _), id)| (id, bytes))
    }

    /// Whether there still is such an anchor.
    pub fn has(&self, id: AnchorId) -> bool {
        self.nodes.iter().flat_map(|node| &node.anchors).any(|anchor| anchor.id == id)
    }

    /// An anchor may be found by another text from now on.
    pub fn learn(&mut self, id: AnchorId, spelled: Spelled) {
        let (node, place) = self.locate(id);
        self.nodes[node].anchors[place].kept.learn(&[spelled]);
    }

    /// How the model was steered on the way to an anchor.
    pub fn way(&self, id: AnchorId) -> Steer {
        self.nodes[self.locate(id).0].way
    }

    /// The ways that anchors stand on, and the usual one.
    pub fn ways(&self) -> Vec<Steer> {
        [ROOT].iter().chain(&self.roots).map(|root| self.nodes[*root].way).collect()
    }

    /// The tokens before an anchor.
    pub fn tokens(&self, id: AnchorId) -> Vec<TokenId> {
        let (node, place) = self.locate(id);
        let mut parts = vec![&self.nodes[node].anchors[place].tail];
        parts.extend(self.upward(node).map(|node| &self.nodes[node].tokens));
        parts.into_iter().rev().flatten().copied().collect()
    }

    /// The pages of an anchor, the last filled in part perhaps, and what else is kept there. It
    /// counts as used.
    pub fn resume(&mut self, id: AnchorId) -> (Vec<P>, &Kept<P>) {
        let (node, place) = self.locate(id);
        let mut pages: Vec<P> =
            self.upward(node).filter_map(|node| self.nodes[node].page.clone()).collect();
        pages.reverse();
        self.clock += 1;
        let anchor = &mut self.nodes[node].anchors[place];
        anchor.used = self.clock;
        pages.extend(anchor.kept.last.clone());
        (pages, &anchor.kept)
    }

    /// Whether the logits after an anchor are known.
    pub fn is_ready(&self, id: AnchorId) -> bool {
        let (node, place) = self.locate(id);
        !self.nodes[node].anchors[place].kept.logits.is_empty()
    }

    /// Removes the anchor that is worth least; with `pages`, the least of those whose removal frees
    /// pages, or will when others that hold the same ones are removed as well. How many pages it
    /// freed; `None` if there is no such anchor.
    pub fn evict(&mut self, pages: bool) -> Option<usize> {
        let least = match pages {
            false => self.least(|_, _, _| true),
            true => self.least(|_, _, freed| freed > 0).or_else(|| {
                let ours = self.only_ours();
                self.least(|node, place, _| {
                    let last = self.nodes[node].anchors[place].kept.last.as_ref();
                    let way = self.upward(node).filter_map(|at| self.nodes[at].page.as_ref());
                    way.chain(last).any(|page| ours.contains(&page.address()))
                })
            }),
        };
        Some(self.remove(least?))
    }

    /// Of the anchors for which `counts` (node, place, freed pages), the one that is worth least.
    fn least(&self, counts: impl Fn(usize, usize, usize) -> bool) -> Option<AnchorId> {
        let all = self.nodes.iter().enumerate();
        let places = all.flat_map(|(node, n)| (0..n.anchors.len()).map(move |place| (node, place)));
        let worth = |(node, place): (usize, usize)| {
            let (worth, freed) = self.worth(node, place);
            counts(node, place, freed).then_some((worth, self.nodes[node].anchors[place].id))
        };
        let least = places.filter_map(worth).min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        least.map(|(_, id)| id)
    }

    /// Addresses of the pages that nobody holds but nodes and anchors.
    fn only_ours(&self) -> HashSet<usize> {
        let mut held: HashMap<usize, (usize, usize)> = HashMap::new();
        for node in &self.nodes {
            let lasts = node.anchors.iter().filter_map(|anchor| anchor.kept.last.as_ref());
            for page in lasts.chain(&node.page) {
                held.entry(page.address()).or_insert((0, page.holders())).0 += 1;
            }
        }
        let ours = held.into_iter().filter(|(_, (ours, all))| ours == all);
        ours.map(|(address, _)| address).collect()
    }

    /// Tokens that would have to be fed to stand there again, over bytes held and time unused; and
    /// how many pages nobody else needs.
    fn worth(&self, node: usize, place: usize) -> (f64, usize) {
        let Anchor { tail, kept, used, .. } = &self.nodes[node].anchors[place];
        let freed = kept.last.iter().filter(|page| page.is_unshared()).count();
        let freed = freed + self.only_for(node).filter(|page| page.is_unshared()).count();
        let end = self.nodes[node].depth * PAGE + tail.len();
        // The anchors before it: at each node, those whose tail begins what follows there.
        let mut follows = tail.as_slice();
        let before = self.upward(node).find_map(|at| {
            let Node { anchors, tokens, depth, .. } = &self.nodes[at];
            let on_the_way = anchors.iter().filter(|other| follows.starts_with(&other.tail));
            let ends = on_the_way.map(|other| depth * PAGE + other.tail.len());
            follows = tokens;
            ends.filter(|other| *other < end).max()
        });
        let rebuild = end - before.unwrap_or(0);
        let bytes = kept.bytes() + freed * self.page_bytes;
        let unused = 1 + self.clock - used;
        (rebuild as f64 / (bytes.max(1) as f64 * unused as f64), freed)
    }

    /// Pages from `node` upward that are there for one anchor of it alone.
    fn only_for(&self, node: usize) -> impl Iterator<Item = &P> {
        let alone = move |at: &usize| {
            let n = &self.nodes[*at];
            let below = if *at == node { (1, 0) } else { (0, 1) };
            (n.anchors.len(), n.children.len()) == below
        };
        self.upward(node).take_while(alone).filter_map(|at| self.nodes[at].page.as_ref())
    }

    /// Removes an anchor. How many pages that freed.
    pub fn remove(&mut self, id: AnchorId) -> usize {
        let (mut node, place) = self.locate(id);
        let anchor = self.nodes[node].anchors.swap_remove(place);
        self.bytes -= anchor.kept.bytes();
        let mut freed = anchor.kept.last.iter().filter(|page| page.is_unshared()).count();
        while node != self.nodes[node].parent
            && self.nodes[node].anchors.is_empty()
            && self.nodes[node].children.is_empty()
        {
            let parent = self.nodes[node].parent;
            self.nodes[parent].children.retain(|child| *child != node);
            let page = self.nodes[node].page.take();
            freed += page.iter().filter(|page| page.is_unshared()).count();
            self.nodes[node].tokens = Vec::new();
            self.vacant.push(node);
            node = parent;
        }
        let Node { anchors, children, .. } = &self.nodes[node];
        if anchors.is_empty()
            && children.is_empty()
            && let Some(place) = self.roots.iter().position(|root| *root == node)
        {
            self.vacant.push(self.roots.swap_remove(place));
        }
        freed
    }

    fn grow(&mut self, parent: usize, tokens: &[TokenId], page: P) -> usize {
        let Node { depth, way, .. } = self.nodes[parent];
        let place = self.place(|place| Node {
            parent,
            depth: depth + 1,
            tokens: tokens.to_vec(),
            page: Some(page),
            ..Node::root(place, way)
        });
        self.nodes[parent].children.push(place);
        place
    }

    /// A root for a way that has none.
    fn plant(&mut self, way: Steer) -> usize {
        let root = self.place(|place| Node::root(place, way));
        self.roots.push(root);
        root
    }

    /// Puts a node where there is none.
    fn place(&mut self, node: impl FnOnce(usize) -> Node<P>) -> usize {
        match self.vacant.pop() {
            Some(place) => {
                self.nodes[place] = node(place);
                place
            }
            None => {
                let place = self.nodes.len();
                self.nodes.push(node(place));
                place
            }
        }
    }

    fn root(&self, way: Steer) -> Option<usize> {
        if way.is_none() {
            return Some(ROOT);
        }
        self.roots.iter().copied().find(|root| self.nodes[*root].way == way)
    }

    fn child(&self, node: usize, tokens: &[TokenId]) -> Option<usize> {
        let mut children = self.nodes[node].children.iter().copied();
        children.find(|child| self.nodes[*child].tokens == tokens)
    }

    /// The nodes along `tokens` on a way, the root first; none if it has no root.
    fn path<'a>(&'a self, way: Steer, tokens: &'a [TokenId]) -> impl Iterator<Item = usize> + 'a {
        let mut chunks = tokens.chunks_exact(PAGE);
        std::iter::successors(self.root(way), move |node| self.child(*node, chunks.next()?))
    }

    /// The nodes from `node` to its root.
    fn upward(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let parent = |node: &usize| Some(self.nodes[*node].parent).filter(|parent| parent != node);
        std::iter::successors(Some(node), parent)
    }

    fn locate(&self, id: AnchorId) -> (usize, usize) {
        let place = |node: &Node<P>| node.anchors.iter().position(|anchor| anchor.id == id);
        let mut all = self.nodes.iter().enumerate();
        all.find_map(|(i, node)| Some((i, place(node)?))).expect("an anchor that exists")
    }
}

impl<P> Node<P> {
    /// A node without a parent, which is its own.
    fn root(place: usize, way: Steer) -> Node<P> {
        let (tokens, children, anchors) = (Vec::new(), Vec::new(), Vec::new());
        Node { parent: place, depth: 0, way, tokens, page: None, children, anchors }
    }
}

impl<P> Kept<P> {
    fn learn(&mut self, spelled: &[Spelled]) {
        for new in spelled {
            if !self.spelled.contains(new) {
                self.spelled.push(*new);
            }
        }
    }

    /// Bytes on the host.
    fn bytes(&self) -> usize {
        self.state.bytes.len() + self.logits.len() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests;
