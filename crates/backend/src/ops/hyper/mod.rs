//! Hyper-connections: the residual is `n` streams; each half layer reads one mix of them and writes
//! its result back to all of them while mixing them among themselves.
//!
//! Per token, with `h` `[n, D]` and `m = W · rms(flatten(h))` `[(2 + n)·n]`:
//!
//! ```text
//! pre[i]  = sigmoid(m[i] · scale[0] + base[i]) + eps                 how much stream i is read
//! post[i] = 2 · sigmoid(m[n+i] · scale[1] + base[n+i])               how much stream i is written
//! C[j][k] = m[2n + n·j + k] · scale[2] + base[2n + n·j + k]          how stream j flows into k
//! C = softmax over each row, + eps; then columns / (sum + eps);
//!     then (iterations − 1) times: rows / (sum + eps), columns / (sum + eps)
//! x     = Σ_i pre[i] · h[i]                                          read
//! h'[k] = post[k] · y + Σ_j C[j][k] · h[j]                       write, over the FIRST index of C
//! ```
//!
//! Source: Hyper-Connections (Zhu et al., 2024), with the Sinkhorn projection of the manifold-
//! constrained form that the published weights use. All in `f32`.

mod cases;
mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer, Step, Weight};

/// The learned parts of one mix.
#[derive(Debug)]
pub struct HyperMix {
    /// `[(2 + n)·n, n·D]`; for the head `[n, n·D]`.
    pub matrix: Weight,
    /// `[1, (2 + n)·n]`; for the head `[1, n]`.
    pub base: Buffer<f32>,
    /// `[1, 3]`; for the head `[1, 1]`.
    pub scale: Buffer<f32>,
}

/// The constants of all mixes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HyperSettings {
    /// Streams, `n`.
    pub streams: usize,
    /// Sinkhorn iterations: the first column pass and this many less one row and column passes.
    pub iterations: usize,
    /// The `eps` of the formulas above.
    pub eps: f32,
    /// The `eps` inside `rms`.
    pub rms_eps: f32,
}

impl HyperSettings {
    /// Width of the gates that [`hyper_mix`](trait.Backend.html#method.hyper_mix) leaves for
    /// [`hyper_spread`](trait.Backend.html#method.hyper_spread): `post` then `C`.
    pub fn gates_width(&self) -> usize {
        self.streams + self.streams * self.streams
    }

    /// Asserts the shapes of a read.
    pub(crate) fn check(
        &self,
        mix: &HyperMix,
        streams: &Buffer<f32>,
        gates: &Buffer<f32>,
        x: &Buffer<f32>,
        rows: usize,
    ) {
        let (n, width) = (self.streams, (2 + self.streams) * self.streams);
        assert_eq!((mix.matrix.rows, mix.matrix.cols), (width, streams.width), "mix matrix");
        mix.base.expect("base", 1, width);
        mix.scale.expect("scale", 1, 3);
        streams.expect("streams", rows, n * x.width);
        gates.expect("gates", rows, self.gates_width());
        x.expect("x", rows, x.width);
    }
}

/// What a backend implements.
pub trait Hyper {
    /// Reads the streams into `x` and leaves `post` and `C` in `gates`.
    fn hyper_mix_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        rows: usize,
    );
    /// Writes `y` back to the streams, in place.
    fn hyper_spread_raw(
        &mut self,
        gates: &Buffer<f32>,
        y: &Buffer<f32>,
        streams: &mut Buffer<f32>,
        rows: usize,
    );
    /// Reads the streams of the rows that want logits.
    fn hyper_head_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        step: &Step,
        x: &mut Buffer<f32>,
    );
}

impl dyn Backend + '_ {
    /// The read half: `x = Σ pre[i] · h[i]`, and the gates for the write half.
    ///
    /// `streams` `[T, n·D]`, `gates` `[T, n + n²]`, `x` `[T, D]`.
    pub fn hyper_mix(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        rows: usize,
    ) {
        settings.check(mix, streams, gates, x, rows);
        self.hyper_mix_raw(mix, settings, streams, gates, x, rows);
    }

    /// The write half: `h'[k] = post[k] · y + Σ_j C[j][k] · h[j]`.
    ///
    /// `gates` `[T, n + n²]`, `y` `[T, D]`, `streams` `[T, n·D]` in place.
    pub fn hyper_spread(
        &mut self,
        gates: &Buffer<f32>,
        y: &Buffer<f32>,
        streams: &mut Buffer<f32>,
        rows: usize,
    ) {
        let n = streams.width / y.width;
        y.expect("y", rows, y.width);
        gates.expect("gates", rows, n + n * n);
        streams.expect("streams", rows, n * y.width);
        self.hyper_spread_raw(gates, y, streams, rows);
    }

    /// The read before the output head: `x = Σ w[i] · h[i]`,
    /// `w[i] = sigmoid(m[i] · scale[0] + base[i]) + eps`, for the rows that want logits.
    ///
    /// `streams` `[T, n·D]`, `x` `[R, D]`.
    pub fn hyper_head(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        step: &Step,
        x: &mut Buffer<f32>,
    ) {
        let n = settings.streams;
        assert_eq!((mix.matrix.rows, mix.matrix.cols), (n, streams.width), "head mix matrix");
        mix.base.expect("base", 1, n);
        mix.scale.expect("scale", 1, 1);
        streams.expect("streams", step.rows, n * x.width);
        x.expect("x", step.outputs, x.width);
        if step.outputs > 0 {
            self.hyper_head_raw(mix, settings, streams, step, x);
        }
    }
}
