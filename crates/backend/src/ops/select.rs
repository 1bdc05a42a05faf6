//! Selection of the largest values, shared by the indexer and the router.

/// The positions of the `count` largest values, largest first; of equal values the lowest position.
/// The two zeros are equal; NaN has some fixed place, so that damaged weights cannot upset a sort.
pub(crate) fn largest(values: &[f32], count: usize) -> Vec<u32> {
    // Adding zero turns -0 into +0.
    let key = |&i: &u32| -values[i as usize] + 0.0;
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
    order.truncate(count);
    order
}

/// What [`largest`] returns, into `out`: for a few of some hundreds, without memory of its own.
///
/// Values are met in order and each is inserted among the largest so far, behind its equals.
pub(crate) fn few_largest(values: &[f32], out: &mut [u32]) {
    let key = |i: u32| -values[i as usize] + 0.0;
    let mut found = 0;
    for i in 0..values.len() as u32 {
        let before = |other: u32| key(i).total_cmp(&key(other)).is_lt();
        let mut place = found;
        while place > 0 && before(out[place - 1]) {
            place -= 1;
        }
        if place < out.len() {
            found = (found + 1).min(out.len());
            out.copy_within(place..found - 1, place + 1);
            out[place] = i;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{few_largest, largest};

    /// Few different values, so that most are tied; infinities and damage among them.
    #[test]
    fn inserting_finds_what_sorting_finds() {
        const VALUES: [f32; 8] =
            [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.5];
        let mut state = 1u32;
        for round in 0..500 {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                VALUES[state as usize >> 29] * if round % 2 == 0 { 1.0 } else { -1.0 }
            };
            let values: Vec<f32> = (0..round % 60 + 6).map(|_| next()).collect();
            let mut out = vec![0; round % 6 + 1];
            few_largest(&values, &mut out);
            assert_eq!(out, largest(&values, out.len()), "{values:?}");
        }
    }

    #[test]
    fn ties_go_to_the_lowest_position() {
        assert_eq!(largest(&[1.0, 3.0, 3.0, 2.0, 3.0], 2), [1, 2]);
        assert_eq!(largest(&[0.0, -0.0, 0.0], 2), [0, 1]);
        assert_eq!(largest(&[f32::NAN, 1.0, 2.0], 3).len(), 3);
    }
}
