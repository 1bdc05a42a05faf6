//! Every buffer a forward pass computes in: one field each, its shape beside it.
//!
//! `T` is the largest number of tokens per step, `R` of rows with logits. All are reserved once.

use backend::ops::hyper::HyperSettings;
use backend::ops::kv::RowBlock;
use backend::{Buffer, Device, Error, StepLimits};
use spec::Shape;

use crate::cache::KvLayout;
use crate::importance::ImportanceScratch;
use crate::steering::Steering;

/// How large steps may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens per step, over all sessions.
    pub step_tokens: usize,
    /// Rows with logits per step.
    pub step_outputs: usize,
    /// Sessions per step.
    pub sessions: usize,
    /// Tokens per session.
    pub context: usize,
    /// Slot pages: one per session, and one more for each that takes drafted tokens back.
    pub slots: usize,
    /// Row pages of all sessions, shared ones counted once.
    pub row_pages: usize,
}

impl Limits {
    pub(crate) fn step(&self) -> StepLimits {
        StepLimits {
            rows: self.step_tokens,
            segments: self.sessions,
            outputs: self.step_outputs,
            context: self.context,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Scratch {
    pub streams: Buffer<f32>,     // [T, n·D]   the residual
    pub gates: Buffer<f32>,       // [T, n + n²]
    pub x: Buffer<f32>,           // [T, D]     what a half layer reads
    pub normed: Buffer<f32>,      // [T, D]
    pub y: Buffer<f32>,           // [T, D]     what it writes
    pub angles: [Buffer<f32>; 2], // [T, rotary]  window-only, compressed
    pub attention: AttentionScratch,
    pub ffn: FfnScratch,
    pub steering: Steering,
    pub importance: Option<ImportanceScratch>,
    pub head_x: Buffer<f32>,      // [R, D]
    pub head_normed: Buffer<f32>, // [R, D]
    pub logits: Buffer<f32>,      // [R, V]
}

#[derive(Debug)]
pub(crate) struct AttentionScratch {
    pub q_low: Buffer<f32>,                    // [T, q]
    pub q_latent: Buffer<f32>,                 // [T, q]
    pub q: Buffer<f32>,                        // [T, H·hd]
    pub kv_low: Buffer<f32>,                   // [T, hd]
    pub kv: Buffer<f32>,                       // [T, hd]
    pub fresh: RowBlock,                       // [T] rows
    pub heads: Buffer<f32>,                    // [T, H·hd]
    pub output_low: Buffer<f32>,               // [T, G·R]
    pub indexed: Option<CompressorScratch>,    // ratio 4
    pub compressed: Option<CompressorScratch>, // ratio 128
    pub indexer: Option<IndexerScratch>,
}

#[derive(Debug)]
pub(crate) struct CompressorScratch {
    pub values: Buffer<f32>, // [T, width]
    pub gates: Buffer<f32>,  // [T, width]
}

#[derive(Debug)]
pub(crate) struct IndexerScratch {
    pub compressor: CompressorScratch,
    pub q: Buffer<f32>,       // [T, Hi·dim]
    pub weights: Buffer<f32>, // [T, Hi]
    pub picks: Buffer<u32>,   // [T, top_k]
}

#[derive(Debug)]
pub(crate) struct FfnScratch {
    pub logits: Buffer<f32>, // [T, E]
    pub picks: Buffer<u32>,  // [T, K]
    pub shares: Buffer<f32>, // [T, K]
    pub gate: Buffer<f32>,   // [T, F]
    pub up: Buffer<f32>,     // [T, F]
    pub inner: Buffer<f32>,  // [T, F]
}

impl Scratch {
    /// Reserves everything.
    pub fn reserve(
        device: &mut dyn Device,
        shape: &Shape,
        layout: &KvLayout,
        hyper: HyperSettings,
        limits: Limits,
    ) -> Result<Scratch, Error> {
        let (t, r, d) = (limits.step_tokens, limits.step_outputs, shape.hidden);
        Ok(Scratch {
            streams: device.reserve(t, shape.streams * d)?,
            gates: device.reserve(t, hyper.gates_width())?,
            x: device.reserve(t, d)?,
            normed: device.reserve(t, d)?,
            y: device.reserve(t, d)?,
            angles: [device.reserve(t, shape.rotary_dim)?, device.reserve(t, shape.rotary_dim)?],
            attention: AttentionScratch::reserve(device, shape, layout, t)?,
            ffn: FfnScratch::reserve(device, shape, t)?,
            steering: Steering::default(),
            importance: None,
            head_x: device.reserve(r, d)?,
            head_normed: device.reserve(r, d)?,
            logits: device.reserve(r, shape.vocab)?,
        })
    }
}

impl AttentionScratch {
    fn reserve(
        device: &mut dyn Device,
        shape: &Shape,
        layout: &KvLayout,
        t: usize,
    ) -> Result<AttentionScratch, Error> {
        let (q, heads) = (shape.query_latent, shape.heads * shape.head_dim);
        // All layers of one kind have compressors of one width.
        let width = |ratio: usize| {
            let places = layout.layers.iter().filter_map(|l| l.compressor);
            places.filter(|c| c.rows.ratio == ratio).map(|c| c.width()).next()
        };
        let fresh = layout.layers[0].ring.layout;
        Ok(AttentionScratch {
            q_low: device.reserve(t, q)?,
            q_latent: device.reserve(t, q)?,
            q: device.reserve(t, heads)?,
            kv_low: device.reserve(t, shape.head_dim)?,
            kv: device.reserve(t, shape.head_dim)?,
            fresh: device.row_block(fresh, t)?,
            heads: device.reserve(t, heads)?,
            output_low: device.reserve(t, shape.output_groups * shape.output_latent)?,
            indexed: CompressorScratch::reserve(device, t, width(4))?,
            compressed: CompressorScratch::reserve(device, t, width(128))?,
            indexer: IndexerScratch::reserve(device, shape, layout, t)?,
        })
    }
}

impl CompressorScratch {
    fn reserve(
        device: &mut dyn Device,
        t: usize,
        width: Option<usize>,
    ) -> Result<Option<CompressorScratch>, Error> {
        let Some(width) = width else { return Ok(None) };
        let (values, gates) = (device.reserve(t, width)?, device.reserve(t, width)?);
        Ok(Some(CompressorScratch { values, gates }))
    }
}

impl IndexerScratch {
    fn reserve(
        device: &mut dyn Device,
        shape: &Shape,
        layout: &KvLayout,
        t: usize,
    ) -> Result<Option<IndexerScratch>, Error> {
        let Some(indexer) = &shape.indexer else { return Ok(None) };
        let width = layout.layers.iter().find_map(|l| l.indexer).map(|place| place.width());
        let Some(compressor) = CompressorScratch::reserve(device, t, width)? else {
            return Ok(None);
        };
        Ok(Some(IndexerScratch {
            compressor,
            q: device.reserve(t, indexer.heads * indexer.dim)?,
            weights: device.reserve(t, indexer.heads)?,
            picks: device.reserve(t, indexer.top_k)?,
        }))
    }
}

impl FfnScratch {
    fn reserve(device: &mut dyn Device, shape: &Shape, t: usize) -> Result<FfnScratch, Error> {
        let (k, f) = (shape.experts_used, shape.expert_inner);
        Ok(FfnScratch {
            logits: device.reserve(t, shape.experts)?,
            picks: device.reserve(t, k)?,
            shares: device.reserve(t, k)?,
            gate: device.reserve(t, f)?,
            up: device.reserve(t, f)?,
            inner: device.reserve(t, f)?,
        })
    }
}
