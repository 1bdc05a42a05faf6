//! Reference for the indexer.

use rayon::prelude::*;

use super::{DAMAGED, Index, NO_PICK};
use crate::ops::kv::{PagedRows, RowLayout};
use crate::ops::linear::cpu::dot;
use crate::ops::select::largest;
use crate::{Buffer, Cpu, KvPools, Step};

impl Cpu {
    /// Reads compressed row `row` of the session whose page table is given.
    pub(crate) fn load_paged(
        &self,
        paged: PagedRows,
        kv: &KvPools,
        table: &[u32],
        row: usize,
        out: &mut [f32],
    ) {
        let (entry, index) = paged.place(row);
        let block = &self.page(&kv.pages, table[entry])[paged.offset..];
        paged.layout.load(block, paged.rows_per_page(), index, out);
    }
}

/// `max(0, x)`, except that NaN stays NaN.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

impl Index for Cpu {
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        let used = rows * q.width;
        self.edit(q, |_, q| {
            q[..used].chunks_exact_mut(layout.width()).for_each(|head| layout.round(head));
        });
    }

    fn index_pick_raw(
        &mut self,
        paged: PagedRows,
        q: &Buffer<f32>,
        weights: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
        picks: &mut Buffer<u32>,
    ) {
        let (dim, heads, top_k) = (paged.layout.width(), weights.width, picks.width);
        let scale = 1.0 / ((heads * dim) as f32).sqrt();
        self.edit(picks, |cpu, picks| {
            let positions = cpu.data(&step.positions);
            let owners = cpu.data(&step.owners);
            let (q, weights) = (cpu.data(q), cpu.data(weights));
            let picks = &mut picks[..step.rows * top_k];
            picks.par_chunks_exact_mut(top_k).enumerate().for_each(|(t, picks)| {
                let visible = (positions[t] as usize + 1) / paged.ratio;
                picks.fill(NO_PICK);
                if visible <= top_k {
                    picks.iter_mut().zip(0..visible).for_each(|(pick, row)| *pick = row as u32);
                    return;
                }
                let table = cpu.page_table(step, owners[t] as usize);
                let q = &q[t * heads * dim..][..heads * dim];
                let weights = &weights[t * heads..][..heads];
                let mut row = vec![0.0; dim];
                let scores: Vec<f32> = (0..visible)
                    .map(|w| {
                        cpu.load_paged(paged, kv, table, w, &mut row);
                        let heads = q.chunks_exact(dim).zip(weights);
                        heads.map(|(q, weight)| weight * scale * relu(dot(q, &row))).sum()
                    })
                    .collect();
                if scores.iter().any(|score| score.is_nan()) {
                    picks[0] = DAMAGED;
                    return;
                }
                picks.copy_from_slice(&largest(&scores, top_k));
                picks.sort_unstable();
            });
        });
    }
}
