//! What is counted, and how Prometheus reads it.
//!
//! Counters are of this process and never fall; gauges are what the worker says at the moment.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::serve::{Report, Source};

use crate::answer::talk::Course;
use crate::dialect::Dialect;

const DIALECTS: [Dialect; 4] =
    [Dialect::Chat, Dialect::Completions, Dialect::Responses, Dialect::Messages];
const SOURCES: [(Source, &str); 4] = [
    (Source::Cold, "cold"),
    (Source::Session, "session"),
    (Source::Memory, "memory"),
    (Source::Disk, "disk"),
];

/// Upper ends of seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Counters.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By dialect, and by the first digit of the status.
    requests: [[AtomicU64; 6]; 4],
    sources: [AtomicU64; 4],
    prompt: AtomicU64,
    cached: AtomicU64,
    generated: AtomicU64,
    reasoning: AtomicU64,
    prefill_micros: AtomicU64,
    decode_micros: AtomicU64,
    first_token: Histogram,
    between_tokens: Histogram,
}

/// How often something took how long.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; SECONDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

/// The name of a source, in logs and figures.
pub fn source_name(source: Source) -> &'static str {
    SOURCES.iter().find(|(known, _)| *known == source).map_or("cold", |(_, name)| name)
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

impl Histogram {
    fn add(&self, seconds: f64) {
        for (bucket, most) in self.buckets.iter().zip(SECONDS) {
            if seconds <= most {
                add(bucket, 1);
            }
        }
        add(&self.count, 1);
        add(&self.micros, micros(seconds));
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        head(name, help, "histogram", out);
        for (bucket, most) in self.buckets.iter().zip(SECONDS) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{most}\"}} {}", get(bucket));
        }
        let count = get(&self.count);
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum {}", get(&self.micros) as f64 / 1e6);
        let _ = writeln!(out, "{name}_count {count}");
    }
}

impl Metrics {
    /// A request was answered or refused.
    pub fn request(&self, dialect: Dialect, status: u16) {
        let class = usize::from(status / 100).min(5);
        let place = DIALECTS.iter().position(|known| *known == dialect).unwrap_or(0);
        add(&self.requests[place][class], 1);
    }

    /// An answer is over.
    pub fn course(&self, course: &Course) {
        let usage = &course.usage;
        add(&self.prompt, usage.seen.prompt as u64);
        add(&self.cached, usage.seen.cached as u64);
        add(&self.generated, usage.generated as u64);
        add(&self.reasoning, usage.reasoning as u64);
        add(&self.prefill_micros, micros(course.prefill));
        add(&self.decode_micros, micros(course.decode));
        let source = SOURCES.iter().position(|(known, _)| Some(*known) == course.source);
        source.into_iter().for_each(|place| add(&self.sources[place], 1));
        course.first_token.into_iter().for_each(|seconds| self.first_token.add(seconds));
        if usage.generated > 1 {
            self.between_tokens.add(course.decode / (usage.generated - 1) as f64);
        }
    }

    /// All of it, as Prometheus reads it. `report` is missing while the model is loaded.
    pub fn write(&self, report: Option<&Report>, running: usize, remembered: usize) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut out = String::new();
        let name = "dwarfstar_requests_total";
        head(name, "Requests by dialect and class of status", "counter", &mut out);
        for (dialect, classes) in DIALECTS.iter().zip(&self.requests) {
            for (class, counter) in classes.iter().enumerate().skip(2) {
                let dialect = dialect.name();
                let labels = format!("dialect=\"{dialect}\",status=\"{class}xx\"");
                let _ = writeln!(out, "{name}{{{labels}}} {}", get(counter));
            }
        }
        let name = "dwarfstar_prompts_total";
        head(name, "Prompts by where their beginning came from", "counter", &mut out);
        for ((_, source), counter) in SOURCES.iter().zip(&self.sources) {
            let _ = writeln!(out, "{name}{{source=\"{source}\"}} {}", get(counter));
        }
        let seconds = |counter: &AtomicU64| get(counter) as f64 / 1e6;
        for (name, help, value) in [
            ("prompt_tokens", "Tokens of prompts", get(&self.prompt) as f64),
            ("cached_tokens", "Tokens of prompts that needed no work", get(&self.cached) as f64),
            ("generated_tokens", "Tokens of answers", get(&self.generated) as f64),
            ("reasoning_tokens", "Tokens of reasoning", get(&self.reasoning) as f64),
            ("prefill_seconds", "Time of reading prompts", seconds(&self.prefill_micros)),
            ("decode_seconds", "Time of answering", seconds(&self.decode_micros)),
        ] {
            single(&format!("dwarfstar_{name}_total"), help, "counter", value, &mut out);
        }
        let name = "dwarfstar_first_token_seconds";
        self.first_token.write(name, "From the request to the first token", &mut out);
        let name = "dwarfstar_between_tokens_seconds";
        self.between_tokens.write(name, "From token to token, by answer", &mut out);
        let mut gauge = |name: &str, help: &str, value: usize| {
            single(&format!("dwarfstar_{name}"), help, "gauge", value as f64, &mut out);
        };
        gauge("answers_open", "Answers under way", running);
        gauge("calls_remembered", "Tool calls remembered as sampled", remembered);
        gauge("model_loaded", "Whether the model is there", usize::from(report.is_some()));
        if let Some(report) = report {
            gauge("batch_size", "Requests that have a session", report.running);
            gauge("queue_length", "Requests that wait for a session", report.waiting);
            gauge("sessions_idle", "Sessions that may be gone on from", report.idle);
            gauge("steps", "Steps of the model so far", report.steps);
            gauge("step_tokens", "Tokens computed in them", report.tokens);
            gauge("states", "States in memory", report.held.anchors);
            gauge("state_bytes", "Bytes that they hold", report.held.anchor_bytes);
            gauge("row_pages_left", "Row pages that are free", report.held.row_pages_left);
        }
        out
    }
}

fn head(name: &str, help: &str, kind: &str, out: &mut String) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(name: &str, help: &str, kind: &str, value: f64, out: &mut String) {
    head(name, help, kind, out);
    let _ = writeln!(out, "{name} {value}");
}
