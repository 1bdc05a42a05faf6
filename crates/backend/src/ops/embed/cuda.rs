//! The token embedding on CUDA.

use super::Embed;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::{Buffer, Step, Weight};

/// The embedding.
pub static EMBED: Unit = Unit {
    family: "embed",
    name: "embed",
    source: &[COMMON, units::WEIGHTS, include_str!("embed.cu")],
    parameters: &["FORMAT"],
    kernels: &["embed"],
};

impl Embed for Cuda {
    fn embed_raw(&mut self, table: &Weight, step: &Step, streams: &mut Buffer<f32>) {
        let stored = self.stored(table);
        let ([a, b, c], format) = (stored.planes, stored.code());
        let (cols, n) = (table.cols, streams.width / table.cols);
        let tokens = self.at(&step.tokens);
        let args = words![a, b, c, tokens, self.edit(streams), cols, n];
        let unit = (&EMBED, values(&[format]), "embed");
        self.record(unit, [step.rows, 1, 1], 256, args);
    }
}
