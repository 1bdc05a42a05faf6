//! The way in which the agent starts commands: confined, or not at all.

use std::fs;
use std::process::Command;

fn confined(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwarfstar"));
    let output = command.arg("confine").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_command_is_confined() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let tree = tree.to_str().unwrap();
    let run = |script: &str| {
        confined(&["--restrict", "--write", tree, "--promise-files", "--", "sh", "-c", script])
    };
    assert_eq!(run("echo \"$0 $1\" -- --help; exit 3"), (Some(3), "sh  -- --help\n".to_owned()));
    assert_eq!(run(&format!("echo x > {tree}/in")).0, Some(0));
    let (code, text) = run(&format!("echo x > {tree}/../out"));
    assert!(code != Some(0) && text.contains("Permission denied"), "{code:?} {text}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn what_cannot_be_kept_is_not_started() {
    let (code, text) = confined(&["--promise-no-network", "--", "echo", "started"]);
    assert_eq!(code, Some(126));
    assert!(text.starts_with("dwarfstar: the command was not started: the network"), "{text}");
    let (code, text) = confined(&["--", "no-such-program-here"]);
    assert!(code == Some(126) && text.contains("no-such-program-here"), "{code:?} {text}");
    assert_eq!(confined(&["--help"]).0, Some(126));
}
