//! The step descriptor: everything that changes from one forward pass to the next, as data.
//!
//! A step is a list of *segments*: tokens of one session at consecutive positions. Decoding one
//! session is one segment of one token, prefill is one long segment, several sessions are several
//! segments. Operations read tokens, positions, page numbers and wanted outputs from the buffers
//! here and from nowhere else, so that a device can capture a step once and replay it with new
//! contents. Only the counts `rows`, `segments` and `outputs` are known to the host.

use crate::{Buffer, Device, Error, PAGE_TOKENS};

/// Tokens of one session in one step, as the host plans them.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// The session's slot page.
    pub slot: u32,
    /// The session's row pages; they cover at least `start + tokens.len()` tokens.
    pub pages: &'a [u32],
    /// Position of the first token.
    pub start: usize,
    /// Token ids.
    pub tokens: &'a [u32],
    /// How many of the last tokens want logits.
    pub outputs: usize,
}

/// The fields of one row of [`Step::segment_table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct SegmentRow {
    /// Slot page of the session.
    pub slot: u32,
    /// Position of the segment's first token.
    pub start: u32,
    /// Index of that token among the step's rows.
    pub first_row: u32,
    /// Tokens in the segment.
    pub len: u32,
}

/// Device buffers that describe the current step.
#[derive(Debug)]
pub struct Step {
    /// Tokens in this step, `T`.
    pub rows: usize,
    /// Segments in this step, `S`.
    pub segments: usize,
    /// Rows whose logits are wanted, `R`.
    pub outputs: usize,
    /// Token ids, `[T, 1]`.
    pub tokens: Buffer<u32>,
    /// Absolute positions, `[T, 1]`.
    pub positions: Buffer<u32>,
    /// Which segment a row belongs to, `[T, 1]`.
    pub owners: Buffer<u32>,
    /// One [`SegmentRow`] per segment, `[S, 4]`.
    pub segment_table: Buffer<u32>,
    /// Row pages per segment, `[S, pages]`; entry `i` covers positions from `i · PAGE_TOKENS`.
    pub page_table: Buffer<u32>,
    /// Rows whose logits are wanted, `[R, 1]`, ascending.
    pub output_rows: Buffer<u32>,
    staging: Staging,
}

/// The tables on the host, before they are uploaded; memory that is used again and again.
#[derive(Debug)]
struct Staging {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    owners: Vec<u32>,
    table: Vec<SegmentRow>,
    outputs: Vec<u32>,
    sent: Sent,
}

/// What the buffers hold. Most of it is the same from one decoding step to the next, and is not
/// sent again: a copy to the device, however short, keeps it waiting.
#[derive(Debug)]
struct Sent {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    owners: Vec<u32>,
    table: Vec<u32>,
    outputs: Vec<u32>,
    /// One per segment.
    pages: Vec<Vec<u32>>,
}

impl Sent {
    fn reserve(limits: StepLimits) -> Sent {
        let StepLimits { rows, segments, outputs, context } = limits;
        let pages = || Vec::with_capacity(context.div_ceil(PAGE_TOKENS));
        Sent {
            tokens: Vec::with_capacity(rows),
            positions: Vec::with_capacity(rows),
            owners: Vec::with_capacity(rows),
            table: Vec::with_capacity(4 * segments),
            outputs: Vec::with_capacity(outputs),
            pages: (0..segments).map(|_| pages()).collect(),
        }
    }
}

/// Writes `data` from row `row` of a buffer on, where `there` says that it is not there yet.
fn send(b: &mut dyn Device, to: &mut Buffer<u32>, row: usize, data: &[u32], there: &mut Vec<u32>) {
    if there.starts_with(data) {
        return;
    }
    b.upload(to, row, data);
    there.clear();
    there.extend_from_slice(data);
}

impl Staging {
    fn reserve(limits: StepLimits) -> Staging {
        let StepLimits { rows, segments, outputs, .. } = limits;
        Staging {
            tokens: Vec::with_capacity(rows),
            positions: Vec::with_capacity(rows),
            owners: Vec::with_capacity(rows),
            table: Vec::with_capacity(segments),
            outputs: Vec::with_capacity(outputs),
            sent: Sent::reserve(limits),
        }
    }

    fn clear(&mut self) {
        let Staging { tokens, positions, owners, table, outputs, .. } = self;
        tokens.clear();
        positions.clear();
        owners.clear();
        table.clear();
        outputs.clear();
    }
}

/// How large steps may become; reserved once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// Tokens per step.
    pub rows: usize,
    /// Segments per step.
    pub segments: usize,
    /// Rows with logits per step.
    pub outputs: usize,
    /// Tokens per session.
    pub context: usize,
}

impl Step {
    /// Reserves the tables for steps up to `limits`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reserve(b: &mut dyn Device, limits: StepLimits) -> Result<Step, Error> {
        let StepLimits { rows, segments, outputs, context } = limits;
        Ok(Step {
            rows: 0,
            segments: 0,
            outputs: 0,
            tokens: b.reserve(rows, 1)?,
            positions: b.reserve(rows, 1)?,
            owners: b.reserve(rows, 1)?,
            segment_table: b.reserve(segments, 4)?,
            page_table: b.reserve(segments, context.div_ceil(PAGE_TOKENS))?,
            output_rows: b.reserve(outputs, 1)?,
            staging: Staging::reserve(limits),
        })
    }

    /// Describes a step. Panics if the segments exceed the reserved limits: the caller plans steps
    /// within them.
    pub fn fill<'a>(
        &mut self,
        b: &mut dyn Device,
        segments: impl IntoIterator<Item = Segment<'a>>,
    ) {
        self.staging.clear();
        let Staging { tokens, positions, owners, table, outputs, sent } = &mut self.staging;
        for (i, segment) in segments.into_iter().enumerate() {
            let (first_row, len) = (tokens.len(), segment.tokens.len());
            let end = segment.start + len;
            assert!(len > 0 && segment.outputs <= len, "segment of {len} tokens");
            assert!(segment.pages.len() * PAGE_TOKENS >= end, "pages do not cover position {end}");
            tokens.extend_from_slice(segment.tokens);
            positions.extend(segment.start as u32..end as u32);
            owners.extend(std::iter::repeat_n(i as u32, len));
            outputs.extend((first_row + len - segment.outputs) as u32..(first_row + len) as u32);
            table.push(SegmentRow {
                slot: segment.slot,
                start: segment.start as u32,
                first_row: first_row as u32,
                len: len as u32,
            });
            send(b, &mut self.page_table, i, segment.pages, &mut sent.pages[i]);
        }
        (self.rows, self.segments, self.outputs) = (tokens.len(), table.len(), outputs.len());
        send(b, &mut self.tokens, 0, tokens, &mut sent.tokens);
        send(b, &mut self.positions, 0, positions, &mut sent.positions);
        send(b, &mut self.owners, 0, owners, &mut sent.owners);
        let table = bytemuck::cast_slice(table);
        send(b, &mut self.segment_table, 0, table, &mut sent.table);
        send(b, &mut self.output_rows, 0, outputs, &mut sent.outputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    fn tables(b: &mut dyn Device, step: &Step) -> [Vec<u32>; 5] {
        let Step { rows, segments, outputs, .. } = *step;
        [
            b.download(&step.tokens, 0, rows),
            b.download(&step.positions, 0, rows),
            b.download(&step.owners, 0, rows),
            b.download(&step.segment_table, 0, segments),
            b.download(&step.output_rows, 0, outputs),
        ]
    }

    /// Whatever came before, and was not sent again, the tables are those of the last step.
    #[test]
    fn tables_are_those_of_the_last_step() {
        let limits = StepLimits { rows: 8, segments: 3, outputs: 4, context: 512 };
        let mut cpu = Cpu::default();
        let b: &mut dyn Device = &mut cpu;
        let mut used = Step::reserve(b, limits).expect("memory");
        let segment =
            |slot, pages, start, tokens, outputs| Segment { slot, pages, start, tokens, outputs };
        let steps = [
            vec![segment(0, &[5][..], 0, &[1, 2, 3][..], 1)],
            vec![segment(0, &[5], 3, &[4], 1)],
            vec![segment(0, &[5], 4, &[4], 1)],
            vec![segment(1, &[6, 7], 130, &[4, 9], 0), segment(0, &[5], 5, &[4], 1)],
            vec![segment(1, &[6], 3, &[4], 1), segment(0, &[5], 5, &[4], 1)],
            vec![segment(1, &[8], 3, &[4], 1)],
        ];
        for segments in steps {
            used.fill(b, segments.iter().cloned());
            let mut fresh = Step::reserve(b, limits).expect("memory");
            fresh.fill(b, segments.iter().cloned());
            assert_eq!(tables(b, &used), tables(b, &fresh), "{segments:?}");
            for (i, segment) in segments.iter().enumerate() {
                let pages = b.download(&used.page_table, i, 1);
                assert_eq!(&pages[..segment.pages.len()], segment.pages);
            }
        }
    }
}
