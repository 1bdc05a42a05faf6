//! The facts about a file, gathered once, for people and machines alike.
//!
//! The fields are the JSON of `inspect --json`. Everything is asked of the crate that knows it: the
//! shape of `model` and `spec`, the memory of the estimate that reserving itself runs. Nothing is
//! printed here.

use std::collections::BTreeMap;

use engine::OpenOptions;
use gguf::{File, Tensor};
use model::{Estimate, TensorProblem};
use serde::Serialize;
use spec::{Class, LayerKind, Shape};
use text::{TokenKind, Tokenizer};

use super::check::Checked;

/// Contexts that the memory is shown for, as far as the model has them.
const CONTEXTS: [usize; 4] = [4 << 10, 32 << 10, 128 << 10, 1 << 20];

/// What a file holds.
#[derive(Debug, Serialize)]
pub struct Report {
    pub file: String,
    /// All files of a model in several.
    pub shards: Vec<String>,
    pub architecture: Option<String>,
    pub name: Option<String>,
    /// "Flash" or "Pro", if it is one of them.
    pub variant: Option<&'static str>,
    pub key_count: usize,
    pub tensor_count: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Whether the engine can load it.
    pub runnable: bool,
    /// Why not, and what else is wrong.
    pub problems: Vec<String>,
    /// Names of tensors that the shape asks for and the file lacks.
    pub missing: Vec<String>,
    pub shape: Option<ShapeFacts>,
    pub parameters: Option<Parameters>,
    /// Formats by what tensors are for.
    pub recipe: Vec<Group>,
    /// For one session, by context.
    pub memory: Vec<Memory>,
    pub tokenizer: Option<TokenizerFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorFacts>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// The numbers of a [`Shape`] that people ask for.
#[derive(Debug, Serialize)]
pub struct ShapeFacts {
    pub layers: usize,
    pub window_layers: usize,
    pub indexed_layers: usize,
    pub compressed_layers: usize,
    pub hash_layers: usize,
    pub hidden: usize,
    pub streams: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub rotary_dim: usize,
    pub query_latent: usize,
    pub output_groups: usize,
    pub output_latent: usize,
    pub window: usize,
    pub indexer_heads: Option<usize>,
    pub indexer_dim: Option<usize>,
    pub indexer_top_k: Option<usize>,
    pub experts: usize,
    pub experts_used: usize,
    pub expert_inner: usize,
    pub vocab: usize,
    pub context_max: usize,
}

/// Parameters of the model.
#[derive(Debug, Serialize)]
pub struct Parameters {
    pub total: u64,
    /// That one token uses.
    pub active: u64,
}

/// Tensors of one purpose and one format.
#[derive(Debug, Serialize)]
pub struct Group {
    pub class: &'static str,
    pub format: String,
    pub tensors: usize,
    pub values: u64,
    pub bytes: u64,
}

/// Bytes that running takes.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub context: usize,
    /// In the mapped file; `None` if they cannot be loaded.
    pub weights: Option<u64>,
    /// Decoded vectors and tables.
    pub tables: Option<u64>,
    /// What a step computes in.
    pub scratch: u64,
    /// A session's raw windows and frontiers.
    pub slot: u64,
    /// A session's compressed rows when the context is full.
    pub rows: u64,
    pub total: u64,
}

/// The tokenizer of the file.
#[derive(Debug, Serialize)]
pub struct TokenizerFacts {
    pub tokens: usize,
    pub control: usize,
    pub user_defined: usize,
    pub merges: usize,
}

/// One tensor.
#[derive(Debug, Serialize)]
pub struct TensorFacts {
    pub name: String,
    /// In file order, fastest first.
    pub dims: Vec<usize>,
    pub format: String,
    pub bytes: u64,
    pub offset: u64,
    pub shard: usize,
}

impl Report {
    /// Gathers everything but the list of tensors and the check of values.
    pub fn new(file: &File, shape: &Result<Shape, model::Error>, context: Option<usize>) -> Report {
        let text = |key: &str| Some(file.metadata().get(key)?.as_str()?.to_owned());
        let mut report = Report {
            file: file.name().to_owned(),
            shards: file.shard_names().map(str::to_owned).collect(),
            architecture: text("general.architecture"),
            name: text("general.name"),
            variant: None,
            key_count: file.metadata().iter().len(),
            tensor_count: file.tensors().len(),
            bytes: file.tensors().iter().map(|tensor| tensor.byte_count as u64).sum(),
            runnable: false,
            problems: Vec::new(),
            missing: Vec::new(),
            shape: None,
            parameters: None,
            recipe: recipe(file, shape.as_ref().ok()),
            memory: Vec::new(),
            tokenizer: None,
            tensors: None,
            checked: None,
        };
        match shape {
            Ok(shape) => report.add_model(file, shape, context),
            Err(error) => report.problem(error),
        }
        report.runnable = report.problems.is_empty();
        report
    }

    /// What a model of this shape has besides its tensors.
    fn add_model(&mut self, file: &File, shape: &Shape, context: Option<usize>) {
        let (total, active) = shape.parameters();
        self.variant = shape.published_name();
        self.shape = Some(ShapeFacts::new(shape));
        self.parameters = Some(Parameters { total, active });
        self.missing = model::check_tensors(file, shape).into_iter().filter_map(missing).collect();
        let loaded = Estimate::new(file, shape, options(shape.context_max).model_options(shape));
        let loaded = loaded.map_err(|error| self.problem(&error)).ok();
        let contexts = contexts(shape.context_max, context).into_iter();
        self.memory = contexts.map(|context| Memory::new(shape, context, loaded)).collect();
        match engine::read_tokenizer(file, shape.vocab) {
            Ok(tokenizer) => self.tokenizer = tokenizer.map(|t| TokenizerFacts::new(file, &t)),
            Err(error) => self.problem(&error),
        }
    }

    /// Adds the list of all tensors.
    pub fn list_tensors(&mut self, file: &File) {
        let facts = |tensor: &Tensor| TensorFacts {
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            format: tensor.format.to_string(),
            bytes: tensor.byte_count as u64,
            offset: tensor.offset,
            shard: tensor.shard,
        };
        self.tensors = Some(file.tensors().iter().map(facts).collect());
    }

    /// Messages begin with the file's name, which the report has said already.
    fn problem(&mut self, error: &dyn std::error::Error) {
        let text = error.to_string();
        let text = text.strip_prefix(&format!("{}: ", self.file)).unwrap_or(&text);
        self.problems.push(text.to_owned());
    }
}

impl ShapeFacts {
    fn new(shape: &Shape) -> ShapeFacts {
        let count = |kind| shape.kinds.iter().filter(|&&k| k == kind).count();
        let indexer = shape.indexer.as_ref();
        ShapeFacts {
            layers: shape.layers,
            window_layers: count(LayerKind::Window),
            indexed_layers: count(LayerKind::Indexed),
            compressed_layers: count(LayerKind::Compressed),
            hash_layers: shape.hash_layers,
            hidden: shape.hidden,
            streams: shape.streams,
            heads: shape.heads,
            head_dim: shape.head_dim,
            rotary_dim: shape.rotary_dim,
            query_latent: shape.query_latent,
            output_groups: shape.output_groups,
            output_latent: shape.output_latent,
            window: shape.window,
            indexer_heads: indexer.map(|indexer| indexer.heads),
            indexer_dim: indexer.map(|indexer| indexer.dim),
            indexer_top_k: indexer.map(|indexer| indexer.top_k),
            experts: shape.experts,
            experts_used: shape.experts_used,
            expert_inner: shape.expert_inner,
            vocab: shape.vocab,
            context_max: shape.context_max,
        }
    }
}

impl Memory {
    fn new(shape: &Shape, context: usize, loaded: Option<Estimate>) -> Memory {
        let state = Estimate::state(shape, options(context).model_options(shape));
        let loaded = loaded.map(|loaded| (loaded.weights, loaded.tables));
        let (weights, tables) = loaded.unwrap_or_default();
        Memory {
            context,
            weights: loaded.map(|(weights, _)| weights as u64),
            tables: loaded.map(|(_, tables)| tables as u64),
            scratch: state.scratch as u64,
            slot: state.slots as u64,
            rows: state.rows as u64,
            total: Estimate { weights, tables, ..state }.total() as u64,
        }
    }
}

impl TokenizerFacts {
    fn new(file: &File, tokenizer: &Tokenizer) -> TokenizerFacts {
        let ids = || (0..tokenizer.len() as u32).map(spec::TokenId);
        let count = |kind| ids().filter(|&id| tokenizer.token_kind(id) == kind).count();
        let merges = file.metadata().get("tokenizer.ggml.merges").and_then(|m| m.as_strings());
        TokenizerFacts {
            tokens: tokenizer.len(),
            control: count(TokenKind::Control),
            user_defined: count(TokenKind::UserDefined),
            merges: merges.map_or(0, <[String]>::len),
        }
    }
}

/// What `dwarfstar run` reserves.
fn options(context: usize) -> OpenOptions {
    OpenOptions { context, ..OpenOptions::default() }
}

fn contexts(native: usize, asked: Option<usize>) -> Vec<usize> {
    let usual = CONTEXTS.into_iter().filter(|&context| context <= native);
    let mut contexts: Vec<_> = usual.chain([native]).chain(asked).collect();
    contexts.sort_unstable();
    contexts.dedup();
    contexts
}

fn missing(problem: TensorProblem) -> Option<String> {
    match problem {
        TensorProblem::Missing { name } => Some(name),
        _ => None,
    }
}

/// Tensors by purpose and format, in the order in which purposes are declared.
fn recipe(file: &File, shape: Option<&Shape>) -> Vec<Group> {
    let specs = shape.map(spec::tensors).unwrap_or_default();
    let classes: BTreeMap<_, _> = specs.iter().map(|s| (s.name.as_str(), s.class)).collect();
    let mut groups = BTreeMap::<(Option<Class>, String), Group>::new();
    for tensor in file.tensors() {
        let class = classes.get(tensor.name.as_str()).copied();
        let label = class.map_or("other", label);
        let format = tensor.format.to_string();
        let empty = Group { class: label, format: format.clone(), tensors: 0, values: 0, bytes: 0 };
        let group = groups.entry((class, format)).or_insert(empty);
        group.tensors += 1;
        group.values += tensor.value_count() as u64;
        group.bytes += tensor.byte_count as u64;
    }
    groups.into_values().collect()
}

fn label(class: Class) -> &'static str {
    match class {
        Class::Embedding => "token embedding",
        Class::Head => "output head",
        Class::Norm => "norms",
        Class::HyperMatrix => "stream mix, matrices",
        Class::HyperVector => "stream mix, vectors",
        Class::Sinks => "attention sinks",
        Class::Attention => "attention",
        Class::Compressor => "compressors",
        Class::Indexer => "indexer",
        Class::Router => "router",
        Class::RouteBias => "router bias",
        Class::RouteTable => "router tables",
        Class::ExpertGateUp => "experts, gate and up",
        Class::ExpertDown => "experts, down",
        Class::SharedExpert => "shared experts",
    }
}
