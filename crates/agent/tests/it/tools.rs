//! What each tool does, and where its limits are.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use agent::event::Shown;
use agent::tools::Stop;
use serde_json::json;

use crate::site::{Site, map};

#[test]
fn read_numbers_lines_and_says_how_to_go_on() {
    let site = Site::new();
    site.put("a.txt", "one\ntwo\nthree\n");
    assert_eq!(site.call("read", json!({"path": "a.txt"})).text, "1\tone\n2\ttwo\n3\tthree");
    let part = site.call("read", json!({"path": "a.txt", "start_line": 2, "max_lines": "1"}));
    assert_eq!(part.text, "2\ttwo\n[lines 2-2 of 3; go on with start_line 3]");
    site.put("empty", "");
    assert_eq!(site.call("read", json!({"path": "empty"})).text, "[empty is empty]");
}

#[test]
fn read_says_what_is_wrong() {
    let site = Site::new();
    site.put("binary", b"\x7fELF\0\0\0");
    site.put("a.txt", "one\n");
    let rows = [
        (json!({"path": "none"}), "none: there is no such file"),
        (json!({"path": "binary"}), "binary: a binary file of 7 bytes; only text can be read"),
        (json!({"path": "."}), "this is a folder, not a file"),
        (json!({"path": "a.txt", "start_line": 9}), "a.txt has 1 lines; start_line 9 is behind"),
        (json!({"path": "a.txt", "max_lines": 0}), "a whole number from 1 to"),
        (json!({"file": "a.txt"}), "the argument `path` is missing; given were: file"),
        (json!({"path": ""}), "the path is empty"),
        (json!({"path": "a\0b"}), "this is no path"),
    ];
    for (arguments, expected) in rows {
        let outcome = site.call("read", arguments.clone());
        assert!(outcome.failed && outcome.text.contains(expected), "{arguments}: {outcome:?}");
    }
}

#[test]
fn results_are_bounded_by_the_context() {
    for tokens in [8_000, 100_000] {
        let site = Site::of(tokens, false);
        let max = site.place.limits().result_bytes;
        let room = max + 500; // what says that it was cut
        site.put("lines", "some words on a line\n".repeat(50_000));
        site.put("long", "x".repeat(3 << 20));
        for index in 0..1500 {
            site.put(&format!("many/{index:04}-{}", "n".repeat(100)), "");
        }
        for (tool, arguments) in [
            ("read", json!({"path": "lines", "max_lines": 50_000})),
            ("read", json!({"path": "long"})),
            ("list", json!({"path": "many"})),
            ("search", json!({"query": "words", "max_results": 1000})),
            ("search", json!({"query": "x", "path": "long"})),
            ("bash", json!({"command": "cat lines long"})),
        ] {
            let outcome = site.call(tool, arguments.clone());
            assert!(!outcome.failed, "{arguments}: {}", outcome.text);
            assert!(outcome.text.len() <= room, "{arguments}: {}", outcome.text.len());
            assert!(outcome.text.contains('['), "{arguments} does not say that it was cut");
        }
    }
}

#[test]
fn reading_goes_on_where_it_was_cut() {
    let site = Site::of(8_000, false);
    let text: String = (1..=1000).map(|n| format!("line {n} of the file\n")).collect();
    site.put("a.txt", &text);
    let (mut start, mut all, mut calls) = (1, String::new(), 0);
    loop {
        let part = site.call("read", json!({"path": "a.txt", "start_line": start})).text;
        calls += 1;
        for line in part.lines().filter(|line| !line.starts_with('[')) {
            all.push_str(line.split_once('\t').unwrap().1);
            all.push('\n');
        }
        match part.rsplit_once("start_line ") {
            Some((_, next)) => start = next.trim_end_matches(']').parse().unwrap(),
            None => break,
        }
    }
    assert_eq!(all, text);
    assert!(calls > 3, "{calls}");
}

#[test]
fn write_makes_folders_and_keeps_the_mode() {
    let site = Site::new();
    let made = site.call("write", json!({"path": "new/deep/a.sh", "content": "echo hi\n"}));
    assert_eq!(made.text, "made new/deep/a.sh: 1 lines, 8 bytes");
    let path = site.tree().join("new/deep/a.sh");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
    let replaced = site.call("write", json!({"path": "new/deep/a.sh", "content": "echo ho\n"}));
    assert!(replaced.text.starts_with("replaced new/deep/a.sh"), "{}", replaced.text);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o751);
    let expected =
        Shown::Change { path, before: Some("echo hi\n".to_owned()), after: "echo ho\n".to_owned() };
    assert_eq!(replaced.shown, expected);
    let names: Vec<_> = std::fs::read_dir(site.tree().join("new/deep")).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing else is left there");
    let folder = site.call("write", json!({"path": "new", "content": "x"}));
    assert!(folder.failed && folder.text.contains("folder"), "{}", folder.text);
    let under = site.call("write", json!({"path": "new/deep/a.sh/b", "content": "x"}));
    assert!(under.failed && under.text.contains("nothing was changed"), "{}", under.text);
}

#[test]
fn edit_changes_one_place() {
    let site = Site::new();
    site.put("a.rs", "fn a() {}\nfn b() {}\n");
    let edit =
        |old: &str, new: &str| site.call("edit", json!({"path": "a.rs", "old": old, "new": new}));
    assert_eq!(edit("fn b() {}", "fn b() { a() }").text, "changed a.rs at line 2");
    assert_eq!(site.get("a.rs"), "fn a() {}\nfn b() { a() }\n");
    let twice = edit("fn ", "pub fn ");
    assert!(twice.failed && twice.text.contains("2 times, at the lines 1, 2"), "{}", twice.text);
    site.put("latin", b"caf\xe9\n");
    let latin = site.call("edit", json!({"path": "latin", "old": "caf", "new": "x"}));
    assert!(latin.failed && latin.text.contains("no UTF-8 text"), "{}", latin.text);
}

#[test]
fn an_edit_that_cannot_work_is_noticed_while_it_is_sampled() {
    let site = Site::new();
    site.put("a.rs", "fn a() {}\n");
    let glance = |begun: &str| site.tool("edit").glance(begun);
    assert_eq!(glance(""), None);
    assert_eq!(glance(r#"{"path": "a.r"#), None);
    assert_eq!(glance(r#"{"path": "a.rs", "old": "fn b"#), None, "it may still become right");
    assert_eq!(glance(r#"{"path": "a.rs", "old": "fn a", "new": "pub"#), None);
    assert_eq!(glance(r#"{"path": "a.rs", "old": "fn a", "new": "pub fn"#), None);
    let none = glance(r#"{"path": "b.rs", "#).unwrap();
    assert!(none.contains("there is no such file"), "{none}");
    let wrong = glance(r#"{"path": "a.rs", "old": "fn c() {}", "new": "x"#).unwrap();
    assert!(wrong.contains("old was not found"), "{wrong}");
    // Nothing is said about files outside of the tree before somebody was asked.
    assert_eq!(glance(r#"{"path": "../outside/none", "old": "x", "new": ""#), None);
    assert_eq!(glance(r#"{"path": "../outside/secret.txt", "old": "x", "new": ""#), None);
}

#[test]
fn list_shows_what_things_are() {
    let site = Site::new();
    site.put("b.txt", "12345");
    site.put("a/inner", "");
    std::os::unix::fs::symlink("b.txt", site.tree().join("link")).unwrap();
    assert_eq!(site.call("list", json!({})).text, "a/\nb.txt 5\nlink@");
    let file = site.call("list", json!({"path": "b.txt"}));
    assert!(file.failed, "{}", file.text);
}

#[test]
fn search_is_literal_unless_told_otherwise() {
    let site = Site::new();
    site.put("src/a.rs", "let x = f(1);\nlet y = F(2);\n");
    site.put("src/b.py", "f(1)\n");
    site.put("target/c.rs", "f(1)\n");
    site.put(".gitignore", "target/\n");
    site.put(".git/config", "f(1)\n");
    site.put("binary", b"f(1)\0f(1)\n");
    let search = |arguments| site.call("search", arguments).text;
    assert_eq!(search(json!({"query": "f(1)"})), "src/a.rs:1:let x = f(1);\nsrc/b.py:1:f(1)");
    assert_eq!(
        search(json!({"query": "f(2)", "glob": "*.rs", "context": 1})),
        "src/a.rs-1-let x = f(1);\nsrc/a.rs:2:let y = F(2);"
    );
    assert_eq!(search(json!({"query": "f(2)", "case_sensitive": true})), "[no matches]");
    assert_eq!(search(json!({"query": "^f.1", "mode": "regex"})), "src/b.py:1:f(1)");
    assert_eq!(search(json!({"query": "f(1)", "glob": "src/*.py"})), "src/b.py:1:f(1)");
    assert_eq!(search(json!({"query": "f(1)", "path": "src/b.py"})), "src/b.py:1:f(1)");
    let one = search(json!({"query": "f(1)", "max_results": 1}));
    assert!(one.starts_with("src/a.rs:1:") && one.contains("[the first 1 matches"), "{one}");
    for (arguments, expected) in [
        (json!({"query": ""}), "1 to 4096 bytes"),
        (json!({"query": "f(", "mode": "regex"}), "unclosed group"),
        (json!({"query": "f", "mode": "fuzzy"}), "literal or regex"),
        (json!({"query": "f", "glob": "[a"}), "unclosed character class"),
        (json!({"query": "f", "path": "none"}), "no such file or folder"),
    ] {
        let outcome = site.call("search", arguments.clone());
        assert!(outcome.failed && outcome.text.contains(expected), "{arguments}: {outcome:?}");
    }
}

#[test]
fn bash_tells_output_and_end() {
    let site = Site::new();
    let done = site.shell("echo out; echo err >&2; pwd");
    let tree = site.tree().display();
    assert_eq!(done.text, format!("out\nerr\n{tree}\n[done, exit code 0]"));
    let failed = site.shell("exit 7");
    assert!(failed.failed && failed.text == "[exit code 7]", "{failed:?}");
    assert_eq!(site.shell("read x; echo \"<$x>\"; tty").text.lines().next(), Some("<>"));
    let long = site.shell("seq 1 100000");
    assert!(long.text.starts_with("1\n2\n3\n"), "{}", &long.text[..100]);
    assert!(long.text.ends_with("99999\n100000\n[done, exit code 0]"));
    let (_, rest) = long.text.split_once("all of it is in ").unwrap();
    let (path, _) = rest.split_once(':').unwrap();
    let whole = site.call("read", json!({"path": path, "start_line": 50_000, "max_lines": 1}));
    assert!(whole.text.starts_with("50000\t50000\n"), "{}", whole.text);
}

#[test]
fn what_was_left_behind_is_bounded() {
    let site = Site::new();
    let outputs = site.place.outputs();
    for index in 0..150 {
        std::fs::write(outputs.join(format!("{index}.txt")), "x").unwrap();
    }
    let large = std::fs::File::create(outputs.join("large.txt")).unwrap();
    large.set_len(600 << 20).unwrap(); // holes take no room
    site.shell("echo x");
    assert!(std::fs::read_dir(&outputs).unwrap().count() <= 100);
    assert!(!outputs.join("large.txt").exists());

    let temporary = site.place.temporary();
    let days = |days: u64| std::time::SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    for (name, age) in [("old/inner", 4), ("new/inner", 2)] {
        let path = temporary.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        let folder = std::fs::File::open(path.parent().unwrap()).unwrap();
        folder.set_modified(days(age)).unwrap();
    }
    let link = temporary.join("link");
    std::os::unix::fs::symlink(site.beside("outside"), &link).unwrap();
    let places = agent::workplace::Places {
        tree: site.tree().to_owned(),
        data: site.place.data().to_owned(),
        home: None,
        context_tokens: 1000,
    };
    agent::workplace::Workplace::open(places).unwrap();
    assert!(!temporary.join("old").exists() && temporary.join("new/inner").exists());
    assert!(site.beside("outside/secret.txt").exists());
}

#[test]
fn titles_are_one_line_that_is_not_long() {
    let site = Site::new();
    let long = "echo words\n".repeat(1000);
    let plan = site.plan("bash", json!({"command": long})).unwrap();
    assert!(plan.title.len() < 210 && !plan.title.contains('\n'), "{}", plan.title);
    assert_eq!(plan.detail, Shown::Text(long));
}

#[test]
fn bash_is_bash_where_there_is_one() {
    let site = Site::new();
    let outcome = site.shell("echo $0; a=(1 2); [[ ${a[1]} == 2 ]] && echo yes");
    if std::path::Path::new("/bin/bash").exists() {
        assert_eq!(outcome.text, "/bin/bash\nyes\n[done, exit code 0]");
    } else {
        assert!(outcome.text.starts_with("sh\n"), "{}", outcome.text);
    }
}

#[test]
fn commands_end_with_all_that_they_started() {
    let site = Site::new();
    let started = Instant::now();
    let outcome = site.call(
        "bash",
        json!({
            "command": "sleep 300 & echo $! > pid; sleep 300", "timeout_sec": 1
        }),
    );
    assert!(outcome.failed && outcome.text.contains("[ended after 1 s"), "{}", outcome.text);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_gone(&site.get("pid"));
    // What is left behind by one that ends by itself goes too.
    let outcome = site.shell("sleep 300 & echo $! > pid2");
    assert_eq!(outcome.text, "[done, exit code 0]");
    assert_gone(&site.get("pid2"));
    // One that does not listen is ended all the same.
    let outcome = site.call(
        "bash",
        json!({
            "command": "trap '' TERM; echo $$ > pid3; while :; do sleep 1; done", "timeout_sec": 1
        }),
    );
    assert!(outcome.text.contains("[ended after 1 s"), "{}", outcome.text);
    assert_gone(&site.get("pid3"));
}

fn assert_gone(pid: &str) {
    let stat = format!("/proc/{}/stat", pid.trim());
    let until = Instant::now() + Duration::from_secs(10);
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    while lives() {
        assert!(Instant::now() < until, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_person_who_stops_a_command_does_not_wait() {
    let site = Site::new();
    let arguments = json!({"command": "echo begun; echo $$ > pid; sleep 300"});
    let plan = site.plan("bash", arguments.clone()).unwrap();
    let stop = Stop::default();
    let mut printed = String::new();
    let started = Instant::now();
    let outcome = site.tool("bash").run(
        &map(arguments),
        &plan,
        &mut |text| {
            printed.push_str(text);
            stop.stop();
        },
        &stop,
    );
    assert_eq!(printed, "begun\n");
    assert!(outcome.failed && outcome.text == "begun\n[stopped]", "{}", outcome.text);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_gone(&site.get("pid"));
}

#[test]
fn jobs_go_on_and_are_looked_after() {
    let site = Site::new();
    let begun = site.call(
        "bash",
        json!({
            "command": "echo $$ > pid; for i in 1 2 3; do echo tick $i; sleep 0.1; done; sleep 300",
            "refresh_sec": 0
        }),
    );
    assert!(!begun.failed && begun.text.contains("[job 1 runs since"), "{}", begun.text);
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let status = site.call("bash_status", json!({"job": 1}));
        if status.text.contains("tick 3") {
            assert!(status.text.contains("tick 1\ntick 2\n"), "{}", status.text);
            break;
        }
        assert!(Instant::now() < until, "{}", status.text);
    }
    let none = site.call("bash_status", json!({"job": 7}));
    assert!(none.failed && none.text.contains("no job 7; running are: 1"), "{}", none.text);
    let stopped = site.call("bash_stop", json!({"job": 1}));
    assert!(!stopped.failed && stopped.text.ends_with("[stopped]"), "{}", stopped.text);
    assert_gone(&site.get("pid"));
    // Whoever ends the agent ends its jobs.
    site.call("bash", json!({"command": "echo $$ > pid2; sleep 300", "refresh_sec": 1}));
    let pid = site.get("pid2");
    drop(site);
    assert_gone(&pid);
}

#[test]
fn who_prints_without_end_is_ended() {
    let site = Site::new();
    let outcome = site.shell("yes");
    assert!(outcome.failed && outcome.text.contains("more than 64 MiB"), "{}", outcome.text);
    assert!(outcome.text.len() < 64 << 10);
}

#[test]
fn a_command_that_daemonizes_keeps_nobody_waiting() {
    let site = Site::new();
    let started = Instant::now();
    let outcome = site.shell("setsid sleep 5 & echo done");
    assert_eq!(outcome.text, "done\n[done, exit code 0]");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}
