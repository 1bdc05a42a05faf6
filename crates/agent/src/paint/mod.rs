//! What is drawn, before it is known where: styled text, and its way into columns.
//!
//! Text of any origin becomes [`Line`]s, which know how they want to be broken, and lines become
//! [`Row`]s for a width. Rows leave through two doors, the cells of the full screen and the bytes
//! of a scrolling terminal, and both ask the same guard ([`drawable`]) about every character, so
//! that nothing written by a model or a tool can steer a terminal. Start at `glyph.rs`.

mod ansi;
mod cells;
mod face;
mod glyph;
mod line;

pub use ansi::{Ansi, RESET};
pub use cells::put;
pub use face::{Face, Ink, Run};
pub use glyph::{MARKS_MAX, TAB_COLUMNS, columns, drawable};
pub use line::{Line, Row, Wrap, plain};
