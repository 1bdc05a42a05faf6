//! Sets of bytes of a file: which are here, which are missing, and how the missing ones are cut.

use std::ops::Range;

/// Ranges of a file in order, none of which is empty or touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range, which may overlap what is there.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|old| old.end < range.start);
        let last = self.0.partition_point(|old| old.start <= range.end);
        let joined = self.0[first..last]
            .iter()
            .fold(range, |joined, old| joined.start.min(old.start)..joined.end.max(old.end));
        self.0.splice(first..last, [joined]);
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Where the last one ends.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// What a file of `size` bytes has besides them.
    pub fn missing(&self, size: u64) -> Ranges {
        let mut missing = Ranges::default();
        let mut at = 0;
        for range in self.iter() {
            missing.insert(at..range.start.min(size));
            at = range.end;
        }
        missing.insert(at..size);
        missing
    }

    /// The same bytes, in order, in pieces of at most `bytes_max`.
    pub fn pieces(&self, bytes_max: u64) -> Vec<Range<u64>> {
        assert!(bytes_max > 0, "a piece has at least one byte");
        let mut pieces = Vec::new();
        for mut range in self.iter() {
            while !range.is_empty() {
                let end = range.end.min(range.start.saturating_add(bytes_max));
                pieces.push(range.start..end);
                range.start = end;
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set of single bytes.
        #[test]
        fn ranges_are_sets_of_bytes(
            list in prop::collection::vec((0_u64..64, 0_u64..24), 0..12),
            size in 0_u64..96,
            longest in 1_u64..32,
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = std::collections::BTreeSet::new();
            for (start, length) in list {
                ranges.insert(start..start + length);
                bytes.extend(start..start + length);
            }
            prop_assert_eq!(ranges.bytes(), bytes.len() as u64);
            prop_assert_eq!(ranges.end(), bytes.last().map_or(0, |last| last + 1));
            prop_assert!(ranges.iter().flatten().eq(bytes.iter().copied()));
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
            let missing = ranges.missing(size);
            let expected = (0..size).filter(|byte| !bytes.contains(byte));
            prop_assert!(missing.iter().flatten().eq(expected));
            let pieces = missing.pieces(longest);
            prop_assert!(pieces.iter().all(|piece| piece.end - piece.start <= longest));
            prop_assert!(pieces.into_iter().flatten().eq(missing.iter().flatten()));
        }
    }
}
