//! Reference for the router.

use super::{Choice, Route};
use crate::ops::select::largest;
use crate::{Buffer, Cpu, Step};

/// `sqrt(ln(1 + e^x))`, without overflow for large `x`.
pub(super) fn score(logit: f32) -> f32 {
    let softplus = logit.max(0.0) + (-logit.abs()).exp().ln_1p();
    softplus.sqrt()
}

impl Route for Cpu {
    fn route_raw(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
    ) {
        let (experts, used) = (logits.width, picks.width);
        self.edit(picks, |cpu, picks| {
            let logits = cpu.data(logits).chunks_exact(experts).take(step.rows);
            let tokens = cpu.data(&step.tokens);
            for (t, (logits, picks)) in logits.zip(picks.chunks_exact_mut(used)).enumerate() {
                match choice {
                    Choice::Table(table) => {
                        let row = &cpu.data(table)[tokens[t] as usize * used..][..used];
                        picks.copy_from_slice(row);
                    }
                    Choice::Bias(bias) => {
                        let biased = logits.iter().zip(cpu.data(bias)).map(|(&l, b)| score(l) + b);
                        picks.copy_from_slice(&largest(&biased.collect::<Vec<_>>(), used));
                    }
                }
            }
        });
        self.edit(shares, |cpu, shares| {
            let logits = cpu.data(logits).chunks_exact(experts).take(step.rows);
            let picks = cpu.data(picks).chunks_exact(used);
            for ((logits, picks), out) in logits.zip(picks).zip(shares.chunks_exact_mut(used)) {
                for (out, &pick) in out.iter_mut().zip(picks) {
                    *out = score(logits[pick as usize]);
                }
                let sum: f32 = out.iter().sum();
                out.iter_mut().for_each(|g| *g = *g / sum * scale);
            }
        });
    }
}
