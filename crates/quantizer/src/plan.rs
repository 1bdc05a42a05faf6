//! What will be written, decided and checked before the first byte.
//!
//! A [`Plan`] ties every tensor that the model has to where the input has it, and gives it its
//! format. All that can be known without reading weights is found out here: missing tensors, wrong
//! shapes and types, a vocabulary of another model, the size of the output. Draft layers, which a
//! checkpoint keeps under `mtp.`, are not part of the output.
//!
//! `bind.rs` finds the tensors, `run.rs` carries the plan out.

use gguf::{Format, Metadata};
use spec::{Class, Shape, Source, TensorSpec};
use text::Vocabulary;

use crate::bind::{Binder, bind_file};
use crate::decode::Coding;
use crate::encode::uses_importance;
use crate::error::{Error, NameList};
use crate::importance::{Importance, Place};
use crate::input::Input;
use crate::metadata::metadata;
use crate::recipe::{Conversion, Recipe};
use crate::rule::Rule;
use crate::template::Template;

/// What the caller chooses.
#[derive(Debug)]
pub struct Options {
    /// How matrices are stored.
    pub recipe: Recipe,
    /// The tokens, as [`read_vocabulary`](crate::read_vocabulary) gives them. Without, the file
    /// understands token ids only.
    pub vocabulary: Option<Vocabulary>,
    /// The model's name as shown to people; without, the name of the checkpoint's folder, or that
    /// of the model in a file.
    pub name: Option<String>,
    /// Exceptions from the recipe, for matrices.
    pub rules: Vec<Rule>,
    /// How much the columns of matrices matter.
    pub importance: Option<Importance>,
    /// Whether a matrix that needs an importance and has none is an error.
    pub strict: bool,
    /// What the file of a checkpoint looks like; for a file, that is the file itself.
    pub template: Option<Template>,
}

impl Options {
    /// A recipe, and nothing else.
    pub fn new(recipe: Recipe) -> Options {
        let (vocabulary, name, rules, importance) = (None, None, Vec::new(), None);
        let (strict, template) = (false, None);
        Options { recipe, vocabulary, name, rules, importance, strict, template }
    }
}

/// An output file, decided to the last byte count.
#[derive(Debug)]
pub struct Plan {
    pub(crate) input: Input,
    pub(crate) metadata: Metadata,
    pub(crate) importance: Option<Importance>,
    tensors: Vec<PlannedTensor>,
    skipped: Skipped,
    unweighted: NameList,
}

/// A tensor of the output.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Its name in the file.
    pub name: String,
    /// In file order: `dims[0]` is the input width.
    pub dims: Vec<usize>,
    /// How its values will be stored.
    pub format: Format,
    /// Bytes in the file, without padding.
    pub byte_count: u64,
    /// Whether the format was chosen because it loses nothing.
    exact: bool,
    /// Where its rows come from, in order: one part, or one per expert.
    pub(crate) parts: Vec<Part>,
}

/// A tensor of the input, or one expert of it: a matrix, or a vector as a matrix of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub coding: Coding,
    /// The place in the input, and the first byte of the tensor there.
    pub weight: usize,
    pub offset: usize,
    pub scale: Option<usize>,
    /// How much its columns matter.
    pub hint: Option<Place>,
}

/// What the checkpoint has and the output has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Tensors of draft layers.
    pub draft_count: usize,
    /// Tensors that this engine knows no use for.
    pub unknown: NameList,
}

impl Plan {
    /// Plans the output for a checkpoint or another file.
    ///
    /// # Errors
    /// All tensors that are missing or have another shape or type than the model's, in one error; a
    /// vocabulary or an importance that does not fit the model; a rule that no matrix obeys.
    pub fn new(input: impl Into<Input>, options: Options) -> Result<Plan, Error> {
        let input = input.into();
        if let (Input::Checkpoint(checkpoint), Some(template)) = (&input, &options.template) {
            template.check(checkpoint.shape())?;
        }
        let metadata = metadata(&input, &options)?;
        let specs = spec::tensors(input.shape());
        let mut choice = Choice::new(&options);
        let (tensors, skipped) = match &input {
            Input::Checkpoint(checkpoint) => {
                let mut binder = Binder::new(checkpoint);
                let bound = specs.iter().map(|spec| binder.bind(spec, &mut choice));
                let bound: Vec<_> = bound.collect();
                (bound, binder.finish()?)
            }
            Input::Model(file, _) => (bind_file(file, &specs, &mut choice)?, Skipped::default()),
        };
        let mut tensors: Vec<PlannedTensor> = tensors.into_iter().flatten().collect();
        choice.finish()?;
        if let (Input::Checkpoint(_), Some(template)) = (&input, &options.template) {
            template.arrange(&mut tensors)?;
        }
        let Options { importance, strict, .. } = options;
        let mut unweighted = NameList::default();
        if let Some(importance) = &importance {
            let experts = input.shape().experts;
            for tensor in tensors.iter_mut().filter(|tensor| tensor.wants_importance()) {
                let spec = specs.iter().find(|spec| spec.name == tensor.name);
                let Some(spec) = spec else { continue };
                if !tensor.weigh(importance, &spec.source, experts)? {
                    unweighted.push(|| tensor.name.clone());
                }
            }
            if strict && unweighted.count() > 0 {
                let file = importance.path().display().to_string();
                return Err(Error::Unweighted { file, missing: unweighted });
            }
        }
        Ok(Plan { input, metadata, importance, tensors, skipped, unweighted })
    }

    /// The shape of the model.
    pub fn shape(&self) -> &Shape {
        self.input.shape()
    }

    /// The keys of the output.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors of the output, in file order.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Bytes of all tensors; the header comes on top of it.
    pub fn byte_count(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.byte_count).sum()
    }

    /// What the checkpoint has and the output will not have.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Matrices that the importance file says nothing about, though it would matter.
    pub fn unweighted(&self) -> &NameList {
        &self.unweighted
    }
}

impl PlannedTensor {
    /// Values in a row.
    pub(crate) fn columns(&self) -> usize {
        self.dims[0]
    }

    /// Rows of one part: of the whole tensor, or of one expert.
    pub(crate) fn part_rows(&self) -> usize {
        self.dims[1..].iter().product::<usize>() / self.parts.len()
    }

    pub(crate) fn conversion(&self, experts: usize) -> Conversion<'static> {
        Conversion { format: self.format, exact: self.exact, experts, importance: None }
    }

    /// Whether an importance would change what is written.
    pub(crate) fn wants_importance(&self) -> bool {
        uses_importance(self.format) && self.parts.iter().any(|part| !part.is_kept(self.format))
    }

    /// Ties the parts to their importance; says whether all have one.
    fn weigh(
        &mut self,
        importance: &Importance,
        source: &Source,
        experts: usize,
    ) -> Result<bool, Error> {
        let (name, columns) = (&self.name, self.dims[0]);
        let experts = if self.parts.len() > 1 { experts } else { 1 };
        for (expert, part) in self.parts.iter_mut().enumerate() {
            part.hint = importance.find(name, source, expert, experts, columns)?;
        }
        Ok(self.parts.iter().all(|part| part.hint.is_some()))
    }
}

impl Part {
    /// Whether rows in this format are the input's own, or its codes in another order.
    pub(crate) fn is_kept(&self, format: Format) -> bool {
        match self.coding {
            Coding::Blocks(stored) => stored == format,
            Coding::Fp4 => format == Format::Mxfp4,
            _ => false,
        }
    }
}

/// Chooses formats: by the last rule that matches, else by the template, else by the recipe.
pub(crate) struct Choice<'a> {
    options: &'a Options,
    /// Rules that some matrix obeyed.
    obeyed: Vec<bool>,
}

impl<'a> Choice<'a> {
    fn new(options: &'a Options) -> Choice<'a> {
        Choice { options, obeyed: vec![false; options.rules.len()] }
    }

    /// The tensor with its format, or what keeps it from having that.
    pub(crate) fn plan(
        &mut self,
        spec: &TensorSpec,
        dims: &[usize],
        parts: Vec<Part>,
    ) -> Result<PlannedTensor, String> {
        let Options { recipe, rules, template, .. } = self.options;
        let matrix = !spec.class.is_vector() && spec.class != Class::RouteTable;
        let mut ruled = None;
        let rules = rules.iter().zip(&mut self.obeyed);
        for (rule, obeyed) in rules.filter(|(rule, _)| matrix && rule.matches(&spec.name)) {
            (*obeyed, ruled) = (true, Some(rule.format()));
        }
        let template = template.as_ref().filter(|_| matrix);
        let ruled = ruled.or_else(|| template.and_then(|template| template.format(&spec.name)));
        let codings = parts.iter().map(|part| part.coding);
        let format = ruled.unwrap_or_else(|| recipe.format(spec.class, dims[0], codings));
        let exact = ruled.is_none() && *recipe == Recipe::AsIs;
        planned(&spec.name, dims, format, exact, parts)
    }

    fn finish(self) -> Result<(), Error> {
        let mut rules = self.options.rules.iter().zip(self.obeyed);
        match rules.find(|(_, obeyed)| !obeyed) {
            Some((rule, _)) => Err(Error::Rule { pattern: rule.pattern().to_owned() }),
            None => Ok(()),
        }
    }
}

/// A tensor of the output in this format, if its parts can be turned into that.
pub(crate) fn planned(
    name: &str,
    dims: &[usize],
    format: Format,
    exact: bool,
    parts: Vec<Part>,
) -> Result<PlannedTensor, String> {
    let Some(row_bytes) = format.row_bytes(dims[0]) else {
        let (block, columns) = (format.block_values(), dims[0]);
        return Err(format!("{format} needs rows of whole blocks of {block}, not of {columns}"));
    };
    let kept = |part: &Part| part.is_kept(format);
    let closed = parts.iter().find_map(|part| match part.coding {
        Coding::Blocks(stored) if !kept(part) && !stored.is_decodable() => Some(stored),
        _ => None,
    });
    if let Some(stored) = closed {
        return Err(format!("{stored} can be kept, but not be turned into {format}"));
    }
    let byte_count = dims[1..].iter().fold(row_bytes as u64, |a, &b| a * b as u64);
    let (name, dims) = (name.to_owned(), dims.to_vec());
    Ok(PlannedTensor { name, dims, format, byte_count, exact, parts })
}
