//! Means and how far they can be trusted, proportions, percentiles, and whether two lists of
//! repeats differ by more than their own noise.
//!
//! Sums are in the order of the values, so the same values give the same bits. Nothing here knows
//! what is measured.

use std::cmp::Ordering;

/// A mean in the making, by Welford's recurrence: no large sums are subtracted from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Mean {
    /// Of some values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Mean {
        let mut mean = Mean::default();
        values.into_iter().for_each(|value| mean.add(value));
        mean
    }

    /// One more value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// How many values there were.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// How far the mean would move if other values of the same kind were drawn: the root of the
    /// sample variance (over `n - 1`) over `n`. `None` below two values. It takes the values as
    /// independent.
    pub fn standard_error(&self) -> Option<f64> {
        let n = self.count as f64;
        (self.count > 1).then(|| (self.squares / (n - 1.0) / n).sqrt())
    }
}

/// Two measurements of the same things, one by one: what is common to both does not count as noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paired {
    /// Of `new - old`.
    pub difference: Mean,
    /// How often `new` was smaller.
    pub smaller: usize,
    /// How often it was larger.
    pub larger: usize,
}

impl Paired {
    /// Of pairs `(old, new)`.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Paired {
        let mut paired = Paired::default();
        pairs.into_iter().for_each(|(old, new)| paired.add(old, new));
        paired
    }

    /// One more pair.
    pub fn add(&mut self, old: f64, new: f64) {
        self.difference.add(new - old);
        match new.total_cmp(&old) {
            Ordering::Less => self.smaller += 1,
            Ordering::Greater => self.larger += 1,
            Ordering::Equal => {}
        }
    }
}

/// Two-sided 95 % of a normal distribution.
pub(crate) const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's interval of a proportion at 95 %: it stays inside 0 to 1, and says something where all
/// or none succeeded.
pub fn wilson(successes: usize, count: usize) -> (f64, f64) {
    wilson_of(successes as f64 / count.max(1) as f64, count)
}

/// The same for a mean of `count` shares, which need not be 0 or 1 each.
pub fn wilson_of(share: f64, count: usize) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let n = count as f64;
    let square = Z_95 * Z_95;
    let middle = share + square / (2.0 * n);
    let half = Z_95 * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let scale = 1.0 + square / n;
    // At the ends the interval reaches the proportion itself, which rounding must not miss.
    let low = if share == 0.0 { 0.0 } else { (middle - half) / scale };
    let high = if share == 1.0 { 1.0 } else { (middle + half) / scale };
    (low, high)
}

/// The value below which a share of the ascending `values` lies, between neighbours in proportion
/// (numpy's default). `None` of nothing.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place as usize;
    let above = (below + 1).min(last);
    Some(values[below] + (values[above] - values[below]) * (place - below as f64))
}

/// What two lists of repeats allow to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The new values are larger.
    Larger,
    /// The new values are smaller.
    Smaller,
    /// The spread does not allow to tell.
    Unclear,
    /// With so few values even the clearest difference happens by chance too often.
    TooFew,
}

/// How often chance alone may give a verdict.
pub const CHANCE: f64 = 0.01;

/// Two-sided [`CHANCE`] of a normal distribution.
const Z_CHANCE: f64 = 2.575_829_303_548_901;

/// Values in each list up to which chances are counted; above, the normal distribution is as good.
const COUNTED_MAX: usize = 20;

/// The test of Mann, Whitney and Wilcoxon: whether values of one list are larger than those of the
/// other more often than chance would have it, once in a hundred times. It asks for ranks only, so
/// one slow repeat counts as one, however slow it was.
pub fn compare(old: &[f64], new: &[f64]) -> Verdict {
    let (n, m) = (old.len(), new.len());
    let all = 2 * n * m;
    // Pairs in which `new` is larger, twice; equal ones count half.
    let wins: usize = new.iter().flat_map(|new| old.iter().map(move |old| twice(new, old))).sum();
    let fewer = wins.min(all - wins);
    let enough = |fewer| match n.max(m) <= COUNTED_MAX {
        // A half pair is rounded up, towards no verdict.
        true => 2.0 * chance_of_at_most(usize::div_ceil(fewer, 2), n, m) <= CHANCE,
        false => {
            let (n, m) = (n as f64, m as f64);
            let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
            (n * m / 2.0 - fewer as f64 / 2.0 - 0.5) / deviation >= Z_CHANCE
        }
    };
    match (enough(0), enough(fewer)) {
        (false, _) => Verdict::TooFew,
        (true, false) => Verdict::Unclear,
        (true, true) if wins > all - wins => Verdict::Larger,
        (true, true) => Verdict::Smaller,
    }
}

fn twice(new: &f64, old: &f64) -> usize {
    match new.total_cmp(old) {
        Ordering::Greater => 2,
        Ordering::Equal => 1,
        Ordering::Less => 0,
    }
}

/// How probable it is that at most `most` of the `n m` pairs go one way if all orders of the
/// `n + m` values are equally probable. Orders by pairs are the coefficients of the Gaussian
/// binomial, the product over `i` to `n` of `(1 - q^(m+i)) / (1 - q^i)`.
fn chance_of_at_most(most: usize, n: usize, m: usize) -> f64 {
    let pairs = n * m;
    let mut orders = vec![0.0; pairs + 1];
    orders[0] = 1.0;
    for i in 1..=n {
        for at in (m + i..=pairs).rev() {
            orders[at] -= orders[at - m - i];
        }
        for at in i..=pairs {
            orders[at] += orders[at - i];
        }
    }
    let all: f64 = orders.iter().sum();
    orders[..=most.min(pairs)].iter().sum::<f64>() / all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} {expected}");
    }

    /// By hand: the squares of 2, 4, 4, 4, 5, 5, 7, 9 around their mean 5 add up to 32.
    #[test]
    fn a_mean_and_its_error() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let mean = Mean::of(values);
        close(mean.mean(), 5.0);
        close(mean.standard_error().unwrap(), (32.0f64 / 7.0 / 8.0).sqrt());
        // The same around a large number, where a sum of squares would have lost everything.
        let far = Mean::of(values.map(|value| value + 1e9));
        let moved = far.standard_error().unwrap() - mean.standard_error().unwrap();
        assert!(moved.abs() < 1e-8, "{moved:e}");
        assert_eq!(Mean::of([3.0]).standard_error(), None);
    }

    #[test]
    fn pairs_cancel_what_they_share() {
        let paired = Paired::of([(1.0, 2.0), (100.0, 101.0), (50.0, 51.0)]);
        close(paired.difference.mean(), 1.0);
        close(paired.difference.standard_error().unwrap(), 0.0);
        assert_eq!((paired.smaller, paired.larger), (0, 3));
    }

    /// From Newcombe's table of intervals (Statistics in Medicine 17, 1998): 81 of 263, 0 of 20,
    /// 1 of 29.
    #[test]
    fn intervals_of_proportions() {
        for (successes, count, low, high) in
            [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let found = wilson(successes, count);
            assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{found:?}");
        }
        assert_eq!(wilson(20, 20).1, 1.0);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let values = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (1.0, 8.0), (0.9, 6.8)] {
            close(percentile(&values, share).unwrap(), expected);
        }
        assert_eq!(percentile(&[], 0.5), None);
    }

    /// Every order of small lists, counted one by one.
    #[test]
    fn chances_are_those_of_all_orders() {
        for (n, m) in [(1, 1), (2, 3), (4, 4), (5, 5), (3, 6)] {
            let mut orders = vec![0usize; n * m + 1];
            for chosen in (0u32..1 << (n + m)).filter(|set| set.count_ones() as usize == n) {
                let is_old = |i: usize| chosen >> i & 1 == 1;
                let pairs = |i: usize| (0..i).filter(|&j| !is_old(j)).count();
                let won: usize = (0..n + m).filter(|&i| is_old(i)).map(pairs).sum();
                orders[won] += 1;
            }
            let all: usize = orders.iter().sum();
            for most in 0..=n * m {
                let counted: usize = orders[..=most].iter().sum();
                close(chance_of_at_most(most, n, m), counted as f64 / all as f64);
            }
        }
    }

    #[test]
    fn verdicts() {
        let up = [1.0, 2.0, 3.0, 4.0, 5.0];
        let twice = up.map(|value| 10.0 + value);
        assert_eq!(compare(&up, &twice), Verdict::Larger);
        assert_eq!(compare(&twice, &up), Verdict::Smaller);
        assert_eq!(compare(&up, &up), Verdict::Unclear);
        assert_eq!(compare(&up, &[1.5, 2.5, 3.5, 4.5, 5.5]), Verdict::Unclear);
        assert_eq!(compare(&[1.0], &[2.0]), Verdict::TooFew);
        assert_eq!(compare(&up[..4], &twice[..4]), Verdict::TooFew);
        assert_eq!(compare(&[], &[]), Verdict::TooFew);
        // One bad repeat of many does not hide a difference.
        let many: Vec<f64> = (0..12).map(f64::from).collect();
        let mut larger: Vec<f64> = many.iter().map(|value| value + 100.0).collect();
        larger[3] = 0.5;
        assert_eq!(compare(&many, &larger), Verdict::Larger);
        let hundreds: Vec<f64> = (0..300).map(f64::from).collect();
        assert_eq!(compare(&hundreds, &hundreds), Verdict::Unclear);
        let shifted: Vec<f64> = hundreds.iter().map(|value| value + 60.0).collect();
        assert_eq!(compare(&hundreds, &shifted), Verdict::Larger);
    }

    /// Of equal noise, at most one comparison in a hundred may end in a verdict; here it is counted
    /// over all orders of two lists of six.
    #[test]
    fn chance_rarely_gives_a_verdict() {
        let (mut told, mut all) = (0, 0);
        for set in (0u32..1 << 12).filter(|set| set.count_ones() == 6) {
            let (old, new): (Vec<_>, Vec<_>) = (0..12u32).partition(|i| set >> i & 1 == 1);
            let [old, new] = [old, new].map(|list| list.into_iter().map(f64::from).collect());
            let (old, new): (Vec<f64>, Vec<f64>) = (old, new);
            told += usize::from(compare(&old, &new) != Verdict::Unclear);
            all += 1;
        }
        assert!(told > 0 && told * 100 <= all, "{told} of {all}");
    }
}
