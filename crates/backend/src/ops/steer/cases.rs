//! Cases of steering.

use crate::conformance::Case;

/// Published widths and others, rows that are steered differently, and rows that are not.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // The reference sums in double precision: what is left is the rounding of the result, and of
    // a projection that is a sum of `width` floats.
    for (rows, width, layer) in [(1, 4096, 2), (7, 512, 0), (3, 1028, 1)] {
        cases.push(Case::new(format!("steer [{rows}, {width}]"), 1e-5, move |kit| {
            let directions = kit.numbers(3 * width);
            let unit = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt().recip();
            let rows_of = directions.chunks_exact(width);
            let directions: Vec<f32> =
                rows_of.flat_map(|row| row.iter().map(|v| v * unit(row))).collect();
            let directions = kit.filled(3, width, &directions);
            let scales: Vec<f32> = [1.0, 0.0, -2.0, 0.5].into_iter().cycle().take(rows).collect();
            let (scales, mut y) = (kit.filled(rows, 1, &scales), kit.buffer(rows, width));
            kit.b.steer(&directions, layer, &scales, &mut y, rows);
            kit.read(&y, rows)
        }));
    }
    cases.push(Case::new("steer: rows of scale 0 keep their bits", 0.0, |kit| {
        // Numbers that any arithmetic would change: a negative zero, a denormal, and no number.
        let mut numbers = kit.numbers(3 * 64);
        (numbers[0], numbers[1], numbers[70]) = (-0.0, f32::from_bits(1), f32::NAN);
        let (directions, mut y) = (kit.buffer(1, 64), kit.filled(3, 64, &numbers));
        let scales = kit.filled(3, 1, &[0.0, 0.0, -0.0]);
        kit.b.steer(&directions, 0, &scales, &mut y, 3);
        let kept = |(y, number): (&f32, &f32)| y.to_bits() == number.to_bits();
        let kept = kit.read(&y, 3).iter().zip(&numbers).filter(|pair| kept(*pair)).count();
        // And what is not to be kept changes.
        let scales = kit.filled(3, 1, &[1.0, 0.0, 0.0]);
        kit.b.steer(&directions, 0, &scales, &mut y, 3);
        let changed = |(y, number): (&f32, &f32)| y.to_bits() != number.to_bits();
        let changed = kit.read(&y, 1).iter().zip(&numbers).filter(|pair| changed(*pair)).count();
        vec![kept as f32, changed.min(60) as f32]
    }));
    cases.push(Case::new("steer: wanted rows of every layer", 0.0, |kit| {
        let step = kit.step(&[(0, 5, 2), (3, 1, 1), (0, 4, 0)]);
        let mut out = kit.empty(3, 2 * 132);
        for layer in [1, 0] {
            let y = kit.buffer(10, 132);
            kit.b.tap(&y, &step, layer, &mut out);
        }
        kit.read(&out, 3)
    }));
    cases
}
