//! A matcher for several patterns over a stream, one byte at a time (Aho and Corasick, 1975).
//!
//! Its state says exactly what the parser must know: which pattern ends here, and how long the
//! longest tail is that may still become one. That length is what has to be held back, no less
//! and no more. Each byte costs constant time on average, whatever the input.

/// A place in the matcher: what the last bytes have in common with the patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(usize);

/// The patterns as a tree with fall-back links.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    edges: Vec<(u8, usize)>,
    /// The node of the longest proper tail of this one.
    fall_back: usize,
    /// Bytes from the root.
    depth: usize,
    /// The longest pattern that ends here.
    hit: Option<usize>,
    /// Its length.
    hit_bytes: usize,
}

impl Matcher {
    /// Patterns are known by their place in the list; empty ones never match.
    pub fn new<P: AsRef<[u8]>>(patterns: &[P]) -> Matcher {
        let mut matcher = Matcher { nodes: vec![Node::default()] };
        for (place, pattern) in patterns.iter().enumerate() {
            matcher.insert(place, pattern.as_ref());
        }
        matcher.link();
        matcher
    }

    /// The place after one more byte.
    pub fn step(&self, place: Place, byte: u8) -> Place {
        let mut node = place.0;
        loop {
            if let Some(next) = self.child(node, byte) {
                return Place(next);
            }
            if node == 0 {
                return Place(0);
            }
            node = self.nodes[node].fall_back;
        }
    }

    /// Length in bytes of the longest tail that is the beginning of a pattern.
    pub fn held(&self, place: Place) -> usize {
        self.nodes[place.0].depth
    }

    /// The longest pattern that ends here, and its length in bytes.
    pub fn hit(&self, place: Place) -> Option<(usize, usize)> {
        let node = &self.nodes[place.0];
        node.hit.map(|pattern| (pattern, node.hit_bytes))
    }

    fn insert(&mut self, place: usize, pattern: &[u8]) {
        let mut node = 0;
        for (depth, byte) in pattern.iter().enumerate() {
            node = self.child(node, *byte).unwrap_or_else(|| {
                let new = self.nodes.len();
                self.nodes.push(Node { depth: depth + 1, ..Node::default() });
                self.nodes[node].edges.push((*byte, new));
                new
            });
        }
        if node != 0 && self.nodes[node].hit.is_none() {
            self.nodes[node].hit = Some(place);
            self.nodes[node].hit_bytes = pattern.len();
        }
    }

    /// Finds the fall-back of every node, shallow ones first, and the hits that come with it.
    fn link(&mut self) {
        let mut order = vec![0];
        let mut at = 0;
        while at < order.len() {
            let parent = order[at];
            at += 1;
            for (byte, child) in self.nodes[parent].edges.clone() {
                if parent != 0 {
                    self.nodes[child].fall_back =
                        self.step(Place(self.nodes[parent].fall_back), byte).0;
                }
                let shorter = self.nodes[child].fall_back;
                if self.nodes[child].hit.is_none() {
                    self.nodes[child].hit = self.nodes[shorter].hit;
                    self.nodes[child].hit_bytes = self.nodes[shorter].hit_bytes;
                }
                order.push(child);
            }
        }
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        self.nodes[node].edges.iter().find(|(label, _)| *label == byte).map(|(_, child)| *child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Held tail and hit are what the definition says, at every byte of any text.
        #[test]
        fn agrees_with_the_definition(
            patterns in prop::collection::vec("[ab]{0,4}", 0..5), text in "[abc]{0,40}",
        ) {
            let matcher = Matcher::new(&patterns);
            let mut place = Place::default();
            for end in 1..=text.len() {
                place = matcher.step(place, text.as_bytes()[end - 1]);
                let seen = &text[..end];
                let held = (0..=end)
                    .find(|start| patterns.iter().any(|p| p.starts_with(&seen[*start..])))
                    .map_or(0, |start| end - start);
                prop_assert_eq!(matcher.held(place), held);
                let ends = |p: &&String| !p.is_empty() && seen.ends_with(p.as_str());
                let hit = patterns.iter().filter(ends).map(String::len).max();
                prop_assert_eq!(matcher.hit(place).map(|(_, bytes)| bytes), hit);
                if let Some((pattern, bytes)) = matcher.hit(place) {
                    prop_assert_eq!(patterns[pattern].len(), bytes);
                }
            }
        }
    }
}
