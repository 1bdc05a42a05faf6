//! What a row of logits says, in F64: log-probabilities, ranks, and how far two rows are apart.
//!
//! Exponentials are of differences to the row's largest logit, so nothing overflows, and sums run
//! in the order of the ids, so that a row gives the same bits on every machine and beside itself a
//! divergence of exactly 0.

use spec::TokenId;

/// A row of logits with its normalizer.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    logits: &'a [f32],
    /// The logarithm of the sum of all exponentials.
    total: f64,
}

impl<'a> Row<'a> {
    /// Of logits `[V]`, at least one and all of them numbers, as an engine gives them.
    pub fn new(logits: &'a [f32]) -> Row<'a> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(largest);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
        Row { logits, total: largest + sum.ln() }
    }

    /// The natural logarithm of a token's probability.
    pub fn log_probability(&self, token: TokenId) -> f64 {
        f64::from(self.logits[token.0 as usize]) - self.total
    }

    /// The most probable token; the lowest of equal ones.
    pub fn top(&self) -> TokenId {
        let mut top = 0;
        for (id, logit) in self.logits.iter().enumerate() {
            if *logit > self.logits[top] {
                top = id;
            }
        }
        TokenId(top as u32)
    }

    /// The `count` most probable tokens, most probable first; the lowest of equal ones comes first.
    pub fn tops(&self, count: usize) -> Vec<TokenId> {
        let mut ids: Vec<u32> = (0..self.logits.len() as u32).collect();
        let logit = |id: u32| self.logits[id as usize];
        let order = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
        let count = count.min(ids.len());
        if count < ids.len() {
            ids.select_nth_unstable_by(count, order);
            ids.truncate(count);
        }
        ids.sort_unstable_by(order);
        ids.into_iter().map(TokenId).collect()
    }

    /// The place of a token among all, from 1: one more than there are better ones, or equal ones
    /// with a lower id.
    pub fn rank(&self, token: TokenId) -> usize {
        let (id, own) = (token.0 as usize, self.logits[token.0 as usize]);
        let better = self.logits.iter().filter(|logit| **logit > own).count();
        1 + better + self.logits[..id].iter().filter(|logit| **logit == own).count()
    }

    /// The Kullback-Leibler divergence of `other` from this row, in nats: the sum over all tokens
    /// of `p (ln p - ln q)`, where `p` is this row's.
    pub fn divergence(&self, other: &Row<'_>) -> f64 {
        assert_eq!(self.logits.len(), other.logits.len(), "rows of one vocabulary");
        let terms = self.logits.iter().zip(other.logits).map(|(own, others)| {
            let (p, q) = (f64::from(*own) - self.total, f64::from(*others) - other.total);
            p.exp() * (p - q)
        });
        // It is never negative, except by the rounding of a sum that is nearly 0.
        terms.sum::<f64>().max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_hand() {
        // e^ln(1), e^ln(2), e^ln(5): 1, 2 and 5 eighths, wherever the zero of logits is.
        let logits = [1.0f32, 2.0, 5.0].map(f32::ln);
        for shift in [0.0, 80.0, -3000.0, 3.0e38] {
            let row = logits.map(|logit| logit + shift);
            let found = Row::new(&row);
            if shift.abs() <= 100.0 {
                let p = found.log_probability(TokenId(2)).exp();
                assert!((p - 0.625).abs() < 1e-5, "{shift}: {p}");
            }
            assert!(found.log_probability(TokenId(0)).is_finite(), "{shift}");
        }
        // One logit above all: what is left of the others is told to the last digit.
        let sharp = Row::new(&[0.0, -40.0]).log_probability(TokenId(1));
        assert!((sharp + 40.0).abs() < 1e-14);
    }

    #[test]
    fn ranks_and_ties() {
        let logits = [1.0, 3.0, 3.0, 0.0, 2.0];
        let row = Row::new(&logits);
        assert_eq!(row.top(), TokenId(1));
        let ranks = [0, 1, 2, 3, 4].map(|id| row.rank(TokenId(id)));
        assert_eq!(ranks, [4, 1, 2, 5, 3]);
        assert_eq!(row.tops(3), [1, 2, 4].map(TokenId));
        assert_eq!(row.tops(99).len(), 5);
    }

    #[test]
    fn divergence_by_hand() {
        let (p, q) = ([0.5f64, 0.25, 0.25], [0.25f64, 0.25, 0.5]);
        let expected: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
        let [p, q] = [p, q].map(|row| row.map(|v| v.ln() as f32));
        let (p, q) = (Row::new(&p), Row::new(&q));
        assert!((p.divergence(&q) - expected).abs() < 1e-7);
        assert_eq!(p.divergence(&p), 0.0);
    }
}
