//! What the tests share: golden data, models ready to run, comparisons.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use backend::{Backend, Cpu, CpuSimd, Level, RowFormat, Threads};
use gguf::{File, Format, Metadata, TensorPlan, Value, Writer};
use model::{Feed, Limits, Model, Options};
use spec::{Fact, Shape, Source, TokenId};

/// A file under `testdata/golden`.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

/// The tiny model in the published layout, with quantized tensors.
pub fn tiny() -> File {
    File::open(&golden("tiny.gguf")).expect("golden file")
}

/// The four golden prompts.
pub fn prompts() -> BTreeMap<String, Vec<TokenId>> {
    let text = std::fs::read_to_string(golden("prompts.json")).expect("golden prompts");
    let ids: BTreeMap<String, Vec<u32>> = serde_json::from_str(&text).expect("lists of ids");
    ids.into_iter().map(|(k, v)| (k, v.into_iter().map(TokenId).collect())).collect()
}

/// One array of an `.npz` file as floats; integers and booleans are converted.
pub fn array(file: &str, name: &str) -> Vec<f32> {
    let archive = std::fs::File::open(golden(file)).expect("golden file");
    let mut npz = zip::ZipArchive::new(archive).expect("an archive");
    let entry = npz.by_name(&format!("{name}.npy"));
    let array = entry.unwrap_or_else(|error| panic!("{name} in {file}: {error}"));
    let array = npyz::NpyFile::new(array).expect("an array");
    match array.dtype().descr().trim_matches('\'') {
        "<f4" => array.into_vec::<f32>().expect("f32"),
        "<i8" => array.into_vec::<i64>().expect("i64").into_iter().map(|v| v as f32).collect(),
        "|b1" => array.into_vec::<bool>().expect("bool").into_iter().map(f32::from).collect(),
        other => panic!("{name} in {file} has type {other}"),
    }
}

/// The golden checkpoint (float32, published names) as a GGUF in which every matrix is F32.
///
/// A converter of its own, so that these tests do not stand on the quantizer.
pub fn master() -> File {
    let bytes = std::fs::read(golden("model.safetensors")).expect("golden checkpoint");
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: HashMap<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + header_bytes]).expect("a JSON header");
    let data = |name: &str| {
        let range = header[name]["data_offsets"].as_array().expect("two offsets");
        let at = |i: usize| 8 + header_bytes + range[i].as_u64().expect("an offset") as usize;
        &bytes[at(0)..at(1)]
    };
    let shape = model::read_shape(&tiny()).expect("the tiny shape");
    let specs = spec::tensors(&shape);
    let plan = |spec: &spec::TensorSpec| {
        let table = spec.class == spec::Class::RouteTable;
        let format = if table { Format::I32 } else { Format::F32 };
        TensorPlan { name: spec.name.clone(), dims: spec.dims.clone(), format }
    };
    let plans: Vec<_> = specs.iter().map(plan).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("master.gguf");
    let mut writer = Writer::create(&path, &metadata(&shape), &plans).expect("a writable file");
    for (spec, plan) in specs.iter().zip(&plans) {
        let mut put = |name: &str| match plan.format {
            Format::I32 => {
                let ids = data(name).chunks_exact(8).flat_map(|id| id[..4].to_vec());
                writer.write(&ids.collect::<Vec<u8>>()).expect("a write");
            }
            _ => writer.write(data(name)).expect("a write"),
        };
        match &spec.source {
            Source::One(name) => put(name),
            Source::PerExpert { before, after } => {
                (0..shape.experts).for_each(|e| put(&format!("{before}{e}{after}")));
            }
        }
    }
    writer.finish().expect("a finished file");
    File::from_bytes("master.gguf", std::fs::read(&path).expect("the file")).expect("valid")
}

/// A shape as GGUF metadata.
pub fn metadata(shape: &Shape) -> Metadata {
    let mut out = Metadata::new();
    for (key, fact) in shape.to_facts() {
        let value: Value = match fact {
            Fact::Integer(v) => (v as u32).into(),
            Fact::Float(v) => (v as f32).into(),
            Fact::Flag(v) => v.into(),
            Fact::Text(v) => v.into(),
            Fact::Integers(v) => v.into_iter().map(|v| v as i32).collect::<Vec<_>>().into(),
            Fact::Floats(v) => v.into_iter().map(|v| v as f32).collect::<Vec<_>>().into(),
        };
        out.set(key, value);
    }
    out
}

/// Limits that are enough for the golden prompts.
pub const LIMITS: Limits = Limits {
    step_tokens: 1024,
    step_outputs: 1024,
    sessions: 4,
    context: 8192,
    slots: 5,
    row_pages: 256,
};

/// A CPU backend, the reference if nothing else is said, with a model loaded on it.
pub struct Rig<B = Cpu> {
    pub cpu: B,
    pub model: Model,
}

impl Rig {
    pub fn new(file: &File, rows: RowFormat) -> Rig {
        Rig::with(file, Options { rows, limits: LIMITS, importance: false })
    }

    pub fn with(file: &File, options: Options) -> Rig {
        Rig::on(Cpu::new(), file, options)
    }
}

/// The fast CPU backend with a model loaded on it. On one thread: threads are tested elsewhere, and
/// more of them than processors wait for each other.
pub fn fast(file: &File, rows: RowFormat) -> Rig<CpuSimd> {
    fast_with(file, Options { rows, limits: LIMITS, importance: false })
}

/// The same with these options.
pub fn fast_with(file: &File, options: Options) -> Rig<CpuSimd> {
    let threads = Threads { count: 1, processors: Vec::new() };
    let level = Level::available().pop().expect("at least one level");
    Rig::on(CpuSimd::new(&threads, level), file, options)
}

impl<B: Backend> Rig<B> {
    pub fn on(mut cpu: B, file: &File, options: Options) -> Rig<B> {
        let shape = model::read_shape(file).expect("a shape");
        let model =
            Model::load(&mut cpu, file, shape, options, &mut |_| {}).expect("a model that loads");
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
        out
    }

    /// The last `rows` rows of logits.
    pub fn tail<'a>(&self, logits: &'a [f32], rows: usize) -> &'a [f32] {
        let values = rows * self.model.shape().vocab;
        &logits[logits.len().saturating_sub(values)..]
    }
}

/// How far results are from what is wanted, relative to the largest magnitude wanted.
#[derive(Debug)]
pub struct Difference {
    pub median: f64,
    pub max: f64,
}

pub fn difference(got: &[f32], want: &[f32]) -> Difference {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs() as f64));
    let relative = |(g, w): (&f32, &f32)| (*g as f64 - *w as f64).abs() / largest;
    let mut all: Vec<f64> = got.iter().zip(want).map(relative).collect();
    assert!(all.iter().all(|d| d.is_finite()), "a result is not a number");
    all.sort_by(f64::total_cmp);
    Difference { median: all[all.len() / 2], max: all[all.len() - 1] }
}

pub fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a row")
}
