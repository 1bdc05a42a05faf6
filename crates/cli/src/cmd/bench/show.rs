//! What came out of a measurement, as tables for people.
//!
//! Medians come first in a line, with the smallest and the largest beside them. What the columns
//! mean is told by the command's help.

use std::io::{self, Write};

use backend::KernelTime;

use super::report::{Decode, Report, Spread};
use crate::human::{bytes, exact, plural, safe};
use crate::terminal::Terminal;

/// Weights of a token that may stay in the caches of a processor, where memory is no bound.
const CACHED_BYTES: u64 = 256 << 20;

impl Report {
    /// Prints it for people.
    pub fn show(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        let name = self.name.as_ref().map(|name| format!(", \"{}\"", safe(name)));
        let title = format!("{}{}", safe(&self.model), name.unwrap_or_default());
        writeln!(out, "{}", terminal.heading(&title))?;
        writeln!(out, "  {}", self.device)?;
        let Spread { median, min, max } = self.memory.bytes_per_second;
        let size = |value: f64| bytes(value as u64);
        let by = match self.memory.threads {
            0 => "the device".to_owned(),
            threads => format!("{threads} threads"),
        };
        writeln!(
            out,
            "  memory: {}/s read by {by} ({} to {})",
            size(median),
            size(min),
            size(max)
        )?;
        let (reads, bound) =
            (bytes(self.weight_bytes_per_token), rate(self.bound_tokens_per_second));
        writeln!(out, "  bound: a token reads {reads} of weights, so {bound} t/s at most")?;
        if self.weight_bytes_per_token < CACHED_BYTES {
            writeln!(out, "  (a model so small may stay in caches, which are faster than memory)")?;
        }
        if self.memory.is_device() {
            let (loaded, seconds) = (bytes(self.load_bytes), self.load_seconds);
            let speed = size(self.load_bytes as f64 / seconds.max(1e-9));
            writeln!(out, "  loading: {loaded} of weights in {seconds:.1} s, {speed}/s")?;
        }
        if !self.weights_in_memory {
            writeln!(out, "  (the weights do not fit into memory: figures include the disk)")?;
        }
        self.show_prefill(out, terminal)?;
        self.show_decode(out, terminal)?;
        self.show_reserved(out, terminal)?;
        self.show_kernels(out, terminal)?;
        out.flush()
    }

    fn show_prefill(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        if self.prefill.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{}", terminal.heading("Prefill"))?;
        let head = ["tokens", "t/s", "min", "max", "first token", "logits"];
        let row = |cells: [&str; 6]| {
            let [tokens, median, min, max, first, hash] = cells;
            format!("  {tokens:>9} {median:>9} {min:>9} {max:>9} {first:>13}   {hash}")
        };
        writeln!(out, "{}", row(head))?;
        for figures in &self.prefill {
            let [median, min, max] = rates(figures.tokens_per_second);
            let first = format!("{:.3} s", figures.first_token_seconds.median);
            let tokens = exact(figures.tokens);
            let cells = [&tokens, &median, &min, &max, &first, &figures.logits_hash];
            writeln!(out, "{}", row(cells.map(String::as_str)))?;
        }
        match self.prefill.iter().all(|figures| figures.repeatable) {
            true => Ok(()),
            false => {
                writeln!(out, "  the logits were not the same every time: a bug, please report")
            }
        }
    }

    fn show_decode(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        if self.decode.is_empty() {
            return Ok(());
        }
        let title = format!("Decode, {} at a time", plural(self.decode[0].tokens, "token"));
        writeln!(out, "\n{}", terminal.heading(&title))?;
        let head = ["sessions", "context", "t/s", "min", "max", "p99 ms", "of the bound", "logits"];
        let row = |cells: [&str; 8]| {
            let [sessions, context, median, min, max, p99, share, hash] = cells;
            format!(
                "  {sessions:>8} {context:>9} {median:>9} {min:>9} {max:>9} {p99:>9} {share:>13}   \
                 {hash}"
            )
        };
        writeln!(out, "{}", row(head))?;
        for figures in &self.decode {
            let Decode { sessions, context, share_of_bound, logits_hash, .. } = figures;
            let [median, min, max] = rates(figures.tokens_per_second);
            let share = share_of_bound.map(|share| format!("{:.1} %", 100.0 * share));
            let (sessions, context) = (exact(*sessions), exact(*context));
            let share = share.unwrap_or_default();
            let p99 = rate(1e3 * figures.step_seconds.p99);
            let cells = [&sessions, &context, &median, &min, &max, &p99, &share, logits_hash];
            writeln!(out, "{}", row(cells.map(String::as_str)))?;
        }
        Ok(())
    }

    fn show_reserved(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        writeln!(out, "\n{}", terminal.heading("Memory that was held"))?;
        let size = |value: usize| bytes(value as u64);
        let held = &self.reserved;
        writeln!(out, "  weights {}, work buffers {}", size(held.weights), size(held.buffers))?;
        let million = bytes(self.kv_bytes_per_million_tokens);
        writeln!(
            out,
            "  KV rows and windows {} ({million} of rows per 1M tokens)",
            size(held.pools)
        )
    }

    fn show_kernels(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        for (what, times) in &self.kernels {
            let all: f64 = times.iter().map(|time| time.seconds).sum();
            let title = format!("Kernels, {what}: {:.3} ms", all * 1e3);
            writeln!(out, "\n{}", terminal.heading(&title))?;
            for (family, mut times) in by_family(times) {
                let own: f64 = times.iter().map(|time| time.seconds).sum();
                let (ms, share) = (own * 1e3, 100.0 * own / all);
                writeln!(out, "  {ms:>10.3} ms {share:>5.1} %  {family}")?;
                times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
                for time in times {
                    self.show_kernel(out, time, all)?;
                }
            }
        }
        Ok(())
    }

    fn show_kernel(&self, out: &mut impl Write, time: &KernelTime, all: f64) -> io::Result<()> {
        let KernelTime { name, count, seconds, weight_bytes, .. } = time;
        let (ms, share) = (seconds * 1e3, 100.0 * seconds / all);
        let each = seconds * 1e6 / *count as f64;
        let speed = *weight_bytes as f64 / seconds.max(1e-9);
        let of_memory = 100.0 * speed / self.memory.bytes_per_second.median;
        let reads = match weight_bytes {
            0 => String::new(),
            _ => format!(" {:>6.0} GB/s {of_memory:>5.1} %", speed / 1e9),
        };
        writeln!(
            out,
            "    {ms:>10.3} ms {share:>5.1} % {count:>7} x {each:>8.2} us  {name:<18}{reads}"
        )
    }
}

/// Families with their kernels, what took longest first.
fn by_family(times: &[KernelTime]) -> Vec<(&'static str, Vec<&KernelTime>)> {
    let mut families: Vec<(&'static str, Vec<&KernelTime>)> = Vec::new();
    for time in times {
        match families.iter_mut().find(|(family, _)| *family == time.family) {
            Some((_, own)) => own.push(time),
            None => families.push((time.family, vec![time])),
        }
    }
    let all = |own: &[&KernelTime]| -> f64 { own.iter().map(|time| time.seconds).sum() };
    families.sort_by(|a, b| all(&b.1).total_cmp(&all(&a.1)));
    families
}

fn rates(spread: Spread) -> [String; 3] {
    [spread.median, spread.min, spread.max].map(rate)
}

/// Three digits or so.
pub fn rate(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$}")
}
