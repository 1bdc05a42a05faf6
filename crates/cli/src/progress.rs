//! Progress bars on standard error, for people only.
//!
//! Long work gets a bar where a person watches, and nothing at all where nobody does. A bar
//! removes itself, so that what remains on the terminal is the result.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How far some work is. May be told so from several threads.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of tokens.
    pub fn tokens(doing: &'static str, total: usize, shown: bool) -> Progress {
        let template = "{msg} {wide_bar} {human_pos}/{human_len} tokens, {speed}, {eta} left";
        Progress::new(template, doing, total as u64, shown).ticking(shown)
    }

    /// A bar of whatever is counted.
    pub fn items(doing: &'static str, total: usize, shown: bool) -> Progress {
        let template = "{msg} {wide_bar} {human_pos}/{human_len}, {eta} left";
        Progress::new(template, doing, total as u64, shown).ticking(shown)
    }

    /// A bar of bytes.
    pub fn bytes(doing: &'static str, total: u64, shown: bool) -> Progress {
        let template = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes}, {eta} left";
        Progress::new(template, doing, total, shown).ticking(shown)
    }

    /// A bar of bytes that come over a network; some of them are here already.
    pub fn transfer(total: u64, here: u64, shown: bool) -> Progress {
        let template = "fetching {wide_bar} {decimal_bytes}/{decimal_total_bytes}, \
            {decimal_bytes_per_sec}, {eta} left";
        let progress = Progress::new(template, "", total, shown);
        progress.bar.set_position(here);
        // What came earlier is no part of the speed.
        progress.bar.reset_eta();
        progress.ticking(shown)
    }

    /// A bar of questions that are answered one after the other; some are here already.
    pub fn questions(total: usize, here: usize, shown: bool) -> Progress {
        let template = "{msg} {wide_bar} {human_pos}/{human_len}, {eta} left";
        let progress = Progress::new(template, "asking", total as u64, shown);
        progress.bar.set_position(here as u64);
        progress.bar.reset_eta();
        progress.ticking(shown)
    }

    /// A count of tokens whose number nobody knows before. It appears with the first of them.
    pub fn endless(doing: &'static str, shown: bool) -> Progress {
        Progress::new("{msg} {human_pos} tokens, {speed}", doing, u64::MAX, shown)
    }

    fn new(template: &str, doing: &'static str, total: u64, shown: bool) -> Progress {
        let style = ProgressStyle::with_template(template).expect("our templates are well formed");
        let style = style.with_key("speed", |state: &ProgressState, out: &mut dyn Write| {
            // A bar that cannot be drawn is not worth an error.
            let _ = write!(out, "{:.1} t/s", state.per_sec());
        });
        let bar = ProgressBar::with_draw_target(
            Some(total),
            match shown {
                true => ProgressDrawTarget::stderr(),
                false => ProgressDrawTarget::hidden(),
            },
        );
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(doing);
        Progress { bar }
    }

    /// Moves while the work is slow, so that nobody thinks it has stopped.
    fn ticking(self, shown: bool) -> Progress {
        if shown {
            self.bar.enable_steady_tick(Duration::from_millis(500));
        }
        self
    }

    /// So much is done in all.
    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// So much more is done.
    pub fn add(&self, more: u64) {
        self.bar.inc(more);
    }

    /// What is being done, from now on.
    pub fn tell(&self, doing: String) {
        self.bar.set_message(doing);
    }

    /// Writes a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.println(line);
    }

    /// The work is over, well or not.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
