//! The keys of the output: the shape, the tokenizer, and how the file was made.
//!
//! The shape's keys are those that `spec` reads back; integers are u32 and floats f32, as in the
//! published files. Ids of the special tokens are looked up by text, since small vocabularies
//! number them otherwise. Nothing here knows tensors.

use std::path::Path;

use gguf::{Array, Metadata, Value};
use spec::{Fact, Shape};
use text::{Tokenizer, Vocabulary};

use crate::checkpoint::read_bounded;
use crate::error::Error;
use crate::input::Input;
use crate::plan::Options;
use crate::template::Template;

/// The recipe by which a file was made.
const RECIPE_KEY: &str = "dwarfstar.quantize.recipe";

/// Keys of a file that no longer hold once its weights were converted: how they were made, and
/// which part of them it has.
const OUTDATED: [&str; 4] =
    ["quantize.imatrix.", "split.", "dwarfstar.quantize.", "general.file_type"];

const TOKENIZER_PREFIX: &str = "tokenizer.ggml.";

/// The published tokenizer.json has 6.4 MB.
const TOKENIZER_BYTES_MAX: u64 = 1 << 28;

/// How text is split before merging, by the name that others know it under.
const SPLITTER: &str = "joyai-llm";

const BEGIN: &str = "<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>";
const END: &str = "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>";
const PADDING: &str = "<\u{ff5c}\u{2581}pad\u{2581}\u{ff5c}>";

/// Reads the vocabulary of a `tokenizer.json`.
///
/// # Errors
/// The file cannot be read, is too large, or is not a tokenizer of this family.
pub fn read_vocabulary(path: &Path) -> Result<Vocabulary, Error> {
    let bytes = read_bounded(path, TOKENIZER_BYTES_MAX)?;
    let json = std::str::from_utf8(&bytes)
        .map_err(|error| Error::file(path, format!("expected UTF-8, found {error}")))?;
    Vocabulary::from_tokenizer_json(json).map_err(|error| Error::file(path, error.to_string()))
}

/// All keys of a file that is made of this input.
pub(crate) fn metadata(input: &Input, options: &Options) -> Result<Metadata, Error> {
    let Options { recipe, name, vocabulary, importance, template, .. } = options;
    let mut metadata = match (input, template) {
        (Input::Checkpoint(checkpoint), None) => shape_metadata(
            checkpoint.shape(),
            &name.clone().unwrap_or_else(|| checkpoint.folder_name()),
        ),
        (Input::Model(file, _), _) | (Input::Checkpoint(_), Some(Template { file, .. })) => {
            let mut metadata = file.metadata().clone();
            metadata.retain(|key| !OUTDATED.iter().any(|prefix| key.starts_with(prefix)));
            if let Some(name) = name {
                metadata.set("general.name", name.as_str());
            }
            metadata
        }
    };
    let follows = matches!(input, Input::Checkpoint(_))
        && template.as_ref().is_some_and(|template| template.formats);
    metadata.set(RECIPE_KEY, if follows { "template" } else { recipe.name() });
    if let Some(importance) = importance {
        importance.note(&mut metadata);
    }
    if let Some(vocabulary) = vocabulary {
        metadata.retain(|key| !key.starts_with(TOKENIZER_PREFIX));
        add_tokenizer(&mut metadata, vocabulary, input.shape().vocab)?;
    }
    Ok(metadata)
}

/// The keys that every file of a shape has: the architecture, a name for people, all numbers.
pub(crate) fn shape_metadata(shape: &Shape, name: &str) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, fact) in shape.to_facts() {
        metadata.set(key, value(fact));
        if metadata.iter().len() == 1 {
            metadata.set("general.name", name);
        }
    }
    metadata
}

/// A fact of a checked shape: integers and ratios are far below the limits of their types.
pub(crate) fn value(fact: Fact) -> Value {
    match fact {
        Fact::Integer(integer) => Value::U32(integer as u32),
        Fact::Float(float) => Value::F32(float as f32),
        Fact::Flag(flag) => Value::Bool(flag),
        Fact::Text(text) => Value::String(text),
        Fact::Integers(values) => {
            Value::Array(Array::I32(values.into_iter().map(|value| value as i32).collect()))
        }
        Fact::Floats(values) => {
            Value::Array(Array::F32(values.into_iter().map(|value| value as f32).collect()))
        }
    }
}

fn add_tokenizer(
    metadata: &mut Metadata,
    vocabulary: &Vocabulary,
    token_count: usize,
) -> Result<(), Error> {
    let fail = |problem: String| Error::Vocabulary { problem };
    // Building the tokenizer checks the vocabulary as the engine will.
    let tokenizer = Tokenizer::new(vocabulary.clone()).map_err(|error| fail(error.to_string()))?;
    if vocabulary.tokens.len() != token_count {
        let found = vocabulary.tokens.len();
        return Err(fail(format!(
            "expected {token_count} tokens, as the model has, found {found}; \
             is it the tokenizer of another model?"
        )));
    }
    let id = |text: &str| tokenizer.special(text).map(|id| id.0);
    let required = |text| id(text).ok_or_else(|| fail(format!("has no token {text}")));
    let (begin, end) = (required(BEGIN)?, required(END)?);
    let kinds: Vec<i32> = vocabulary.kinds.iter().map(|kind| kind.id()).collect();
    let mut set = |key: &str, value: Value| metadata.set(format!("{TOKENIZER_PREFIX}{key}"), value);
    set("model", "gpt2".into());
    set("pre", SPLITTER.into());
    set("tokens", vocabulary.tokens.clone().into());
    set("token_type", kinds.into());
    set("merges", vocabulary.merges.clone().into());
    set("bos_token_id", begin.into());
    set("eos_token_id", end.into());
    set("padding_token_id", id(PADDING).unwrap_or(end).into());
    set("add_bos_token", false.into());
    set("add_eos_token", false.into());
    Ok(())
}
