//! The door to the full screen: a row becomes cells.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::face::Run;
use super::glyph::{MARKS_MAX, drawable};

/// Puts runs at the left end of row `y` of `area`, and returns the columns that they took. Nothing
/// is put outside of `area`, and nothing that the guard does not let through.
pub fn put(buffer: &mut Buffer, area: Rect, y: u16, runs: &[Run], colours: bool) -> u16 {
    let mut x = area.x;
    let mut marks = 0;
    let mut last: Option<Position> = None;
    for run in runs {
        let style = run.face.style(colours);
        for c in run.text.chars() {
            let Some((c, columns)) = drawable(c) else { continue };
            if columns == 0 {
                if marks < MARKS_MAX
                    && let Some(cell) = last.and_then(|at| buffer.cell_mut(at))
                {
                    marks += 1;
                    let joined = format!("{}{c}", cell.symbol());
                    cell.set_symbol(&joined);
                }
                continue;
            }
            let columns = columns as u16;
            if y < area.y || y >= area.bottom() || x + columns > area.right() {
                return x - area.x;
            }
            let at = Position::new(x, y);
            if let Some(cell) = buffer.cell_mut(at) {
                cell.set_char(c).set_style(style);
            }
            for covered in x + 1..x + columns {
                if let Some(cell) = buffer.cell_mut((covered, y)) {
                    cell.reset();
                }
            }
            (last, marks) = (Some(at), 0);
            x += columns;
        }
    }
    x - area.x
}
