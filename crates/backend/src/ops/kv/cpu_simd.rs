//! Fast storing and keeping of rows.
//!
//! Rows of a block are stored section after section, so a row is not one piece of memory that a
//! task could be given. Many rows are therefore encoded in parallel, each as a block of one row of
//! its own (a *record*), and then copied to their places by one thread. Codes come from
//! [`RowLayout::store`](super::RowLayout::store) in any case.

use super::{Kv, Ring, RowBlock};
use crate::cpu::fast::CpuSimd;
use crate::{Buffer, KvPools, SegmentRow, Step};

/// Rows that one task encodes; fewer are not worth a call of the workers.
const ROWS_PER_TASK: usize = 8;

/// Memory of storing, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    /// A row, which encoding overwrites.
    row: Vec<f32>,
    /// Records, `[T, row_bytes]`.
    records: Vec<u8>,
}

impl Kv for CpuSimd {
    fn store_rows_raw(&mut self, x: &Buffer<f32>, fresh: &mut RowBlock, rows: usize) {
        let RowBlock { layout, rows: capacity, bytes } = fresh;
        let (width, record) = (x.width, layout.row_bytes());
        self.edit(bytes, |cpu, workers, scratch, block| {
            let Scratch { row, records } = &mut scratch.kv;
            let x = &cpu.data(x)[..rows * width];
            if rows <= ROWS_PER_TASK {
                row.resize(width, 0.0);
                for (i, x) in x.chunks_exact(width).enumerate() {
                    row.copy_from_slice(x);
                    layout.store(block, *capacity, i, row);
                }
                return;
            }
            records.resize(rows * record, 0);
            workers.chunks(records, ROWS_PER_TASK * record, &|own, task, records| {
                let row = &mut own.floats;
                row.resize(width, 0.0);
                let x = x.chunks_exact(width).skip(task * ROWS_PER_TASK);
                for (record, x) in records.chunks_exact_mut(record).zip(x) {
                    row.copy_from_slice(x);
                    layout.store(record, 1, 0, row);
                }
            });
            for (i, record) in records.chunks_exact(record).enumerate() {
                layout.copy((record, 1, 0), (&mut *block, *capacity, i));
            }
        });
    }

    fn keep_window_raw(&mut self, fresh: &RowBlock, ring: Ring, step: &Step, kv: &mut KvPools) {
        let (cpu, _, _) = self.parts();
        for s in 0..step.segments {
            let SegmentRow { slot, start, first_row, len } = cpu.segments(step)[s];
            let (start, first, len) = (start as usize, first_row as usize, len as usize);
            cpu.edit_page(&mut kv.slots, slot, |cpu, page| {
                let (block, page) = (cpu.data(&fresh.bytes), &mut page[ring.offset..]);
                for i in len.saturating_sub(ring.rows)..len {
                    let from = (block, fresh.rows, first + i);
                    ring.layout.copy(from, (&mut *page, ring.rows, (start + i) % ring.rows));
                }
            });
        }
    }
}
