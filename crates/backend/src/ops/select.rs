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

#[cfg(test)]
mod tests {
    use super::largest;

    #[test]
    fn ties_go_to_the_lowest_position() {
        assert_eq!(largest(&[1.0, 3.0, 3.0, 2.0, 3.0], 2), [1, 2]);
        assert_eq!(largest(&[0.0, -0.0, 0.0], 2), [0, 1]);
        assert_eq!(largest(&[f32::NAN, 1.0, 2.0], 3).len(), 3);
    }
}
