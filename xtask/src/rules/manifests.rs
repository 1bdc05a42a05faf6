//! Rule group: what manifests say.
//!
//! Owns the demands that versions, lints and reasons stand in the root manifest, and that a
//! dependency is used by the crate that declares it. Which of our crates may use which is not its
//! matter, but that of `edges`. Start reading at `reasons`.

use super::Finding;
use crate::source::Kind;
use crate::tree::{Member, Tree, line_of_key};

const ROOT: &str = "Cargo.toml";
const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Every third-party dependency has a comment on its line or on the line above.
pub fn reasons(tree: &Tree) -> Vec<Finding> {
    let text = tree.text(ROOT).unwrap_or_default();
    let Ok(root) = text.parse::<toml::Table>() else { return Vec::new() };
    let table = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (name, value) in table.and_then(|table| table.as_table()).into_iter().flatten() {
        let line = line_of_key(text, "workspace.dependencies", name);
        let commented =
            |number: usize| lines.get(number - 1).is_some_and(|text| text.contains('#'));
        let above = line > 1 && lines[line - 2].trim_start().starts_with('#');
        if value.get("path").is_none() && !commented(line) && !above {
            let what = format!("{name} has no comment; say what it does for our user");
            findings.push(Finding::new(ROOT, line, what));
        }
    }
    findings
}

/// Members say `workspace = true` for lints, package fields and dependencies.
pub fn inherit(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in tree.members() {
        let manifest = match &member.manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                let what = format!("cannot be read ({error}); correct it");
                findings.push(Finding::new(member.path, 1, what));
                continue;
            }
        };
        let inherits = |value: Option<&toml::Value>| {
            value.and_then(|value| value.get("workspace")) == Some(&toml::Value::Boolean(true))
        };
        if !inherits(manifest.get("lints")) {
            let what = "does not inherit the lints; add `[lints]` with `workspace = true`";
            findings.push(Finding::new(member.path, 1, what));
        }
        let package = manifest.get("package");
        for field in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits(package.and_then(|package| package.get(field))) {
                let line = line_of_key(member.text, "package", field);
                let what = format!("write `{field}.workspace = true`");
                findings.push(Finding::new(member.path, line, what));
            }
        }
        if package.and_then(|p| p.get("name")?.as_str()) != Some(member.name) {
            let line = line_of_key(member.text, "package", "name");
            let what = format!("the crate is not named after its folder; name it {}", member.name);
            findings.push(Finding::new(member.path, line, what));
        }
        for (section, name) in declared(&member) {
            if !inherits(manifest.get(section).and_then(|table| table.get(name))) {
                let line = line_of_key(member.text, section, name);
                let what = format!("{name} has its own version; write `{name}.workspace = true`");
                findings.push(Finding::new(member.path, line, what));
            }
        }
    }
    findings
}

/// A dependency is named by the code it is declared for.
pub fn unused(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in tree.members() {
        for (section, name) in declared(&member) {
            let word = name.replace('-', "_");
            let used = tree.rust().any(|rust| {
                let Some(inside) = rust.path.strip_prefix(member.folder) else { return false };
                let for_tests = section == "dev-dependencies";
                let in_section = match section {
                    "build-dependencies" => inside == "/build.rs",
                    "dependencies" => inside.starts_with("/src/"),
                    _ => inside.starts_with('/'),
                };
                let counts = |index: &usize| for_tests || !rust.is_test_token(*index);
                in_section && mentions(&rust, &word).iter().any(counts)
            });
            if !used {
                let line = line_of_key(member.text, section, name);
                let what = match section {
                    "dependencies" => format!(
                        "{name} is not used outside tests; remove it or move it to \
                         dev-dependencies"
                    ),
                    _ => format!("{name} is not used; remove it"),
                };
                findings.push(Finding::new(member.path, line, what));
            }
        }
    }
    findings
}

/// Token indices where `word` names a crate: before `::`, or after `use`.
fn mentions(rust: &crate::tree::Rust<'_>, word: &str) -> Vec<usize> {
    let tokens = &rust.source.tokens;
    let named = |&index: &usize| {
        let after = |offset: usize| tokens.get(index + offset).map(|token| token.text.as_str());
        let before = index.checked_sub(1).map(|index| &tokens[index]);
        let imported = before.is_some_and(|t| t.kind == Kind::Word && t.text == "use");
        imported || (after(1) == Some(":") && after(2) == Some(":"))
    };
    rust.source.find(&[word]).into_iter().filter(named).collect()
}

fn declared<'a>(member: &'a Member<'_>) -> Vec<(&'static str, &'a str)> {
    let Ok(manifest) = &member.manifest else { return Vec::new() };
    let names = |section| {
        let table = manifest.get(section).and_then(|value: &toml::Value| value.as_table());
        table.into_iter().flat_map(|table| table.keys()).map(move |key| (section, key.as_str()))
    };
    SECTIONS.into_iter().flat_map(names).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    const GOOD: &str = concat!(
        "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n",
        "rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n",
        "[lints]\nworkspace = true\n",
        "[dependencies]\nrand-core.workspace = true\n",
        "[dev-dependencies]\ninsta = { workspace = true, features = [\"json\"] }\n",
    );

    #[test]
    fn dependencies_have_reasons() {
        let root = concat!(
            "[workspace.dependencies]\n",
            "ours = { path = \"crates/ours\" }\n",
            "half = \"2\" # converts exactly\n",
            "# every core works\nrayon = \"1\"\n",
            "serde = \"1\"\n",
        );
        assert_eq!(fires(reasons, &[(ROOT, root)]), ["Cargo.toml:6"]);
    }

    #[test]
    fn members_inherit() {
        let path = "crates/a/Cargo.toml";
        assert!(fires(inherit, &[(path, GOOD)]).is_empty());
        let lints = GOOD.replace("[lints]", "[lint]");
        assert_eq!(fires(inherit, &[(path, &lints)]), ["crates/a/Cargo.toml:1"]);
        let version = GOOD.replace("version.workspace = true\ne", "version = \"1\"\ne");
        assert_eq!(fires(inherit, &[(path, &version)]), ["crates/a/Cargo.toml:3"]);
        let own = GOOD.replace("rand-core.workspace = true", "rand-core = \"0.9\"");
        assert_eq!(fires(inherit, &[(path, &own)]), ["crates/a/Cargo.toml:11"]);
        let name = GOOD.replace("\"a\"", "\"b\"");
        assert_eq!(fires(inherit, &[(path, &name)]), ["crates/a/Cargo.toml:2"]);
        assert_eq!(fires(inherit, &[(path, "[package\n")]), ["crates/a/Cargo.toml:1"]);
    }

    fn unused_with(library: &str, test: &str) -> Vec<String> {
        let library = ("crates/a/src/lib.rs", library);
        fires(
            unused,
            &[("crates/a/Cargo.toml", GOOD), library, ("crates/a/tests/it/main.rs", test)],
        )
    }

    #[test]
    fn used_dependencies_are_free() {
        let test = "fn t() { insta::assert_snapshot!(\"\"); }\n";
        assert!(unused_with("use rand_core::Rng;\n", test).is_empty());
        assert!(unused_with("fn f() { rand_core::fill(); }\n", test).is_empty());
    }

    #[test]
    fn unused_dependencies_are_found() {
        let test_only = "#[cfg(test)]\nmod tests { use rand_core::Rng; }\n";
        let test = "use insta;\n";
        assert_eq!(unused_with(test_only, test), ["crates/a/Cargo.toml:11"]);
        assert_eq!(
            unused_with("// rand_core::x\nfn rand_core() {}\n", test),
            ["crates/a/Cargo.toml:11"]
        );
        assert_eq!(unused_with("use rand_core;\n", ""), ["crates/a/Cargo.toml:13"]);
    }
}
