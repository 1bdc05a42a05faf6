//! What may be done without asking, as a table; and what "always" allows.

use std::path::Path;
use std::sync::Arc;

use agent::event::Shown;
use agent::gate::{self, Gate};
use agent::permit::{Decision, Ground, Mode, Rule, Rules, command, decide};
use agent::tools::{Need, Plan};
use agent::warden::Warden;
use agent::workplace::{Places, Workplace};

fn plan(needs: Vec<Need>) -> Plan {
    Plan { title: String::new(), needs, detail: Shown::Text(String::new()) }
}

fn of(mode: Mode, rules: &Rules, needs: Vec<Need>) -> Decision {
    let ground = Ground {
        tree: Path::new("/w/tree"),
        data: Path::new("/w/data"),
        outputs: Path::new("/w/data/outputs"),
    };
    decide(mode, rules, &plan(needs), &ground)
}

/// One letter per mode: free, asked, denied; upper case where "always" is offered.
fn row(need: Need) -> String {
    let letter = |mode| match of(mode, &Rules::default(), vec![need.clone()]) {
        Decision::Allow => 'f',
        Decision::Ask { always, .. } if always.is_empty() => 'a',
        Decision::Ask { .. } => 'A',
        Decision::Deny(_) => 'd',
    };
    [Mode::Ask, Mode::AutoEdit, Mode::Full].map(letter).iter().collect()
}

#[test]
fn every_need_in_every_mode() {
    let read = |path: &str| Need::Read(path.into());
    let write = |path: &str| Need::Write(path.into());
    let rows = [
        (read("/w/tree/src/a.rs"), "fff"),
        (read("/w/tree"), "fff"),
        (read("/w/tree/.git/config"), "fff"),
        (read("/w/data/outputs/x.txt"), "fff"),
        (read("/w/data/rules.json"), "AAA"),
        (read("/w/tree2/a.rs"), "AAA"),
        (read("/etc/passwd"), "AAA"),
        (write("/w/tree/src/a.rs"), "Aff"),
        (write("/w/tree/.github/x.yml"), "Aff"),
        (write("/w/tree/.git/hooks/x"), "aaa"),
        (write("/w/tree/sub/.Git/config"), "aaa"),
        (write("/w/tree2/a.rs"), "AAA"),
        (write("/w/data/rules.json"), "ddd"),
        (write("/w/data/outputs/x.txt"), "ddd"),
        (Need::Run("cargo test".to_owned()), "AAf"),
        (Need::Reach("https://example.org/x".to_owned()), "AAf"),
        (Need::Ask("server".to_owned(), "tool".to_owned()), "AAf"),
    ];
    for (need, expected) in rows {
        assert_eq!(row(need.clone()), expected, "{need:?}");
    }
    assert_eq!(of(Mode::Ask, &Rules::default(), vec![]), Decision::Allow);
}

#[test]
fn several_needs_are_asked_for_at_once_and_the_strictest_counts() {
    let read = Need::Read("/etc/passwd".into());
    let run = Need::Run("ls -l".to_owned());
    let git = Need::Write("/w/tree/.git/x".into());
    let own = Need::Write("/w/data/x".into());
    let Decision::Ask { reason, always } =
        of(Mode::Ask, &Rules::default(), vec![read.clone(), run.clone()])
    else {
        panic!("it is free");
    };
    assert!(reason.contains("/etc/passwd") && reason.contains("; it runs a command"), "{reason}");
    assert_eq!(always.len(), 2);
    let Decision::Ask { always, .. } = of(Mode::Ask, &Rules::default(), vec![run.clone(), git])
    else {
        panic!("it is free");
    };
    assert!(always.is_empty(), "one of them is asked every time: {always:?}");
    assert!(matches!(of(Mode::Full, &Rules::default(), vec![run, own]), Decision::Deny(_)));
}

#[test]
fn what_is_offered_for_always() {
    let rows = [
        (Need::Run("cargo test -p x".to_owned()), "commands that begin with `cargo test`"),
        (Need::Run("ls".to_owned()), "commands that begin with `ls`"),
        (Need::Run("rm -rf x".to_owned()), "the command `rm -rf x`"),
        (Need::Run("cargo test; rm x".to_owned()), "the command `cargo test; rm x`"),
        (Need::Run("a\u{1b}[2J".to_owned()), "the command `a␛[2J`"),
        (Need::Reach("https://Example.org/x?y".to_owned()), "pages of https://example.org"),
        (Need::Ask("s".to_owned(), "t".to_owned()), "the tool t of s"),
        (Need::Write("/w/tree/a/b".into()), "changing files in /w/tree"),
        (Need::Write("/home/u/.profile".into()), "changing files in /home/u/.profile"),
        (Need::Read("/home/u/.profile".into()), "reading in /home/u/.profile"),
        (Need::Read("/home/u/lib/a".into()), "reading in /home/u/lib"),
    ];
    for (need, expected) in rows {
        let decision = of(Mode::Ask, &Rules::default(), vec![need.clone()]);
        assert_eq!(decision.always_line().as_deref(), Some(expected), "{need:?}");
        // And it allows what it was offered for.
        let Decision::Ask { always, .. } = decision else { unreachable!("it has a line") };
        assert_eq!(of(Mode::Ask, &Rules::new(always), vec![need.clone()]), Decision::Allow);
    }
}

#[test]
fn no_prefix_lets_other_commands_through() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    let rules = Rules::new(vec![
        Rule::CommandPrefix(words("cargo test")),
        Rule::CommandPrefix(words("ls")),
        Rule::Command("make; make install".to_owned()),
    ]);
    let is_free =
        |script: &str| of(Mode::Ask, &rules, vec![Need::Run(script.to_owned())]) == Decision::Allow;
    for free in [
        "cargo test",
        "cargo  test\t-p agent --test it",
        "cargo test -- 'a name with; signs'",
        "\"cargo\" test",
        "ls -la src/",
        "make; make install",
    ] {
        assert!(is_free(free), "{free}");
    }
    for asked in [
        "cargo",
        "cargo testx",
        "cargo tes t",
        "cargotest",
        "cargo test; rm -rf ~",
        "cargo test && rm x",
        "cargo test || rm x",
        "cargo test | sh",
        "cargo test & rm x",
        "cargo test\nrm x",
        "cargo test\rrm x",
        "cargo test > x",
        "cargo test >> x",
        "cargo test < x",
        "cargo test 2>&1",
        "cargo test $(rm x)",
        "cargo test `rm x`",
        "cargo test \"$(rm x)\"",
        "cargo test \"`rm x`\"",
        "cargo test $IFS",
        "cargo test ${x}",
        "cargo test \\\n x",
        "cargo test \"a\\\"; rm x\"",
        "cargo test (x)",
        "cargo test {a,b}",
        "cargo test *",
        "cargo test ~",
        "cargo test # x",
        "cargo test !x",
        "cargo test 'not closed",
        "RUSTC=evil cargo test",
        "FOO=x ls",
        "env ls",
        "sudo ls",
        "ls\u{a0}; x",
        "ls \u{0}",
        "make; make install; rm x",
        "make",
        "",
    ] {
        assert!(!is_free(asked), "{asked}");
    }
}

#[test]
fn prefixes_are_offered_for_programs_that_do_as_they_are_called_only() {
    let rows = [
        ("git status", Some("git status")),
        ("npm run build -- --fast", Some("npm run")),
        ("cat a b", Some("cat")),
        ("git -c core.pager=evil log", None),
        ("cargo --config x test", None),
        ("cargo", None),
        ("sh -c x", None),
        ("bash script.sh", None),
        ("python3 x.py", None),
        ("env ls", None),
        ("sudo ls", None),
        ("xargs ls", None),
        ("find . -delete", None),
        ("rm x", None),
        ("./ls", None),
        ("cat a | sh", None),
    ];
    for (script, expected) in rows {
        let prefix = command::prefix(script).map(|words| words.join(" "));
        assert_eq!(prefix.as_deref(), expected, "{script}");
    }
}

#[test]
fn hosts_are_compared_as_hosts() {
    let Some(rule) = Rule::of_address("https://example.org/page") else {
        panic!("it has a host");
    };
    let covers = |address: &str| rule.covers(&Need::Reach(address.to_owned()));
    assert!(covers("https://example.org") && covers("https://EXAMPLE.org/other?x#y"));
    for other in [
        "http://example.org/",
        "https://example.org.evil.net/",
        "https://example.org:8443/",
        "https://example.org@evil.net/",
        "https://evil.net/https://example.org/",
        "https://evil.net?https://example.org/",
    ] {
        assert!(!covers(other), "{other}");
    }
}

#[test]
fn nothing_is_remembered_where_commands_could_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = |tree: &str| {
        let places = Places {
            tree: folder.path().join(tree),
            data: folder.path().join("state/data"),
            home: None,
            context_tokens: 100_000,
        };
        Workplace::open(places).unwrap()
    };
    std::fs::create_dir(folder.path().join("tree")).unwrap();
    assert!(place("tree").rules().unwrap().ends_with("state/data/rules.json"));
    assert_eq!(place(".").rules(), None);
}

#[test]
fn rules_are_remembered_for_a_project() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().canonicalize().unwrap().join("rules.json");
    let mut rules = Rules::open(file.clone()).unwrap();
    assert!(rules.list().is_empty());
    let added = [
        Rule::CommandPrefix(vec!["cargo".to_owned(), "test".to_owned()]),
        Rule::Command("make \"x\"".to_owned()),
        Rule::Read("/etc/x".into()),
        Rule::ServerTool("s".to_owned(), "t".to_owned()),
    ];
    rules.allow(&added).unwrap();
    rules.allow(&added).unwrap();
    assert_eq!(Rules::open(file.clone()).unwrap().list(), added);
    for (text, expected) in [
        ("{", "EOF"),
        (r#"{"version": 2, "allow": []}"#, "version 2"),
        (r#"{"version": 1, "allow": [{"everything": true}]}"#, "unknown variant"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Rules::open(file.clone()).unwrap_err().to_string();
        assert!(error.contains("rules.json") && error.contains(expected), "{error}");
        assert!(error.contains("correct or remove it"), "{error}");
    }
}

/// A person who is asked about a command learns that nothing would keep it in.
#[test]
fn a_question_says_that_nothing_protects() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, data) = (folder.path().join("tree"), folder.path().join("data"));
    std::fs::create_dir(&tree).unwrap();
    let places = Places { tree, data, home: None, context_tokens: 8192 };
    let place = Arc::new(Workplace::open(places).unwrap());
    let reason = |protection: &str, need: Need| {
        let warden = Warden::new(place.clone(), Mode::Ask, protection.to_owned()).unwrap();
        match warden.decide("bash", &plan(vec![need])) {
            gate::Decision::Ask { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    };
    let run = || Need::Run("make".to_owned());
    assert_eq!(
        reason("none: switched off", run()),
        "it runs a command; nothing keeps it from other files and the network: switched off"
    );
    assert_eq!(reason("landlock+seccomp", run()), "it runs a command");
    let write = reason("none: switched off", Need::Write(place.tree().join("a")));
    assert_eq!(write, "it changes a", "tools of ours stay in the tree");
}
