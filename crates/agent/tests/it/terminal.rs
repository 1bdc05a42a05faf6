//! The full screen in a real terminal: it comes up, hears keys while events pour in, and goes.
//!
//! The program in the terminal is this test binary itself, which runs one ignored test that plays
//! the loop behind the screen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use agent::event::{Cost, Event, Status, TurnEnd, Wish};
use agent::screen::{self, Look};
use portable_pty::CommandBuilder;

use crate::pty::Pty;

/// Says that the test runs inside a terminal, and what it is to play.
const PLAY: &str = "DWARFSTAR_TEST_PLAY";
const ANSWER: &str = "Here is *some* text with `code` in it, and more of it to fill the rows.\n\n\
    ```rust\nfn main() {\n    println!(\"hello\"); // a comment\n}\n```\n\n- one\n- two\n\n";

/// The program has been told to end.
static ENDED: AtomicBool = AtomicBool::new(false);

fn start(play: &str, columns: u16, rows: u16) -> Pty {
    let mut command = CommandBuilder::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "terminal::inside_a_terminal"]);
    command.env(PLAY, play);
    command.env("RUST_BACKTRACE", "0");
    Pty::start(command, columns, rows)
}

#[test]
#[ignore = "the program that the tests below start; by itself it does nothing"]
fn inside_a_terminal() {
    let Ok(play) = env::var(PLAY) else { return };
    let (wishes, wanted) = mpsc::channel();
    let (tell, events) = mpsc::sync_channel(64);
    thread::spawn(move || loop_behind(&play, &wanted, &tell));
    screen::run(&wishes, events, Look::default(), io::stdout, &ENDED).unwrap();
    print!("the screen is down\r\n");
}

/// Plays a loop: pours text out as fast as it is taken, or as fast as a fast model writes, and
/// echoes prompts.
fn loop_behind(play: &str, wanted: &mpsc::Receiver<Wish>, tell: &mpsc::SyncSender<Event>) {
    let status = Status { context: 1_000, mode: "ask".into(), ..Status::default() };
    tell.send(Event::Status(status)).unwrap();
    if play == "panic" {
        thread::sleep(Duration::from_millis(300));
        panic!("a bug behind the screen");
    }
    if play == "ended" {
        thread::sleep(Duration::from_millis(300));
        ENDED.store(true, Ordering::Relaxed);
    }
    let pause = match play {
        "model" => Some(Duration::from_millis(1)),
        "flood" => Some(Duration::ZERO),
        _ => None,
    };
    let mut running = pause.is_some();
    if running {
        tell.send(Event::TurnBegan { prompt: "go".into(), queued: 0 }).unwrap();
    }
    let pieces: Vec<String> =
        ANSWER.chars().collect::<Vec<_>>().chunks(4).map(|piece| piece.iter().collect()).collect();
    let mut pieces = pieces.iter().cycle();
    loop {
        let wish = if running { wanted.try_recv().ok() } else { wanted.recv().ok() };
        match wish {
            Some(Wish::Quit) => {
                let _ = tell.send(Event::Closed);
                return;
            }
            Some(Wish::Stop) => {
                running = false;
                let end = TurnEnd::Stopped;
                tell.send(Event::TurnEnded { end, cost: Cost::default() }).unwrap();
            }
            Some(Wish::Prompt(text)) => {
                let begin: String = text.chars().take(30).collect();
                tell.send(Event::Answer(format!("heard: {} bytes {begin}", text.len()))).unwrap();
            }
            _ => {}
        }
        if running {
            let piece = pieces.next().unwrap().clone();
            if tell.send(Event::Said(text::Event::Text(piece))).is_err() {
                return;
            }
            thread::sleep(pause.unwrap_or_default());
        }
    }
}

#[test]
fn it_comes_up_hears_keys_and_goes() {
    let mut pty = start("quiet", 80, 24);
    pty.wait_for("ready");
    assert!(pty.is_alternate() && pty.is_bracketed());
    pty.keys("hello\u{1b}\rw\u{f6}rld");
    pty.wait_for("w\u{f6}rld");
    pty.keys("\r");
    pty.wait_for("heard: 12 bytes hello");
    pty.paste("one\ntwo\rthree");
    pty.wait_for("three");
    pty.keys("\r");
    pty.wait_for("heard: 13 bytes");
    let large = "0123456789abcde\n".repeat(16 * 1024);
    pty.paste(&large);
    pty.wait_for("9abcde");
    pty.keys("\r");
    pty.wait_for("heard: 262144 bytes");
    pty.keys("\u{1b}[H\u{1b}[F");
    pty.resize(30, 10);
    pty.keys("nar\u{c}row");
    pty.wait_for("\u{203a} narrow");
    pty.keys("\u{15}\u{4}");
    assert!(pty.end().success());
    assert!(!pty.is_alternate() && !pty.is_bracketed());
    assert!(pty.shown().contains("the screen is down"), "{}", pty.shown());
}

#[test]
fn it_stops_a_turn_and_quits_by_the_second_ctrl_c() {
    let mut pty = start("flood", 80, 24);
    pty.wait_for("working");
    pty.keys("\u{3}");
    pty.wait_for("stopped");
    pty.keys("\u{3}");
    assert!(pty.end().success());
    assert!(pty.shown().contains("the screen is down"), "{}", pty.shown());
}

#[test]
fn a_program_that_is_told_to_end_leaves_the_terminal_as_it_was() {
    let mut pty = start("ended", 80, 24);
    pty.wait_for("ready");
    assert!(pty.end().success());
    assert!(!pty.is_alternate() && !pty.is_bracketed());
    assert!(pty.shown().contains("the screen is down"), "{}", pty.shown());
}

#[test]
fn a_shell_suspends_it_and_takes_it_up_again() {
    let mut shell = CommandBuilder::new("sh");
    shell.arg("-i");
    shell.env("PS1", "shell> ");
    shell.env(PLAY, "quiet");
    let mut pty = Pty::start(shell, 80, 24);
    pty.wait_for("shell> ");
    let program = env::current_exe().unwrap();
    let arguments = "--ignored --exact --nocapture terminal::inside_a_terminal";
    pty.keys(&format!("{} {arguments}\r", program.display()));
    pty.wait_for("ready");
    pty.keys("typed\u{1a}");
    pty.wait("shell", |shown| shown.trim_end().ends_with("shell>"));
    // Whether pasted text is marked is the shell's own choice.
    assert!(!pty.is_alternate());
    pty.keys("fg\r");
    pty.wait_for("\u{203a} typed");
    assert!(pty.is_alternate() && pty.is_bracketed());
    pty.keys("\u{15}\u{4}");
    pty.wait_for("the screen is down");
    pty.wait("shell", |shown| shown.trim_end().ends_with("shell>"));
    pty.keys("exit\r");
    assert!(pty.end().success());
}

#[test]
fn a_panic_behind_it_leaves_the_terminal_as_it_was_and_can_be_read() {
    let mut pty = start("panic", 80, 24);
    assert!(!pty.end().success());
    assert!(!pty.is_alternate() && !pty.is_bracketed());
    assert!(pty.shown().contains("a bug behind the screen"), "{}", pty.shown());
}

/// Times from key presses to their letters, sorted.
fn latencies(play: &str) -> Vec<Duration> {
    let mut pty = start(play, 100, 30);
    pty.wait_for("working");
    thread::sleep(Duration::from_millis(500));
    let mut times = Vec::new();
    let mut typed = String::from("\u{203a} ");
    for n in 0..300 {
        if n % 60 == 59 {
            pty.keys("\u{15}");
            typed.truncate("\u{203a} ".len());
            pty.wait("empty line", |shown| {
                shown.lines().any(|row| row.trim_end() == typed.trim_end())
            });
        }
        let key = char::from(b'a' + (n % 26) as u8);
        typed.push(key);
        let pressed = Instant::now();
        pty.keys(&key.to_string());
        pty.wait("letter", |shown| shown.lines().any(|row| row.trim_end() == typed));
        times.push(pressed.elapsed());
        // Not in step with the frames.
        thread::sleep(Duration::from_millis(5 + n % 13));
    }
    pty.keys("\u{15}\u{3}\u{3}");
    pty.end();
    times.sort_unstable();
    times
}

#[test]
#[ignore = "a measurement; other work on the machine shows in it"]
fn letters_appear_within_50_ms_while_text_pours_in() {
    for play in ["model", "flood"] {
        let times = latencies(play);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{play}: p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
        assert!(at(0.5) < Duration::from_millis(50), "{play}: p50 {:?}", at(0.5));
    }
}
