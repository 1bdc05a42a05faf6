//! Reference for the importance: pair after pair.

use super::Importance;
use crate::{Buffer, Cpu};

impl Importance for Cpu {
    fn add_squares_raw(
        &mut self,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        sums: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (width, used) = (sums.width, picks.width);
        let shared = x.width == width;
        self.edit(sums, |cpu, sums| {
            let x = cpu.data(x);
            for (pair, &pick) in cpu.data(picks)[..rows * used].iter().enumerate() {
                let row = if shared { pair / used } else { pair };
                let sums = &mut sums[pick as usize * width..][..width];
                sums.iter_mut().zip(&x[row * width..]).for_each(|(sum, x)| *sum += x * x);
            }
        });
    }

    fn count_picks_raw(&mut self, picks: &Buffer<u32>, counts: &mut Buffer<u32>, rows: usize) {
        let used = rows * picks.width;
        self.edit(counts, |cpu, counts| {
            cpu.data(picks)[..used].iter().for_each(|&pick| counts[pick as usize] += 1);
        });
    }
}
