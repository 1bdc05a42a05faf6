//! Makes checkpoint folders: small models with the codings of the published one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use spec::{Class, Shape, Source};
use tempfile::TempDir;

/// A tensor as it goes into a safetensors file.
#[derive(Clone)]
pub struct Stored {
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A checkpoint in memory, to be damaged before it is written.
#[derive(Clone)]
pub struct Folder {
    pub config: Value,
    pub tensors: BTreeMap<String, Stored>,
}

/// The range of scale bytes that a folder uses.
#[derive(Clone, Copy, PartialEq)]
pub enum Scales {
    /// All whose values are finite in single precision, 0 included.
    All,
    /// Those whose FP8 values are exact in BF16, too.
    Bf16,
    /// Those whose values do not overflow half precision.
    Half,
}

/// Repeatable random numbers (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }
}

/// A model with every kind of layer, whose sizes leave partial blocks of scales.
pub fn config() -> Value {
    json!({
        "model_type": "deepseek_v4", "num_hidden_layers": 3, "hidden_size": 192, "vocab_size": 40,
        "num_attention_heads": 4, "head_dim": 128, "qk_rope_head_dim": 64, "q_lora_rank": 160,
        "o_lora_rank": 32, "o_groups": 2, "compress_ratios": [0, 4, 128, 0], "index_n_heads": 2,
        "index_head_dim": 128, "index_topk": 16, "n_routed_experts": 3, "num_experts_per_tok": 2,
        "moe_intermediate_size": 96, "num_hash_layers": 1, "hc_mult": 2
    })
}

pub fn shape_of(config: &Value) -> Shape {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    write_safetensors(&folder.path().join("model.safetensors"), &BTreeMap::new());
    quantizer::Checkpoint::open(folder.path()).unwrap().shape().clone()
}

impl Folder {
    /// The small model, its tensors coded as in the published checkpoint: FP8 and FP4 matrices,
    /// BF16 and F32 for the rest, a table of I64. Layer 2 has FP8 experts, as base checkpoints do.
    pub fn small(scales: Scales) -> Folder {
        Folder::of(config(), scales)
    }

    /// The same for another configuration.
    pub fn of(config: Value, scales: Scales) -> Folder {
        let mut folder = Folder { config, tensors: BTreeMap::new() };
        let shape = shape_of(&folder.config);
        for (name, class, dims) in sources(&shape) {
            let expert = matches!(class, Class::ExpertGateUp | Class::ExpertDown);
            let dtype = match class {
                Class::RouteTable => "I64",
                _ if expert && name.starts_with("layers.2.") => "F8_E4M3",
                _ if expert => "I8",
                Class::Attention | Class::SharedExpert => "F8_E4M3",
                Class::Indexer if name.ends_with("wq_b.weight") => "F8_E4M3",
                Class::HyperMatrix | Class::HyperVector | Class::Sinks | Class::RouteBias => "F32",
                // Not published so, but allowed.
                Class::Head => "F16",
                _ if name.ends_with(".ape") => "F32",
                _ => "BF16",
            };
            folder.put(&name, dtype, &dims, scales);
        }
        folder
    }

    /// Gives a tensor random values, and a scaled one its scales.
    pub fn put(&mut self, name: &str, dtype: &'static str, dims: &[usize], scales: Scales) {
        let mut random = Random::new(seed(name));
        let mut shape: Vec<usize> = dims.iter().rev().copied().collect();
        let count: usize = shape.iter().product();
        let bytes = match dtype {
            "I64" => (0..count).flat_map(|_| random.below(3).to_le_bytes()).collect(),
            "F32" => (0..count)
                .flat_map(|_| (random.below(4001) as f32 / 64.0 - 30.0).to_le_bytes())
                .collect(),
            "BF16" => bf16s(count, &mut random),
            "F16" => halves(count, &mut random),
            // All codes but the two that are not numbers.
            "F8_E4M3" => {
                (0..count).map(|_| random.below(127) as u8 | (random.below(2) as u8) << 7).collect()
            }
            "I8" => (0..count / 2).map(|_| random.below(256) as u8).collect(),
            other => panic!("{other}"),
        };
        let block = match dtype {
            "F8_E4M3" => Some((128, 128)),
            "I8" => Some((1, 32)),
            _ => None,
        };
        if let Some((rows, columns)) = block {
            let shape = vec![shape[0].div_ceil(rows), shape[1].div_ceil(columns)];
            let bytes = scale_bytes(shape.iter().product(), scales, &mut random);
            let scale = Stored { dtype: "F8_E8M0", shape, bytes };
            self.tensors.insert(scale_name(name), scale);
        }
        if dtype == "I8" {
            *shape.last_mut().unwrap() /= 2;
        }
        self.tensors.insert(name.to_owned(), Stored { dtype, shape, bytes });
    }

    /// Writes everything into one file.
    pub fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.write_config(folder.path());
        write_safetensors(&folder.path().join("model.safetensors"), &self.tensors);
        folder
    }

    /// Deals the tensors out to files, with an index.
    pub fn write_sharded(&self, count: usize) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.write_config(folder.path());
        let mut shards = vec![BTreeMap::new(); count];
        let mut map = serde_json::Map::new();
        for (at, (name, stored)) in self.tensors.iter().enumerate() {
            let shard = at * 7 % count;
            shards[shard].insert(name.clone(), stored.clone());
            map.insert(name.clone(), shard_name(shard, count).into());
        }
        for (at, tensors) in shards.iter().enumerate() {
            write_safetensors(&folder.path().join(shard_name(at, count)), tensors);
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
        fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        folder
    }

    fn write_config(&self, folder: &Path) {
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
    }
}

pub fn scale_name(name: &str) -> String {
    format!("{}.scale", name.strip_suffix(".weight").unwrap())
}

fn shard_name(at: usize, count: usize) -> String {
    format!("model-{:05}-of-{count:05}.safetensors", at + 1)
}

/// Every tensor of a checkpoint: name, role, dimensions with the fastest first.
pub fn sources(shape: &Shape) -> Vec<(String, Class, Vec<usize>)> {
    let mut out = Vec::new();
    for spec in spec::tensors(shape) {
        match spec.source {
            Source::One(name) => out.push((name, spec.class, spec.dims)),
            Source::PerExpert { before, after } => {
                for expert in 0..spec.dims[2] {
                    let name = format!("{before}{expert}{after}");
                    out.push((name, spec.class, spec.dims[..2].to_vec()));
                }
            }
        }
    }
    out
}

pub fn write_safetensors(path: &Path, tensors: &BTreeMap<String, Stored>) {
    let mut header = json!({"__metadata__": {"format": "pt"}});
    let mut data = Vec::new();
    for (name, stored) in tensors {
        let begin = data.len();
        data.extend(&stored.bytes);
        header[name] = json!({
            "dtype": stored.dtype, "shape": stored.shape, "data_offsets": [begin, data.len()]
        });
    }
    fs::write(path, safetensors(&header, &data)).unwrap();
}

/// A file with this header, padded as writers do, and this data.
pub fn safetensors(header: &Value, data: &[u8]) -> Vec<u8> {
    let mut json = header.to_string();
    json += &" ".repeat(json.len().next_multiple_of(8) - json.len());
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

fn scale_bytes(count: usize, scales: Scales, random: &mut Random) -> Vec<u8> {
    // 448 * 2^119 is the largest finite single of this kind; 2^-9 * 2^-124 the smallest in BF16.
    let (low, high) = match scales {
        Scales::All => (0, 246),
        Scales::Bf16 => (3, 246),
        Scales::Half => (110, 133),
    };
    (0..count)
        .map(|at| match at % 5 {
            0 => low,
            1 => high,
            _ => low + random.below(u64::from(high - low) + 1) as u8,
        })
        .collect()
}

fn bf16s(count: usize, random: &mut Random) -> Vec<u8> {
    let value = |random: &mut Random| {
        let exponent = 110 + random.below(30) as u16;
        (random.below(2) as u16) << 15 | exponent << 7 | random.below(128) as u16
    };
    (0..count).flat_map(|_| value(random).to_le_bytes()).collect()
}

fn halves(count: usize, random: &mut Random) -> Vec<u8> {
    let value = |random: &mut Random| {
        // Exponent 31 is left out: infinities and what is not a number.
        (random.below(2) as u16) << 15 | random.below(0x7c00) as u16
    };
    (0..count).flat_map(|_| value(random).to_le_bytes()).collect()
}

fn seed(name: &str) -> u64 {
    name.bytes().fold(7, |a: u64, b| a.wrapping_mul(31).wrapping_add(b.into()))
}
