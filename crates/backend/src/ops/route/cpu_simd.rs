//! Fast routing: a token per task, scores by the reference's own function, the largest found
//! without sorting. Choices and shares are the reference's to the bit.

use super::cpu::score;
use super::{Choice, Route};
use crate::cpu::fast::CpuSimd;
use crate::ops::select::few_largest;
use crate::{Buffer, Step};

/// Tokens whose shares are one task.
const TOKENS_PER_TASK: usize = 32;

impl Route for CpuSimd {
    fn route_raw(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
    ) {
        let (experts, used, rows) = (logits.width, picks.width, step.rows);
        self.edit(picks, |cpu, workers, _, picks| {
            let (logits, picks) = (cpu.data(logits), &mut picks[..rows * used]);
            match choice {
                Choice::Table(table) => {
                    let (table, tokens) = (cpu.data(table), cpu.data(&step.tokens));
                    for (picks, &token) in picks.chunks_exact_mut(used).zip(tokens) {
                        picks.copy_from_slice(&table[token as usize * used..][..used]);
                    }
                }
                Choice::Bias(bias) => {
                    let bias = cpu.data(bias);
                    workers.chunks(picks, used, &|own, t, picks| {
                        let logits = &logits[t * experts..][..experts];
                        own.floats.clear();
                        own.floats.extend(logits.iter().zip(bias).map(|(&l, b)| score(l) + b));
                        few_largest(&own.floats, picks);
                    });
                }
            }
        });
        self.edit(shares, |cpu, workers, _, shares| {
            let (logits, picks) = (cpu.data(logits), cpu.data(picks));
            let shares = &mut shares[..rows * used];
            workers.chunks(shares, TOKENS_PER_TASK * used, &|_, task, shares| {
                for (t, shares) in (task * TOKENS_PER_TASK..).zip(shares.chunks_exact_mut(used)) {
                    let (logits, picks) = (&logits[t * experts..], &picks[t * used..]);
                    for (share, &pick) in shares.iter_mut().zip(picks) {
                        *share = score(logits[pick as usize]);
                    }
                    let sum: f32 = shares.iter().sum();
                    shares.iter_mut().for_each(|share| *share = *share / sum * scale);
                }
            });
        });
    }
}
