//! Importance files as they are written: what a measurement has summed so far, or in the end.
//!
//! A finished file has one of two layouts; the quantizer reads the same from both.
//!
//! ```text
//! GGUF     general.type = imatrix; imatrix.datasets, .chunk_count, .chunk_size; per stack NAME
//!          NAME.in_sum2 [columns, experts], the sums, and NAME.counts [1, experts], F32
//! legacy   see importance.rs: per stack one entry of one call, whose values are the means; 1 in
//!          all columns of an expert that no token chose
//! ```
//!
//! A measurement that is under way is kept as GGUF. Its sums have more digits than an F32: what
//! that lost stands in NAME.in_sum2_rest and NAME.counts_rest beside it, which other readers pass
//! over, and three keys say of what model and which texts they are. So going on from the file is
//! going on from the sums, to the bit, and the file can be quantized with as it is.
//!
//! Files are whole or not there: bytes go to a temporary file beside the path, reach the disk, and
//! then get its name.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use gguf::{File, Format, Metadata, TensorPlan, Value, Writer};
use spec::{Class, Shape};

use crate::error::Error;

/// The most values that are converted at once.
const PIECE_VALUES: usize = 1 << 20;

const MODEL_KEY: &str = "dwarfstar.imatrix.model";
const TEXTS_KEY: &str = "dwarfstar.imatrix.texts";
const TOKENS_KEY: &str = "dwarfstar.imatrix.tokens";

/// What the experts of one layer were given. Numbers that are sums of two floats are kept exactly
/// until a measurement goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertSums<'a> {
    /// Sums of squares of the inputs of gate and up, `[E, D]`.
    pub inputs: Cow<'a, [f64]>,
    /// Sums of squares of the inputs of down, `[E, F]`.
    pub inner: Cow<'a, [f64]>,
    /// Tokens that chose each expert, `[E]`.
    pub counts: Cow<'a, [f64]>,
}

/// What a measurement was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Names of the texts.
    pub datasets: Vec<String>,
    /// Pieces of text that are in the sums.
    pub chunk_count: u32,
    /// Tokens of such a piece at most.
    pub chunk_tokens: u32,
    /// What is needed to go on; not for files that are finished.
    pub unfinished: Option<Unfinished>,
}

/// Of what a measurement is that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Which model, by a hash.
    pub model: String,
    /// Which tokens are in the sums, by a hash.
    pub texts: String,
    /// How many they are.
    pub tokens: u64,
}

/// A number as the two floats that add up to it, if it is such a sum.
fn split(value: f64) -> (f32, f32) {
    let first = value as f32;
    (first, (value - f64::from(first)) as f32)
}

/// Writes a file in the layout of GGUF. With [`Origin::unfinished`] it can be gone on from.
///
/// # Errors
/// The file cannot be written; what was there before is as it was.
///
/// # Panics
/// If the sums are not of this shape.
pub fn write_importance(
    path: &Path,
    shape: &Shape,
    sums: &[ExpertSums<'_>],
    origin: &Origin,
) -> Result<(), Error> {
    let mut metadata = Metadata::new();
    metadata.set("general.type", "imatrix");
    metadata.set("imatrix.datasets", origin.datasets.clone());
    metadata.set("imatrix.chunk_count", origin.chunk_count);
    metadata.set("imatrix.chunk_size", origin.chunk_tokens);
    if let Some(Unfinished { model, texts, tokens }) = &origin.unfinished {
        metadata.set(MODEL_KEY, model.as_str());
        metadata.set(TEXTS_KEY, texts.as_str());
        metadata.set(TOKENS_KEY, *tokens);
    }
    let suffixes: &[(&str, Part)] = match origin.unfinished {
        Some(_) => &[("", Part::First), ("_rest", Part::Rest)],
        None => &[("", Part::First)],
    };
    let stacks = stacks(shape);
    let (mut plans, mut data) = (Vec::new(), Vec::new());
    for Stack { name, layer, is_down, columns } in &stacks {
        let ExpertSums { inputs, inner, counts } = &sums[*layer];
        let values = if *is_down { inner } else { inputs };
        for (suffix, part) in suffixes {
            for (what, values, width) in [("in_sum2", values, *columns), ("counts", counts, 1)] {
                let experts = shape.experts;
                assert_eq!(values.len(), width * experts, "sums of {name}");
                let (name, dims) = (format!("{name}.{what}{suffix}"), vec![width, experts]);
                plans.push(TensorPlan { name, dims, format: Format::F32 });
                data.push((values.as_ref(), *part));
            }
        }
    }
    let mut writer = Writer::create(path, &metadata, &plans)?;
    for (values, part) in data {
        for values in values.chunks(PIECE_VALUES) {
            let of = |value: &f64| match part {
                Part::First => split(*value).0,
                Part::Rest => split(*value).1,
            };
            let bytes: Vec<u8> = values.iter().flat_map(|value| of(value).to_le_bytes()).collect();
            writer.write(&bytes)?;
        }
    }
    Ok(writer.finish()?)
}

/// Writes a finished file in the legacy layout, as ds4 does.
///
/// # Errors
/// As for [`write_importance`]; more values than that layout can count.
///
/// # Panics
/// If the sums are not of this shape.
pub fn write_legacy_importance(
    path: &Path,
    shape: &Shape,
    sums: &[ExpertSums<'_>],
    origin: &Origin,
) -> Result<(), Error> {
    let io = |doing| move |error| Error::io(path, doing, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let create = |path: &Path| fs::File::options().write(true).create_new(true).open(path);
    let builder =
        tempfile::Builder::new().prefix(".imatrix-").suffix(".tmp").make_in(folder, create);
    let mut file = io::BufWriter::new(builder.map_err(io("could not create the file"))?);
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(io("could not write the file"));
    let integer = |value: usize| {
        let value = i32::try_from(value);
        let wrong = "has more values than the legacy layout can count; write it as GGUF";
        value.map(i32::to_le_bytes).map_err(|_| Error::file(path, wrong))
    };
    let stacks = stacks(shape);
    put(&integer(stacks.len())?)?;
    for Stack { name, layer, is_down, columns } in stacks {
        let ExpertSums { inputs, inner, counts } = &sums[layer];
        let values = if is_down { inner } else { inputs };
        assert_eq!(values.len(), columns * shape.experts, "sums of {name}");
        put(&integer(name.len())?)?;
        put(name.as_bytes())?;
        put(&[integer(1)?, integer(values.len())?].concat())?;
        for (values, &count) in values.chunks(columns).zip(counts.iter()) {
            // As whoever reads the other layout divides.
            let count = count as f32;
            let mean = |sum: &f64| if count > 0.0 { *sum as f32 / count } else { 1.0 };
            let bytes: Vec<u8> = values.iter().flat_map(|sum| mean(sum).to_le_bytes()).collect();
            put(&bytes)?;
        }
    }
    let dataset = origin.datasets.join(", ");
    put(&[integer(origin.chunk_count as usize)?, integer(dataset.len())?].concat())?;
    put(dataset.as_bytes())?;
    let finish = "could not finish the file";
    let file = file.into_inner().map_err(|error| io(finish)(error.into_error()))?;
    file.as_file().sync_all().map_err(io(finish))?;
    file.persist(path).map_err(|error| io(finish)(error.error))?;
    Ok(())
}

/// What a measurement was made of that was kept to go on with.
///
/// # Errors
/// The file cannot be read, or is finished, or another one.
pub fn read_unfinished_origin(path: &Path) -> Result<(Origin, Unfinished), Error> {
    let file = File::open(path)?;
    origin(&file).ok_or_else(|| {
        Error::file(path, "is no measurement of importance that can be gone on with")
    })
}

/// Reads what it had summed when it was kept.
///
/// # Errors
/// The file cannot be read, or is not of this shape.
pub fn read_unfinished_importance(
    path: &Path,
    shape: &Shape,
) -> Result<Vec<ExpertSums<'static>>, Error> {
    let file = File::open(path)?;
    let stacks = stacks(shape);
    let mut sums = Vec::with_capacity(shape.layers);
    for of_layer in stacks.chunks(STACKS) {
        let stack = |is_down| of_layer.iter().find(|stack| stack.is_down == is_down);
        let (Some(up), Some(down)) = (stack(false), stack(true)) else { continue };
        let experts = shape.experts;
        sums.push(ExpertSums {
            inputs: whole(path, &file, &format!("{}.in_sum2", up.name), [up.columns, experts])?,
            inner: whole(path, &file, &format!("{}.in_sum2", down.name), [down.columns, experts])?,
            counts: whole(path, &file, &format!("{}.counts", up.name), [1, experts])?,
        });
    }
    Ok(sums)
}

fn origin(file: &File) -> Option<(Origin, Unfinished)> {
    let get = |key: &str| file.metadata().get(key);
    let number = |key: &str| u32::try_from(get(key)?.as_u64()?).ok();
    let text = |key: &str| get(key).and_then(Value::as_str).map(str::to_owned);
    let unfinished = Unfinished {
        model: text(MODEL_KEY)?,
        texts: text(TEXTS_KEY)?,
        tokens: get(TOKENS_KEY)?.as_u64()?,
    };
    let origin = Origin {
        datasets: get("imatrix.datasets")?.as_strings()?.to_vec(),
        chunk_count: number("imatrix.chunk_count")?,
        chunk_tokens: number("imatrix.chunk_size")?,
        unfinished: Some(unfinished.clone()),
    };
    Some((origin, unfinished))
}

/// Numbers whose first floats and rests are two tensors.
fn whole(
    path: &Path,
    file: &File,
    name: &str,
    dims: [usize; 2],
) -> Result<Cow<'static, [f64]>, Error> {
    let floats = |name: &str| {
        let fail = |problem: String| Error::tensor(&path.display().to_string(), name, problem);
        let tensor = file.tensor(name).ok_or_else(|| {
            fail("is not in the file; was it measured on another model?".to_owned())
        })?;
        if tensor.format != Format::F32 || tensor.dims != dims {
            let (format, found) = (tensor.format, &tensor.dims);
            return Err(fail(format!("expected F32 {dims:?}, found {format} {found:?}")));
        }
        let bytes = file.bytes(tensor);
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let values: Vec<f32> = values.collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(fail(format!("expected numbers, found {value}"))),
            None => Ok(values),
        }
    };
    let (firsts, rests) = (floats(name)?, floats(&format!("{name}_rest"))?);
    let add = |(first, rest): (&f32, &f32)| f64::from(*first) + f64::from(*rest);
    Ok(firsts.iter().zip(&rests).map(add).collect())
}

#[derive(Clone, Copy)]
enum Part {
    First,
    Rest,
}

/// Stacks of experts in a layer.
const STACKS: usize = 3;

/// A stack of expert matrices, and which sums are its.
struct Stack {
    name: String,
    layer: usize,
    is_down: bool,
    columns: usize,
}

/// All of a model, layer by layer.
fn stacks(shape: &Shape) -> Vec<Stack> {
    let specs = spec::tensors(shape).into_iter();
    let experts = specs.filter(|s| matches!(s.class, Class::ExpertGateUp | Class::ExpertDown));
    let stacks = experts.enumerate().map(|(at, spec)| Stack {
        name: spec.name,
        layer: at / STACKS,
        is_down: spec.class == Class::ExpertDown,
        columns: spec.dims[0],
    });
    stacks.collect()
}
