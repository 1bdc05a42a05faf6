//! Reading every value of a file, on all cores, looking for damage.
//!
//! A weight must be a finite number, an entry of a routing table the number of an expert. Each bad
//! tensor is reported once, with its first bad value. Tensors in formats without a decoder are
//! counted, not read. What the damage would do is not known here.

use gguf::{File, Format, Tensor};
use rayon::prelude::*;
use serde::Serialize;
use spec::{Class, Shape};

use crate::interrupt;
use crate::progress::Progress;

/// Bytes that one task reads: long enough to pay for the task, short enough for Ctrl+C.
const TASK_BYTES: usize = 1 << 20;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// Tensors whose values were read.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Names of tensors that have no decoder.
    pub unread: Vec<String>,
    /// One entry per damaged tensor.
    pub flaws: Vec<Flaw>,
}

/// A damaged tensor.
#[derive(Debug, Serialize)]
pub struct Flaw {
    pub tensor: String,
    /// Bad values in all.
    pub count: u64,
    /// Where the first one is: row, block of the row, value of the row.
    pub row: usize,
    pub block: usize,
    pub column: usize,
    /// What the first one is.
    pub found: String,
}

/// Bad values of a part of a tensor.
#[derive(Clone, Debug, Default)]
struct Tally {
    count: u64,
    /// Row, column, what is there.
    first: Option<(usize, usize, String)>,
}

/// How to look at the values of a tensor.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Finite,
    ExpertsBelow(usize),
}

/// Reads a file. `None`: Ctrl+C.
pub fn check(file: &File, shape: Option<&Shape>, shown: bool) -> Option<Checked> {
    let total = file.tensors().iter().map(|tensor| tensor.byte_count as u64).sum();
    let progress = Progress::bytes("checking", total, shown);
    let specs = shape.map(spec::tensors).unwrap_or_default();
    let tables = specs.iter().filter(|spec| spec.class == Class::RouteTable);
    let tables: Vec<_> = tables.map(|spec| spec.name.as_str()).collect();
    let mut checked = Checked::default();
    for tensor in file.tensors() {
        let is_table = tables.contains(&tensor.name.as_str());
        let rule = match shape {
            Some(shape) if is_table && tensor.format == Format::I32 => {
                Rule::ExpertsBelow(shape.experts)
            }
            _ if tensor.format.is_decodable() => Rule::Finite,
            _ => {
                checked.unread.push(tensor.name.clone());
                continue;
            }
        };
        let tally = scan(file, tensor, rule, &progress);
        if interrupt::requested() {
            return None;
        }
        checked.tensors += 1;
        checked.bytes += tensor.byte_count as u64;
        checked.flaws.extend(flaw(tensor, tally));
    }
    Some(checked)
}

fn flaw(tensor: &Tensor, tally: Tally) -> Option<Flaw> {
    let (row, column, found) = tally.first?;
    let block = column / tensor.format.block_values();
    let (tensor, count) = (tensor.name.clone(), tally.count);
    Some(Flaw { tensor, count, row, block, column, found })
}

/// Reads a tensor, some rows per task.
fn scan(file: &File, tensor: &Tensor, rule: Rule, progress: &Progress) -> Tally {
    let bytes = file.bytes(tensor);
    let row_bytes = tensor.row_bytes();
    let task_rows = (TASK_BYTES / row_bytes).max(1);
    let tasks = bytes.par_chunks(row_bytes * task_rows).enumerate();
    let tallies = tasks.map_init(
        || vec![0.0; tensor.dims[0]],
        |values, (task, rows)| {
            let mut tally = Tally::default();
            if interrupt::requested() {
                return tally;
            }
            for (i, row) in rows.chunks_exact(row_bytes).enumerate() {
                let bad = bad_values(tensor.format, rule, row, values);
                tally.add(task * task_rows + i, bad);
            }
            progress.add(rows.len() as u64);
            tally
        },
    );
    tallies.reduce(Tally::default, Tally::joined)
}

/// How many values of a row are bad, and the first of them.
fn bad_values(
    format: Format,
    rule: Rule,
    row: &[u8],
    values: &mut [f32],
) -> Option<(u64, usize, String)> {
    match rule {
        Rule::Finite => {
            format.decode(row, values);
            let bad = || values.iter().enumerate().filter(|(_, value)| !value.is_finite());
            let (column, value) = bad().next()?;
            Some((bad().count() as u64, column, value.to_string()))
        }
        Rule::ExpertsBelow(experts) => {
            let ids = || row.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes));
            let is_bad = |id: i32| usize::try_from(id).map_or(true, |id| id >= experts);
            let bad = || ids().enumerate().filter(|&(_, id)| is_bad(id));
            let (column, id) = bad().next()?;
            let found = format!("expert {id} of {experts}");
            Some((bad().count() as u64, column, found))
        }
    }
}

impl Tally {
    fn add(&mut self, row: usize, bad: Option<(u64, usize, String)>) {
        let Some((count, column, found)) = bad else { return };
        self.count += count;
        self.first.get_or_insert((row, column, found));
    }

    /// Both; `self` is of earlier rows.
    fn joined(mut self, later: Tally) -> Tally {
        self.count += later.count;
        self.first = self.first.or(later.first);
        self
    }
}
