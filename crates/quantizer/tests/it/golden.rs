//! The golden checkpoint by every recipe, value by value, and its keys against those of the golden
//! GGUF file, which an independent program wrote from the same configuration.

use std::collections::BTreeSet;
use std::fs;

use gguf::{Format, Value};
use quantizer::{Checkpoint, Options, Plan, Recipe, read_vocabulary};
use serde_json::json;
use spec::{Class, Source};
use text::{TokenKind, Vocabulary};

use crate::{convert, integers, plan, testdata, values};

/// The golden safetensors file, read with nothing but a JSON parser.
struct Golden {
    header: serde_json::Value,
    data: Vec<u8>,
}

impl Golden {
    fn read() -> Golden {
        let bytes = fs::read(testdata("golden/model.safetensors")).unwrap();
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..start]).unwrap();
        Golden { header, data: bytes[start..].to_vec() }
    }

    fn bytes(&self, name: &str) -> &[u8] {
        let offsets = &self.header[name]["data_offsets"];
        let at = |i: usize| offsets[i].as_u64().unwrap() as usize;
        &self.data[at(0)..at(1)]
    }

    fn floats(&self, source: &Source, experts: usize) -> Vec<f32> {
        let names = match source {
            Source::One(name) => vec![name.clone()],
            Source::PerExpert { before, after } => {
                (0..experts).map(|expert| format!("{before}{expert}{after}")).collect()
            }
        };
        let bytes = names.iter().flat_map(|name| self.bytes(name)).copied().collect::<Vec<_>>();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_value_of_the_golden_checkpoint_survives_lossless_recipes() {
    let golden = Golden::read();
    let folder = testdata("golden");
    let shape = Checkpoint::open(&folder).unwrap().shape().clone();
    let out = tempfile::tempdir().unwrap();
    for recipe in [Recipe::F32, Recipe::F16, Recipe::AsIs] {
        let path = out.path().join(format!("{recipe}.gguf"));
        let stats = convert(&folder, recipe, &path).unwrap();
        let file = gguf::File::open(&path).unwrap();
        let specs = spec::tensors(&shape);
        assert_eq!((stats.tensor_count, file.tensors().len()), (specs.len(), specs.len()));
        assert_eq!((stats.skipped.draft_count, stats.skipped.unknown.count()), (0, 0));
        for (spec, tensor) in specs.iter().zip(file.tensors()) {
            assert_eq!((&tensor.name, &tensor.dims), (&spec.name, &spec.dims));
            if spec.class == Class::RouteTable {
                let Source::One(name) = &spec.source else { panic!("a stack of tables") };
                let ids = golden.bytes(name).chunks_exact(8);
                let ids = ids.map(|b| i64::from_le_bytes(b.try_into().unwrap()) as i32);
                assert_eq!(integers(&file, &spec.name), ids.collect::<Vec<_>>());
                continue;
            }
            let half = recipe == Recipe::F16 && !spec.class.is_vector();
            assert_eq!(tensor.format, if half { Format::F16 } else { Format::F32 });
            let expected = golden.floats(&spec.source, shape.experts);
            assert_eq!(bits(&values(&file, &spec.name)), bits(&expected), "{}", spec.name);
        }
    }
}

/// The vocabulary in the golden GGUF file.
fn vocabulary(file: &gguf::File) -> Vocabulary {
    let get = |key: &str| file.metadata().get(&format!("tokenizer.ggml.{key}")).unwrap();
    let kinds = get("token_type").as_integers().unwrap();
    Vocabulary {
        tokens: get("tokens").as_strings().unwrap().to_vec(),
        kinds: kinds.into_iter().map(|id| TokenKind::from_id(id).unwrap()).collect(),
        merges: get("merges").as_strings().unwrap().to_vec(),
    }
}

#[test]
fn the_keys_are_those_of_the_golden_file() {
    let golden = gguf::File::open(&testdata("golden/tiny.gguf")).unwrap();
    let options = Options {
        vocabulary: Some(vocabulary(&golden)),
        name: Some("tiny golden DeepSeek V4".to_owned()),
        ..Options::new(Recipe::F16)
    };
    let plan = Plan::new(Checkpoint::open(&testdata("golden")).unwrap(), options).unwrap();
    for (key, value) in golden.metadata().iter() {
        assert_eq!(plan.metadata().get(key), Some(value), "{key}");
    }
    let keys: BTreeSet<&str> = plan.metadata().iter().map(|(key, _)| key).collect();
    let golden_keys = golden.metadata().iter().map(|(key, _)| key).collect();
    let own: Vec<&str> = keys.difference(&golden_keys).copied().collect();
    let expected = [
        "dwarfstar.quantize.recipe",
        "tokenizer.ggml.add_eos_token",
        "tokenizer.ggml.padding_token_id",
    ];
    assert_eq!(own, expected);
    let text = |key: &str| plan.metadata().get(key).unwrap().clone();
    assert_eq!(text("dwarfstar.quantize.recipe"), Value::from("f16"));
    assert_eq!(text("tokenizer.ggml.padding_token_id"), Value::U32(2));

    let ours: BTreeSet<_> = plan.tensors().iter().map(|t| (&t.name, &t.dims)).collect();
    let theirs: BTreeSet<_> = golden.tensors().iter().map(|t| (&t.name, &t.dims)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn without_a_tokenizer_there_are_no_tokens_and_the_folder_gives_the_name() {
    let plan = plan(&testdata("golden"), Recipe::F32).unwrap();
    assert!(plan.metadata().iter().all(|(key, _)| !key.starts_with("tokenizer.")));
    assert_eq!(plan.metadata().get("general.name"), Some(&Value::from("golden")));
}

#[test]
fn the_shape_is_read_back_from_the_file() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    convert(&testdata("golden"), Recipe::AsIs, &path).unwrap();
    let file = gguf::File::open(&path).unwrap();
    let facts = |key: &str| {
        let value = file.metadata().get(key)?;
        let integer = || value.as_u64().map(|v| spec::Fact::Integer(v as i64));
        let float = || value.as_f64().map(spec::Fact::Float);
        let text = || value.as_str().map(|v| spec::Fact::Text(v.to_owned()));
        let flag = || value.as_bool().map(spec::Fact::Flag);
        let integers = || value.as_integers().map(spec::Fact::Integers);
        let floats = || value.as_floats().map(spec::Fact::Floats);
        integer().or_else(float).or_else(text).or_else(flag).or_else(integers).or_else(floats)
    };
    let expected = Checkpoint::open(&testdata("golden")).unwrap().shape().clone();
    assert_eq!(spec::Shape::from_facts(&facts, 0), Ok(expected));
}

#[test]
fn a_vocabulary_of_another_model_is_refused() {
    let golden = gguf::File::open(&testdata("golden/tiny.gguf")).unwrap();
    let refused = |change: fn(&mut Vocabulary)| {
        let mut vocabulary = vocabulary(&golden);
        change(&mut vocabulary);
        let checkpoint = Checkpoint::open(&testdata("golden")).unwrap();
        let options = Options { vocabulary: Some(vocabulary), ..Options::new(Recipe::F32) };
        Plan::new(checkpoint, options).unwrap_err().to_string()
    };
    let message = refused(|vocabulary| {
        vocabulary.tokens.push("<more>".into());
        vocabulary.kinds.push(TokenKind::UserDefined);
    });
    assert!(message.contains("expected 512 tokens") && message.contains("found 513"), "{message}");
    let message = refused(|vocabulary| vocabulary.tokens[1] = "<\u{ff5c}stop\u{ff5c}>".into());
    assert!(message.contains("has no token <\u{ff5c}end\u{2581}of"), "{message}");
    let message = refused(|vocabulary| vocabulary.tokens[20] = vocabulary.tokens[21].clone());
    assert!(message.contains("tokens 20 and 21"), "{message}");
}

#[test]
fn a_tokenizer_file_gives_the_same_tokens() {
    let golden = vocabulary(&gguf::File::open(&testdata("golden/tiny.gguf")).unwrap());
    let texts = golden.tokens.iter().enumerate();
    let added: Vec<_> = texts
        .clone()
        .filter(|(id, _)| golden.kinds[*id].is_added())
        .map(|(id, text)| json!({"id": id, "content": text}))
        .collect();
    let patterns = [
        r"\p{N}{1,3}",
        "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
            r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
    ];
    // The published file has the line ends themselves in its classes.
    let patterns = patterns.map(|p| p.replace(r"\r", "\r").replace(r"\n", "\n"));
    let vocab: serde_json::Map<_, _> = texts.map(|(id, text)| (text.clone(), id.into())).collect();
    let file = json!({
        "added_tokens": added,
        "pre_tokenizer": {"pretokenizers": patterns.map(|p| json!({"pattern": {"Regex": p}}))},
        "model": {"type": "BPE", "vocab": vocab, "merges": golden.merges},
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, file.to_string()).unwrap();
    let read = read_vocabulary(&path).unwrap();
    assert_eq!((read.tokens, read.merges), (golden.tokens, golden.merges));

    fs::write(&path, b"\xff").unwrap();
    let message = read_vocabulary(&path).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json: expected UTF-8"), "{message}");
    fs::write(&path, "{}").unwrap();
    let message = read_vocabulary(&path).unwrap_err().to_string();
    assert!(message.contains("missing field"), "{message}");
    let message = read_vocabulary(&folder.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("none: could not read the file"), "{message}");
}
