//! Rotary frequencies, in both forms of the family.
//!
//! Layers without compression use the plain frequencies of `rope_base`; everything in a compressed
//! layer (queries, raw rows, compressed rows, the indexer) uses `compressed_rope_base` stretched by
//! YaRN, *without* YaRN's magnitude factor.

use crate::Shape;

impl Shape {
    /// Frequencies of the rotation, `[rotary_dim / 2]`, in radians per token.
    ///
    /// Channel pair `i` of a row at position `p` turns by `p · f[i]`. Computed in double precision
    /// and rounded once to `f32`, as the published inference code has them. Source: YaRN (Peng et
    /// al., 2023) for the ramp between kept and divided frequencies.
    pub fn rope_frequencies(&self, compressed: bool) -> Vec<f32> {
        let width = self.rotary_dim as f64;
        let base = if compressed { self.compressed_rope_base } else { self.rope_base };
        let plain = (0..self.rotary_dim / 2).map(|i| base.powf(-2.0 * i as f64 / width));
        if !compressed {
            return plain.map(|f| f as f32).collect();
        }
        let (low, high) = self.yarn_corner(base);
        plain
            .enumerate()
            .map(|(i, f)| {
                let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                (f / self.yarn.factor * ramp + f * (1.0 - ramp)) as f32
            })
            .collect()
    }

    /// Between which channel pairs YaRN passes from kept to divided frequencies.
    fn yarn_corner(&self, base: f64) -> (f64, f64) {
        let width = self.rotary_dim as f64;
        let pair = |rotations: f64| {
            let turns = self.yarn.original_context as f64 / (rotations * std::f64::consts::TAU);
            width * turns.ln() / (2.0 * base.ln())
        };
        let low = pair(self.yarn.beta_fast).floor().max(0.0);
        let high = pair(self.yarn.beta_slow).ceil().min(width - 1.0);
        // A width of zero would divide by zero; the published code widens it the same way.
        if low == high { (low, high + 0.001) } else { (low, high) }
    }
}

#[cfg(test)]
mod tests {
    use crate::Shape;

    /// The values that the published configuration gives, to nine digits.
    #[test]
    fn compressed_frequencies_are_the_published_ones() {
        let expected = [
            1.0,
            0.687656022,
            0.472870805,
            0.325172456,
            0.223606798,
            0.153764561,
            0.105737126,
            0.0727107717,
            0.05,
            0.0343828011,
            0.0236435402,
            0.0162586228,
            0.0111803399,
            0.00768822805,
            0.00528685632,
            0.00363553858,
            0.002265625,
            0.00139680129,
            0.000849689727,
            0.000508081963,
            0.000296977778,
            0.000168179989,
            9.0867843e-05,
            4.54442323e-05,
            1.953125e-05,
            5.37231267e-06,
            3.69430316e-06,
            2.54040981e-06,
            1.74692811e-06,
            1.20128563e-06,
            8.260713e-07,
            5.68052904e-07,
        ];
        let got = Shape::flash().rope_frequencies(true);
        assert_eq!(got.len(), expected.len());
        for (i, (got, want)) in got.iter().zip(expected).enumerate() {
            let relative = (*got as f64 - want).abs() / want;
            assert!(relative < 1e-7, "frequency {i}: {got} instead of {want}");
        }
    }

    #[test]
    fn plain_frequencies_are_powers_of_the_base() {
        let got = Shape::flash().rope_frequencies(false);
        assert_eq!(got[0], 1.0);
        assert!((got[16] - 0.01).abs() < 1e-9, "10000^(-1/2)");
    }
}
