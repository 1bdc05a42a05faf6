//! Cases of the rotation.

use crate::conformance::Case;
use crate::ops::rope::Direction;

/// Early and late positions (a million radians need a correct reduction), both directions.
pub fn cases() -> Vec<Case> {
    let all = [0, 1000, 1_048_570].into_iter();
    let all = all.flat_map(|start| [(start, Direction::Forward), (start, Direction::Inverse)]);
    all.map(|(start, direction)| {
        Case::new(format!("rotate {direction:?} at {start}"), 1e-5, move |kit| {
            let frequencies: Vec<f32> = (0..32).map(|i| 10_000f32.powf(-i as f32 / 32.0)).collect();
            let frequencies = kit.filled(1, 32, &frequencies);
            let step = kit.step(&[(start, 6, 1)]);
            let (mut angles, mut x) = (kit.empty(6, 64), kit.buffer(6, 2 * 512));
            kit.b.rope_angles(&frequencies, &step, &mut angles);
            kit.b.rotate(&mut x, 512, &angles, direction, 6);
            kit.read(&x, 6)
        })
    })
    .collect()
}
