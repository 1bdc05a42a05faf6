//! What came out of a measurement, for people, for machines and as a table.
//!
//! Field names of [`Report`] are those of `--json` and part of the interface. The bound is computed
//! here, from the memory and the bytes of a token; nothing is measured here.

use std::fmt::Write as _;
use std::io::{self, Write};

use backend::KernelTime;
use engine::Engine;
use serde::Serialize;

use super::memory::Memory;
use super::reads;
use crate::human::{bytes, exact, plural, safe};
use crate::meant::Bench;
use crate::terminal::Terminal;

/// Weights of a token that may stay in the caches of a processor, where memory is no bound.
const CACHED_BYTES: u64 = 256 << 20;

/// All figures.
#[derive(Debug, Serialize)]
pub struct Report {
    pub model: String,
    /// The model's name in the file.
    pub name: Option<String>,
    pub device: String,
    pub threads: usize,
    pub seed: u64,
    pub repeat: usize,
    /// Bytes of weights that a decoded token reads.
    pub weight_bytes_per_token: u64,
    pub memory: Memory,
    /// All weights were brought to memory before; if not, it is too small, and the figures include
    /// the disk.
    pub weights_in_memory: bool,
    /// Decoded tokens per second if reading weights were all there is to do.
    pub bound_tokens_per_second: f64,
    pub prefill: Vec<Prefill>,
    pub decode: Vec<Decode>,
    /// Times by kernel, if they were asked for.
    #[serde(skip)]
    pub kernels: Profile,
    /// Ctrl+C did not end it early.
    pub complete: bool,
}

/// Several measurements of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// Reading a prompt.
#[derive(Debug, Serialize)]
pub struct Prefill {
    pub tokens: usize,
    pub tokens_per_second: Spread,
    pub first_token_seconds: Spread,
    /// The logits were the same every time.
    pub repeatable: bool,
    /// Of the logits after the prompt.
    pub logits_hash: String,
}

/// Writing behind a context.
#[derive(Debug, Serialize)]
pub struct Decode {
    pub context: usize,
    pub tokens: usize,
    pub tokens_per_second: Spread,
    pub share_of_bound: f64,
    /// Of the logits after the first `tokens` tokens behind the context.
    pub logits_hash: String,
}

/// Times by kernel, for each thing that was done.
pub type Profile = Vec<(String, Vec<KernelTime>)>;

impl Spread {
    /// Of at least one measurement.
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (count, middle) = (values.len(), values.len() / 2);
        let median = (values[(count - 1) / 2] + values[middle]) / 2.0;
        Spread { median, min: values[0], max: values[count - 1] }
    }
}

impl Report {
    /// A report without figures yet.
    pub fn new(engine: &Engine, memory: Memory, meant: &Bench) -> Report {
        let file = engine.file();
        let size = |name: &str| file.tensor(name).map_or(0, |tensor| tensor.byte_count as u64);
        let weight_bytes_per_token = reads::weight_bytes(engine.shape(), size);
        let name = file.metadata().get("general.name").and_then(|name| name.as_str());
        Report {
            model: file.name().to_owned(),
            name: name.map(str::to_owned),
            device: engine.device(),
            threads: memory.threads,
            seed: meant.seed,
            repeat: meant.repeat,
            weight_bytes_per_token,
            bound_tokens_per_second: memory.bytes_per_second.median / weight_bytes_per_token as f64,
            memory,
            weights_in_memory: false,
            prefill: Vec::new(),
            decode: Vec::new(),
            kernels: Vec::new(),
            complete: false,
        }
    }

    /// Adds a figure and compares it with the bound.
    pub fn add_decode(&mut self, mut figures: Decode) {
        figures.share_of_bound = figures.tokens_per_second.median / self.bound_tokens_per_second;
        self.decode.push(figures);
    }

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
        if !self.weights_in_memory {
            writeln!(out, "  (the weights do not fit into memory: figures include the disk)")?;
        }
        self.show_prefill(out, terminal)?;
        self.show_decode(out, terminal)?;
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
        let head = ["context", "t/s", "min", "max", "of the bound", "logits"];
        let row = |cells: [&str; 6]| {
            let [context, median, min, max, share, hash] = cells;
            format!("  {context:>9} {median:>9} {min:>9} {max:>9} {share:>13}   {hash}")
        };
        writeln!(out, "{}", row(head))?;
        for figures in &self.decode {
            let [median, min, max] = rates(figures.tokens_per_second);
            let share = format!("{:.1} %", 100.0 * figures.share_of_bound);
            let context = exact(figures.context);
            let cells = [&context, &median, &min, &max, &share, &figures.logits_hash];
            writeln!(out, "{}", row(cells.map(String::as_str)))?;
        }
        Ok(())
    }

    fn show_kernels(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        for (what, times) in &self.kernels {
            let mut times: Vec<_> = times.iter().collect();
            times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            let all: f64 = times.iter().map(|time| time.seconds).sum();
            let title = format!("Kernels, {what}: {:.3} ms", all * 1e3);
            writeln!(out, "\n{}", terminal.heading(&title))?;
            for KernelTime { name, count, seconds } in times {
                let (ms, share) = (seconds * 1e3, 100.0 * seconds / all);
                let each = seconds * 1e6 / *count as f64;
                writeln!(
                    out,
                    "  {ms:>10.3} ms {share:>5.1} % {count:>7} x {each:>9.2} us  {name}"
                )?;
            }
        }
        Ok(())
    }

    /// One row per figure, with a heading.
    pub fn to_csv(&self) -> String {
        let mut out = "figure,context,tokens,tokens_per_second,tokens_per_second_min,\
                       tokens_per_second_max,first_token_seconds,share_of_bound,logits_hash\n"
            .to_owned();
        let text = |Spread { median, min, max }: Spread| format!("{median},{min},{max}");
        for Prefill { tokens, tokens_per_second, first_token_seconds, logits_hash, .. } in
            &self.prefill
        {
            let (rates, first) = (text(*tokens_per_second), first_token_seconds.median);
            let _ = writeln!(out, "prefill,0,{tokens},{rates},{first},,{logits_hash}");
        }
        for Decode { context, tokens, tokens_per_second, share_of_bound, logits_hash } in
            &self.decode
        {
            let rates = text(*tokens_per_second);
            let _ =
                writeln!(out, "decode,{context},{tokens},{rates},,{share_of_bound},{logits_hash}");
        }
        out
    }
}

fn rates(spread: Spread) -> [String; 3] {
    [spread.median, spread.min, spread.max].map(rate)
}

/// Three digits or so.
fn rate(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let cases: [(&[f64], f64); 4] = [
            (&[3.0], 3.0),
            (&[1.0, 2.0], 1.5),
            (&[9.0, 1.0, 5.0], 5.0),
            (&[4.0, 1.0, 3.0, 100.0], 3.5),
        ];
        for (values, median) in cases {
            let spread = Spread::of(values.iter().copied());
            assert_eq!(spread.median, median, "{values:?}");
            assert!(values.contains(&spread.min) && values.contains(&spread.max));
            assert!(values.iter().all(|v| (spread.min..=spread.max).contains(v)));
        }
    }

    #[test]
    fn a_table_has_one_row_per_figure() {
        let spread = |median| Spread { median, min: median - 1.0, max: median + 1.0 };
        let mut report = Report {
            model: "m".into(),
            name: None,
            device: "d".into(),
            threads: 2,
            seed: 0,
            repeat: 5,
            weight_bytes_per_token: 1_000_000,
            memory: Memory { buffer_bytes: 8, threads: 2, bytes_per_second: spread(20e6) },
            weights_in_memory: true,
            bound_tokens_per_second: 20.0,
            prefill: vec![Prefill {
                tokens: 512,
                tokens_per_second: spread(100.0),
                first_token_seconds: spread(5.25),
                repeatable: true,
                logits_hash: "ab".into(),
            }],
            kernels: Vec::new(),
            decode: Vec::new(),
            complete: true,
        };
        report.add_decode(Decode {
            context: 2048,
            tokens: 32,
            tokens_per_second: spread(5.0),
            share_of_bound: 0.0,
            logits_hash: "cd".into(),
        });
        let csv = report.to_csv();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows[1], "prefill,0,512,100,99,101,5.25,,ab");
        assert_eq!(rows[2], "decode,2048,32,5,4,6,,0.25,cd");
        let columns = rows.iter().map(|row| row.split(',').count());
        assert!(columns.eq([9; 3]), "{csv}");
    }
}
