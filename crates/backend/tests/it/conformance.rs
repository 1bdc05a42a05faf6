//! The conformance runner, on the one backend that is always there.

use backend::conformance::{Kit, cases};
use backend::open_reference;

/// The reference promises one order of summation for every result: with one thread, two or five,
/// every case must give the same bits.
#[test]
fn the_reference_does_not_depend_on_threads() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads");
    let pools = [1, 2, 5].map(pool);
    for case in cases() {
        let results = |i: usize| pools[i].install(|| case.results(&mut *open_reference()));
        let [one, two, five] = [0, 1, 2].map(results);
        assert_eq!(bits(&one), bits(&two), "{}", case.name);
        assert_eq!(bits(&one), bits(&five), "{}", case.name);
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Every case computes something: finite numbers that are not all equal.
#[test]
fn cases_are_not_trivial() {
    assert!(cases().len() > 60);
    for case in cases() {
        let results = case.results(&mut *open_reference());
        assert!(results.iter().all(|v| v.is_finite()), "{}: not finite", case.name);
        assert!(results.iter().any(|v| *v != results[0]), "{}: all values are equal", case.name);
    }
}

/// A difference just above a case's tolerance is found, one just below is not.
#[test]
fn a_wrong_backend_is_found() {
    for case in cases() {
        let want = case.results(&mut *open_reference());
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let place = want.len() / 2;
        let mut wrong = want.clone();
        wrong[place] += largest * (case.tolerance as f32 * 2.0 + 1e-6);
        let message = case.compare(&wrong, &want).expect_err(&case.name);
        assert!(message.contains(&format!("value {place} ")), "{message}");
        wrong[place] = f32::NAN;
        assert!(case.compare(&wrong, &want).is_err(), "{}: NaN passes", case.name);
        assert!(case.compare(&want[1..], &want).is_err(), "{}: too few values pass", case.name);
        assert!(case.compare(&want, &want).is_ok(), "{}", case.name);
    }
}

/// Shapes are asserted before a backend sees them.
#[test]
#[should_panic(expected = "out: expected at least [3, 75]")]
fn a_buffer_of_the_wrong_width_is_a_bug() {
    let mut backend = open_reference();
    let mut kit = Kit::new(&mut *backend);
    let weight = kit.weight(gguf::Format::F32, 1, 75, 64);
    let (x, mut out) = (kit.buffer(3, 64), kit.empty(3, 74));
    kit.b.linear(&weight, &x, &mut out, 3);
}
