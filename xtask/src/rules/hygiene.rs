//! Rule group: what may lie in the repository.
//!
//! Owns the size limit of a file, the ban on paths of a particular machine, and the shape of the
//! test folders. It does not know git; the tree lists what git would track. Start reading at
//! `large_files`.

use super::Finding;
use crate::tree::{File, Tree, is_training_text};

const FILE_BYTES_MAX: u64 = 32_000_000;

/// Model files and the like are fetched or made, not stored.
pub fn large_files(tree: &Tree) -> Vec<Finding> {
    let large = tree.files.iter().filter(|file| file.byte_count > FILE_BYTES_MAX);
    let finding = |file: &crate::tree::File| {
        let what = format!(
            "{} bytes, {FILE_BYTES_MAX} allowed; let ./test fetch or make it",
            file.byte_count
        );
        Finding::new(&file.path, 1, what)
    };
    large.map(finding).collect()
}

/// No absolute path into a home, work or temporary folder, outside tests.
pub fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let folders = ["root", "home", "work", "tmp", "Users"].map(|name| format!("/{name}/"));
    let mut findings = Vec::new();
    let read = |file: &&File| !file.is_test && !is_training_text(&file.path);
    for file in tree.files.iter().filter(read) {
        let source = file.source.as_ref().and_then(|source| source.as_ref().ok());
        for (index, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
            if source.is_some_and(|source| source.is_test_line(index + 1)) {
                continue;
            }
            for folder in folders.iter().filter(|folder| starts_path(line, folder)) {
                let what = format!("a path of one machine ({folder}); make it relative");
                findings.push(Finding::new(&file.path, index + 1, what));
            }
        }
    }
    findings
}

/// The modules of `tests/it/main.rs` are the one integration binary of a crate: each further
/// binary links the whole crate once more.
pub fn integration_binaries(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let parts: Vec<&str> = file.path.split('/').collect();
        let binary = match parts[..] {
            ["crates", _, "tests", name] => name.ends_with(".rs"),
            ["crates", _, "tests", folder, "main.rs"] => folder != "it",
            _ => false,
        };
        if binary {
            let what = "a second integration test binary; make it a module of tests/it/main.rs";
            findings.push(Finding::new(&file.path, 1, what));
        }
    }
    findings
}

/// Whether an absolute path starting with `folder` stands in the line, and not a longer path or
/// an address that merely contains it.
fn starts_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !['_', '-', '.', '/', '}', '>'].contains(&c))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    #[test]
    fn large_files_are_found() {
        let mut tree = Tree::of(&[("a.gguf", ""), ("b.gguf", "")]);
        tree.files[0].byte_count = FILE_BYTES_MAX;
        tree.files[1].byte_count = FILE_BYTES_MAX + 1;
        let found: Vec<String> = large_files(&tree).into_iter().map(|f| f.path).collect();
        assert_eq!(found, ["b.gguf"]);
    }

    #[test]
    fn machine_paths_are_found_outside_tests() {
        let line = |name: &str| format!("ok\nopen(\"/{name}/x\")\n");
        for name in ["root", "home", "work", "tmp", "Users"] {
            assert_eq!(fires(machine_paths, &[("a.py", &line(name))]), ["a.py:2"]);
            assert!(fires(machine_paths, &[("crates/a/tests/it/a.rs", &line(name))]).is_empty());
        }
        let inner = format!("#[cfg(test)]\nmod tests {{\n// /{}/x\n}}\n// /{0}/y\n", "tmp");
        assert_eq!(fires(machine_paths, &[("a.rs", &inner)]), ["a.rs:5"]);
    }

    #[test]
    fn longer_paths_and_addresses_are_free() {
        let good = format!("see https://example.org/{0}/x and docs/{0}/y and ../{0}/z\n", "work");
        assert!(fires(machine_paths, &[("a.md", &good)]).is_empty());
    }

    #[test]
    fn a_second_test_binary_is_found() {
        let bad = [("crates/a/tests/more.rs", ""), ("crates/b/tests/other/main.rs", "")];
        assert_eq!(fires(integration_binaries, &bad).len(), 2);
        let good = [("crates/a/tests/it/main.rs", ""), ("crates/a/tests/it/more.rs", "")];
        assert!(fires(integration_binaries, &good).is_empty());
    }
}
