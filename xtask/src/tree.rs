//! The repository as the rules see it: every file that git tracks or would track, with its text.
//!
//! Owns the list of files, their texts, the lexed Rust sources and the parsed manifests of the
//! workspace members. It knows no rule. A rule is a function from a `Tree` to findings; its tests
//! build a small tree from snippets with `Tree::of`, so every rule is tried on bad and good input
//! without touching the disk. Start reading at `Tree`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::source::Source;

/// Files that hold the texts Nano is trained on: what looks like a path or a reminder there is an
/// example that a model should have seen.
const TRAINING_TEXTS: [&str; 2] = ["nano/talk.py", "nano/tools.py"];

/// Whether a file holds training texts.
pub fn is_training_text(path: &str) -> bool {
    TRAINING_TEXTS.contains(&path)
}

/// One file of the repository.
pub struct File {
    /// Path from the root, with forward slashes.
    pub path: String,
    /// Size on disk.
    pub byte_count: u64,
    /// The text of files that the rules read as text.
    pub text: Option<String>,
    /// The tokens of a Rust file; the error text if it does not lex.
    pub source: Option<Result<Source, String>>,
    /// Whether all of the file is test, benchmark, example or fuzz code.
    pub is_test: bool,
}

/// A Rust file that lexes, with its parts at hand.
pub struct Rust<'a> {
    /// Path from the root.
    pub path: &'a str,
    /// The text.
    pub text: &'a str,
    /// The tokens.
    pub source: &'a Source,
    /// Whether all of the file is test code.
    pub is_test: bool,
}

impl Rust<'_> {
    /// Whether the token with this index is test code.
    pub fn is_test_token(&self, index: usize) -> bool {
        self.is_test || self.source.is_test_line(self.source.tokens[index].line)
    }
}

/// A workspace member: a folder with a manifest.
pub struct Member<'a> {
    /// Name of the folder, which is the name of the crate.
    pub name: &'a str,
    /// Folder, without a slash at the end.
    pub folder: &'a str,
    /// Path of the manifest.
    pub path: &'a str,
    /// Text of the manifest.
    pub text: &'a str,
    /// The manifest, or why it cannot be read.
    pub manifest: Result<toml::Table, String>,
}

/// All files of the repository, sorted by path.
pub struct Tree {
    /// The files.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the working tree at `root`: tracked files and new ones that git does not ignore.
    pub fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        for path in listed_by_git(root)? {
            let on_disk = root.join(&path);
            // A file deleted but not yet committed is listed and absent; a link has no own text.
            let Ok(metadata) = on_disk.symlink_metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            let text = match is_text(&path) {
                true => {
                    let bytes = std::fs::read(&on_disk).with_context(|| path.clone())?;
                    Some(String::from_utf8_lossy(&bytes).into_owned())
                }
                false => None,
            };
            files.push(File::new(path, metadata.len(), text));
        }
        Ok(Tree::new(files))
    }

    /// A tree made of snippets, for the tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let file = |&(path, text): &(&str, &str)| {
            File::new(path.to_owned(), text.len() as u64, Some(text.to_owned()))
        };
        Tree::new(files.iter().map(file).collect())
    }

    fn new(mut files: Vec<File>) -> Tree {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut roots = Vec::new();
        for file in &files {
            let Some(Ok(source)) = &file.source else { continue };
            let folder = module_folder(&file.path);
            roots.extend(source.test_modules.iter().map(|name| format!("{folder}/{name}")));
        }
        for file in &mut files {
            let in_module = |root: &String| {
                file.path
                    .strip_prefix(root)
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            file.is_test |= roots.iter().any(in_module);
        }
        Tree { files }
    }

    /// The text of the file at `path`, if there is one.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    /// Whether `path` is a file or a folder with files.
    pub fn contains(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = |file: &File| {
            file.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.files.iter().any(inside)
    }

    /// The Rust files that lex.
    pub fn rust(&self) -> impl Iterator<Item = Rust<'_>> {
        self.files.iter().filter_map(|file| {
            let (text, source) = (file.text.as_deref()?, file.source.as_ref()?.as_ref().ok()?);
            Some(Rust { path: &file.path, text, source, is_test: file.is_test })
        })
    }

    /// The workspace members: `xtask` and the folders of `crates`.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.files.iter().filter_map(|file| {
            let folder = file.path.strip_suffix("/Cargo.toml")?;
            let name = folder.strip_prefix("crates/").or((folder == "xtask").then_some(folder))?;
            let text = file.text.as_deref()?;
            let manifest = text.parse::<toml::Table>().map_err(|error| error.message().to_owned());
            Some(Member { name, folder, path: &file.path, text, manifest })
        })
    }
}

impl File {
    fn new(path: String, byte_count: u64, text: Option<String>) -> File {
        let source = text.as_deref().filter(|_| path.ends_with(".rs"));
        let source = source.map(|text| Source::lex(text).map_err(|error| error.to_string()));
        let folders = ["tests", "benches", "examples", "fuzz", "testdata"];
        let is_test = path.split('/').any(|part| folders.contains(&part));
        File { path, byte_count, text, source, is_test }
    }
}

/// Line (from 1) of `key` in section `[section]` of a manifest's text; 1 if it is not written so.
pub fn line_of_key(text: &str, section: &str, key: &str) -> usize {
    let header = format!("[{section}]");
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim_end() == header;
        } else if inside
            && line.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        {
            return index + 1;
        }
    }
    1
}

/// Folder in which the submodules of the file at `path` live.
fn module_folder(path: &str) -> &str {
    let own = path.strip_suffix(".rs").unwrap_or(path);
    match own.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => own,
    }
}

fn is_text(path: &str) -> bool {
    let endings = [".rs", ".md", ".toml", ".py", ".sh", ".yml", ".yaml"];
    endings.iter().any(|ending| path.ends_with(ending)) || matches!(path, "test" | ".ci/run")
}

fn listed_by_git(root: &Path) -> Result<Vec<String>> {
    // A clone made by another user is still the tree to check: hence safe.directory.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard", "--deduplicate"])
        .current_dir(root)
        .output()
        .context("git is needed to list the files of the repository; install git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_known_by_its_place_and_by_its_declaration() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "#[cfg(test)]\nmod checks;\nmod b;\n"),
            ("crates/a/src/checks.rs", ""),
            ("crates/a/src/checks/deep.rs", ""),
            ("crates/a/src/checksum.rs", ""),
            ("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            ("crates/a/src/b/tests.rs", ""),
            ("crates/a/tests/it/main.rs", ""),
        ]);
        let tests: Vec<&str> =
            tree.files.iter().filter(|file| file.is_test).map(|file| file.path.as_str()).collect();
        assert_eq!(
            tests,
            [
                "crates/a/src/b/tests.rs",
                "crates/a/src/checks.rs",
                "crates/a/src/checks/deep.rs",
                "crates/a/tests/it/main.rs",
            ]
        );
    }

    #[test]
    fn members_are_the_crates_and_xtask() {
        let tree = Tree::of(&[
            ("Cargo.toml", ""),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("crates/b/Cargo.toml", "[package\n"),
            ("fuzz/Cargo.toml", ""),
            ("xtask/Cargo.toml", ""),
        ]);
        let names: Vec<(&str, bool)> =
            tree.members().map(|member| (member.name, member.manifest.is_ok())).collect();
        assert_eq!(names, [("a", true), ("b", false), ("xtask", true)]);
    }

    #[test]
    fn keys_are_found_in_their_section_only() {
        let text = "[a]\nx.workspace = true\n[b]\nxy = 1\nx = 2\n";
        assert_eq!(line_of_key(text, "b", "x"), 5);
        assert_eq!(line_of_key(text, "a", "x"), 2);
        assert_eq!(line_of_key(text, "c", "x"), 1);
    }
}
