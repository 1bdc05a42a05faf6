//! Rule group: documents that must stay true and short.
//!
//! Owns the link between prose and tree: the room table has a row per crate, named paths exist,
//! the glossary is ordered and names things that are in the code. It judges no sentence. Start
//! reading at `rooms`.

use std::collections::HashSet;

use super::Finding;
use crate::tree::Tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const GLOSSARY: &str = "docs/glossary.md";
const DOCUMENTS: [&str; 4] = [ARCHITECTURE, "README.md", "STYLE.md", GLOSSARY];
const LINES_MAX: [(&str, usize); 3] = [(ARCHITECTURE, 250), ("README.md", 120), ("STYLE.md", 150)];

/// Every crate has a row in the room table, and every row a crate.
pub fn rooms(tree: &Tree) -> Vec<Finding> {
    let text = tree.text(ARCHITECTURE).unwrap_or_default();
    let rows: Vec<(usize, &str)> = section(text, "rooms")
        .filter_map(|(line, text)| Some((line, text.strip_prefix("| `")?.split_once('`')?.0)))
        .collect();
    let mut findings = Vec::new();
    for member in tree.members().filter(|member| member.folder != "xtask") {
        if !rows.iter().any(|&(_, name)| name == member.name) {
            let what = format!("crate {} has no row in the room table; add one", member.name);
            findings.push(Finding::new(ARCHITECTURE, 1, what));
        }
    }
    for (line, name) in rows {
        if !tree.members().any(|member| member.name == name) {
            let what = format!("there is no crate {name}; remove its row");
            findings.push(Finding::new(ARCHITECTURE, line, what));
        }
    }
    findings
}

/// Paths between backticks that lead into the tree exist, and five files are named to open first.
pub fn paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let text = tree.text(document).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            for path in line.split('`').skip(1).step_by(2).filter(|quoted| is_path(quoted)) {
                if !tree.contains(path) {
                    let what = format!("{path} does not exist; correct the path");
                    findings.push(Finding::new(document, index + 1, what));
                }
            }
        }
    }
    let text = tree.text(ARCHITECTURE).unwrap_or_default();
    let is_item = |line: &str| line.split_once(". `").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
    let items = section(text, "five files").filter(|(_, line)| is_item(line)).count();
    if items != 5 {
        let what = format!("the section on five files to open lists {items}; list five");
        findings.push(Finding::new(ARCHITECTURE, 1, what));
    }
    findings
}

/// Documents that are read whole stay short.
pub fn length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, lines_max) in LINES_MAX {
        match tree.text(path).map(|text| text.lines().count()) {
            Some(count) if count > lines_max => {
                let what = format!("{count} lines, {lines_max} promised; shorten it");
                findings.push(Finding::new(path, lines_max + 1, what));
            }
            Some(_) => {}
            None => findings.push(Finding::new(path, 1, "does not exist; write it")),
        }
    }
    findings
}

/// Terms stand in alphabetical order within a section, and their names exist in the code.
///
/// A row is `| term | symbol | code | meaning |`; the words between backticks in the third cell
/// must occur as names in Rust code, or as names of Rust files.
pub fn glossary(tree: &Tree) -> Vec<Finding> {
    let mut known: HashSet<&str> = HashSet::new();
    for rust in tree.rust().filter(|rust| rust.path.starts_with("crates/")) {
        known.extend(rust.source.tokens.iter().map(|token| token.text.as_str()));
        known.extend(rust.path.trim_end_matches(".rs").split('/'));
    }
    let mut findings = Vec::new();
    let mut previous = String::new();
    for (index, line) in tree.text(GLOSSARY).unwrap_or_default().lines().enumerate() {
        if line.starts_with('#') {
            previous.clear();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", term, _, code, .., ""] = cells[..] else { continue };
        if term == "term" || term.starts_with("--") {
            continue;
        }
        let term = term.replace('`', "").to_lowercase();
        if term < previous {
            let what = format!("{term} stands after {previous}; sort the section");
            findings.push(Finding::new(GLOSSARY, index + 1, what));
        }
        previous = term;
        for quoted in code.split('`').skip(1).step_by(2) {
            let words = quoted.split(|c: char| !c.is_alphanumeric() && c != '_');
            for word in words.filter(|word| !word.is_empty() && !known.contains(word)) {
                let what = format!("no code is named {word} (in `{quoted}`); correct the name");
                findings.push(Finding::new(GLOSSARY, index + 1, what));
            }
        }
    }
    findings
}

/// Whether a quoted text names a place in the tree (and not a pattern or a command).
fn is_path(quoted: &str) -> bool {
    let roots = ["crates/", "docs/", "xtask/", "testdata/", ".ci/", "fuzz/"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    roots.iter().any(|root| quoted.starts_with(root)) && quoted.chars().all(plain)
        || (quoted.ends_with(".md") && quoted.chars().all(plain))
}

/// Numbered lines of the section whose heading contains `name` (in any case).
fn section<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.starts_with('#') {
            inside = line.to_lowercase().contains(name);
        }
        inside.then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    #[test]
    fn crates_and_rows_match() {
        let manifests = [("crates/spec/Cargo.toml", ""), ("crates/gguf/Cargo.toml", "")];
        let table = "# Rooms\n| `spec` | facts |\n| `gguf` | files |\n# Else\n| `x` | y |\n";
        let with = |table| fires(rooms, &[(ARCHITECTURE, table), manifests[0], manifests[1]]);
        assert!(with(table).is_empty());
        assert_eq!(with("# Rooms\n| `spec` | facts |\n"), ["ARCHITECTURE.md:1"]);
        let ghost = table.replace("# Else", "| `ghost` | none |");
        assert_eq!(with(&ghost), ["ARCHITECTURE.md:4", "ARCHITECTURE.md:5"]);
    }

    #[test]
    fn named_paths_exist() {
        let five = "# Five files\n1. `STYLE.md`\n2. `a`\n3. `b`\n4. `c`\n5. `d`\n";
        assert!(fires(paths, &[(ARCHITECTURE, five), ("STYLE.md", "")]).is_empty());
        assert_eq!(fires(paths, &[(ARCHITECTURE, five)]), ["ARCHITECTURE.md:2"]);
        let four = five.replace("5. ", "- ");
        assert_eq!(fires(paths, &[(ARCHITECTURE, &four), ("STYLE.md", "")]), ["ARCHITECTURE.md:1"]);
        let readme = "See `docs/` and `crates/a/src/<family>/mod.rs`.\nAnd `crates/a/src/b.rs`.\n";
        let files =
            [(ARCHITECTURE, five), ("STYLE.md", ""), ("docs/a.md", ""), ("README.md", readme)];
        assert_eq!(fires(paths, &files), ["README.md:2"]);
    }

    #[test]
    fn long_and_absent_documents_are_found() {
        let long = "x\n".repeat(151);
        let files = [(ARCHITECTURE, "x\n"), ("STYLE.md", long.as_str())];
        assert_eq!(fires(length, &files), ["README.md:1", "STYLE.md:151"]);
    }

    #[test]
    fn the_glossary_is_ordered_and_real() {
        let code = ("crates/model/src/cache.rs", "struct Cache { window_rows: u32 }\n");
        let good = concat!(
            "## A\n\n| term | symbol | code | meaning |\n|---|---|---|---|\n",
            "| cache | | `Cache` in `cache` | x |\n| Window | W | `Cache::window_rows` | y |\n",
            "## B\n| bench | | | z |\n",
        );
        assert!(fires(glossary, &[(GLOSSARY, good), code]).is_empty());
        let order = good.replace("| cache |", "| zoo |");
        assert_eq!(fires(glossary, &[(GLOSSARY, &order), code]), ["docs/glossary.md:6"]);
        let name = good.replace("window_rows`", "window_tokens`");
        assert_eq!(fires(glossary, &[(GLOSSARY, &name), code]), ["docs/glossary.md:6"]);
    }
}
