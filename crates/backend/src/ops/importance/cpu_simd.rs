//! The importance on the fast CPU backend: a task is an expert, which looks through all picks. Sums
//! have the order of the reference, and its bits.

use super::Importance;
use crate::Buffer;
use crate::cpu::fast::CpuSimd;

impl Importance for CpuSimd {
    fn add_squares_raw(
        &mut self,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        sums: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (width, used) = (sums.width, picks.width);
        let shared = x.width == width;
        self.edit(sums, |cpu, workers, _, sums| {
            let (x, picks) = (cpu.data(x), &cpu.data(picks)[..rows * used]);
            workers.chunks(sums, width, &|_, expert, sums| {
                let pairs = picks.iter().enumerate();
                for (pair, _) in pairs.filter(|(_, pick)| **pick as usize == expert) {
                    let row = if shared { pair / used } else { pair };
                    sums.iter_mut().zip(&x[row * width..]).for_each(|(sum, x)| *sum += x * x);
                }
            });
        });
    }

    fn count_picks_raw(&mut self, picks: &Buffer<u32>, counts: &mut Buffer<u32>, rows: usize) {
        self.cpu.count_picks_raw(picks, counts, rows);
    }
}
