//! Cases of the importance.

use crate::conformance::{Case, Kit};

/// Five experts, of which one is chosen by nobody and one by every token; two steps, the second of
/// fewer tokens. Numbers are added to what is there.
fn squares(kit: &mut Kit, rows: usize, width: usize, each: usize) -> Vec<f32> {
    let picks: Vec<u32> = (0..rows as u32).flat_map(|t| [2, [0, 1, 4][t as usize % 3]]).collect();
    let picks = kit.filled(rows, 2, &picks);
    let x = kit.buffer(rows, each * width);
    let (mut sums, mut counts) = (kit.buffer(5, width), kit.filled(5, 1, &[7u32, 0, 1, 2, 3]));
    for rows in [rows, rows / 2] {
        kit.b.add_squares(&x, &picks, &mut sums, rows);
        kit.b.count_picks(&picks, &mut counts, rows);
    }
    let counts = kit.read_picks(&counts, 5);
    [kit.read(&sums, 5), counts].concat()
}

/// One row for all pairs of a token, one for each; widths of whole blocks of threads and not.
pub fn cases() -> Vec<Case> {
    let sizes = [(9, 96, 1), (9, 96, 2), (300, 512, 1), (300, 260, 2), (1, 32, 2)];
    let case = |(rows, width, each): (usize, usize, usize)| {
        let name = format!("importance of {rows} rows, {width} wide, {each} per token");
        Case::new(name, 1e-6, move |kit| squares(kit, rows, width, each))
    };
    sizes.into_iter().map(case).collect()
}
