//! Rule group: the arrows between our crates.
//!
//! Owns the reading of the drawing in ARCHITECTURE.md and its comparison with the manifests. The
//! drawing is a fenced block opened by three backticks and the word `crates`, one line per crate:
//! its level, its name, an arrow, and the crates it uses. The picture a person reads and the one
//! the compiler obeys are thus the same. Start reading at `edges`.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::tree::{Member, Tree, line_of_key};

const DRAWING: &str = "ARCHITECTURE.md";

#[derive(Debug, Default)]
struct Drawn {
    line: usize,
    level: u32,
    uses: BTreeSet<String>,
}

/// Manifests and drawing agree, and every arrow leads to a lower level.
pub fn edges(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let drawing = read_drawing(tree, &mut findings);
    let names: Vec<&str> = tree.members().map(|member| member.name).collect();
    for (name, drawn) in &drawing {
        if !names.contains(&name.as_str()) {
            let what = format!("crate {name} is drawn but does not exist; remove its line");
            findings.push(Finding::new(DRAWING, drawn.line, what));
        }
        findings.extend(drawn.uses.iter().filter_map(|used| climbs(&drawing, name, drawn, used)));
    }
    for member in tree.members() {
        match drawing.get(member.name) {
            Some(drawn) => compare(&member, drawn, &names, &mut findings),
            None => {
                let what = format!("crate {} is not drawn; add its line", member.name);
                findings.push(Finding::new(DRAWING, 1, what));
            }
        }
    }
    findings
}

fn climbs(
    drawing: &BTreeMap<String, Drawn>,
    name: &str,
    drawn: &Drawn,
    used: &str,
) -> Option<Finding> {
    let what = match drawing.get(used) {
        None => format!("{name} uses {used}, which is not drawn; add a line for {used}"),
        Some(below) if below.level >= drawn.level => format!(
            "{name} (level {}) may not use {used} (level {}); arrows lead to lower levels only",
            drawn.level, below.level
        ),
        Some(_) => return None,
    };
    Some(Finding::new(DRAWING, drawn.line, what))
}

fn compare(member: &Member<'_>, drawn: &Drawn, names: &[&str], findings: &mut Vec<Finding>) {
    // A manifest that cannot be read is reported by the rule `inherit`.
    let Ok(manifest) = &member.manifest else { return };
    let ours = |section: &str| -> BTreeSet<String> {
        let table = manifest.get(section).and_then(|value| value.as_table());
        let keys = table.into_iter().flat_map(|table| table.keys().cloned());
        keys.filter(|key| names.contains(&key.as_str())).collect()
    };
    let declared = ours("dependencies");
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for used in ours(section).difference(&drawn.uses) {
            let what = format!(
                "{} uses {used}, which is not drawn in {DRAWING}; remove it, or draw the arrow",
                member.name
            );
            let line = line_of_key(member.text, section, used);
            findings.push(Finding::new(member.path, line, what));
        }
    }
    for used in drawn.uses.iter().filter(|used| names.contains(&used.as_str())) {
        if !declared.contains(used) {
            let what = format!(
                "{} -> {used} is drawn but {} does not depend on it; erase the arrow",
                member.name, member.path
            );
            findings.push(Finding::new(DRAWING, drawn.line, what));
        }
    }
}

fn read_drawing(tree: &Tree, findings: &mut Vec<Finding>) -> BTreeMap<String, Drawn> {
    let text = tree.text(DRAWING).unwrap_or_default();
    let mut drawing = BTreeMap::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line.trim_end() == "```crates";
        } else if inside {
            match read_line(line) {
                Some((name, drawn)) => {
                    drop(drawing.insert(name, Drawn { line: index + 1, ..drawn }))
                }
                None => {
                    let what = "not of the form `level crate -> crate crate ...`; correct it";
                    findings.push(Finding::new(DRAWING, index + 1, what));
                }
            }
        }
    }
    if drawing.is_empty() {
        let what = "no drawing of the crates; add a block ```crates with a line per crate";
        findings.push(Finding::new(DRAWING, 1, what));
    }
    drawing
}

fn read_line(line: &str) -> Option<(String, Drawn)> {
    let (left, right) = line.split_once("->")?;
    let (level, name) = left.trim().split_once(' ')?;
    let uses = right.split_whitespace().map(str::to_owned).collect();
    Some((name.trim().to_owned(), Drawn { line: 0, level: level.parse().ok()?, uses }))
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    const GGUF: (&str, &str) =
        ("crates/gguf/Cargo.toml", "[dependencies]\nhalf.workspace = true\n");
    const BACKEND: (&str, &str) =
        ("crates/backend/Cargo.toml", "[dependencies]\nhalf = \"2\"\ngguf.workspace = true\n");

    fn with_drawing<'a>(lines: &'a str, manifests: &[(&'a str, &'a str)]) -> Vec<String> {
        let mut files = vec![("ARCHITECTURE.md", lines)];
        files.extend(manifests);
        fires(edges, &files)
    }

    #[test]
    fn drawing_and_manifests_agree() {
        let drawing = "# Map\n```crates\n1  backend -> gguf\n0  gguf ->\n```\n";
        assert!(with_drawing(drawing, &[GGUF, BACKEND]).is_empty());
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found_in_its_manifest() {
        let drawing = "```crates\n1 backend ->\n0 gguf ->\n```\n";
        assert_eq!(with_drawing(drawing, &[GGUF, BACKEND]), ["crates/backend/Cargo.toml:3"]);
        let tests_only = ("crates/backend/Cargo.toml", "[dev-dependencies]\ngguf = {}\n");
        assert_eq!(with_drawing(drawing, &[GGUF, tests_only]), ["crates/backend/Cargo.toml:2"]);
    }

    #[test]
    fn an_arrow_that_is_only_drawn_is_found_in_the_drawing() {
        let drawing = "```crates\n1 backend -> gguf\n0 gguf ->\n```\n";
        let lonely = ("crates/backend/Cargo.toml", "[dev-dependencies]\ngguf = {}\n");
        assert_eq!(with_drawing(drawing, &[GGUF, lonely]), ["ARCHITECTURE.md:2"]);
    }

    #[test]
    fn arrows_up_and_sideways_are_found() {
        let sideways = "```crates\n1 backend -> gguf\n1 gguf ->\n```\n";
        assert_eq!(with_drawing(sideways, &[GGUF, BACKEND]), ["ARCHITECTURE.md:2"]);
        let up = "```crates\n1 backend -> gguf\n2 gguf ->\n```\n";
        assert_eq!(with_drawing(up, &[GGUF, BACKEND]), ["ARCHITECTURE.md:2"]);
    }

    #[test]
    fn crates_missing_on_either_side_are_found() {
        let drawing = "```crates\n0 gguf ->\n1 ghost -> gguf\nscribble\n```\n";
        let found = with_drawing(drawing, &[GGUF, BACKEND]);
        assert_eq!(found, ["ARCHITECTURE.md:1", "ARCHITECTURE.md:3", "ARCHITECTURE.md:4"]);
        assert_eq!(with_drawing("no drawing\n", &[]), ["ARCHITECTURE.md:1"]);
    }
}
