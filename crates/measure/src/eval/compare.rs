//! Two reports on the same questions: is one model better, or was it luck?
//!
//! Item by item, so that hard questions do not count as differences. Only the items on which the
//! two differ say anything: under the assumption that there is no difference, each of them goes
//! either way like a coin (McNemar's test, exact; with repeated answers the sign test on shares).
//! The interval of the difference is that of Bonett and Price (2012): one item more for each side,
//! then mean and standard error of the differences.

use std::collections::BTreeMap;

use serde::Serialize;

use super::report::{Answer, Report};
use super::tally::Interval;
use crate::Error;
use crate::stats::Z_95;

/// How the answers of two reports differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Items that both have answered.
    pub items: usize,
    /// Items that only the first has answered, and only the second.
    pub only: [usize; 2],
    /// The accuracy of either on the items of both; `None` if there are none.
    pub accuracy: Option<[f64; 2]>,
    /// Second minus first.
    pub difference: Option<f64>,
    /// 95 % of it.
    pub interval: Option<Interval>,
    /// How probable differences at least as uneven are if there is none in truth.
    pub p: f64,
    /// Items that the second answers better.
    pub gained: Vec<Change>,
    /// Items that the first answers better.
    pub lost: Vec<Change>,
}

/// An item whose answers differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which.
    pub id: String,
    /// What each answered, the first time.
    pub found: [Option<String>; 2],
    /// The share of right answers of each.
    pub share: [f64; 2],
}

/// The answers of one report to one item.
struct Asked<'a> {
    first: &'a Answer,
    right: usize,
    times: usize,
}

fn by_item(report: &Report) -> BTreeMap<&str, Asked<'_>> {
    let mut items: BTreeMap<&str, Asked> = BTreeMap::new();
    for answer in &report.answers {
        let new = Asked { first: answer, right: 0, times: 0 };
        let asked = items.entry(answer.id.as_str()).or_insert(new);
        asked.right += usize::from(answer.right);
        asked.times += 1;
        if answer.sample < asked.first.sample {
            asked.first = answer;
        }
    }
    items
}

/// Compares the second report with the first.
///
/// # Errors
/// An item of the same name that asks something else in either.
pub fn compare(first: &Report, second: &Report) -> Result<Comparison, Error> {
    let (a, b) = (by_item(first), by_item(second));
    let (mut gained, mut lost) = (Vec::new(), Vec::new());
    let (mut differences, mut sums) = (Vec::new(), [0.0, 0.0]);
    for (id, one) in &a {
        let Some(other) = b.get(id) else { continue };
        if one.first.asked != other.first.asked {
            return Err(Error::OtherQuestion { id: (*id).to_owned() });
        }
        let share = [one, other].map(|asked| asked.right as f64 / asked.times as f64);
        sums = [sums[0] + share[0], sums[1] + share[1]];
        differences.push(share[1] - share[0]);
        let found = [one, other].map(|asked| asked.first.found.clone());
        let change = Change { id: (*id).to_owned(), found, share };
        match share[1].total_cmp(&share[0]) {
            std::cmp::Ordering::Greater => gained.push(change),
            std::cmp::Ordering::Less => lost.push(change),
            std::cmp::Ordering::Equal => {}
        }
    }
    let items = differences.len();
    let mean = |sum: f64| sum / items as f64;
    let some = items > 0;
    Ok(Comparison {
        items,
        only: [a.len() - items, b.len() - items],
        accuracy: some.then(|| sums.map(mean)),
        difference: some.then(|| mean(sums[1]) - mean(sums[0])),
        interval: some.then(|| interval(&differences)),
        p: coin(gained.len(), lost.len()),
        gained,
        lost,
    })
}

/// The interval of the mean of paired differences.
fn interval(differences: &[f64]) -> Interval {
    let n = (differences.len() + 2) as f64;
    let sum: f64 = differences.iter().sum();
    let squares: f64 = 2.0 + differences.iter().map(|d| d * d).sum::<f64>();
    let mean = sum / n;
    let half = Z_95 * ((squares / n - mean * mean) / n).sqrt();
    Interval { low: (mean - half).max(-1.0), high: (mean + half).min(1.0) }
}

/// How probable it is that a fair coin falls at least as unevenly, either way: exactly.
fn coin(heads: usize, tails: usize) -> f64 {
    let n = heads + tails;
    // The logarithm of each probability, so that thousands of throws are no trouble.
    let mut log = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=heads.min(tails) {
        tail += log.exp();
        log += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 2 / 2^6, 2 (1 + 10) / 2^10, and an interval whose terms are written out.
    #[test]
    fn figures_are_those_on_paper() {
        let cases =
            [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 0.031_25), (1, 9, 22.0 / 1024.0), (5, 5, 1.0)];
        for (heads, tails, expected) in cases {
            assert!((coin(heads, tails) - expected).abs() < 1e-12, "{heads} {tails}");
            assert!((coin(tails, heads) - expected).abs() < 1e-12, "{tails} {heads}");
        }
        assert!((coin(5000, 5000) - 1.0).abs() < 1e-9 && coin(3000, 1000) < 1e-200);
        // n = 10, 4 gained and 1 lost: p1 = 5/12, p2 = 2/12; 0.25 -+ z sqrt((7/12 - 1/16) / 12).
        let mut differences = vec![0.0; 5];
        differences.extend([1.0, 1.0, 1.0, 1.0, -1.0]);
        let found = interval(&differences);
        let half = Z_95 * ((7.0 / 12.0 - 1.0 / 16.0) / 12.0f64).sqrt();
        assert!((found.low - (0.25 - half)).abs() < 1e-12, "{found:?}");
        assert!((found.high - (0.25 + half)).abs() < 1e-12, "{found:?}");
    }
}
