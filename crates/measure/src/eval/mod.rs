//! Question sets: items are asked, replies judged, right ones counted.
//!
//! An [`Item`] (`item.rs`) comes from a file, ours (`read.rs`) or a published one (`import`). It
//! is asked as a conversation (`run.rs`), within a [`Budget`] that ends reasoning in time
//! (`budget.rs`). What is said is judged without a model (`grade.rs`, which `extract.rs`,
//! `number.rs` and `places.rs` serve; `self_test.rs` is the table that they are held to) and kept
//! in a [`Report`] (`report.rs`). A [`Summary`] counts (`tally.rs`), a [`Comparison`] sets two
//! reports side by side (`compare.rs`).
//!
//! Our own items are in `own.jsonl`; [`own`] reads them.

mod budget;
mod compare;
mod extract;
mod grade;
mod import;
mod item;
mod number;
mod places;
mod read;
mod report;
mod run;
mod self_test;
mod set;
mod tally;

pub use budget::{Budget, Close};
pub use compare::{Change, Comparison, compare};
pub use grade::{Reply, Verdict, grade};
pub use import::Layout;
pub use item::{Call, Item, Kind, Pattern, Turn};
pub use number::Number;
pub use places::Place;
pub use read::{ITEMS_MAX, POINTS_MAX};
pub use report::{
    Answer, Finish, Header, ModelName, Report, SetName, Settings, Thinking, Writer, done,
};
pub use run::{Event, Prompt, prompts, run};
pub use self_test::{SelfTest, self_test};
pub use set::{OWN, Read, choose, open, own, read_from};
pub use tally::{Domain, Interval, Summary, Tally, wilson};
