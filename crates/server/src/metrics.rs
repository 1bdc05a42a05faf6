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

/// What is so at the moment, besides what the worker says.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Answers under way.
    pub running: usize,
    /// Connections that are open.
    pub connections: usize,
    /// Tool calls remembered as sampled.
    pub remembered: usize,
    /// Bytes of the model that are there, and in all.
    pub loaded: (u64, u64),
    /// Whether the model answers.
    pub ready: bool,
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

    /// Answers to a prompt are over, or were cut.
    pub fn course(&self, course: &Course) {
        let usage = &course.usage;
        // A prompt that nobody has looked at has cost nothing.
        if let Some(source) = course.source {
            let place = SOURCES.iter().position(|(known, _)| *known == source).unwrap_or(0);
            add(&self.sources[place], 1);
            add(&self.prompt, usage.seen.prompt as u64);
            add(&self.cached, usage.seen.cached as u64);
        }
        add(&self.generated, usage.generated as u64);
        add(&self.reasoning, usage.reasoning as u64);
        add(&self.prefill_micros, micros(course.prefill));
        add(&self.decode_micros, micros(course.decode));
        course.first_token.into_iter().for_each(|seconds| self.first_token.add(seconds));
        if usage.generated > 1 {
            self.between_tokens.add(course.decode / (usage.generated - 1) as f64);
        }
    }

    /// All of it, as Prometheus reads it. `report` is missing while the model is loaded.
    pub fn write(&self, now: &Now, report: Option<&Report>) -> String {
        let mut out = String::new();
        self.write_requests(&mut out);
        for (name, help, value) in [
            ("answers_open", "Answers under way", now.running as f64),
            ("connections_open", "Connections that are open", now.connections as f64),
            ("calls_remembered", "Tool calls remembered as sampled", now.remembered as f64),
            ("model_loaded", "Whether the model is there", f64::from(u8::from(now.ready))),
            ("model_bytes_loaded", "Bytes of the model that are there", now.loaded.0 as f64),
            ("model_bytes", "Bytes of the model", now.loaded.1 as f64),
        ] {
            single(name, help, "gauge", value, &mut out);
        }
        if let Some(report) = report {
            write_report(report, &mut out);
        }
        out
    }

    /// What became of requests, from their arrival to their last token.
    fn write_requests(&self, out: &mut String) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let name = "dwarfstar_requests_total";
        head(name, "Requests by dialect and class of status", "counter", out);
        for (dialect, classes) in DIALECTS.iter().zip(&self.requests) {
            for (class, counter) in classes.iter().enumerate().skip(2) {
                let dialect = dialect.name();
                let labels = format!("dialect=\"{dialect}\",status=\"{class}xx\"");
                let _ = writeln!(out, "{name}{{{labels}}} {}", get(counter));
            }
        }
        let name = "dwarfstar_prompts_total";
        head(name, "Prompts by where their beginning came from", "counter", out);
        for ((_, source), counter) in SOURCES.iter().zip(&self.sources) {
            let _ = writeln!(out, "{name}{{source=\"{source}\"}} {}", get(counter));
        }
        let seconds = |counter: &AtomicU64| get(counter) as f64 / 1e6;
        for (name, help, value) in [
            ("prompt_tokens_total", "Tokens of prompts", get(&self.prompt) as f64),
            (
                "cached_tokens_total",
                "Tokens of prompts that needed no work",
                get(&self.cached) as f64,
            ),
            ("generated_tokens_total", "Tokens of answers", get(&self.generated) as f64),
            ("reasoning_tokens_total", "Tokens of reasoning", get(&self.reasoning) as f64),
            (
                "prefill_seconds_total",
                "Time of reading prompts, summed over requests",
                seconds(&self.prefill_micros),
            ),
            (
                "decode_seconds_total",
                "Time of answering, summed over requests",
                seconds(&self.decode_micros),
            ),
        ] {
            single(name, help, "counter", value, out);
        }
        let help = "From the arrival of a request to its first token";
        self.first_token.write("dwarfstar_first_token_seconds", help, out);
        let help = "From token to token, by answer";
        self.between_tokens.write("dwarfstar_between_tokens_seconds", help, out);
    }
}

/// What the worker says.
fn write_report(report: &Report, out: &mut String) {
    let Report { pace, held, .. } = report;
    let of_steps = [
        ("steps_total", "Steps of the model", report.steps as f64),
        ("step_tokens_total", "Tokens computed in steps", report.tokens as f64),
        ("step_prompt_tokens_total", "Tokens of prompts read in steps", pace.prefill.tokens as f64),
        (
            "step_answer_tokens_total",
            "Tokens of answers chosen in steps, after the first of each",
            pace.decode.tokens as f64,
        ),
        ("step_seconds_total", "Time spent in steps", pace.busy.as_secs_f64()),
        ("saved_states_total", "States taken to be saved", report.saves.states as f64),
        ("saved_pages_total", "Row pages read to be saved", report.saves.pages_read as f64),
    ];
    for (name, help, value) in of_steps {
        single(name, help, "counter", value, out);
    }
    let gauges = [
        ("batch_size", "Requests that have a session", report.running as f64),
        ("queue_length", "Requests that wait for a session", report.waiting as f64),
        ("sessions_idle", "Sessions that may be gone on from", report.idle as f64),
        ("step_seconds_max", "The longest step", pace.longest.as_secs_f64()),
        (
            "prefill_tokens_per_second",
            "Reading prompts, of all requests together, lately",
            pace.prefill.speed(),
        ),
        (
            "decode_tokens_per_second",
            "Writing answers, of all requests together, lately",
            pace.decode.speed(),
        ),
        ("states", "States in memory", held.anchors as f64),
        ("state_bytes", "Bytes that they hold", held.anchor_bytes as f64),
        ("row_pages", "Row pages of all sessions", held.row_pages as f64),
        ("row_pages_left", "Row pages that are free", held.row_pages_left as f64),
        ("row_page_bytes", "Bytes of a row page", held.row_page_bytes as f64),
    ];
    let on_disk = report.disk.map(|disk| {
        [
            ("checkpoints", "Conversations on disk", disk.checkpoints as f64),
            ("checkpoint_bytes", "Bytes of their files", disk.bytes as f64),
            ("checkpoint_bytes_max", "Bytes that they may take", disk.bytes_max as f64),
        ]
    });
    for (name, help, value) in gauges.into_iter().chain(on_disk.into_iter().flatten()) {
        single(name, help, "gauge", value, out);
    }
}

fn head(name: &str, help: &str, kind: &str, out: &mut String) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(name: &str, help: &str, kind: &str, value: f64, out: &mut String) {
    let name = format!("dwarfstar_{name}");
    head(&name, help, kind, out);
    let _ = writeln!(out, "{name} {value}");
}
