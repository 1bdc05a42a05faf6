//! Tiles: up to eight consecutive tokens of one segment, which see nearly the same rows.
//!
//! What several tokens need is decoded once for the tile. A token's results do not depend on the
//! tile that it is in.

use std::ops::Range;

use crate::SegmentRow;

/// Tokens of a tile.
const TILE_TOKENS: usize = 8;

/// Some tokens of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Which segment of the step.
    pub segment: usize,
    /// The first token's row in the step.
    pub row: usize,
    /// The first token's position.
    pub position: usize,
    /// Tokens, at least 1.
    pub tokens: usize,
}

impl Tile {
    /// Its rows in the step.
    pub fn rows(&self) -> Range<usize> {
        self.row..self.row + self.tokens
    }
}

/// Cuts a step into tiles, replacing what `out` holds.
pub(crate) fn cut(segments: &[SegmentRow], out: &mut Vec<Tile>) {
    out.clear();
    for (segment, &SegmentRow { start, first_row, len, .. }) in segments.iter().enumerate() {
        let len = len as usize;
        for at in (0..len).step_by(TILE_TOKENS) {
            let tokens = TILE_TOKENS.min(len - at);
            let (row, position) = (first_row as usize + at, start as usize + at);
            out.push(Tile { segment, row, position, tokens });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_token_once() {
        let row = |start, first_row, len| SegmentRow { slot: 0, start, first_row, len };
        let mut tiles = Vec::new();
        cut(&[row(100, 0, 1), row(0, 1, 17), row(7, 18, 8)], &mut tiles);
        let found: Vec<_> = tiles.iter().map(|t| (t.segment, t.position, t.rows())).collect();
        let want = [(0, 100, 0..1), (1, 0, 1..9), (1, 8, 9..17), (1, 16, 17..18), (2, 7, 18..26)];
        assert_eq!(found, want);
    }
}
