//! The small model that all crates share, and the time it takes to open a large vocabulary.

use std::time::{Duration, Instant};

use gguf::{File, Format, Metadata};

use crate::{plan, testdata, write};

#[test]
fn tiny_model_opens_and_decodes() {
    let path = testdata("golden/tiny.gguf");
    let file = File::open(&path).unwrap();
    assert_eq!(file.name(), path.display().to_string());
    let metadata = file.metadata();
    assert_eq!(metadata.get("general.architecture").unwrap().as_str(), Some("deepseek4"));
    let layers = metadata.get("deepseek4.block_count").unwrap().as_u64().unwrap();
    let clamps = metadata.get("deepseek4.swiglu_clamp_exp").unwrap().as_floats().unwrap();
    assert_eq!(clamps, vec![10.0; layers as usize]);
    assert!(metadata.get("deepseek4.attention.compress_ratios").unwrap().as_integers().is_some());

    for tensor in file.tensors() {
        assert_eq!(file.tensor(&tensor.name), Some(tensor));
        let bytes = file.bytes(tensor);
        assert_eq!(bytes.len(), tensor.row_count() * tensor.row_bytes());
        assert_eq!(&bytes.slice(1..3)[..], &bytes[1..3]);
        if tensor.format == Format::I32 {
            continue;
        }
        let mut values = vec![f32::NAN; tensor.value_count()];
        tensor.format.decode(&bytes, &mut values);
        assert!(values.iter().all(|value| value.is_finite()), "{}", tensor.name);
        assert!(values.iter().any(|&value| value != 0.0), "{}", tensor.name);
    }
    assert!(file.tensor("no such tensor").is_none());
}

#[test]
fn bytes_outlive_the_file() {
    let bytes = {
        let file = File::open(&testdata("golden/tiny.gguf")).unwrap();
        file.bytes(file.tensor("output_norm.weight").unwrap())
    };
    let elsewhere = std::thread::spawn(move || bytes.to_vec()).join().unwrap();
    assert!(elsewhere.iter().any(|&byte| byte != 0));
}

/// The keys of the real model: 129,280 tokens, 127,741 merges, 1,400 tensors.
#[test]
fn large_vocabulary_opens_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.gguf");
    let strings = |count: usize, length: usize| -> Vec<String> {
        (0..count).map(|at| format!("{at:0length$}")).collect()
    };
    let metadata = Metadata::from_iter([
        ("tokenizer.ggml.tokens", strings(129_280, 8)),
        ("tokenizer.ggml.merges", strings(127_741, 12)),
    ]);
    let plans: Vec<_> =
        (0..1400).map(|at| plan(&format!("blk.{at}.weight"), &[1], Format::F32)).collect();
    write(&path, &metadata, &plans, &[0; 4 * 1400]);

    let opened = |_| {
        let start = Instant::now();
        let file = File::open(&path).unwrap();
        let elapsed = start.elapsed();
        assert_eq!(file.metadata(), &metadata);
        elapsed
    };
    // About 30 ms; the rest is room for a busy machine. The best of several runs counts.
    let best = (0..8).map(opened).min().unwrap();
    assert!(best < Duration::from_millis(200), "{best:?}");
}
