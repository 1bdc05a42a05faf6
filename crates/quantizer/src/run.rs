//! Carries a plan out: reads, converts and writes the tensors piece by piece.
//!
//! A piece is some rows of one tensor of the input, so memory does not grow with the model; a
//! stack of experts is written one expert after the other. Rows of a piece are converted on all
//! cores. Between pieces the caller hears how far it is and may stop. The output appears under its
//! name when it is complete, or not at all; until then it is beside it, and a run that was
//! interrupted, or died, can be gone on with (`partial.rs`).

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gguf::{Format, TensorPlan};
use rayon::prelude::*;

use crate::decode::Rows;
use crate::error::Error;
use crate::output::{Output, check_target};
use crate::partial::{Partial, Start};
use crate::plan::{Part, Plan, PlannedTensor, Skipped};
use crate::recipe::Conversion;

/// Values of a piece: at most 16 MiB of output, enough to keep all cores busy.
const PIECE_VALUES: usize = 4 << 20;

/// Fewest values that are worth being handed to another core.
const TASK_VALUES: usize = 16 << 10;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The tensor of the output that is being written.
    pub tensor: &'a str,
    /// Tensors written before it.
    pub tensors_done: usize,
    /// Tensors of the output.
    pub tensor_count: usize,
    /// Bytes of tensors written.
    pub bytes_done: u64,
    /// Bytes of all tensors.
    pub byte_count: u64,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Tensors written.
    pub tensor_count: usize,
    /// Bytes of these tensors.
    pub byte_count: u64,
    /// What the checkpoint has and the output has not.
    pub skipped: Skipped,
}

impl Plan {
    /// Writes the output to `path`, replacing a file that is there only if `overwrite` is set.
    ///
    /// `progress` is called after every piece of some megabytes; `cancel` is read as often.
    ///
    /// # Errors
    /// A weight that is not finite or that the recipe cannot store: nothing is left behind. An
    /// unreadable checkpoint, an unwritable output, [`Error::Kept`], which is how a run ends that
    /// was cancelled: what is complete is there to be gone on with. [`Error::Cancelled`] if nothing
    /// was. In all cases a file that was at `path` is as it was.
    pub fn run(
        &self,
        path: &Path,
        (overwrite, start): (bool, Start),
        progress: &mut dyn FnMut(Progress<'_>),
        cancel: &AtomicBool,
    ) -> Result<Stats, Error> {
        let plans: Vec<TensorPlan> = self.tensors().iter().map(tensor_plan).collect();
        let byte_count = self.byte_count();
        let (file, bytes) = ((&self.metadata, plans.as_slice()), (byte_count, byte_count));
        check_target(path, overwrite)?;
        let partial = Partial::find(path, self, start)?;
        let output = Output::kept((path, partial), file, bytes, progress, cancel)?;
        let mut run = Run { plan: self, output, buffers: Buffers::default() };
        match run.write_parts() {
            Ok(()) => run.output.finish()?,
            Err(error) => return Err(run.output.leave(error)),
        }
        Ok(Stats { tensor_count: plans.len(), byte_count, skipped: self.skipped().clone() })
    }
}

/// A run under way.
struct Run<'a> {
    plan: &'a Plan,
    output: Output<'a>,
    buffers: Buffers,
}

/// The bytes of one piece, kept from piece to piece.
#[derive(Default)]
struct Buffers {
    weight: Vec<u8>,
    scale: Vec<u8>,
    out: Vec<u8>,
}

impl<'a> Run<'a> {
    /// Writes the parts that are not there yet.
    fn write_parts(&mut self) -> Result<(), Error> {
        let (plan, mut there): (&'a Plan, usize) = (self.plan, self.output.parts());
        for tensor in plan.tensors() {
            self.output.begin(&tensor.name);
            let skipped = there.min(tensor.parts.len());
            there -= skipped;
            for part in &tensor.parts[skipped..] {
                self.write_part(tensor, part)?;
                self.output.end_part()?;
            }
        }
        Ok(())
    }

    fn write_part(&mut self, tensor: &PlannedTensor, part: &Part) -> Result<(), Error> {
        let importance = self.importance(tensor, part)?;
        let conversion = tensor.conversion(self.plan.shape().experts);
        let conversion = Conversion { importance: importance.as_deref(), ..conversion };
        for piece in pieces(tensor, part) {
            self.read(tensor, part, &piece)?;
            self.convert(tensor, part, piece.start, &conversion)?;
            self.output.write(&self.buffers.out)?;
        }
        Ok(())
    }

    /// How much the columns of a part matter, where that changes what is written. Where it cannot
    /// be done without and nothing is known, columns of large weights count for more.
    fn importance(
        &mut self,
        tensor: &PlannedTensor,
        part: &Part,
    ) -> Result<Option<Vec<f32>>, Error> {
        if !tensor.wants_importance() || part.is_kept(tensor.format) {
            return Ok(None);
        }
        if let (Some(importance), Some(place)) = (&self.plan.importance, part.hint)
            && let Some(found) = importance.read(place, tensor.columns())?
        {
            return Ok(Some(found));
        }
        if tensor.format != Format::Iq2Xxs {
            return Ok(None);
        }
        let columns = tensor.columns();
        let (mut sums, mut values) = (vec![0.0; columns], vec![0.0; columns]);
        for piece in pieces(tensor, part) {
            self.read(tensor, part, &piece)?;
            let Buffers { weight, scale, .. } = &self.buffers;
            let rows = Rows { coding: part.coding, columns, weight, scale };
            for row in 0..piece.len() {
                rows.decode(row, &mut values).map_err(|flaw| {
                    let row = piece.start + flaw.row;
                    self.plan.input.error(part, row, flaw.column, &flaw.problem)
                })?;
                for (sum, value) in sums.iter_mut().zip(&values) {
                    *sum += value * value;
                }
            }
        }
        Ok(Some(sums))
    }

    /// Reads the codes and scales of some rows.
    fn read(
        &mut self,
        tensor: &PlannedTensor,
        part: &Part,
        rows: &Range<usize>,
    ) -> Result<(), Error> {
        self.output.check()?;
        let (input, columns) = (&self.plan.input, tensor.columns());
        let Buffers { weight, scale, .. } = &mut self.buffers;
        let row_bytes = part.coding.row_bytes(columns);
        input.read(part, rows.start * row_bytes..rows.end * row_bytes, weight)?;
        scale.clear();
        let (Some((block_rows, block_columns)), Some(at)) = (part.coding.scale_block(), part.scale)
        else {
            return Ok(());
        };
        let row_bytes = columns.div_ceil(block_columns);
        let (start, end) = (rows.start / block_rows, rows.end.div_ceil(block_rows));
        input.read_scales(at, start * row_bytes..end * row_bytes, scale)
    }

    /// Converts what was read, which begins with row `first`.
    fn convert(
        &mut self,
        tensor: &PlannedTensor,
        part: &Part,
        first: usize,
        conversion: &Conversion<'_>,
    ) -> Result<(), Error> {
        let (columns, format) = (tensor.columns(), tensor.format);
        let Buffers { weight, scale, out } = &mut self.buffers;
        let rows = Rows { coding: part.coding, columns, weight, scale };
        let row_bytes = format.row_bytes(columns).expect("the plan holds whole blocks");
        out.resize(weight.len() / part.coding.row_bytes(columns) * row_bytes, 0);
        let flaw = out
            .par_chunks_exact_mut(row_bytes)
            .enumerate()
            .with_min_len((TASK_VALUES / columns).max(1))
            .map_init(
                || vec![0.0; columns],
                |values, (row, out)| conversion.row(&rows, row, values, out),
            )
            .find_map_first(Result::err);
        let Some(flaw) = flaw else { return Ok(()) };
        Err(self.plan.input.error(part, first + flaw.row, flaw.column, &flaw.problem))
    }
}

/// The rows of a part, some megabytes at a time. Pieces begin where a block of scales begins.
fn pieces(tensor: &PlannedTensor, part: &Part) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = tensor.part_rows();
    let block_rows = part.coding.scale_block().map_or(1, |(rows, _)| rows);
    let count = (PIECE_VALUES / tensor.columns()).max(1).next_multiple_of(block_rows);
    (0..rows).step_by(count).map(move |first| first..rows.min(first + count))
}

fn tensor_plan(tensor: &PlannedTensor) -> TensorPlan {
    let PlannedTensor { name, dims, format, .. } = tensor;
    TensorPlan { name: name.clone(), dims: dims.clone(), format: *format }
}
