//! Which points of the lattice of IQ2_XXS are near a point that is not on it.
//!
//! Eight values, each rounded to one of three levels, make one of 6,561 codes. 256 of them are on
//! the lattice. For every other one there is a list of the lattice points whose distance is one of
//! the two smallest that occur, nearest first, ties by number. The lists depend on the format
//! alone; they are made when the first block is encoded.

use std::sync::LazyLock;

use gguf::blocks::iq2_xxs;

/// Points that are compared at a time.
pub(super) const SIDE: usize = 8;

/// The lattice in odd levels: 1, 3 and 5 stand for the three magnitudes.
pub(super) static ODD: [[u8; 8]; 256] = {
    let mut odd = [[0; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        let code = iq2_xxs::codes()[at / 8];
        odd[at / 8][at % 8] = 2 * (code >> (2 * (at % 8)) & 3) as u8 + 1;
        at += 1;
    }
    odd
};

/// The lists of all codes.
pub(super) static NEAR: LazyLock<Near> = LazyLock::new(Near::new);

pub(super) struct Near {
    /// By code, two bits a value.
    places: Vec<Place>,
    lists: Vec<Points>,
}

/// What a code leads to.
#[derive(Clone, Copy)]
enum Place {
    /// It is this point of the lattice.
    Point(u8),
    /// These of the lists.
    List { start: u32, count: u32 },
}

/// Some points, value by value; a list that ends in the middle repeats its last.
pub(super) struct Points {
    pub rows: [u8; SIDE],
    /// `[value][point]`
    pub odd: [[f32; SIDE]; 8],
}

impl Near {
    fn new() -> Near {
        let mut near = Near { places: vec![Place::Point(0); 1 << 16], lists: Vec::new() };
        for number in 0..3usize.pow(8) {
            let digit = |t: u32| (number / 3usize.pow(t) % 3) as u16;
            let code = (0..8).fold(0, |code, t| code | digit(t) << (2 * t));
            near.places[usize::from(code)] = near.place(code);
        }
        near
    }

    fn place(&mut self, code: u16) -> Place {
        if let Some(row) = iq2_xxs::codes().iter().position(|&point| point == code) {
            return Place::Point(row as u8);
        }
        let level = |code: u16, t: usize| i32::from(code >> (2 * t) & 3);
        let distance = |&point: &u16| -> i32 {
            (0..8).map(|t| (level(point, t) - level(code, t)).pow(2)).sum()
        };
        let mut order: Vec<(i32, u8)> =
            iq2_xxs::codes().iter().map(distance).zip(0..=255).collect();
        order.sort_unstable();
        let nearest = order[0].0;
        let second = order.iter().map(|(distance, _)| *distance).find(|&d| d > nearest);
        order.retain(|(distance, _)| Some(*distance) <= second);
        let start = self.lists.len() as u32;
        self.lists.extend(order.chunks(SIDE).map(|points| {
            let rows = std::array::from_fn(|side| points[side.min(points.len() - 1)].1);
            let odd = |t: usize| rows.map(|row| f32::from(ODD[usize::from(row)][t]));
            Points { rows, odd: std::array::from_fn(odd) }
        }));
        Place::List { start, count: self.lists.len() as u32 - start }
    }

    /// The points that may stand for a code, nearest first; or the one that it is.
    #[inline(always)]
    pub(super) fn of(&self, code: u16) -> Result<&[Points], u8> {
        match self.places[usize::from(code)] {
            Place::Point(row) => Err(row),
            Place::List { start, count } => Ok(&self.lists[start as usize..][..count as usize]),
        }
    }
}
