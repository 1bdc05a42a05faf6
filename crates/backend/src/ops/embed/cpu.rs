//! Reference for the token embedding.

use super::Embed;
use crate::{Buffer, Cpu, Step, Weight};

impl Embed for Cpu {
    fn embed_raw(&mut self, table: &Weight, step: &Step, streams: &mut Buffer<f32>) {
        let width = streams.width;
        self.edit(streams, |cpu, streams| {
            let matrix = cpu.matrix(table, 0);
            let tokens = &cpu.data(&step.tokens)[..step.rows];
            for (row, &token) in streams.chunks_exact_mut(width).zip(tokens) {
                let (first, rest) = row.split_at_mut(table.cols);
                matrix.decode_row(token as usize, first);
                rest.chunks_exact_mut(table.cols).for_each(|stream| stream.copy_from_slice(first));
            }
        });
    }
}
