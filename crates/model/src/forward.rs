//! The model as a whole: load it, open caches, feed steps, read logits.
//!
//! [`Model::forward`] is the only way tokens enter. Everything it needs is reserved or checked
//! before the first operation is recorded: after that only the device can fail.

use backend::ops::hyper::HyperSettings;
use backend::{Backend, Device, RowFormat, Segment, Step};
use gguf::File;
use spec::{Shape, TokenId};

use crate::Error;
use crate::cache::{Cache, KvLayout, KvState};
use crate::importance::ImportanceScratch;
use crate::layer::{Pass, layer};
use crate::scratch::{Limits, Scratch};
use crate::steering::Point;
use crate::weights::Weights;

/// How to run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How KV rows are rounded and stored.
    pub rows: RowFormat,
    /// What to reserve.
    pub limits: Limits,
    /// Whether to note what the experts are given; see [`Model::take_importance`].
    pub importance: bool,
}

/// A loaded model with the KV state of its sessions.
#[derive(Debug)]
pub struct Model {
    shape: Shape,
    weights: Weights,
    pub(crate) kv: KvState,
    run: Run,
}

/// What a forward pass computes in.
#[derive(Debug)]
pub(crate) struct Run {
    limits: Limits,
    step: Step,
    scratch: Scratch,
    tokens: Vec<u32>,
}

/// Tokens for one session in one step.
#[derive(Debug)]
pub struct Feed<'a> {
    /// The session's state; advanced by the step.
    pub cache: &'a mut Cache,
    /// What to append.
    pub tokens: &'a [TokenId],
    /// How many of the last tokens want logits.
    pub outputs: usize,
}

impl Run {
    /// Reserves what steps within `limits` need.
    pub fn reserve(
        device: &mut dyn Device,
        shape: &Shape,
        layout: &KvLayout,
        options: Options,
    ) -> Result<Run, Error> {
        let Options { limits, importance, .. } = options;
        let step = Step::reserve(device, limits.step()).map_err(Error::doing("step tables"))?;
        let mut scratch = Scratch::reserve(device, shape, layout, hyper_settings(shape), limits)
            .map_err(Error::doing("scratch buffers"))?;
        if importance {
            let sums = ImportanceScratch::reserve(device, shape, limits.step_tokens);
            scratch.importance = Some(sums.map_err(Error::doing("sums of the importance"))?);
        }
        Ok(Run { limits, step, scratch, tokens: Vec::with_capacity(limits.step_tokens) })
    }
}

fn hyper_settings(shape: &Shape) -> HyperSettings {
    HyperSettings {
        streams: shape.streams,
        iterations: shape.sinkhorn_iterations,
        eps: shape.hyper_eps,
        rms_eps: shape.rms_eps,
    }
}

impl Model {
    /// Loads the model of a file, whose shape [`read_shape`](crate::read_shape) has read, and
    /// reserves what `options` ask for. `loaded` is told the bytes of each matrix that is there.
    ///
    /// # Errors
    /// Tensors that are missing or do not fit the shape, values that cannot be used, too little
    /// memory.
    pub fn load(
        device: &mut dyn Device,
        file: &File,
        shape: Shape,
        options: Options,
        loaded: &mut dyn FnMut(usize),
    ) -> Result<Model, Error> {
        let weights = Weights::load(device, file, &shape, loaded)?;
        let layout = KvLayout::new(&shape, options.rows);
        let run = Run::reserve(device, &shape, &layout, options)?;
        let kv = KvState::new(device, layout, options.limits);
        Ok(Model { shape, weights, kv, run })
    }

    /// The model's numbers.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The limits it was opened with.
    pub fn limits(&self) -> Limits {
        self.run.limits
    }

    /// Lets sessions come to `context` tokens, and all of them together to `row_pages` row pages,
    /// from now on. Sessions stay as they are; memory that pages have taken is not given back.
    ///
    /// # Errors
    /// Out of memory: nothing has changed.
    pub fn set_context(
        &mut self,
        device: &mut dyn Device,
        context: usize,
        row_pages: usize,
    ) -> Result<(), Error> {
        let limits = Limits { context, row_pages, ..self.run.limits };
        self.run.step =
            Step::reserve(device, limits.step()).map_err(Error::doing("step tables"))?;
        self.run.limits = limits;
        self.kv.set_limits(context, row_pages);
        Ok(())
    }

    pub(crate) fn importance_scratch(&mut self) -> Option<&mut ImportanceScratch> {
        self.run.scratch.importance.as_mut()
    }

    /// Where KV state is inside slot and row pages.
    pub fn layout(&self) -> &KvLayout {
        &self.kv.layout
    }

    /// Opens a session. Its pages go back to the pools when the cache is dropped.
    ///
    /// # Errors
    /// All sessions in use, or out of memory.
    pub fn open(&mut self, device: &mut dyn Device) -> Result<Cache, Error> {
        self.kv.open(device)
    }

    /// Loads the directions along which caches may be steered, `[L, D]`, row after row; they take
    /// the place of those before. Caches that are steered must be cleared.
    ///
    /// # Errors
    /// Directions of another size, or that are no numbers; too little memory.
    pub fn steer(&mut self, device: &mut dyn Device, directions: &[f32]) -> Result<(), Error> {
        let Run { limits, scratch, .. } = &mut self.run;
        scratch.steering.load(device, &self.shape, limits.step_tokens, directions)
    }

    /// Whether caches may be steered.
    pub fn has_directions(&self) -> bool {
        self.run.scratch.steering.has_directions()
    }

    /// Looks at what every layer writes at `point`, from the next step on: in the rows whose logits
    /// are wanted, before they are steered. `None`: nowhere any more.
    ///
    /// # Errors
    /// Too little memory.
    pub fn tap(&mut self, device: &mut dyn Device, point: Option<Point>) -> Result<(), Error> {
        let Run { limits, scratch, .. } = &mut self.run;
        scratch.steering.tap(device, &self.shape, limits.step_outputs, point)
    }

    /// What was seen in the last step, `[R, L·D]`; empty if nobody looks.
    pub fn seen(&self, device: &mut dyn Device) -> Vec<f32> {
        self.run.scratch.steering.seen(device, self.run.step.outputs)
    }

    /// Feeds one step: some tokens of one or more sessions.
    ///
    /// Logits of the wanted rows are then at [`Model::logits`], in the order of the feeds.
    ///
    /// # Errors
    /// A token outside the vocabulary, a session beyond its context, or out of memory: nothing has
    /// changed but reserved pages. Or the device failed ([`Error::Step`]): the state of every
    /// session in the step is then undefined, and its cache must be cleared.
    ///
    /// # Panics
    /// If there is no feed, a feed has no tokens or wants more outputs than it has tokens, or the
    /// feeds exceed the limits the model was opened with.
    pub fn forward(&mut self, b: &mut dyn Backend, feeds: &mut [Feed]) -> Result<(), Error> {
        self.describe(b, feeds)?;
        let Model { shape, weights: w, kv, run } = self;
        let Run { step, scratch: s, .. } = run;
        let t = step.rows;

        b.embed(&w.embed, step, &mut s.streams); // [T, n·D]
        for (frequencies, angles) in w.frequencies.iter().zip(&mut s.angles) {
            b.rope_angles(frequencies, step, angles); // [T, rotary]
        }
        let hyper = hyper_settings(shape);
        for (i, weights) in w.layers.iter().enumerate() {
            let (places, frequencies) = (&kv.layout.layers[i], &w.frequencies[1]);
            let pass = Pass { shape, hyper, step, layer: i, places, frequencies };
            layer(b, weights, &mut kv.pools, s, pass);
        }
        b.hyper_spread(&s.gates, &s.y, &mut s.streams, t); // what the last layer gave
        b.mark(shape.layers - 1, "hc", &s.streams, t);
        b.hyper_head(&w.head_mix, hyper, &s.streams, step, &mut s.head_x); // [R, D]
        let r = step.outputs;
        b.rms_norm(&s.head_x, &w.norm, shape.rms_eps, &mut s.head_normed, r);
        b.mark(shape.layers, "final_norm", &s.head_normed, r);
        b.linear(&w.head, &s.head_normed, &mut s.logits, r); // [R, V]

        b.submit().map_err(|source| Error::Step { tokens: t, source })?;
        for feed in feeds {
            feed.cache.tokens += feed.tokens.len();
        }
        Ok(())
    }

    /// Checks the feeds, makes room for them, and writes the step tables.
    fn describe(&mut self, b: &mut dyn Backend, feeds: &mut [Feed]) -> Result<(), Error> {
        let Model { shape, kv, run, .. } = self;
        let Run { limits, step, tokens, scratch } = run;
        assert!(!feeds.is_empty(), "a step without feeds");
        for Feed { tokens, outputs, .. } in feeds.iter() {
            let len = tokens.len();
            assert!(len > 0 && *outputs <= len, "a feed of {len} tokens and {outputs} outputs");
        }
        let rows: usize = feeds.iter().map(|f| f.tokens.len()).sum();
        let outputs: usize = feeds.iter().map(|f| f.outputs).sum();
        assert!(rows <= limits.step_tokens, "{rows} tokens in one step");
        assert!(outputs <= limits.step_outputs, "{outputs} rows with logits in one step");
        assert!(feeds.len() <= limits.sessions, "{} segments in one step", feeds.len());
        tokens.clear();
        for feed in feeds.iter_mut() {
            if let Some(token) = feed.tokens.iter().find(|t| t.0 as usize >= shape.vocab) {
                return Err(Error::Token { token: token.0, last: shape.vocab - 1 });
            }
            kv.ensure(b, feed.cache, feed.cache.tokens + feed.tokens.len())?;
            tokens.extend(feed.tokens.iter().map(|t| t.0));
        }
        let mut rest = tokens.as_slice();
        let segments = feeds.iter().map(|feed| {
            let (tokens, after) = rest.split_at(feed.tokens.len());
            rest = after;
            let Cache { slot, numbers: pages, tokens: start, .. } = &*feed.cache;
            let (slot, start, outputs) = (slot.number(), *start, feed.outputs);
            Segment { slot, pages, start, tokens, outputs }
        });
        step.fill(b, segments);
        let steers = feeds.iter().map(|feed| (feed.cache.steer, feed.tokens.len()));
        scratch.steering.describe(b, steers);
        Ok(())
    }

    /// The logits of the last step, `[R, V]`, row after row in the order of the feeds.
    pub fn logits(&self, device: &mut dyn Device) -> Vec<f32> {
        let mut out = vec![0.0; self.run.step.outputs * self.shape.vocab];
        self.logits_into(device, &mut [&mut out]);
        out
    }

    /// Those rows, to places of which each gets as many as it holds, after those of the one before.
    pub fn logits_into(&self, device: &mut dyn Device, outs: &mut [&mut [f32]]) {
        let wanted = outs.iter().map(|out| out.len()).sum::<usize>();
        assert!(wanted <= self.run.step.outputs * self.shape.vocab, "{wanted} logits");
        device.download_each(&self.run.scratch.logits, 0, outs);
    }

    /// A session's whole state, as the bytes of its slot page and of its row pages.
    pub fn state(&self, device: &mut dyn Device, cache: &Cache) -> (Vec<u8>, Vec<Vec<u8>>) {
        let slot = device.page(&self.kv.pools.slots, cache.slot.number());
        let pages = cache.pages().iter().map(|page| self.page_bytes(device, page));
        (slot, pages.collect())
    }
}
