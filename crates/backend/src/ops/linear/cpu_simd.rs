//! Fast matrix products: sixteen rows of the weight are one task, decoded once for all tokens.
//!
//! Quantized formats go through [`super::panel`], with activations rounded to 8 bits; F32, F16,
//! BF16 and the rarer formats are multiplied in floats. Both leave a block `[T, 16]` per task,
//! which a second pass puts in its place, since a task's results for several tokens are not
//! contiguous in the output.

use gguf::Format;

use super::Linear;
use super::packed::{Packed, PackedProduct};
use super::panel::{Activations, Members, Product, RoundRow, is_coded};
use crate::cpu::MatrixView;
use crate::cpu::fast::{CpuSimd, Workers};
use crate::cpu::simd::{Kernel, LANES, PANEL_ROWS, Simd, dot_rest, dots};
use crate::{Buffer, Weight};

/// Memory of a product, used again and again, and the weights that were repacked.
#[derive(Default)]
pub(crate) struct Scratch {
    /// By number of the weight.
    pub packed: Vec<Option<Packed>>,
    /// Rounded activations.
    rounded: Activations,
    /// `[tasks, T, 16]`.
    blocks: Vec<f32>,
}

/// `out[t] = W x[t]` by groups; `x` `[T, G·cols]`, `out` `[T, rows]`. `number` is the weight's.
pub(crate) fn matmul(
    workers: &mut Workers,
    scratch: &mut Scratch,
    (weight, number): (MatrixView, usize),
    groups: usize,
    x: &[f32],
    out: &mut [f32],
) {
    let Scratch { packed, rounded, blocks } = scratch;
    let tokens = out.len() / weight.rows;
    let group_rows = weight.rows / groups;
    let group_panels = group_rows.div_ceil(PANEL_ROWS);
    blocks.resize(groups * group_panels * tokens * LANES, 0.0);
    let coded = is_coded(weight.format);
    // A group that begins inside of a panel is multiplied from the file's rows.
    let aligned = groups == 1 || group_rows.is_multiple_of(PANEL_ROWS);
    let packed = packed.get(number).and_then(Option::as_ref).filter(|_| aligned);
    if coded {
        // Group `g` of token `t` is row `t · G + g` of the rounded activations.
        round_rows(workers, x, weight.cols, rounded);
    }
    workers.chunks(blocks, tokens * LANES, &|own, task, block| {
        let (group, panel) = (task / group_panels, task % group_panels);
        let (matrix, first_row) =
            (weight.slice(group * group_rows, group_rows), panel * PANEL_ROWS);
        let members = Members::Strided { first: group, step: groups, count: tokens };
        if let Some(packed) = packed {
            let panel = packed.panel(task);
            own.level.run(PackedProduct { panel, x: rounded, members, out: block });
        } else if coded {
            let panel = &mut own.panel;
            Product { matrix, first_row, x: rounded, members, panel, out: block }.run(own.level);
        } else {
            let rows = matrix.slice(first_row, PANEL_ROWS.min(group_rows - first_row));
            let (x, start) = (x, group * weight.cols);
            let stride = groups * weight.cols;
            let decoded = &mut own.floats;
            own.level.run(FloatProduct { rows, x, stride, start, tokens, decoded, out: block });
        }
    });
    // Blocks [panel][t][16] to out [t][row].
    workers.chunks(out, weight.rows, &|_, t, out| {
        for (group, out) in out.chunks_exact_mut(group_rows).enumerate() {
            for (panel, out) in out.chunks_mut(LANES).enumerate() {
                let block = (group * group_panels + panel) * tokens + t;
                out.copy_from_slice(&blocks[block * LANES..][..out.len()]);
            }
        }
    });
}

/// Rounds rows of `cols` activations to 8 bits.
pub(crate) fn round_rows(workers: &mut Workers, x: &[f32], cols: usize, out: &mut Activations) {
    out.shape(x.len() / cols, cols);
    let row_blocks = out.row_blocks;
    workers.chunks(&mut out.blocks, row_blocks, &|own, row, out| {
        own.level.run(RoundRow { x: &x[row * cols..][..cols], out });
    });
}

/// The product in floats: `out[t][r] = W[r] · x[t]` for up to sixteen rows.
struct FloatProduct<'a> {
    rows: MatrixView<'a>,
    /// Token `t` is `cols` values from `t · stride + start` on.
    x: &'a [f32],
    stride: usize,
    start: usize,
    tokens: usize,
    /// Scratch for four decoded rows.
    decoded: &'a mut Vec<f32>,
    /// `[tokens, 16]`.
    out: &'a mut [f32],
}

impl Kernel for FloatProduct<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let FloatProduct { rows, x, stride, start, tokens, decoded, out } = self;
        let cols = rows.cols;
        decoded.resize(4 * cols, 0.0);
        let token = |t: usize| &x[t * stride + start..][..cols];
        if tokens == 1 && matches!(rows.format, Format::F16 | Format::Bf16) {
            return match rows.format {
                Format::F16 => multiply_halves::<S, true>(rows, token(0), out),
                _ => multiply_halves::<S, false>(rows, token(0), out),
            };
        }
        for four in (0..rows.rows).step_by(4) {
            for (r, decoded) in decoded.chunks_exact_mut(cols).enumerate() {
                // Rows beyond the last repeat it; nobody reads their results.
                decode_row::<S>(rows, (four + r).min(rows.rows - 1), decoded);
            }
            let row = |r: usize| &decoded[r * cols..][..cols];
            let rows = std::array::from_fn(row);
            let mut t = 0;
            while t + 4 <= tokens {
                let products = dots::<S, 4, 4>(rows, [0, 1, 2, 3].map(|i| token(t + i)));
                for i in 0..4 {
                    for r in 0..4 {
                        out[(t + i) * LANES + four + r] = products[r][i];
                    }
                }
                t += 4;
            }
            for t in t..tokens {
                let products = dots::<S, 4, 1>(rows, [token(t)]);
                for r in 0..4 {
                    out[t * LANES + four + r] = products[r][0];
                }
            }
        }
    }
}

/// One token times rows of F16, or of BF16, as they are read: what [`dots`] computes from decoded
/// rows, bit for bit.
#[inline(always)]
fn multiply_halves<S: Simd, const F16: bool>(matrix: MatrixView, x: &[f32], out: &mut [f32]) {
    let (wide, x_rest) = x.as_chunks::<LANES>();
    for four in (0..matrix.rows).step_by(4) {
        let (mut rows, mut rests): ([&[[u8; 2 * LANES]]; 4], [&[u8]; 4]) = ([&[]; 4], [&[]; 4]);
        for r in 0..4 {
            // Rows beyond the last repeat it; nobody reads their results.
            let row = matrix.slice((four + r).min(matrix.rows - 1), 1).bytes;
            (rows[r], rests[r]) = row.as_chunks();
        }
        let mut lanes = [S::splat(0.0); 4];
        for (i, x) in wide.iter().enumerate() {
            let x = S::load(x);
            for r in 0..4 {
                let w = if F16 { S::f16(&rows[r][i]) } else { S::bf16(&rows[r][i]) };
                lanes[r] = S::fma(w, x, lanes[r]);
            }
        }
        for r in 0..4 {
            let mut rest = [0.0; LANES];
            let rest = &mut rest[..x_rest.len()];
            if !rest.is_empty() {
                matrix.format.decode(rests[r], rest);
            }
            out[four + r] = S::sum(lanes[r]) + dot_rest(rest, x_rest);
        }
    }
}

/// Decodes a row to floats: the float formats by vectors, others as `gguf` does.
#[inline(always)]
fn decode_row<S: Simd>(matrix: MatrixView, row: usize, out: &mut [f32]) {
    let bytes = matrix.slice(row, 1).bytes;
    let (wide, rest) = match matrix.format {
        Format::F16 | Format::Bf16 => bytes.as_chunks::<{ 2 * LANES }>(),
        _ => return matrix.decode_row(row, out),
    };
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    for (bytes, out) in wide.iter().zip(out) {
        let values = if matrix.format == Format::F16 { S::f16(bytes) } else { S::bf16(bytes) };
        S::store(values, out);
    }
    if !rest.is_empty() {
        matrix.format.decode(rest, out_rest);
    }
}

impl Linear for CpuSimd {
    fn linear_raw(
        &mut self,
        weight: &Weight,
        groups: usize,
        x: &Buffer<f32>,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (in_width, out_width) = (x.width, out.width);
        self.edit(out, |cpu, workers, scratch, out| {
            let (x, out) = (&cpu.data(x)[..rows * in_width], &mut out[..rows * out_width]);
            let matrix = (cpu.matrix(weight, 0), weight.id);
            matmul(workers, &mut scratch.matmul, matrix, groups, x, out);
        });
    }
}
