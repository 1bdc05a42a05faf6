//! What the tests share: golden data, a model ready to run, comparisons.

use std::collections::HashMap;
use std::path::PathBuf;

use backend::{Backend, Cpu, RowFormat};
use model::{Feed, Limits, Model, Options};
use spec::TokenId;

/// A file under `testdata/golden`.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

/// The four golden prompts.
pub fn prompts() -> HashMap<String, Vec<TokenId>> {
    let text = std::fs::read_to_string(golden("prompts.json")).expect("golden prompts");
    let ids: HashMap<String, Vec<u32>> = serde_json::from_str(&text).expect("lists of ids");
    ids.into_iter().map(|(k, v)| (k, v.into_iter().map(TokenId).collect())).collect()
}

/// One array of an `.npz` file as `f32`, with its shape.
pub fn array(file: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
    let mut npz = npyz::npz::NpzArchive::open(golden(file)).expect("golden file");
    let array = npz.by_name(name).expect("readable").unwrap_or_else(|| panic!("{name} in {file}"));
    let shape = array.shape().iter().map(|&n| n as usize).collect();
    (shape, array.into_vec::<f32>().expect("f32"))
}

/// A CPU backend with a model loaded on it.
pub struct Rig {
    pub cpu: Cpu,
    pub model: Model,
}

impl Rig {
    pub fn new(file: &gguf::File, rows: RowFormat) -> Rig {
        let limits = Limits { step_tokens: 1024, step_outputs: 1024, sessions: 4, context: 8192 };
        Rig::with(file, Options { rows, limits })
    }

    pub fn with(file: &gguf::File, options: Options) -> Rig {
        let mut cpu = Cpu::new();
        let model = Model::load(&mut cpu, file, options).expect("a model that loads");
        Rig { cpu, model }
    }

    /// Feeds a prompt to a new session in pieces of `chunk` tokens; logits of every position.
    pub fn feed(&mut self, tokens: &[TokenId], chunk: usize) -> Vec<f32> {
        let mut cache = self.model.open(&mut self.cpu).expect("a free session");
        let mut out = Vec::new();
        for tokens in tokens.chunks(chunk) {
            let feed = Feed { cache: &mut cache, tokens, outputs: tokens.len() };
            self.model.forward(&mut self.cpu, &mut [feed]).expect("a step");
            out.extend(self.model.logits(&mut self.cpu));
        }
        self.model.close(cache);
        out
    }
}

/// Keeps the unused import of the trait honest: a rig's backend is used as any backend.
pub fn backend(rig: &mut Rig) -> (&mut dyn Backend, &mut Model) {
    (&mut rig.cpu, &mut rig.model)
}

/// Differences relative to the largest magnitude in `want`: (median, maximum).
pub fn difference(got: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs() as f64));
    let relative = |(g, w): (&f32, &f32)| (*g as f64 - *w as f64).abs() / largest;
    let mut all: Vec<f64> = got.iter().zip(want).map(relative).collect();
    assert!(all.iter().all(|d| d.is_finite()), "a result is not a number");
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() - 1])
}
