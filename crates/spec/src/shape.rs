//! The numbers of one model: widths, counts, ratios, constants.
//!
//! Field names are the glossary's; the symbol used in formulas and shape notes is given beside each
//! field. Whoever needs a derived number (how many rows, which layers) asks a method here, so that
//! no other crate repeats a rule of the family.
//!
//! [`Shape::from_facts`](crate::Shape::from_facts) in `read.rs` is the only way a shape comes from
//! outside; it checks everything that the methods below take for granted.

/// Everything that distinguishes one model of the family from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Layers, `L` (43 in Flash), without draft layers.
    pub layers: usize,
    /// Hidden width, `D` (4096).
    pub hidden: usize,
    /// Vocabulary size, `V` (129,280).
    pub vocab: usize,
    /// Query heads, `H` (64). There is one key-value head.
    pub heads: usize,
    /// Width of a head, and of a KV row, `hd` (512).
    pub head_dim: usize,
    /// Rotary channels, the *last* of each head (64).
    pub rotary_dim: usize,
    /// Width of the query latent, `q_lora` (1024).
    pub query_latent: usize,
    /// Groups of the output projection, `G` (8).
    pub output_groups: usize,
    /// Latent width per output group, `R` (1024).
    pub output_latent: usize,
    /// Sliding window in tokens: the token itself and those before it, `W` (128).
    pub window: usize,
    /// What attention sees beyond the window, one per layer.
    pub kinds: Vec<LayerKind>,
    /// The indexer of ratio-4 layers; present if any layer has one.
    pub indexer: Option<Indexer>,
    /// Routed experts, `E` (256).
    pub experts: usize,
    /// Experts chosen per token, `K` (6).
    pub experts_used: usize,
    /// Inner width of an expert, routed or shared, `F` (2048).
    pub expert_inner: usize,
    /// The first layers, whose experts are looked up by token id instead of routed (3).
    pub hash_layers: usize,
    /// Scale of the normalized router weights (1.5).
    pub route_scale: f32,
    /// SwiGLU clamp per layer, routed and shared experts (10.0 each).
    pub swiglu_clamp: Vec<f32>,
    /// Hyper-connection streams, `n` (4).
    pub streams: usize,
    /// Sinkhorn iterations of the stream-mixing matrix (20).
    pub sinkhorn_iterations: usize,
    /// Epsilon inside the hyper-connections (1e-6).
    pub hyper_eps: f32,
    /// Epsilon of every root-mean-square norm (1e-6).
    pub rms_eps: f32,
    /// Rotary base of layers without compression (10,000).
    pub rope_base: f64,
    /// Rotary base of layers with compression (160,000), scaled by [`Yarn`].
    pub compressed_rope_base: f64,
    /// Context extension of the compressed layers.
    pub yarn: Yarn,
    /// Native context in tokens (1,048,576).
    pub context_max: usize,
}

/// The YaRN parameters: factor 16 over 65,536 tokens, betas 32 and 1, no magnitude factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// By how much the slow frequencies are divided.
    pub factor: f64,
    /// Rotations over the original context above which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations over the original context below which a frequency is divided in full.
    pub beta_slow: f64,
    /// The original context in tokens.
    pub original_context: usize,
}

/// The indexer of ratio-4 layers: it picks which compressed rows a query attends to.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexer {
    /// Indexer heads (64).
    pub heads: usize,
    /// Width of an indexer head and of an indexer row (128); a power of two.
    pub dim: usize,
    /// Rows picked per query (512).
    pub top_k: usize,
}

/// What a layer's attention sees besides the sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Ratio 0: nothing.
    Window,
    /// Ratio 4: overlapping windows of 4 tokens, picked by the indexer.
    Indexed,
    /// Ratio 128: disjoint windows of 128 tokens, all visible.
    Compressed,
}

/// How a layer chooses its experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// By a table from token id to expert ids.
    Hashed,
    /// By the largest router scores plus a learned bias.
    Learned,
}

impl LayerKind {
    /// Tokens per compressed row; `None` for window-only layers.
    pub fn ratio(self) -> Option<usize> {
        match self {
            LayerKind::Window => None,
            LayerKind::Indexed => Some(4),
            LayerKind::Compressed => Some(128),
        }
    }

    /// The kind for a stated compression ratio.
    pub fn from_ratio(ratio: i64) -> Option<LayerKind> {
        match ratio {
            0 => Some(LayerKind::Window),
            4 => Some(LayerKind::Indexed),
            128 => Some(LayerKind::Compressed),
            _ => None,
        }
    }

    /// How many widths of a row one token contributes: 2 if windows overlap, else 1.
    pub fn overlap(self) -> usize {
        if self == LayerKind::Indexed { 2 } else { 1 }
    }
}

impl Shape {
    /// How layer `layer` chooses its experts.
    pub fn routing(&self, layer: usize) -> Routing {
        if layer < self.hash_layers { Routing::Hashed } else { Routing::Learned }
    }

    /// The same model cut off after its first layers, which keep their kinds and their routing.
    ///
    /// # Panics
    /// If it has fewer layers than that, or none are asked for.
    pub fn first_layers(&self, layers: usize) -> Shape {
        assert!((1..=self.layers).contains(&layers), "{layers} of {} layers", self.layers);
        let kinds = self.kinds[..layers].to_vec();
        Shape {
            layers,
            indexer: self.indexer.clone().filter(|_| kinds.contains(&LayerKind::Indexed)),
            kinds,
            hash_layers: self.hash_layers.min(layers),
            swiglu_clamp: self.swiglu_clamp[..layers].to_vec(),
            ..self.clone()
        }
    }

    /// Channels of a head without rotation (448).
    pub fn plain_dim(&self) -> usize {
        self.head_dim - self.rotary_dim
    }

    /// Coefficients that mix the streams per token: `n` in, `n` out, `n × n` across (24).
    pub fn mix_width(&self) -> usize {
        (2 + self.streams) * self.streams
    }

    /// Parameters of the model: all of them, and those that one token uses.
    pub fn parameters(&self) -> (u64, u64) {
        let (mut total, mut active) = (0u64, 0u64);
        for tensor in crate::tensors(self) {
            let count: u64 = tensor.dims.iter().map(|&d| d as u64).product();
            total += count;
            active += match tensor.class {
                crate::Class::ExpertGateUp | crate::Class::ExpertDown => {
                    count / self.experts as u64 * self.experts_used as u64
                }
                crate::Class::Embedding => self.hidden as u64,
                _ => count,
            };
        }
        (total, active)
    }
}
