//! Cases of the router.

use crate::conformance::{Case, Kit};
use crate::ops::route::Choice;

const EXPERTS: usize = 256;
const USED: usize = 6;

fn routed(kit: &mut Kit, logits: Vec<f32>, hashed: bool) -> Vec<f32> {
    routed_among(kit, [EXPERTS, USED], logits, hashed)
}

/// Among so many experts, and so many of them.
fn routed_among(
    kit: &mut Kit,
    [experts, used]: [usize; 2],
    logits: Vec<f32>,
    hashed: bool,
) -> Vec<f32> {
    let rows = logits.len() / experts;
    let logits = kit.filled(rows, experts, &logits);
    let step = kit.step(&[(0, rows, 1)]);
    let table: Vec<u32> = (0..64 * used).map(|i| ((i * 37) % experts) as u32).collect();
    let (table, bias) = (kit.filled(64, used, &table), kit.empty(1, experts));
    let choice = if hashed { Choice::Table(&table) } else { Choice::Bias(&bias) };
    let (mut picks, mut weights) = (kit.empty(rows, used), kit.empty(rows, used));
    kit.b.route(&logits, &choice, 1.5, &step, &mut picks, &mut weights);
    let mut out = kit.read_picks(&picks, rows);
    // Weights are below 1.5, expert numbers up to 255: bring both to one size.
    out.extend(kit.read(&weights, rows).iter().map(|w| w * 100.0));
    out
}

/// Logits of five values, so that some are equal in one lane of a warp and in several.
fn of_five(experts: usize) -> Vec<f32> {
    (0..3 * experts).map(|i| (i * 7 % 64 % 5) as f32).collect()
}

/// Learned and hashed choice; equal logits (ties); logits far from zero; experts that fill no warp,
/// and more than a warp holds; more picks than lanes.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("route learned", 1e-5, |kit| {
            let logits = kit.numbers(7 * EXPERTS);
            routed(kit, logits, false)
        }),
        Case::new("route hashed", 1e-5, |kit| {
            let logits = kit.numbers(7 * EXPERTS);
            routed(kit, logits, true)
        }),
        Case::new("route ties", 1e-5, |kit| routed(kit, vec![0.5; 2 * EXPERTS], false)),
        Case::new("route few values", 1e-5, |kit| routed(kit, of_five(EXPERTS), false)),
        Case::new("route among 33", 1e-5, |kit| routed_among(kit, [33, USED], of_five(33), false)),
        Case::new("route among 300", 1e-5, |kit| {
            routed_among(kit, [300, USED], of_five(300), false)
        }),
        Case::new("route 40 of 64", 1e-5, |kit| routed_among(kit, [64, 40], of_five(64), false)),
        Case::new("route large logits", 1e-5, |kit| {
            let logits = (0..EXPERTS).map(|i| i as f32 - 128.0).collect();
            routed(kit, logits, false)
        }),
    ]
}
