//! Expert layers of one file into another: a file with most of its layers in two bits and the last
//! ones in four answers better than one in two bits, at little more than its size.
//!
//! Only the stacks of routed experts change hands, whole layers of them; nothing is converted. All
//! else, the keys included, is the first file's. Both must be of one shape.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gguf::{File, Metadata, Tensor, TensorPlan};

use crate::error::{Error, NameList};
use crate::output::Output;
use crate::run::Progress;

/// What makes a stack of experts, after `blk.N.`.
const STACKS: [&str; 3] = ["ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"];

/// Says which layers are of another file.
const LAYERS_KEY: &str = "dwarfstar.splice.layers";

/// A file says this of itself if it is one of several; the output is not.
const SPLIT_PREFIX: &str = "split.";

/// Bytes that are copied between two looks at whether to stop.
const PIECE_BYTES: usize = 16 << 20;

/// A spliced file, decided to the last byte count.
#[derive(Debug)]
pub struct Splice {
    base: File,
    donor: File,
    layers: BTreeSet<usize>,
    metadata: Metadata,
}

impl Splice {
    /// Plans the output: `base` with the experts of these layers from `donor`.
    ///
    /// # Errors
    /// A layer that one of the files does not have, or in another size.
    pub fn new(base: File, donor: File, layers: &BTreeSet<usize>) -> Result<Splice, Error> {
        let (mut missing, mut unfit) = (NameList::default(), NameList::default());
        for layer in layers {
            for name in STACKS.map(|stack| format!("blk.{layer}.{stack}")) {
                match (base.tensor(&name), donor.tensor(&name)) {
                    (None, _) => missing.push(|| format!("{name} (of {})", base.name())),
                    (_, None) => missing.push(|| format!("{name} (of {})", donor.name())),
                    (Some(own), Some(other)) if own.dims != other.dims => {
                        let (own, other) = (&own.dims, &other.dims);
                        unfit.push(|| format!("{name} (expected {own:?}, found {other:?})"));
                    }
                    (Some(_), Some(other)) if other.byte_count == 0 => {
                        unfit.push(|| format!("{name} ({})", other.format));
                    }
                    _ => {}
                }
            }
        }
        let closed = base.tensors().iter().filter(|tensor| tensor.byte_count == 0);
        closed.for_each(|tensor| unfit.push(|| format!("{} ({})", tensor.name, tensor.format)));
        if missing.count() + unfit.count() > 0 {
            let folder = donor.name().to_owned();
            return Err(Error::Checkpoint { folder, missing, unfit, hint: None });
        }
        let mut metadata = base.metadata().clone();
        metadata.retain(|key| !key.starts_with(SPLIT_PREFIX));
        let numbers: Vec<u32> = layers.iter().map(|layer| *layer as u32).collect();
        metadata.set(LAYERS_KEY, numbers);
        Ok(Splice { base, donor, layers: layers.clone(), metadata })
    }

    /// Tensors of the output, each with the bytes that it will have, and whether it is the
    /// donor's.
    pub fn tensors(&self) -> impl Iterator<Item = (&Tensor, bool)> {
        self.base.tensors().iter().map(|tensor| match self.is_donated(&tensor.name) {
            true => (self.donor.tensor(&tensor.name).expect("checked when planned"), true),
            false => (tensor, false),
        })
    }

    /// Bytes of all tensors; the header comes on top of it.
    pub fn byte_count(&self) -> u64 {
        self.tensors().map(|(tensor, _)| tensor.byte_count as u64).sum()
    }

    /// Writes the output to `path`, replacing a file that is there only if `overwrite` is set.
    ///
    /// # Errors
    /// An unwritable output, or [`Error::Cancelled`]. In all cases nothing is left behind, and a
    /// file that was at `path` is as it was.
    pub fn run(
        &self,
        path: &Path,
        overwrite: bool,
        progress: &mut dyn FnMut(Progress<'_>),
        cancel: &AtomicBool,
    ) -> Result<(), Error> {
        let byte_count = self.byte_count();
        let plans: Vec<TensorPlan> = self.tensors().map(|(tensor, _)| plan(tensor)).collect();
        let (file, bytes) = ((&self.metadata, plans.as_slice()), (byte_count, byte_count));
        let mut output = Output::create((path, overwrite), file, bytes, progress, cancel)?;
        for (tensor, donated) in self.tensors() {
            output.begin(&tensor.name);
            let file = if donated { &self.donor } else { &self.base };
            for piece in file.bytes(tensor).chunks(PIECE_BYTES) {
                output.write(piece)?;
            }
        }
        output.finish()
    }

    fn is_donated(&self, name: &str) -> bool {
        let Some((layer, stack)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'))
        else {
            return false;
        };
        STACKS.contains(&stack) && layer.parse().is_ok_and(|layer| self.layers.contains(&layer))
    }
}

fn plan(tensor: &Tensor) -> TensorPlan {
    let Tensor { name, dims, format, .. } = tensor;
    TensorPlan { name: name.clone(), dims: dims.clone(), format: *format }
}
