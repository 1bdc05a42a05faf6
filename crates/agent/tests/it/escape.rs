//! Attempts to get out: by paths, by links, by commands, by what is shown.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use agent::event::Shown;
use agent::permit::{Decision, Mode, Rules};
use agent::tools::Need;
use serde_json::{Value, json};

use crate::site::Site;

/// Calls that reach outside of the tree, by every way that a path knows.
fn ways_out(site: &Site) -> Vec<(&'static str, Value)> {
    let outside = site.beside("outside");
    symlink(&outside, site.tree().join("folder_link")).unwrap();
    symlink(outside.join("secret.txt"), site.tree().join("file_link")).unwrap();
    symlink("../outside/new.txt", site.tree().join("dangling")).unwrap();
    symlink("folder_link", site.tree().join("link_to_link")).unwrap();
    fs::create_dir(site.tree().join("inner")).unwrap();
    let absolute = outside.join("secret.txt").display().to_string();
    let paths = [
        "../outside/secret.txt",
        "inner/../../outside/secret.txt",
        "folder_link/secret.txt",
        "folder_link/../outside/secret.txt",
        "link_to_link/secret.txt",
        "file_link",
        "dangling",
        "./folder_link/none/../secret.txt",
        "~/.ssh/key",
        &absolute,
    ];
    let mut calls = Vec::new();
    for path in paths {
        calls.push(("read", json!({"path": path})));
        calls.push(("write", json!({"path": path, "content": "x"})));
        calls.push(("edit", json!({"path": path, "old": "the", "new": "x"})));
        calls.push(("list", json!({"path": path})));
        calls.push(("search", json!({"query": "secret", "path": path})));
    }
    calls
}

#[test]
fn whatever_leads_outside_is_asked_for_in_every_mode() {
    let site = Site::new();
    for (tool, arguments) in ways_out(&site) {
        let plan = site.plan(tool, arguments.clone()).unwrap();
        for mode in [Mode::Ask, Mode::AutoEdit, Mode::Full] {
            let decision = site.place.decide(mode, &Rules::default(), &plan);
            let Decision::Ask { reason, .. } = decision else {
                panic!("{tool} {arguments} in {mode:?}: {decision:?}");
            };
            assert!(reason.contains("outside the working tree"), "{reason}");
        }
    }
    assert_eq!(fs::read_to_string(site.beside("outside/secret.txt")).unwrap(), "the secret\n");
}

#[test]
fn dots_and_links_inside_the_tree_stay_free() {
    let site = Site::new();
    site.put("a/b.txt", "text\n");
    symlink("a", site.tree().join("link")).unwrap();
    for path in ["a/../a/./b.txt", "link/b.txt", "link/../a/b.txt"] {
        let plan = site.plan("read", json!({"path": path})).unwrap();
        assert_eq!(plan.needs, [Need::Read(site.tree().join("a/b.txt"))], "{path}");
        let decision = site.place.decide(Mode::Ask, &Rules::default(), &plan);
        assert_eq!(decision, Decision::Allow);
    }
    symlink("circle", site.tree().join("circle")).unwrap();
    let circle = site.plan("read", json!({"path": "circle/x"})).unwrap_err();
    assert!(circle.contains("circles"), "{circle}");
}

#[test]
fn a_link_that_appears_after_the_decision_is_not_followed() {
    let swaps: [(&str, &str); 2] = [("inner", "inner/secret.txt"), ("secret.txt", "secret.txt")];
    for (swapped, path) in swaps {
        for (tool, arguments) in [
            ("read", json!({"path": path})),
            ("write", json!({"path": path, "content": "overwritten"})),
            ("edit", json!({"path": path, "old": "harmless", "new": "overwritten"})),
            ("list", json!({"path": "inner"})),
        ] {
            if tool == "list" && swapped != "inner" {
                continue;
            }
            let site = Site::new();
            site.put("inner/secret.txt", "harmless\n");
            site.put("secret.txt", "harmless\n");
            let plan = site.plan(tool, arguments.clone()).unwrap();
            assert_eq!(
                site.place.decide(Mode::AutoEdit, &Rules::default(), &plan),
                Decision::Allow
            );
            // Decided; now the place is taken by a link to the outside.
            let place = site.tree().join(swapped);
            fs::rename(&place, site.tree().join("moved")).unwrap();
            let target = match swapped {
                "inner" => site.beside("outside"),
                _ => site.beside("outside/secret.txt"),
            };
            symlink(target, &place).unwrap();
            let outcome = site.run(tool, arguments, &plan);
            assert!(outcome.failed, "{tool} {swapped}: {outcome:?}");
            assert!(!outcome.text.contains("the secret"), "{tool} {swapped}: {outcome:?}");
            let secret = fs::read_to_string(site.beside("outside/secret.txt")).unwrap();
            assert_eq!(secret, "the secret\n", "{tool} {swapped}");
        }
    }
}

#[test]
fn search_does_not_follow_links_out() {
    let site = Site::new();
    symlink(site.beside("outside"), site.tree().join("link")).unwrap();
    symlink(site.beside("outside/secret.txt"), site.tree().join("link.txt")).unwrap();
    assert_eq!(site.call("search", json!({"query": "secret"})).text, "[no matches]");
}

#[test]
fn neither_git_nor_the_agent_itself_is_changed_unasked() {
    let site = Site::new();
    let write = |path: &str| {
        let plan = site.plan("write", json!({"path": path, "content": "x"})).unwrap();
        site.place.decide(Mode::Full, &Rules::default(), &plan)
    };
    for path in [".git/hooks/post-commit", "sub/.GIT/config", ".git"] {
        let Decision::Ask { reason, always } = write(path) else {
            panic!("{path} is free");
        };
        assert!(reason.contains("belongs to git") && always.is_empty(), "{reason} {always:?}");
    }
    let rules = site.place.rules().unwrap();
    let Decision::Deny(why) = write(&rules.display().to_string()) else {
        panic!("the rules can be written");
    };
    assert!(why.contains("belongs to the agent itself"), "{why}");
    // Outputs may be read, nothing else of that folder.
    let outputs = site.place.outputs().join("x.txt").display().to_string();
    let plan = site.plan("read", json!({"path": outputs})).unwrap();
    let decision = site.place.decide(Mode::Ask, &Rules::default(), &plan);
    assert_eq!(decision, Decision::Allow);
}

#[test]
fn commands_write_in_the_tree_and_nowhere_else() {
    let Some(site) = Site::kept(false) else { return };
    let outside = site.beside("outside").display().to_string();
    assert!(!site.shell("echo fine > inside.txt && mkdir d && mv inside.txt d/").failed);
    assert_eq!(site.get("d/inside.txt"), "fine\n");
    assert!(!site.shell("echo x > $TMPDIR/x && rm $TMPDIR/x").failed);
    assert!(!site.shell("echo x > /dev/null").failed);
    for command in [
        format!("echo x > {outside}/new.txt"),
        format!("echo x >> {outside}/secret.txt"),
        format!("rm {outside}/secret.txt"),
        format!("mv {outside}/secret.txt ."),
        format!("ln {outside}/secret.txt hard && echo x >> hard"),
        format!("ln -s {outside} soft; echo x > soft/new.txt"),
        format!("truncate -s 0 {outside}/secret.txt"),
        format!("mkdir {outside}/folder"),
        format!("cp /bin/sh {outside}/sh"),
        "cd ..; echo x > new.txt".to_owned(),
        "echo x > ../data/rules.json".to_owned(),
        "(setsid sh -c 'echo x > ../new.txt'); test -e ../new.txt".to_owned(),
        "echo x > /proc/sys/kernel/hostname".to_owned(),
        "mount -t tmpfs none /mnt".to_owned(),
        "mknod device b 8 0".to_owned(),
        "mknod device c 1 3".to_owned(),
        "hostname owned".to_owned(),
    ] {
        let outcome = site.shell(&command);
        assert!(outcome.failed, "{command}: {}", outcome.text);
    }
    assert_eq!(fs::read_to_string(site.beside("outside/secret.txt")).unwrap(), "the secret\n");
    assert_eq!(fs::read_dir(site.beside("outside")).unwrap().count(), 1);
    assert!(!site.beside("new.txt").exists() && !site.beside("data/rules.json").exists());
}

#[test]
fn commands_read_no_keys() {
    let Some(site) = Site::kept(false) else { return };
    let (home, outside) = (site.beside("home"), site.beside("outside"));
    fs::write(home.join("notes.txt"), "notes\n").unwrap();
    symlink(home.join(".ssh"), home.join("link")).unwrap();
    for path in [".ssh/key", "link/key"] {
        let outcome = site.shell(&format!("cat {}/{path}", home.display()));
        assert!(outcome.failed && !outcome.text.contains("the key"), "{}", outcome.text);
    }
    assert!(site.shell(&format!("cat {}/notes.txt", home.display())).text.starts_with("notes\n"));
    let outside = site.shell(&format!("cat {}/secret.txt", outside.display()));
    assert!(outside.text.starts_with("the secret\n"), "the rest may be read: {}", outside.text);
}

/// What the agent keeps of this project and of others; outputs are there to be read.
#[test]
fn commands_read_nothing_of_other_projects() {
    let Some(site) = Site::kept(false) else { return };
    let data = site.beside("data");
    for (name, text) in [("undo/copy", "a copy"), ("rules.json", "{}"), ("outputs/1", "output")] {
        fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
        fs::write(data.join(name), text).unwrap();
    }
    for name in ["undo/copy", "rules.json"] {
        let outcome = site.shell(&format!("cat {}", data.join(name).display()));
        assert!(outcome.failed && outcome.text.contains("Permission denied"), "{}", outcome.text);
    }
    let outcome = site.shell(&format!("cat {}", data.join("outputs/1").display()));
    assert!(outcome.text.starts_with("output"), "{}", outcome.text);
    let outcome = site.shell("echo kept > $TMPDIR/x && cat $TMPDIR/x");
    assert!(outcome.text.starts_with("kept"), "{}", outcome.text);
}

#[test]
fn commands_reach_no_network_and_no_socket_of_this_machine() {
    let Some(site) = Site::kept(false) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let path = site.beside("outside/socket");
    let unix = UnixListener::bind(&path).unwrap();
    unix.set_nonblocking(true).unwrap();
    let path = path.display();
    let scripts = [
        format!("socket.create_connection(('127.0.0.1', {port}))"),
        format!(
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))"
        ),
        format!("socket.socket(socket.AF_INET6, socket.SOCK_STREAM).connect(('::1', {port}))"),
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(('127.0.0.1', 0))".to_owned(),
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)".to_owned(),
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)".to_owned(),
        "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)".to_owned(),
        format!("socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect('{path}')"),
        format!("socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '{path}')"),
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)".to_owned(),
    ];
    for script in scripts {
        let outcome = site.shell(&format!("python3 -c \"import socket; {script}\""));
        let refused = outcome.text.contains("Operation not permitted");
        assert!(outcome.failed && refused, "{script}: {}", outcome.text);
    }
    assert!(listener.accept().is_err() && unix.accept().is_err(), "somebody came through");
    let pair = site.shell("python3 -c \"import socket; socket.socketpair()\"");
    assert!(!pair.failed, "pairs lead nowhere: {}", pair.text);
}

#[test]
fn with_network_commands_reach_hosts_but_no_program_of_this_machine_by_its_socket() {
    let Some(site) = Site::kept(true) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("import socket; socket.create_connection(('127.0.0.1', {port}))");
    let outcome = site.shell(&format!("python3 -c \"{script}\""));
    assert!(!outcome.failed, "{}", outcome.text);
    let path = site.beside("outside/socket");
    let _unix = UnixListener::bind(&path).unwrap();
    let script =
        format!("import socket; socket.socket(socket.AF_UNIX).connect('{}')", path.display());
    assert!(site.shell(&format!("python3 -c \"{script}\"")).failed);
}

#[test]
fn commands_have_no_terminal_and_send_no_signals_out() {
    let Some(site) = Site::kept(false) else { return };
    assert!(site.shell("echo x > /dev/tty").failed);
    let this = std::process::id();
    let outcome = site.shell(&format!("kill -0 {this}"));
    assert!(outcome.failed && outcome.text.contains("not permitted"), "{}", outcome.text);
    for file in ["environ", "mem", "root/etc/hostname"] {
        let outcome = site.shell(&format!("head -c 1 /proc/{this}/{file}"));
        assert!(outcome.failed, "{file}: {}", outcome.text);
    }
    assert!(!site.shell("head -c 1 /proc/self/environ").failed, "their own they may read");
}

#[test]
fn restrictions_are_inherited_and_cannot_be_lifted() {
    let Some(site) = Site::kept(false) else { return };
    let confine = env!("CARGO_BIN_EXE_confine");
    let tree = site.beside("outside");
    // A second confinement adds to the first one, whatever it allows.
    let outcome = site.shell(&format!(
        "{confine} --restrict --write {} --network -- sh -c 'echo x > {}/new.txt'",
        tree.display(),
        tree.display()
    ));
    assert!(outcome.failed && !tree.join("new.txt").exists(), "{}", outcome.text);
    let status = site.shell("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status");
    assert!(status.text.contains("NoNewPrivs:\t1"), "{}", status.text);
    assert!(status.text.contains("Seccomp:\t2"), "{}", status.text);
}

#[test]
fn what_tools_give_to_the_screen_is_harmless() {
    let site = Site::new();
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}txt.exe\r\u{8}\u{0}";
    site.put("evil.txt", format!("text {evil}\nmore\n"));
    site.put("\u{1b}[31mname", "x");
    site.put("edit.txt", format!("{evil} old\n"));
    let mut printed = String::new();
    let shell = json!({"command": "cat evil.txt; printf '\\033]52;c;aGk=\\a\\033[5n\\n'"});
    let plan = site.plan("bash", shell.clone()).unwrap();
    let tool = site.tool("bash");
    tool.run(
        &crate::site::map(shell),
        &plan,
        &mut |text| printed.push_str(text),
        &agent::tools::Stop::default(),
    );
    assert!(printed.contains("\nmore\n"), "{printed:?}");
    assert_harmless(&printed);
    let calls = [
        ("read", json!({"path": "evil.txt"})),
        ("read", json!({"path": format!("{evil}none").replace('\0', "")})),
        ("list", json!({})),
        ("search", json!({"query": "text"})),
        ("write", json!({"path": "evil.txt", "content": evil})),
        ("edit", json!({"path": "edit.txt", "old": "old", "new": evil})),
        ("bash", json!({"command": format!("echo '{}'", evil.replace('\0', ""))})),
    ];
    for (tool, arguments) in calls {
        let plan = site.plan(tool, arguments.clone()).unwrap();
        assert_harmless(&plan.title);
        assert!(!plan.title.contains('\n'), "{}", plan.title);
        assert_shown(&plan.detail);
        let Decision::Ask { reason, .. } = site.place.decide(Mode::Ask, &Rules::default(), &plan)
        else {
            assert_shown(&site.run(tool, arguments, &plan).shown);
            continue;
        };
        assert_harmless(&reason);
        assert_shown(&site.run(tool, arguments, &plan).shown);
    }
}

fn assert_shown(shown: &Shown) {
    match shown {
        Shown::Text(text) => assert_harmless(text),
        Shown::Change { before, after, .. } => {
            before.iter().for_each(|text| assert_harmless(text));
            assert_harmless(after);
        }
    }
}

fn assert_harmless(text: &str) {
    assert!(text.chars().all(agent::harmless::is_harmless), "{text:?}");
}
