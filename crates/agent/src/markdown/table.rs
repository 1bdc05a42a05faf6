//! A table: columns as wide as what stands in them, as far as there is room.
//!
//! Too narrow a terminal takes columns from the widest first, and cells break into several rows;
//! where not even that helps, every row of the table becomes a list of its cells. Start at
//! [`Table::lay`].

use pulldown_cmark::Alignment;

use crate::paint::{Face, Line, Row, Run, Wrap, columns};

/// A column is not made narrower than this.
const COLUMN_MIN: usize = 6;
/// Columns beyond these are not laid out; a model that writes more has lost its way.
const COLUMNS_MAX: usize = 64;
/// What stands between two columns.
const BETWEEN: &str = " \u{2502} ";

/// A table; its first row is its head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    alignments: Vec<Alignment>,
    rows: Vec<Vec<Vec<Run>>>,
    row: Vec<Vec<Run>>,
}

impl Table {
    /// An empty table.
    pub fn new(mut alignments: Vec<Alignment>) -> Table {
        alignments.truncate(COLUMNS_MAX);
        Table { alignments, ..Table::default() }
    }

    /// The next cell of the row.
    pub fn cell(&mut self, runs: Vec<Run>) {
        if self.row.len() < self.alignments.len() {
            self.row.push(runs);
        }
    }

    /// The row is complete.
    pub fn end_row(&mut self) {
        let mut row = std::mem::take(&mut self.row);
        row.resize(self.alignments.len(), Vec::new());
        self.rows.push(row);
    }

    /// Adds its rows in `width` columns.
    pub fn lay(&self, width: usize, rows: &mut Vec<Row>) {
        let Some(widths) = self.widths(width) else { return self.lay_as_list(width, rows) };
        for (index, row) in self.rows.iter().enumerate() {
            let is_head = index == 0;
            self.lay_row(row, &widths, is_head, rows);
            if is_head {
                let bars: Vec<String> = widths.iter().map(|&w| "\u{2500}".repeat(w)).collect();
                let rule = bars.join("\u{2500}\u{253c}\u{2500}");
                rows.push(Row { runs: vec![Run::new(rule, Face::DIM)] });
            }
        }
    }

    /// Widths that fit; `None` if there are none that make sense.
    fn widths(&self, width: usize) -> Option<Vec<usize>> {
        let count = self.alignments.len();
        let between = columns(BETWEEN) * count.saturating_sub(1);
        let room = width.checked_sub(between)?;
        let mut widths: Vec<usize> = (0..count)
            .map(|column| self.rows.iter().map(|row| cell_columns(&row[column])).max().unwrap_or(0))
            .map(|natural| natural.max(1))
            .collect();
        let least: usize = widths.iter().map(|&natural| natural.min(COLUMN_MIN)).sum();
        if least > room {
            return None;
        }
        // The widest gives first: each round takes it down to the next, or to what is asked for.
        while widths.iter().sum::<usize>() > room {
            let excess = widths.iter().sum::<usize>() - room;
            let widest = *widths.iter().max()?;
            let tied = widths.iter().filter(|&&w| w == widest).count();
            let next = widths.iter().copied().filter(|&w| w < widest).max().unwrap_or(0);
            let step = (widest - next.max(COLUMN_MIN)).min(excess.div_ceil(tied)).max(1);
            widths.iter_mut().filter(|w| **w == widest).for_each(|w| *w -= step);
        }
        Some(widths)
    }

    fn lay_row(&self, row: &[Vec<Run>], widths: &[usize], is_head: bool, rows: &mut Vec<Row>) {
        let cells: Vec<Vec<Row>> = row
            .iter()
            .zip(widths)
            .map(|(runs, &width)| {
                let mut laid = Vec::new();
                let bold = |run: &Run| Run::new(run.text.clone(), run.face.bold());
                let runs = if is_head { runs.iter().map(bold).collect() } else { runs.clone() };
                Line::words(runs).lay(width, &mut laid);
                laid
            })
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let mut runs = Vec::new();
            for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
                if column > 0 {
                    runs.push(Run::new(BETWEEN, Face::DIM));
                }
                let row = cell.get(at).cloned().unwrap_or_default();
                let free = width.saturating_sub(columns(&row.text()));
                let before = match self.alignments.get(column) {
                    Some(Alignment::Right) => free,
                    Some(Alignment::Center) => free / 2,
                    _ => 0,
                };
                let is_last = column + 1 == widths.len();
                let after = if is_last { 0 } else { free - before };
                runs.push(Run::plain(" ".repeat(before)));
                runs.extend(row.runs);
                runs.push(Run::plain(" ".repeat(after)));
            }
            runs.retain(|run| !run.text.is_empty());
            rows.push(Row { runs });
        }
    }

    /// Every row as its cells below each other, each behind its head.
    fn lay_as_list(&self, width: usize, rows: &mut Vec<Row>) {
        let Some((head, body)) = self.rows.split_first() else { return };
        for row in body {
            for (name, cell) in head.iter().zip(row) {
                let mut runs: Vec<Run> =
                    name.iter().map(|run| Run::new(run.text.clone(), run.face.bold())).collect();
                runs.push(Run::plain(": "));
                runs.extend(cell.iter().cloned());
                Line { hang: vec![Run::plain("  ")], runs, wrap: Wrap::Words, ..Line::default() }
                    .lay(width, rows);
            }
            rows.push(Row::default());
        }
    }
}

fn cell_columns(runs: &[Run]) -> usize {
    runs.iter().map(|run| columns(&run.text)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let mut table = Table::new(vec![Alignment::None; rows[0].len()]);
        for row in rows {
            row.iter().for_each(|cell| table.cell(vec![Run::plain(*cell)]));
            table.end_row();
        }
        table
    }

    #[test]
    fn columns_fit_or_give_way() {
        let table = table(&[&["name", "what it does"], &["read", "reads a file of the tree"]]);
        let at = |width: usize| {
            let mut rows = Vec::new();
            table.lay(width, &mut rows);
            rows.iter().map(Row::text).collect::<Vec<_>>()
        };
        let wide = ["name \u{2502} what it does", "", "read \u{2502} reads a file of the tree"];
        assert_eq!(at(40)[0], wide[0]);
        assert_eq!(at(40)[2], wide[2]);
        assert_eq!(at(40).len(), 3);
        assert_eq!(
            at(20)[2..],
            ["read \u{2502} reads a file", "     \u{2502} of the tree"].map(str::to_owned)
        );
        let narrow = "name:|  read|what it|  does:|  reads|  a file|  of the|  tree|";
        assert_eq!(at(8).join("|"), narrow);
        for width in 1..50 {
            assert!(at(width).iter().all(|row| columns(row) <= width), "{width}: {:?}", at(width));
        }
    }
}
