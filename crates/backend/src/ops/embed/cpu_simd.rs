//! The token embedding, a token per task; rows are decoded as the reference does, to the bit.

use super::Embed;
use crate::cpu::fast::CpuSimd;
use crate::{Buffer, Step, Weight};

impl Embed for CpuSimd {
    fn embed_raw(&mut self, table: &Weight, step: &Step, streams: &mut Buffer<f32>) {
        let width = streams.width;
        self.edit(streams, |cpu, workers, _, streams| {
            let matrix = cpu.matrix(table, 0);
            let tokens = &cpu.data(&step.tokens)[..step.rows];
            workers.chunks(&mut streams[..step.rows * width], width, &|_, t, row| {
                let (first, rest) = row.split_at_mut(table.cols);
                matrix.decode_row(tokens[t] as usize, first);
                rest.chunks_exact_mut(table.cols).for_each(|stream| stream.copy_from_slice(first));
            });
        });
    }
}
