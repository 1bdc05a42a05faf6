//! `dwarfstar agent` and `dwarfstar chat` in a terminal, as a person uses them, with Nano.

use std::fs;
use std::path::Path;

use portable_pty::CommandBuilder;

use crate::pty::Pty;

const ENTER: &str = "\r";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

/// The program in a terminal, at home in `home`, working in its folder `work`.
fn start(home: &Path, args: &[&str]) -> Pty {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_dwarfstar"));
    command.args(args);
    command.args(["--nothink", "--temp", "0", "--quiet"]);
    command.cwd(home.join("work"));
    command.env("HOME", home);
    for name in ["XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env_remove(name);
    }
    Pty::start(command, 100, 30)
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(home.path().join("work")).expect("a folder");
    home
}

/// The keys that say yes count only when the question has been on the screen for a moment.
fn say_yes(pty: &mut Pty) {
    pty.wait_for("notes.txt");
    pty.wait("a question", |shown| shown.contains("once"));
    std::thread::sleep(std::time::Duration::from_millis(800));
    pty.keys("y");
}

/// Make a file, with a yes; read it; take it back; leave; come back to the same conversation.
#[test]
fn a_person_works_with_the_agent() {
    let home = home();
    let file = home.path().join("work/notes.txt");
    let mut pty = start(home.path(), &["agent"]);
    pty.wait_for("ask");
    assert!(pty.is_alternate());
    pty.keys(&format!("create the file notes.txt with the text: hello world{ENTER}"));
    say_yes(&mut pty);
    pty.wait_for("I wrote");
    assert!(fs::read_to_string(&file).expect("a file").contains("hello world"));
    pty.keys(&format!("read notes.txt{ENTER}"));
    pty.wait("what is in the file", |shown| shown.matches("hello world").count() >= 3);
    pty.keys(&format!("/undo{ENTER}"));
    pty.wait_for("taken back");
    assert!(file.exists(), "reading changes nothing");
    pty.keys(&format!("/undo{ENTER}"));
    pty.wait_for("removed notes.txt");
    assert!(!file.exists());
    pty.keys(&format!("run `echo hi`{ENTER}"));
    pty.wait("a question", |shown| shown.contains("once"));
    std::thread::sleep(std::time::Duration::from_millis(800));
    pty.keys("n");
    pty.wait_for("refused");
    pty.keys(&format!("/save tried{ENTER}"));
    pty.wait_for("Kept as");
    pty.keys(CTRL_D);
    assert!(pty.end().success());
    let left = |screen: &vt100::Screen| !screen.alternate_screen() && !screen.hide_cursor();
    assert!(pty.look(left), "the terminal is as it was");
    let pty = start(home.path(), &["agent", "--continue"]);
    let shown = pty.wait_for("echo hi");
    assert!(shown.contains("tried"), "{shown}");
}

#[test]
fn a_person_chats() {
    let home = home();
    let mut pty = start(home.path(), &["chat"]);
    pty.wait("a prompt", |shown| !shown.trim().is_empty());
    pty.keys(&format!("hello{ENTER}"));
    pty.wait_for("Nano");
    pty.wait_for("wrote");
    pty.keys(&format!("/ctx{ENTER}"));
    pty.wait_for("tokens");
    wait_for_prompt(&pty);
    pty.keys(CTRL_C);
    pty.wait_for("Ctrl+D or /quit ends");
    wait_for_prompt(&pty);
    pty.keys(CTRL_D);
    assert!(pty.end().success());
}

/// Until the terminal hands over keys: the prompt is written after that.
fn wait_for_prompt(pty: &Pty) {
    pty.wait("next prompt", |shown| shown.trim_end().ends_with("\n>"));
}

/// Between an answer and the next line Ctrl+C is a signal, and no key. Whenever it comes, it does
/// not end the conversation; what ends it is the other signal.
#[test]
fn ctrl_c_between_two_lines_ends_nothing() {
    let home = home();
    let mut pty = start(home.path(), &["chat"]);
    pty.wait("a prompt", |shown| shown.contains('>'));
    for pause in (0..120).step_by(7) {
        pty.keys(&format!("/ctx{ENTER}"));
        std::thread::sleep(std::time::Duration::from_millis(pause));
        pty.signal(&["INT"]);
        wait_for_prompt(&pty);
    }
    pty.keys(&format!("/stats{ENTER}"));
    pty.wait_for("kept");
    pty.signal(&["TERM"]);
    assert!(pty.end().success());
}

/// A prompt that waits for a line is ended by a signal, and gives the terminal back.
#[test]
fn a_signal_ends_the_prompt() {
    let home = home();
    let mut pty = start(home.path(), &["chat"]);
    pty.wait("a prompt", |shown| shown.contains('>'));
    pty.keys("half a li");
    pty.wait_for("half a li");
    assert!(!pty.is_plain());
    pty.signal(&["TERM"]);
    assert!(pty.end().success());
    assert!(pty.is_plain() && !pty.is_bracketed());
}

/// The second signal ends the program where it is; the terminal is given back all the same.
#[test]
fn a_second_signal_leaves_the_terminal_as_it_was() {
    let home = home();
    for command in ["agent", "chat"] {
        let mut pty = start(home.path(), &[command]);
        let waits = if command == "agent" { "ready" } else { ">" };
        pty.wait_for(waits);
        pty.signal(&["TERM", "TERM"]);
        pty.end();
        let left = |screen: &vt100::Screen| !screen.alternate_screen() && !screen.hide_cursor();
        assert!(pty.look(left) && pty.is_plain() && !pty.is_bracketed(), "{command}");
    }
}
