//! Models in several files: any of them opens all, and all must agree.

use std::fs;
use std::path::{Path, PathBuf};

use gguf::{Array, File, Format, Metadata, Value, shard_path};
use tempfile::TempDir;

use crate::{plan, write};

/// What part `no` of three says about itself: the types are those that llama.cpp writes.
fn split(no: u16, count: u16, tensors: i32) -> Metadata {
    Metadata::from_iter([
        ("split.no", Value::U16(no)),
        ("split.count", Value::U16(count)),
        ("split.tensors.count", Value::I32(tensors)),
    ])
}

fn parts(folder: &TempDir) -> [PathBuf; 3] {
    [0, 1, 2].map(|no| shard_path(&folder.path().join("model-q2"), no, 3))
}

/// Three files with two, one and one tensor, the second with another alignment than the others.
fn model() -> (TempDir, [PathBuf; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let paths = parts(&folder);
    let mut metadata = split(0, 3, 4);
    metadata.set("general.name", "in parts");
    let plans = [plan("a", &[2], Format::F32), plan("b", &[4], Format::F16)];
    write(&paths[0], &metadata, &plans, b"aaaaaaaabbbbbbbb");
    let mut metadata = split(1, 3, 4);
    metadata.set("general.alignment", 128_u32);
    write(&paths[1], &metadata, &[plan("c", &[32], Format::Q8_0)], &[b'c'; 34]);
    write(&paths[2], &split(2, 3, 4), &[plan("d", &[1, 3], Format::F64)], &[b'd'; 24]);
    (folder, paths)
}

#[track_caller]
fn assert_refused(path: &Path, file: &Path, problem: &str) {
    let error = File::open(path).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: {problem}", file.display()));
}

#[test]
fn any_part_opens_all() {
    let (folder, paths) = model();
    assert_eq!(paths[1], folder.path().join("model-q2-00002-of-00003.gguf"));
    for path in &paths {
        let file = File::open(path).unwrap();
        assert_eq!(file.name(), path.display().to_string());
        assert!(file.shard_names().eq(paths.iter().map(|path| path.to_str().unwrap())));
        assert_eq!(file.metadata().get("general.name").unwrap().as_str(), Some("in parts"));
        let names: Vec<&str> = file.tensors().iter().map(|tensor| &tensor.name[..]).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        for (name, size, shard) in [("a", 8, 0), ("b", 8, 0), ("c", 34, 1), ("d", 24, 2)] {
            let tensor = file.tensor(name).unwrap();
            assert_eq!(tensor.shard, shard);
            assert_eq!(&file.bytes(tensor)[..], name.repeat(size).as_bytes());
        }
    }
}

#[test]
fn missing_part_is_named() {
    let (_folder, paths) = model();
    fs::remove_file(&paths[1]).unwrap();
    let problem = "no such file, but the model is in 3 files, which belong in one folder";
    for path in [&paths[0], &paths[2]] {
        assert_refused(path, &paths[1], problem);
    }
}

#[test]
fn damaged_part_is_named() {
    let (_folder, paths) = model();
    let bytes = fs::read(&paths[2]).unwrap();
    fs::write(&paths[2], &bytes[..bytes.len() - 32]).unwrap();
    let error = File::open(&paths[0]).unwrap_err();
    assert_eq!(error.file(), paths[2].display().to_string());
    assert_eq!(error.tensor(), Some("d"));
}

#[test]
fn parts_must_agree() {
    let tensor = [plan("c", &[32], Format::Q8_0)];
    let expected = "expected part 2 of 3 with 4 tensors in all";
    let cases = [
        (split(2, 3, 4), "part 3 of 3 with 4 tensors in all"),
        (split(1, 4, 4), "part 2 of 4 with 4 tensors in all"),
        (split(1, 3, 5), "part 2 of 3 with 5 tensors in all"),
        (Metadata::new(), "a whole model"),
    ];
    for (metadata, found) in cases {
        let (_folder, paths) = model();
        write(&paths[1], &metadata, &tensor, &[b'c'; 34]);
        assert_refused(&paths[0], &paths[1], &format!("{expected}, found {found}"));
    }
}

#[test]
fn tensors_must_add_up() {
    let (_folder, paths) = model();
    write(&paths[1], &split(1, 3, 4), &[], &[]);
    assert_refused(&paths[2], &paths[2], "expected 4 tensors in 3 files, found 3");
    let twice = [plan("a", &[32], Format::Q8_0)];
    write(&paths[1], &split(1, 3, 4), &twice, &[0; 34]);
    let problem = format!("tensor 'a': is also in {}", paths[0].display());
    assert_refused(&paths[0], &paths[1], &problem);
}

#[test]
fn renamed_part_says_what_its_name_should_be() {
    let (folder, paths) = model();
    let renamed = folder.path().join("model.gguf");
    fs::rename(&paths[1], &renamed).unwrap();
    let problem = "is part 2 of a model in 3 files; expected its name to end in \
                   '-00002-of-00003.gguf', so that the others can be found";
    assert_refused(&renamed, &renamed, problem);
}

#[test]
fn a_model_in_one_part_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any-name.gguf");
    write(&path, &split(0, 1, 1), &[plan("a", &[2], Format::F32)], &[0; 8]);
    assert_eq!(File::open(&path).unwrap().tensors().len(), 1);
    let path = folder.path().join("looks-split-00001-of-00002.gguf");
    let metadata = Metadata::from_iter([("list", Value::Array(Array::Bool(vec![true, false])))]);
    write(&path, &metadata, &[], &[]);
    assert_eq!(File::open(&path).unwrap().metadata(), &metadata);
}
