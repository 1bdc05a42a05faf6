//! Reference for attention: gather what a query sees, then plain softmax attention per head.

use rayon::prelude::*;

use super::{Attend, Beyond, Visible};
use crate::ops::index::{DAMAGED, NO_PICK};
use crate::ops::linear::cpu::dot;
use crate::{Buffer, Cpu, KvPools, Step};

/// One head over `rows` `[keys, hd]`.
fn attend_head(q: &[f32], rows: &[f32], sink: f32, out: &mut [f32]) {
    let hd = q.len();
    let scale = 1.0 / (hd as f32).sqrt();
    let mut scores: Vec<f32> = rows.chunks_exact(hd).map(|row| dot(q, row) * scale).collect();
    let max = scores.iter().copied().fold(sink, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let total = scores.iter().sum::<f32>() + (sink - max).exp();
    out.fill(0.0);
    for (weight, row) in scores.iter().zip(rows.chunks_exact(hd)) {
        let prob = weight / total;
        out.iter_mut().zip(row).for_each(|(o, v)| *o += prob * v);
    }
}

impl Cpu {
    /// The rows that the query of step row `t` sees, decoded: `[keys, hd]`.
    fn gather(&self, visible: &Visible, step: &Step, kv: &KvPools, t: usize) -> Vec<f32> {
        let Visible { fresh, ring, beyond } = visible;
        let position = self.data(&step.positions)[t] as usize;
        let owner = self.data(&step.owners)[t] as usize;
        let segment = self.segments(step)[owner];
        let table = self.page_table(step, owner);
        let compressed = |ratio: usize| 0..((position + 1) / ratio) as u32;
        let (paged, rows): (_, Vec<u32>) = match beyond {
            Beyond::Nothing => (None, Vec::new()),
            Beyond::All(paged) => (Some(paged), compressed(paged.ratio).collect()),
            Beyond::Picked(paged, picks) => {
                let picks = &self.data(picks)[t * picks.width..][..picks.width];
                (Some(paged), picks.iter().copied().take_while(|&row| row != NO_PICK).collect())
            }
        };
        let window = (position + 1).saturating_sub(ring.rows)..=position;
        let hd = fresh.layout.width();
        let mut out = vec![0.0; (window.clone().count() + rows.len()) * hd];
        let mut next = out.chunks_exact_mut(hd);
        let (start, first_row) = (segment.start as usize, segment.first_row as usize);
        let fresh_block = self.data(&fresh.bytes);
        let ring_block = &self.page(&kv.slots, segment.slot)[ring.offset..];
        for (p, out) in window.zip(&mut next) {
            match p.checked_sub(start) {
                Some(i) => fresh.layout.load(fresh_block, fresh.rows, first_row + i, out),
                None => ring.layout.load(ring_block, ring.rows, p % ring.rows, out),
            }
        }
        for (row, out) in rows.into_iter().zip(next) {
            let paged = paged.expect("only compressed layers have rows beyond the window");
            match row {
                DAMAGED => out.fill(f32::NAN),
                row => self.load_paged(*paged, kv, table, row as usize, out),
            }
        }
        out
    }
}

impl Attend for Cpu {
    fn attend_raw(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    ) {
        let (width, hd) = (q.width, visible.fresh.layout.width());
        self.edit(out, |cpu, out| {
            let (q, sinks) = (cpu.data(q), cpu.data(sinks));
            let out = &mut out[..step.rows * width];
            out.par_chunks_exact_mut(width).enumerate().for_each(|(t, out)| {
                let rows = cpu.gather(visible, step, kv, t);
                let heads = q[t * width..][..width].par_chunks_exact(hd);
                out.par_chunks_exact_mut(hd)
                    .zip(heads)
                    .zip(sinks)
                    .for_each(|((out, q), &sink)| attend_head(q, &rows, sink, out));
            });
        });
    }
}
