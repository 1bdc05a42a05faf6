//! Products of the activations of up to four tokens with weights of Q8_0, and with weights of
//! 16-bit floats beside them, in a pipe through shared memory (`pipe.cu`).
//!
//! Other formats, more tokens, and widths that are no whole number of pieces are left to `gemv.cu`.

use gguf::Format;

use super::cuda::{GIVEN, MATRICES_MAX, filled};
use super::rounded::Activations;
use crate::Weight;
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};

/// Weights of one width, of Q8_0 and of a float format.
pub static PIPE: Unit = Unit {
    family: "linear",
    name: "pipe",
    source: &[
        COMMON,
        GIVEN,
        units::SHARED,
        "namespace one {\n",
        units::WEIGHTS,
        "}\n#undef FORMAT\n#undef CHUNK\n#define FORMAT OTHER\nnamespace other {\n",
        units::WEIGHTS,
        "}\n",
        include_str!("pipe.cu"),
    ],
    parameters: &["FORMAT", "OTHER", "COLS"],
    kernels: &["pipe1", "pipe2", "pipe4"],
};

/// Warps of a block, pieces of a warp's ring, bytes of a piece, and of one with its scales.
const WARPS: usize = 16;
const DEPTH: usize = 8;
const PIECE: usize = 1024;
const SLOT: usize = PIECE + PIECE / 32 * 2;

/// Tokens whose activations fit registers.
const TOKENS_MAX: usize = 4;

/// A product and where its results go.
type Out<'a> = (&'a Weight, Address);

/// Which kernel takes so many tokens, and how many it takes.
fn kernel(tokens: usize) -> (&'static str, usize) {
    match tokens {
        1 => ("pipe1", 1),
        2 => ("pipe2", 2),
        _ => ("pipe4", TOKENS_MAX),
    }
}

/// What becomes of the results.
#[derive(Clone, Copy)]
pub(crate) enum After {
    Store,
    /// They are added to what is there.
    Add,
    /// Those of a single product are stored, and rounded as well: `run` rows of each block.
    Round {
        to: Activations,
        run: usize,
    },
}

/// Rows of all of some weights.
fn rows(some: &[Out]) -> usize {
    some.iter().map(|(weight, _)| weight.rows).sum()
}

/// Most turns in which so many blocks take rows that are so many pieces wide: those of a run.
fn turns(rows: usize, pieces: usize, blocks: usize) -> usize {
    rows.div_ceil(blocks).next_multiple_of(32).div_ceil(WARPS / pieces)
}

impl Cuda {
    /// Whether products can be computed so: with one of them in several groups, or several in one.
    pub(crate) fn can_pipe(
        &self,
        codes: &[Out],
        floats: &[Out],
        groups: usize,
        tokens: usize,
    ) -> bool {
        let Some((first, _)) = codes.first() else { return false };
        let format = |out: &Out| self.stored(out.0).format;
        let other = floats.first().map(format);
        let whole = |bytes: usize| (first.cols * bytes).is_multiple_of(PIECE);
        let fits = |bytes: usize| whole(bytes) && first.cols * bytes <= WARPS * PIECE;
        tokens <= TOKENS_MAX
            && codes.iter().all(|out| format(out) == Format::Q8_0)
            && floats.iter().all(|out| Some(format(out)) == other)
            && matches!(other, None | Some(Format::F16 | Format::Bf16))
            && codes.len() + floats.len() <= MATRICES_MAX
            && (groups == 1 || (codes.len() == 1 && floats.is_empty()))
            && first.rows.is_multiple_of(groups)
            && groups <= self.processors()
            && fits(1)
            && (floats.is_empty() || fits(2))
            && self.has_shared(1, self.pipe_bytes(codes, floats, groups, tokens))
    }

    /// Rows that lie beside each other for every block, where results are rounded 32 at a time:
    /// none if processors would be left without any.
    pub(crate) fn pipe_run(&self, weight: &Weight, groups: usize) -> Option<usize> {
        let (rows, blocks) = (weight.rows / groups, self.pipe_blocks(groups) / groups);
        let run = rows.div_ceil(blocks).next_multiple_of(32);
        (rows.is_multiple_of(32) && 3 * run * blocks <= 4 * rows).then_some(run)
    }

    /// Blocks: one for each processor, as many for each group.
    fn pipe_blocks(&self, groups: usize) -> usize {
        self.processors() / groups * groups
    }

    /// Shared memory of a block: rings, and the sums of all turns.
    fn pipe_bytes(&self, codes: &[Out], floats: &[Out], groups: usize, tokens: usize) -> usize {
        let blocks = self.pipe_blocks(groups) / groups;
        let cols = codes[0].0.cols;
        let mut all = turns(rows(codes) / groups, cols / PIECE, blocks);
        if !floats.is_empty() {
            all += turns(rows(floats), 2 * cols / PIECE, blocks);
        }
        WARPS * (DEPTH * SLOT + all * kernel(tokens).1 * 4)
    }

    /// The products.
    pub(crate) fn multiply_pipe(
        &mut self,
        codes: &[Out],
        floats: &[Out],
        groups: usize,
        x: Activations,
        tokens: usize,
        after: After,
    ) {
        let cols = codes[0].0.cols;
        let other = floats.first().map_or(1, |(weight, _)| self.stored(weight).code());
        let unit =
            (&PIPE, values(&[self.stored(codes[0].0).code(), other, cols]), kernel(tokens).0);
        let (code_rows, float_rows) = (rows(codes), rows(floats));
        let (mut list, _) = self.listed(codes, 1);
        list.extend(self.listed(floats, 1).0);
        let (to, run) = match after {
            After::Round { to, run } => (to, run),
            _ => (Activations::default(), 0),
        };
        let onto = u32::from(matches!(after, After::Add));
        let args = words![
            x.codes,
            x.steps,
            x.floats,
            codes.len(),
            code_rows,
            float_rows,
            groups,
            tokens,
            onto,
            run,
            to.codes,
            to.steps,
            to.halves
        ];
        let grid = [self.pipe_blocks(groups), 1, 1];
        let block = ((WARPS * 32) as u32, self.pipe_bytes(codes, floats, groups, tokens));
        self.record_list(unit, grid, block, &filled(list), args);
    }
}
