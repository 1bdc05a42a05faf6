//! The weights of a model: one field per tensor, with its shape beside it.
//!
//! Matrices stay in the file's format and are handed to the backend as they are. Vectors, position
//! tables and lookup tables are decoded here, checked (every number finite, every expert id in
//! range) and uploaded.

use backend::ops::experts::ExpertWeights;
use backend::ops::hyper::HyperMix;
use backend::{Buffer, Device, Weight, WeightSource};
use gguf::{File, Format};
use spec::{LayerKind, Routing, Shape};

use crate::{Error, bind};

/// Everything that is learned.
#[derive(Debug)]
pub(crate) struct Weights {
    pub embed: Weight, // [V, D]
    pub layers: Vec<LayerWeights>,
    pub head_mix: HyperMix, // matrix [n, n·D]
    pub norm: Buffer<f32>,  // [D]
    pub head: Weight,       // [V, D]
    /// Rotary frequencies `[rotary / 2]`: of window-only layers, and of compressed ones.
    pub frequencies: [Buffer<f32>; 2],
}

#[derive(Debug)]
pub(crate) struct LayerWeights {
    pub attention_mix: HyperMix,     // matrix [(2 + n)·n, n·D]
    pub attention_norm: Buffer<f32>, // [D]
    pub attention: AttentionWeights,
    pub ffn_mix: HyperMix,     // as attention_mix
    pub ffn_norm: Buffer<f32>, // [D]
    pub ffn: FfnWeights,
}

#[derive(Debug)]
pub(crate) struct AttentionWeights {
    pub q_a: Weight,                           // [q, D]
    pub q_norm: Buffer<f32>,                   // [q]
    pub q_b: Weight,                           // [H·hd, q]
    pub kv: Weight,                            // [hd, D]
    pub kv_norm: Buffer<f32>,                  // [hd]
    pub sinks: Buffer<f32>,                    // [H]
    pub output_a: Weight,                      // [G·R, H·hd / G]
    pub output_b: Weight,                      // [D, G·R]
    pub compressor: Option<CompressorWeights>, // layers with a ratio
    pub indexer: Option<IndexerWeights>,       // layers of ratio 4
}

/// A compressor to rows of width `c`; `w = c · overlap`.
#[derive(Debug)]
pub(crate) struct CompressorWeights {
    pub values: Weight,    // [w, D]
    pub gates: Weight,     // [w, D]
    pub ape: Buffer<f32>,  // [ratio, w]
    pub norm: Buffer<f32>, // [c]
}

#[derive(Debug)]
pub(crate) struct IndexerWeights {
    pub compressor: CompressorWeights, // to rows of the indexer's width
    pub q_b: Weight,                   // [Hi·dim, q]
    pub head_weights: Weight,          // [Hi, D]
}

#[derive(Debug)]
pub(crate) struct FfnWeights {
    pub router: Weight, // [E, D]
    pub choice: RouteChoice,
    pub experts: ExpertWeights, // gate, up [E, F, D], down [E, D, F]
    pub shared_gate: Weight,    // [F, D]
    pub shared_up: Weight,      // [F, D]
    pub shared_down: Weight,    // [D, F]
}

#[derive(Debug)]
pub(crate) enum RouteChoice {
    Table(Buffer<u32>), // [V, K]
    Bias(Buffer<f32>),  // [E]
}

impl Weights {
    /// Binds and loads every tensor of `shape`.
    pub fn load(
        device: &mut dyn Device,
        file: &File,
        shape: &Shape,
        loaded: &mut dyn FnMut(usize),
    ) -> Result<Weights, Error> {
        let problems = bind::check_tensors(file, shape);
        if !problems.is_empty() {
            let problems = bind::describe(&problems);
            return Err(Error::Tensors { file: file.name().to_owned(), problems });
        }
        let mut l = Loader { device, file, shape, prefix: String::new(), loaded };
        Ok(Weights {
            embed: l.matrix("token_embd.weight")?,
            head_mix: l.mix("output_hc")?,
            norm: l.vector("output_norm.weight")?,
            head: l.matrix("output.weight")?,
            frequencies: [l.frequencies(false)?, l.frequencies(true)?],
            layers: (0..shape.layers).map(|layer| l.layer(layer)).collect::<Result<_, _>>()?,
        })
    }
}

struct Loader<'a> {
    device: &'a mut dyn Device,
    file: &'a File,
    shape: &'a Shape,
    prefix: String,
    /// Told of the bytes of every matrix that is there.
    loaded: &'a mut dyn FnMut(usize),
}

impl Loader<'_> {
    fn layer(&mut self, layer: usize) -> Result<LayerWeights, Error> {
        self.prefix = format!("blk.{layer}.");
        Ok(LayerWeights {
            attention_mix: self.mix("hc_attn")?,
            attention_norm: self.vector("attn_norm.weight")?,
            attention: self.attention(self.shape.kinds[layer])?,
            ffn_mix: self.mix("hc_ffn")?,
            ffn_norm: self.vector("ffn_norm.weight")?,
            ffn: self.ffn(self.shape.routing(layer))?,
        })
    }

    fn attention(&mut self, kind: LayerKind) -> Result<AttentionWeights, Error> {
        let compressor = match kind.ratio() {
            Some(ratio) => Some(self.compressor("attn_compressor", ratio)?),
            None => None,
        };
        let indexer = match kind {
            LayerKind::Indexed => Some(IndexerWeights {
                compressor: self.compressor("indexer_compressor", 4)?,
                q_b: self.matrix("indexer.attn_q_b.weight")?,
                head_weights: self.matrix("indexer.proj.weight")?,
            }),
            _ => None,
        };
        Ok(AttentionWeights {
            q_a: self.matrix("attn_q_a.weight")?,
            q_norm: self.vector("attn_q_a_norm.weight")?,
            q_b: self.matrix("attn_q_b.weight")?,
            kv: self.matrix("attn_kv.weight")?,
            kv_norm: self.vector("attn_kv_a_norm.weight")?,
            sinks: self.vector("attn_sinks.weight")?,
            output_a: self.matrix("attn_output_a.weight")?,
            output_b: self.matrix("attn_output_b.weight")?,
            compressor,
            indexer,
        })
    }

    fn compressor(&mut self, name: &str, ratio: usize) -> Result<CompressorWeights, Error> {
        Ok(CompressorWeights {
            values: self.matrix(&format!("{name}_kv.weight"))?,
            gates: self.matrix(&format!("{name}_gate.weight"))?,
            ape: self.rows(&format!("{name}_ape.weight"), ratio)?,
            norm: self.vector(&format!("{name}_norm.weight"))?,
        })
    }

    fn ffn(&mut self, routing: Routing) -> Result<FfnWeights, Error> {
        Ok(FfnWeights {
            router: self.matrix("ffn_gate_inp.weight")?,
            choice: match routing {
                Routing::Hashed => RouteChoice::Table(self.route_table()?),
                Routing::Learned => RouteChoice::Bias(self.route_bias()?),
            },
            experts: ExpertWeights {
                gate: self.stack("ffn_gate_exps.weight", self.shape.experts)?,
                up: self.stack("ffn_up_exps.weight", self.shape.experts)?,
                down: self.stack("ffn_down_exps.weight", self.shape.experts)?,
            },
            shared_gate: self.matrix("ffn_gate_shexp.weight")?,
            shared_up: self.matrix("ffn_up_shexp.weight")?,
            shared_down: self.matrix("ffn_down_shexp.weight")?,
        })
    }

    fn mix(&mut self, name: &str) -> Result<HyperMix, Error> {
        Ok(HyperMix {
            matrix: self.matrix(&format!("{name}_fn.weight"))?,
            base: self.vector(&format!("{name}_base.weight"))?,
            scale: self.vector(&format!("{name}_scale.weight"))?,
        })
    }

    /// A matrix, as the file stores it.
    fn matrix(&mut self, name: &str) -> Result<Weight, Error> {
        self.stack(name, 1)
    }

    /// A stack of `count` matrices.
    fn stack(&mut self, name: &str, count: usize) -> Result<Weight, Error> {
        let tensor = self.tensor(name).expect("tensors were checked");
        let cols = tensor.dims[0];
        let rows = tensor.value_count() / cols / count;
        let bytes = self.file.bytes(tensor);
        let source = WeightSource { bytes, format: tensor.format, count, rows, cols };
        let context = format!("{}: tensor {}", self.file.name(), tensor.name);
        let count = tensor.byte_count;
        let weight = self.device.weight(source).map_err(Error::doing(context))?;
        (self.loaded)(count);
        Ok(weight)
    }

    fn vector(&mut self, name: &str) -> Result<Buffer<f32>, Error> {
        self.rows(name, 1)
    }

    /// A small tensor, decoded to floats `[rows, ..]`.
    fn rows(&mut self, name: &str, rows: usize) -> Result<Buffer<f32>, Error> {
        let tensor = self.tensor(name).expect("tensors were checked");
        let mut values = vec![0.0; tensor.value_count()];
        tensor.format.decode(&self.file.bytes(tensor), &mut values);
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.bad(name, format!("value {i} is {}, not a number", values[i])));
        }
        self.upload(&values, rows)
    }

    /// The selection bias; a missing one means zero.
    fn route_bias(&mut self) -> Result<Buffer<f32>, Error> {
        match self.tensor("exp_probs_b.bias") {
            Some(_) => self.vector("exp_probs_b.bias"),
            None => self.upload(&vec![0.0; self.shape.experts], 1),
        }
    }

    fn route_table(&mut self) -> Result<Buffer<u32>, Error> {
        const NAME: &str = "ffn_gate_tid2eid.weight";
        let tensor = self.tensor(NAME).expect("tensors were checked");
        debug_assert_eq!(tensor.format, Format::I32);
        let bytes = self.file.bytes(tensor);
        let ids = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let ids: Vec<u32> = ids.collect();
        let (used, experts) = (self.shape.experts_used, self.shape.experts);
        if let Some(i) = ids.iter().position(|&id| id as usize >= experts) {
            let (token, found) = (i / used, ids[i] as i32);
            return Err(self.bad(
                NAME,
                format!("token {token} is routed to expert {found}, expected 0 to {}", experts - 1),
            ));
        }
        self.upload(&ids, self.shape.vocab)
    }

    fn frequencies(&mut self, compressed: bool) -> Result<Buffer<f32>, Error> {
        self.upload(&self.shape.rope_frequencies(compressed), 1)
    }

    fn upload<T: backend::Element>(
        &mut self,
        values: &[T],
        rows: usize,
    ) -> Result<Buffer<T>, Error> {
        let context = format!("{}: loading weights", self.file.name());
        let buffer = self.device.reserve(rows, values.len() / rows);
        let mut buffer = buffer.map_err(Error::doing(context))?;
        self.device.upload(&mut buffer, 0, values);
        Ok(buffer)
    }

    fn tensor(&self, name: &str) -> Option<&gguf::Tensor> {
        self.file.tensor(&format!("{}{name}", self.prefix))
    }

    fn bad(&self, name: &str, message: String) -> Error {
        let tensor = format!("{}{name}", self.prefix);
        Error::Values { file: self.file.name().to_owned(), tensor, message }
    }
}
