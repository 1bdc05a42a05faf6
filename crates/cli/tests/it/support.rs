//! What the tests share: running the program, golden data, damaged copies of the tiny model.
//!
//! No run of the program may end in a panic, whatever a test expects: [`dwarfstar`] checks that
//! for all of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gguf::{File, Format, Metadata, TensorPlan, Writer};
use serde_json::Value;

/// A file of the test data that all crates share.
pub fn testdata(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata", name].iter().collect()
}

/// The tiny golden model.
pub fn tiny() -> String {
    text(&testdata("golden/tiny.gguf"))
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("test paths are UTF-8").to_owned()
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the program prints UTF-8")
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).expect("one JSON object")
    }
}

/// The program, ready to be started, in an environment that changes nothing.
pub fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwarfstar"));
    command.args(args).stdin(Stdio::null()).env_remove("COLUMNS").env_remove("NO_COLOR");
    // Whoever runs the tests may have pulled a model.
    command.env("XDG_DATA_HOME", "/nonexistent");
    command
}

/// Runs the program to its end.
pub fn dwarfstar<S: AsRef<OsStr>>(args: &[S]) -> Ended {
    ended_as(command(args).output().expect("the program starts"))
}

/// The program on a disk that takes no file of more than a few kilobytes: writing fails, for every
/// user, as it does when the disk is full.
pub fn on_a_full_disk<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let program = env!("CARGO_BIN_EXE_dwarfstar");
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#, program]).args(args);
    command.stdin(Stdio::null()).env_remove("COLUMNS").env_remove("NO_COLOR");
    command
}

/// What is left of a run.
pub fn ended_as(output: std::process::Output) -> Ended {
    let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
    assert!(!stderr.contains("panicked") && !stderr.contains("bug of"), "{stderr}");
    let code = output.status.code().unwrap_or_else(|| panic!("killed: {stderr}"));
    Ended { code, stdout: output.stdout, stderr }
}

/// Runs the program, which must do its work.
pub fn works<S: AsRef<OsStr>>(args: &[S]) -> Ended {
    let ended = dwarfstar(args);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

/// Runs the program, which must refuse with `code` and one sentence that has all `pieces`.
pub fn refuses<S: AsRef<OsStr>>(args: &[S], code: i32, pieces: &[&str]) {
    let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    let Ended { code: found, stderr, .. } = dwarfstar(args);
    assert_eq!(found, code, "{shown:?}: {stderr}");
    assert!(stderr.starts_with("dwarfstar: "), "{shown:?}: {stderr}");
    for piece in pieces {
        assert!(stderr.contains(piece), "{shown:?}: expected {piece:?} in: {stderr}");
    }
    // The flag parser adds usage lines; our own messages are one line.
    assert!(code == 2 || stderr.lines().count() == 1, "{shown:?}: {stderr}");
}

/// A model file taken apart, to be written again with something changed.
pub struct Parts {
    pub metadata: Metadata,
    pub tensors: Vec<(TensorPlan, Vec<u8>)>,
}

impl Parts {
    /// The tiny model.
    pub fn tiny() -> Parts {
        let file = File::open(Path::new(&tiny())).expect("golden file");
        let part = |tensor: &gguf::Tensor| {
            let gguf::Tensor { name, dims, format, .. } = tensor.clone();
            (TensorPlan { name, dims, format }, file.bytes(tensor).to_vec())
        };
        let tensors = file.tensors().iter().map(part).collect();
        Parts { metadata: file.metadata().clone(), tensors }
    }

    /// Leaves tensors out.
    pub fn without(mut self, names: &[&str]) -> Parts {
        let before = self.tensors.len();
        self.tensors.retain(|(plan, _)| !names.contains(&plan.name.as_str()));
        assert_eq!(self.tensors.len() + names.len(), before, "{names:?} are there");
        self
    }

    /// A tensor and its bytes.
    pub fn tensor(&mut self, name: &str) -> &mut (TensorPlan, Vec<u8>) {
        let found = self.tensors.iter_mut().find(|(plan, _)| plan.name == name);
        found.unwrap_or_else(|| panic!("{name} is there"))
    }

    /// Writes over the bytes of a tensor.
    pub fn patched(mut self, name: &str, format: Format, at: usize, bytes: &[u8]) -> Parts {
        let (plan, data) = self.tensor(name);
        assert_eq!(plan.format, format, "{name}");
        data[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Gives a metadata key a value.
    pub fn with_key(mut self, key: &str, value: impl Into<gguf::Value>) -> Parts {
        self.metadata.set(key, value);
        self
    }

    /// Changes the text of one token.
    pub fn with_token(self, id: usize, text: &str) -> Parts {
        let tokens = self.metadata.get("tokenizer.ggml.tokens").and_then(|t| t.as_strings());
        let mut tokens = tokens.expect("the tiny model has tokens").to_vec();
        tokens[id] = text.to_owned();
        self.with_key("tokenizer.ggml.tokens", tokens)
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> String {
        let plans: Vec<_> = self.tensors.iter().map(|(plan, _)| plan.clone()).collect();
        let mut writer = Writer::create(path, &self.metadata, &plans).expect("a writable folder");
        for (_, bytes) in &self.tensors {
            writer.write(bytes).expect("planned bytes");
        }
        writer.finish().expect("a whole file");
        text(path)
    }
}

/// One array of a golden `.npz` file.
pub fn golden_array(file: &str, name: &str) -> Vec<f32> {
    let archive = std::fs::File::open(testdata("golden").join(file)).expect("golden file");
    let mut npz = zip::ZipArchive::new(archive).expect("an archive");
    let entry = npz.by_name(&format!("{name}.npy"));
    let entry = entry.unwrap_or_else(|error| panic!("{name} in {file}: {error}"));
    npyz::NpyFile::new(entry).expect("an array").into_vec().expect("32-bit floats")
}

/// An array that the program wrote, and its shape.
pub fn array(path: &str) -> (Vec<u64>, Vec<f32>) {
    let file = std::fs::File::open(path).expect("the program wrote it");
    let array = npyz::NpyFile::new(file).expect("an array");
    assert_eq!(array.dtype().descr(), "'<f4'");
    (array.shape().to_vec(), array.into_vec().expect("32-bit floats"))
}

/// A golden prompt as an argument.
pub fn prompt(name: &str) -> String {
    let ids = std::fs::read_to_string(testdata("golden/prompts.json")).expect("golden prompts");
    let ids: Value = serde_json::from_str(&ids).expect("JSON");
    let ids = ids[name].as_array().expect("a list of ids");
    ids.iter().map(Value::to_string).collect::<Vec<_>>().join(",")
}

/// Differences relative to the largest magnitude in `want`: (median, maximum).
pub fn difference(got: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs() as f64));
    let relative = |(g, w): (&f32, &f32)| (*g as f64 - *w as f64).abs() / largest;
    let mut all: Vec<f64> = got.iter().zip(want).map(relative).collect();
    assert!(all.iter().all(|d| d.is_finite()), "a result is not a number");
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() - 1])
}
