//! What came out of a measurement, for machines and as a table.
//!
//! Field names of [`Report`] are those of `--json` and part of the interface. The bound is computed
//! here, from the memory and the bytes of a token; nothing is measured here.

use std::fmt::Write as _;

use backend::{KernelTime, Reserved, RowFormat};
use engine::Engine;
use measure::stats::percentile;
use model::KvLayout;
use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::reads;
use crate::compute;
use crate::meant::Bench;

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
    /// What the model was steered by; see [`Engine::steered`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steered: Option<String>,
    /// Bytes of weights that a decoded token reads.
    pub weight_bytes_per_token: u64,
    pub memory: Memory,
    /// Bytes of the file's weights, and the time until they were where they are used.
    pub load_bytes: u64,
    pub load_seconds: f64,
    /// All weights were brought to memory before; if not, it is too small, and the figures include
    /// the disk.
    pub weights_in_memory: bool,
    /// Decoded tokens per second if reading weights were all there is to do.
    pub bound_tokens_per_second: f64,
    pub prefill: Vec<Prefill>,
    pub decode: Vec<Decode>,
    /// Bytes of KV rows for 1,048,576 tokens of a session.
    pub kv_bytes_per_million_tokens: u64,
    /// Bytes that were held when all was measured.
    #[serde(with = "Held")]
    pub reserved: Reserved,
    /// Times by kernel, if they were asked for.
    #[serde(skip)]
    pub kernels: Profile,
    /// Ctrl+C did not end it early.
    pub complete: bool,
}

/// Several measurements of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Of every repeat, in order.
    pub tokens_per_second_each: Vec<f64>,
    pub first_token_seconds: Spread,
    /// The logits were the same every time.
    pub repeatable: bool,
    /// Of the logits after the prompt.
    pub logits_hash: String,
}

/// Writing behind a context.
#[derive(Debug, Serialize)]
pub struct Decode {
    pub sessions: usize,
    /// Tokens of each session before.
    pub context: usize,
    /// Tokens that each session writes.
    pub tokens: usize,
    /// Of all sessions together.
    pub tokens_per_second: Spread,
    /// Of every repeat, in order.
    pub tokens_per_second_each: Vec<f64>,
    /// Of single steps, of all repeats.
    pub step_seconds: Percentiles,
    /// Of one session alone; several share what they read.
    pub share_of_bound: Option<f64>,
    /// Of the first session's logits after the first `tokens` tokens behind the context.
    pub logits_hash: String,
}

/// How long so many in a hundred of the steps took at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// [`Reserved`], with the names of `--json`.
#[derive(Serialize)]
#[serde(remote = "Reserved")]
struct Held {
    #[serde(rename = "weight_bytes")]
    weights: usize,
    #[serde(rename = "work_bytes")]
    buffers: usize,
    #[serde(rename = "kv_bytes")]
    pools: usize,
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

impl Percentiles {
    /// Of some measurements; of none they are 0.
    pub fn of(mut values: Vec<f64>) -> Percentiles {
        values.sort_by(f64::total_cmp);
        let at = |share| percentile(&values, share).unwrap_or_default();
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
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
            steered: engine.steered(),
            weight_bytes_per_token,
            bound_tokens_per_second: memory.bytes_per_second.median / weight_bytes_per_token as f64,
            memory,
            load_bytes: compute::weight_bytes(file) as u64,
            load_seconds: 0.0,
            weights_in_memory: false,
            prefill: Vec::new(),
            decode: Vec::new(),
            kv_bytes_per_million_tokens: kv_bytes(engine, 1 << 20),
            reserved: Reserved::default(),
            kernels: Vec::new(),
            complete: false,
        }
    }

    /// Adds a figure and compares it with the bound.
    pub fn add_decode(&mut self, mut figures: Decode) {
        let share = figures.tokens_per_second.median / self.bound_tokens_per_second;
        figures.share_of_bound = (figures.sessions == 1).then_some(share);
        self.decode.push(figures);
    }

    /// One row per figure, with a heading.
    pub fn to_csv(&self) -> String {
        let mut out = "figure,sessions,context,tokens,tokens_per_second,tokens_per_second_min,\
                       tokens_per_second_max,first_token_seconds,share_of_bound,logits_hash,\
                       step_seconds_p50,step_seconds_p90,step_seconds_p99\n"
            .to_owned();
        let text = |Spread { median, min, max }: Spread| format!("{median},{min},{max}");
        for Prefill { tokens, tokens_per_second, first_token_seconds, logits_hash, .. } in
            &self.prefill
        {
            let (rates, first) = (text(*tokens_per_second), first_token_seconds.median);
            let _ = writeln!(out, "prefill,1,0,{tokens},{rates},{first},,{logits_hash},,,");
        }
        for figures in &self.decode {
            let Decode { sessions, context, tokens, logits_hash, .. } = figures;
            let rates = text(figures.tokens_per_second);
            let share = figures.share_of_bound.map_or(String::new(), |share| share.to_string());
            let Percentiles { p50, p90, p99 } = figures.step_seconds;
            let _ = writeln!(
                out,
                "decode,{sessions},{context},{tokens},{rates},,{share},{logits_hash},{p50},{p90},\
                 {p99}"
            );
        }
        out
    }
}

/// Bytes of the KV rows of so many tokens.
fn kv_bytes(engine: &Engine, tokens: usize) -> u64 {
    let layout = KvLayout::new(engine.shape(), RowFormat::Packed);
    (KvLayout::pages(tokens) * layout.page_bytes) as u64
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
            steered: None,
            weight_bytes_per_token: 1_000_000,
            memory: Memory { buffer_bytes: 8, threads: 2, bytes_per_second: spread(20e6) },
            load_bytes: 0,
            load_seconds: 0.0,
            weights_in_memory: true,
            bound_tokens_per_second: 20.0,
            prefill: vec![Prefill {
                tokens: 512,
                tokens_per_second: spread(100.0),
                tokens_per_second_each: vec![100.0],
                first_token_seconds: spread(5.25),
                repeatable: true,
                logits_hash: "ab".into(),
            }],
            kernels: Vec::new(),
            decode: Vec::new(),
            kv_bytes_per_million_tokens: 0,
            reserved: Reserved::default(),
            complete: true,
        };
        for sessions in [1, 16] {
            report.add_decode(Decode {
                sessions,
                context: 2048,
                tokens: 32,
                tokens_per_second: spread(5.0),
                tokens_per_second_each: vec![5.0],
                step_seconds: Percentiles { p50: 0.25, p90: 0.5, p99: 0.75 },
                share_of_bound: None,
                logits_hash: "cd".into(),
            });
        }
        let csv = report.to_csv();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows[1], "prefill,1,0,512,100,99,101,5.25,,ab,,,");
        assert_eq!(rows[2], "decode,1,2048,32,5,4,6,,0.25,cd,0.25,0.5,0.75");
        assert_eq!(rows[3], "decode,16,2048,32,5,4,6,,,cd,0.25,0.5,0.75");
        let columns = rows.iter().map(|row| row.split(',').count());
        assert!(columns.eq([13; 4]), "{csv}");
    }
}
