//! Opening what people name: model files, texts, lists of ids.
//!
//! Half of all errors are a path that is nearly right. Before a path is handed to the crate that
//! reads it, this room looks whether it is another kind of thing and says which command was
//! probably meant. It does not know what is inside a model.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use spec::TokenId;

use crate::default;
use crate::nano;

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Given(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Input,
}

/// Largest text that is read. A prompt of the native context has some 5 MB.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Most file names that a hint repeats.
const HINTS_MAX: usize = 3;

impl Source {
    /// A path, where `-` is standard input.
    pub fn path(path: PathBuf) -> Source {
        if path.as_os_str() == "-" { Source::Input } else { Source::File(path) }
    }

    /// The text.
    ///
    /// # Errors
    /// A file that cannot be read, is too large, or is not UTF-8.
    pub fn read(&self) -> Result<String> {
        match self {
            Source::Given(text) => Ok(text.clone()),
            Source::Input => utf8("standard input", io::stdin().lock()),
            Source::File(path) => {
                let name = path.display().to_string();
                let file =
                    File::open(path).with_context(|| format!("{name}: could not open it"))?;
                utf8(&name, file)
            }
        }
    }
}

fn utf8(name: &str, reader: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    let read = reader.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("{name}: could not read it"))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        bail!("{name}: longer than {TEXT_BYTES_MAX} bytes, which no context holds");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow!("{name}: not UTF-8 text, byte {at} is no part of a character")
    })
}

/// Which model is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// The one inside the program.
    BuiltIn,
    /// A GGUF file, or any one of its shards.
    File(PathBuf),
    /// Nobody named one: the file that is the default, or else the one inside the program.
    Default(Option<PathBuf>),
}

/// Said where Nano answers although nobody asked for it, with the command that fetches the real
/// one.
const NANO_ANSWERS: &str = "no -m FILE, so Nano answers: the small model inside the program, for a \
    first look. The real one (87 GB): dwarfstar pull q2-imatrix";

impl Model {
    /// What people should know before the default talks to them.
    pub fn introduction(&self) -> Option<String> {
        match self {
            Model::Default(None) => Some(NANO_ANSWERS.to_owned()),
            _ => self.pulled(),
        }
    }

    /// What people should know where a file is used that they did not name.
    pub fn pulled(&self) -> Option<String> {
        let Model::Default(Some(path)) = self else { return None };
        let path = path.display();
        Some(format!("no model is named, so it is the default, {path}; -m nano is the small one"))
    }
}

/// Opens a model.
///
/// # Errors
/// With the command that was probably meant, where a path is of another kind.
pub fn model(model: &Model) -> Result<gguf::File> {
    match model {
        Model::BuiltIn | Model::Default(None) => nano::open(),
        Model::File(path) => model_file(path),
        Model::Default(Some(path)) if !path.exists() => {
            let (path, link) = (path.display(), default::link().unwrap_or_default());
            bail!(
                "{path}: the default model is gone; fetch it again with `dwarfstar pull`, name \
                 another one with -m FILE, or remove {} and use the small one",
                link.display()
            )
        }
        Model::Default(Some(path)) => model_file(path),
    }
}

fn model_file(path: &Path) -> Result<gguf::File> {
    let name = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let others = gguf_files(folder.unwrap_or(Path::new(".")));
            bail!("{name}: no such file{}", one_of("; beside it there is ", &others));
        }
        Ok(metadata) if metadata.is_dir() => bail!("{}", folder_hint(path)),
        Ok(_) if has_extension(path, "safetensors") => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).display();
            bail!(
                "{name}: a safetensors file, expected GGUF; make one of its folder with \
                 `dwarfstar quantize --hf {folder} --recipe as-is --out FILE`"
            );
        }
        // Whatever else may be wrong is better told by whoever reads the file.
        _ => Ok(gguf::File::open(path)?),
    }
}

/// Why a folder is not a model file, and what to do instead.
fn folder_hint(path: &Path) -> String {
    let name = path.display();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_checkpoint = entries.into_iter().any(|entry| {
        entry.file_name() == "config.json" || has_extension(&entry.path(), "safetensors")
    });
    let files = gguf_files(path);
    match (files.is_empty(), is_checkpoint) {
        (false, _) => format!("{name}: a folder{}", one_of(", name a file in it: ", &files)),
        (true, true) => format!(
            "{name}: a checkpoint folder, expected a GGUF file; make one with \
             `dwarfstar quantize --hf {name} --recipe as-is --out FILE`"
        ),
        (true, false) => format!("{name}: a folder, expected a GGUF file"),
    }
}

/// The GGUF files of a folder, in order of their names.
fn gguf_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| has_extension(path, "gguf"));
    let mut names: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    names.sort();
    names
}

fn one_of(before: &str, names: &[String]) -> String {
    match names {
        [] => String::new(),
        _ if names.len() > HINTS_MAX => format!("{before}{}, ...", names[..HINTS_MAX].join(", ")),
        _ => format!("{before}{}", names.join(", ")),
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The folder of a checkpoint.
///
/// # Errors
/// With the command that was probably meant, where the path is a file.
pub fn checkpoint(path: &Path) -> Result<&Path> {
    let name = path.display();
    if has_extension(path, "gguf") && path.is_file() {
        bail!("{name}: a GGUF file already; `dwarfstar inspect {name}` shows what is in it");
    }
    if path.is_file() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).display();
        bail!("{name}: a file, expected the folder of a checkpoint: --hf {folder}");
    }
    Ok(path)
}

/// Token ids between commas or white space, or as a JSON list.
///
/// # Errors
/// The first word that is no id.
pub fn token_ids(name: &str, text: &str) -> Result<Vec<TokenId>> {
    let text = text.trim();
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let words = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let ids = words.enumerate().map(|(place, word)| {
        let id = word.parse().map(TokenId);
        id.map_err(|_| {
            let word: String = word.chars().take(40).collect();
            anyhow!("{name}: entry {place} is {word:?}, expected a token id such as 295")
        })
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_every_spelling() {
        let expected = [TokenId(1), TokenId(22), TokenId(3)];
        for text in ["1,22,3", "1 22 3", "[1, 22, 3]", " 1\n22,\n3,\n", "[\n1,\n22,\n3\n]\n"] {
            assert_eq!(token_ids("ids", text).unwrap(), expected, "{text:?}");
        }
        assert_eq!(token_ids("ids", " [ ] ").unwrap(), []);
        for (text, place) in [("1,x", "entry 1"), ("-1", "entry 0"), ("4294967296", "entry 0")] {
            let error = token_ids("ids", text).unwrap_err().to_string();
            assert!(error.contains(place), "{text:?}: {error}");
        }
    }
}
