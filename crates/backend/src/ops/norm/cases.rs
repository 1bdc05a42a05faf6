//! Cases of the norms.

use crate::conformance::Case;

/// The published widths, and rows whose scale is far from one.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, width) in [(1, 4096), (7, 512), (3, 1024)] {
        cases.push(Case::new(format!("rms_norm [{rows}, {width}]"), 1e-5, move |kit| {
            let (x, weight) = (kit.buffer(rows, width), kit.buffer(1, width));
            let mut out = kit.empty(rows, width);
            kit.b.rms_norm(&x, &weight, 1e-6, &mut out, rows);
            kit.read(&out, rows)
        }));
    }
    for size in [1.0f32, 1e-4, 1e4] {
        cases.push(Case::new(format!("unit_norm of numbers around {size}"), 1e-5, move |kit| {
            let numbers: Vec<f32> = kit.numbers(5 * 8 * 512).iter().map(|v| v * size).collect();
            let mut x = kit.filled(5, 8 * 512, &numbers);
            kit.b.unit_norm(&mut x, 512, 1e-6, 5);
            kit.read(&x, 5)
        }));
    }
    cases
}
