//! The coding agent at work with Nano, as a person sees it: the same keys go to a terminal of our
//! own and to tmux, and what stands on either screen after each step is held as one snapshot.
//!
//! Nano answers greedily, with the same bits on every processor, so the screens are the same
//! everywhere but for times, speeds and what protects: those are taken out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use portable_pty::CommandBuilder;

use crate::pty::Pty;

const COLUMNS: u16 = 100;
const ROWS: u16 = 36;
const FLAGS: [&str; 5] = ["agent", "--nothink", "--temp", "0", "--quiet"];

/// A terminal with the agent in it.
trait Face {
    fn keys(&mut self, text: &str);
    fn shown(&self) -> String;

    /// The screen as soon as it is so.
    fn wait(&self, what: &str, is_so: &dyn Fn(&str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let shown = self.shown();
            if is_so(&shown) {
                return shown;
            }
            assert!(Instant::now() < until, "no {what} on this screen:\n{shown}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Face for Pty {
    fn keys(&mut self, text: &str) {
        Pty::keys(self, text);
    }

    fn shown(&self) -> String {
        Pty::shown(self)
    }
}

/// A server of tmux with one window.
struct Tmux {
    socket: String,
}

impl Tmux {
    fn is_there() -> bool {
        let asked = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    fn call(&self, args: &[&str]) -> String {
        // Whatever the locale is, screens are UTF-8.
        let output = Command::new("tmux").args(["-u", "-L", &self.socket]).args(args).output();
        let output = output.expect("tmux is there");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("screens are UTF-8")
    }

    fn start(home: &Path, more: &[&str]) -> Tmux {
        let socket = format!("dwarfstar-{}-{}", std::process::id(), more.len());
        let tmux = Tmux { socket };
        let (home, work) = (home.display().to_string(), home.join("work").display().to_string());
        let (columns, rows) = (COLUMNS.to_string(), ROWS.to_string());
        let mut args = vec!["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows];
        args.extend(["-c", work.as_str(), "env", "-u", "NO_COLOR"]);
        let set = STATE.map(|name| format!("{name}={home}/{name}"));
        let own = format!("HOME={home}");
        args.extend(set.iter().chain([&own]).map(String::as_str));
        args.push(env!("CARGO_BIN_EXE_dwarfstar"));
        args.extend(FLAGS.iter().chain(more));
        tmux.call(&args);
        tmux.call(&["set-option", "-g", "status", "off"]);
        tmux
    }

    /// The server ends with its last window.
    fn wait_for_end(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let asked = || Command::new("tmux").args(["-L", &self.socket, "has-session"]).output();
        while asked().is_ok_and(|answer| answer.status.success()) {
            assert!(Instant::now() < until, "it does not end:\n{}", self.shown());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Face for Tmux {
    fn keys(&mut self, text: &str) {
        for part in text.split_inclusive('\r') {
            let typed = part.trim_end_matches('\r');
            if !typed.is_empty() {
                self.call(&["send-keys", "-l", typed]);
            }
            if part.ends_with('\r') {
                self.call(&["send-keys", "Enter"]);
            }
        }
    }

    fn shown(&self) -> String {
        self.call(&["capture-pane", "-p"])
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

const STATE: [&str; 4] = ["XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"];

fn in_pty(home: &Path, more: &[&str]) -> Pty {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_dwarfstar"));
    command.args(FLAGS.iter().chain(more));
    command.cwd(home.join("work"));
    command.env("HOME", home);
    STATE.iter().for_each(|name| command.env(name, home.join(name)));
    Pty::start(command, COLUMNS, ROWS)
}

/// The screen without what differs from run to run: times, speeds, counts of tokens, and what
/// protects on this machine.
fn steady(shown: &str) -> String {
    let mut lines: Vec<String> = shown.lines().map(|line| line.trim_end().to_owned()).collect();
    for line in &mut lines {
        if line.contains(" \u{b7} ask \u{b7} ") {
            let mut parts: Vec<&str> = line.split(" \u{b7} ").collect();
            parts.retain(|part| !part.ends_with("t/s"));
            let ask = parts.iter().position(|part| *part == "ask").expect("the mode");
            parts.truncate(ask + 1);
            *line = numberless(&parts.join(" \u{b7} "));
        } else if line.contains(" t/s") {
            *line = numberless(line);
        }
    }
    lines.join("\n").trim_matches('\n').to_owned()
}

fn numberless(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' | '.' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            '\u{2588}' => text.push('\u{2591}'),
            other => text.push(other),
        }
    }
    text
}

/// Asks, says yes if that is asked for, and gives the screen when the answer is there.
fn ask(face: &mut dyn Face, prompt: &str, yes: bool) -> String {
    face.wait("rest", &|shown| shown.contains("ready"));
    face.keys(&format!("{prompt}\r"));
    if yes {
        face.wait("question", &|shown| shown.contains("y once"));
        // Keys count only when the question has been seen.
        thread::sleep(Duration::from_millis(800));
        face.keys("y");
    }
    let asked = format!("\u{203a} {prompt}");
    face.wait("end of the turn", &|shown| {
        let after = shown.rfind(&asked).map_or("", |at| &shown[at..]);
        after.contains(" wrote ") && after.contains("ready")
    })
}

/// A day's work: everything that the tools do, then all of it taken back.
fn work(home: &Path, face: &mut dyn Face) {
    let held = || fs::read_to_string(home.join("work/notes.txt")).ok();
    let made = "create the file notes.txt with the text: hello world";
    insta::assert_snapshot!("made", steady(&ask(face, made, true)));
    assert_eq!(held().as_deref(), Some("hello world"));
    insta::assert_snapshot!("read", steady(&ask(face, "read notes.txt", false)));
    let edited = ask(face, "replace hello with goodbye in notes.txt", true);
    insta::assert_snapshot!("edited", steady(&edited));
    assert_eq!(held().as_deref(), Some("goodbye world"));
    insta::assert_snapshot!("ran", steady(&ask(face, "run `echo hi`", true)));
    insta::assert_snapshot!("listed", steady(&ask(face, "list the files in .", false)));
    insta::assert_snapshot!("found", steady(&ask(face, "search for goodbye in .", false)));
    for (prompt, expected) in [
        ("search for goodbye in .", "goodbye world"),
        ("list the files in .", "goodbye world"),
        ("run `echo hi`", "goodbye world"),
        ("replace hello with goodbye in notes.txt", "hello world"),
    ] {
        face.keys("/undo\r");
        let (asked, told) = (format!("\u{203a} {prompt}"), "taken back");
        face.wait("undo", &|shown| !shown.contains(&asked) && shown.contains(told));
        assert_eq!(held().as_deref(), Some(expected), "{prompt} is taken back");
    }
}

/// The same conversation after a restart.
fn resume(face: &mut dyn Face) {
    let shown = face.wait("the conversation", &|shown| {
        shown.contains("read notes.txt") && shown.contains("ready")
    });
    insta::assert_snapshot!("resumed", steady(&shown));
}

const CTRL_D: &str = "\u{4}";

/// One folder for both, since its path stands in what Nano reads.
fn home() -> PathBuf {
    let home = PathBuf::from("/tmp/dwarfstar-test-screens");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(home.join("work")).expect("a folder");
    home
}

#[test]
fn screens_are_the_same_in_a_terminal_and_in_tmux() {
    let place = home();
    let mut pty = in_pty(&place, &[]);
    work(&place, &mut pty);
    Face::keys(&mut pty, CTRL_D);
    assert!(pty.end().success());
    resume(&mut in_pty(&place, &["--continue"]));
    if !Tmux::is_there() {
        eprintln!("skipped: tmux is not installed, its screens are not looked at");
        return;
    }
    let place = home();
    let mut tmux = Tmux::start(&place, &[]);
    work(&place, &mut tmux);
    tmux.call(&["send-keys", "C-d"]);
    tmux.wait_for_end();
    resume(&mut Tmux::start(&place, &["--continue"]));
    let _ = fs::remove_dir_all(&place);
}
