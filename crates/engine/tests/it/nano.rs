//! What must show on a real model: Nano, 32 million parameters with every kind of layer.
//!
//! The slow ones print their figures; `docs/notes` has them with the machine that they are from.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use engine::serve::{Event, Request, ServeOptions, Service, Source, Stream, Usage};
use engine::{DiskOptions, Engine, Flow, OpenOptions};
use kvstore::{Policy, Store};
use spec::TokenId;

use crate::disk::{EAGER, on_disk};
use crate::serve::{hear, sampler};

pub fn nano() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../nano/nano.gguf")
}

fn open(options: OpenOptions, threads: usize, disk: Option<DiskOptions>) -> Engine {
    let threads = backend::Threads { count: threads, processors: Vec::new() };
    let mut engine =
        Engine::open(&nano(), backend::open_cpu(&threads, 1 << 30), options).expect("Nano");
    if let Some(disk) = disk {
        engine.keep_on_disk(disk).expect("a folder");
    }
    engine
}

fn serve(options: OpenOptions, threads: usize, disk: Option<DiskOptions>) -> Service {
    let open = move || Ok(open(options, threads, disk));
    Service::start(open, ServeOptions::default()).expect("a service")
}

/// Text of our own documents, from somewhere in them, so that conversations differ.
fn text(number: usize, tokens: usize) -> Vec<TokenId> {
    let words = include_str!("../../../../ARCHITECTURE.md");
    let engine = gguf::File::open(&nano()).expect("Nano");
    let tokenizer = engine::read_tokenizer(&engine, 4608).expect("a tokenizer").expect("one");
    let ids = tokenizer.encode_text(words);
    ids.iter().cycle().skip(37 * number).take(tokens).copied().collect()
}

fn requests(count: usize, tokens: usize) -> Vec<Request> {
    let request = |i: usize| {
        let temperature = if i.is_multiple_of(2) { 0.0 } else { 0.8 };
        Request::new(text(i, 24 + 5 * i), sampler(temperature, i as u64), tokens)
    };
    (0..count).map(request).collect()
}

fn all(service: &Service, requests: Vec<Request>) -> Vec<(Vec<TokenId>, Usage)> {
    let submit = |request| service.handle().stream(request).expect("a place");
    let mut streams: Vec<Stream> = requests.into_iter().map(submit).collect();
    streams.iter_mut().map(hear).collect()
}

fn thirty_two() -> OpenOptions {
    OpenOptions { sessions: 32, context: 512, step_tokens: 256, ..OpenOptions::default() }
}

#[test]
fn thirty_two_conversations_are_those_of_each_alone() {
    let service = serve(thirty_two(), 1, None);
    let together = all(&service, requests(32, 8));
    for (i, request) in requests(32, 8).into_iter().enumerate().step_by(3) {
        let alone = hear(&mut service.handle().stream(request).expect("a place")).0;
        assert_eq!(together[i].0, alone, "conversation {i}");
        assert_eq!(alone.len(), 8);
    }
}

/// The same, of all of them, and how fast. Each figure is taken next to one of a conversation
/// alone, since others use the machine too. The prompts are known from the first time, so that only
/// answers are measured.
#[test]
#[ignore = "a measurement: wants the machine for itself"]
fn many_answers_are_faster_together() {
    const ROUNDS: usize = 5;
    let service = serve(OpenOptions { anchor_bytes_max: 256 << 20, ..thirty_two() }, 2, None);
    let mut alone = Vec::new();
    for request in requests(32, 64) {
        alone.extend(all(&service, vec![request]));
    }
    let rate = |requests: Vec<Request>| {
        let answers = all(&service, requests);
        for (i, (answer, _)) in answers.iter().enumerate() {
            assert_eq!(answer, &alone[i].0, "conversation {i} of {}", answers.len());
        }
        let time = answers.iter().map(|(_, usage)| usage.decode).max().expect("some");
        (64 * answers.len()) as f64 / time.as_secs_f64()
    };
    for count in [2, 4, 8, 16, 32] {
        let mut rounds = [0; ROUNDS].map(|_| {
            let (one, many) = (rate(requests(1, 64)), rate(requests(count, 64)));
            (many / one, one, many)
        });
        rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (times, one, many) = rounds[ROUNDS / 2];
        let (least, most) = (rounds[0].0, rounds[ROUNDS - 1].0);
        println!("{count}: {one:.0} and {many:.0} tokens/s, {times:.2} ({least:.2} to {most:.2})");
        assert!(count < 32 || times >= 1.5);
    }
}

/// A long prompt is fed while others answer: none of them waits for longer than a slice takes.
#[test]
#[ignore = "a measurement: wants the machine for itself"]
fn a_long_prompt_does_not_stall_answers() {
    let service = serve(OpenOptions { context: 16_384, ..thirty_two() }, 2, None);
    let mut answering =
        service.handle().stream(Request::new(text(1, 50), sampler(0.0, 0), 400)).expect("a place");
    let gaps = |stream: &mut Stream, count: usize| {
        let mut gaps = Vec::new();
        let mut last = Instant::now();
        while gaps.len() < count {
            if let Event::Token(_) = stream.next().expect("a token") {
                gaps.push(last.elapsed());
                last = Instant::now();
            }
        }
        gaps.sort();
        (gaps[count / 2], gaps[count - 1])
    };
    let (quiet, _) = gaps(&mut answering, 100);
    let long = service.handle().stream(Request::new(text(2, 12_000), sampler(0.0, 0), 1));
    let long = long.expect("a place");
    let (busy, longest) = gaps(&mut answering, 90);
    println!("a token takes {quiet:?} alone, {busy:?} beside a prompt, {longest:?} at most");
    drop(long);
}

/// A conversation of 16,000 tokens of which nothing was saved yet is saved while another answers:
/// the longest wait for a token around that moment, next to the usual one.
#[test]
#[ignore = "a measurement: wants the machine for itself"]
fn saving_does_not_stall_answers() {
    const LONG: usize = 16_000;
    let nothing_before = Policy { cold_max: 0, continued: 0, turn: LONG + 100, ..EAGER };
    for _ in 0..3 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = OpenOptions { context: 20_000, anchor_bytes_max: 64 << 20, ..thirty_two() };
        let service = serve(options, 1, on_disk(folder.path(), nothing_before));
        let mut long = text(2, LONG);
        let ask = |tokens: &[TokenId], count| Request::new(tokens.to_vec(), sampler(0.0, 0), count);
        long.extend(all(&service, vec![ask(&long, 8)]).remove(0).0);
        let mut other = service.handle().stream(ask(&text(1, 50), 700)).expect("a place");
        let heard = std::thread::spawn(move || {
            let tokens = other.by_ref().filter(|event| matches!(event, Event::Token(_)));
            tokens.map(|_| Instant::now()).collect::<Vec<_>>()
        });
        // The last of its tokens makes it long enough to be saved.
        all(&service, vec![ask(&long, 150)]);
        let ended = Instant::now();
        let heard = heard.join().expect("an answer");
        let near = |at: &Instant| at.max(&ended).duration_since(*at.min(&ended)).as_millis() < 200;
        let gaps = |near: &dyn Fn(&Instant) -> bool| {
            let pairs = heard.windows(2).filter(|pair| near(&pair[1]));
            let mut gaps: Vec<_> = pairs.map(|pair| pair[1] - pair[0]).collect();
            gaps.sort();
            (gaps[gaps.len() / 2], *gaps.last().expect("some"))
        };
        let ((usual, far), (_, longest)) = (gaps(&|at| !near(at)), gaps(&near));
        println!("a token takes {usual:?}, {far:?} at most; while saving {longest:?} at most");
        drop(service);
        assert_eq!(Store::look(folder.path()).expect("the folder").list().len(), 1);
    }
}

const PREFIX: usize = 16_000;

/// Ten turns on a long prefix, each with a question and an answer: what they write in all, over
/// what one state has.
#[test]
#[ignore = "reads 16,000 tokens"]
fn ten_turns_write_little_more_than_one_state() {
    let options = OpenOptions { context: 20_000, step_tokens: 512, ..OpenOptions::default() };
    for (what, policy) in
        [("default", Policy::default()), ("every turn", Policy { turn: 1, ..Policy::default() })]
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut engine = open(options, 2, on_disk(folder.path(), policy));
        let mut session = engine.open_session().expect("a session");
        let mut tokens = text(0, PREFIX);
        let mut written = 0;
        for turn in 0..10 {
            engine.sync(&mut session, &tokens, &mut |_| Flow::Continue).expect("a sync");
            for answer in text(100 + turn, 60) {
                engine.step(&mut session, answer).expect("a step");
            }
            engine.save_turn(&mut session);
            for outcome in engine.flush_checkpoints() {
                written += outcome.result.expect("saved").bytes_written;
            }
            tokens = session.tokens().to_vec();
            tokens.extend(text(200 + turn, 40));
        }
        drop(session);
        let state = engine.page_bytes() as u64 * (PREFIX as u64 + 1000).div_ceil(128);
        let ratio = written as f64 / state as f64;
        println!("{what}: {written} bytes written, rows of one state {state}, {ratio:.2} times");
        assert!(what != "default" || ratio < 1.3, "{ratio}");
    }
}

const CHILD: &str = "DWARFSTAR_TEST_FOLDER";

fn kept(tokens: usize) -> OpenOptions {
    let context = tokens + 1000;
    OpenOptions { context, anchor_bytes_max: 64 << 20, ..OpenOptions::default() }
}

/// The process that is killed: answers without end, and saves at intervals.
#[test]
#[ignore = "started by the tests that kill it"]
fn victim() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let tokens: usize = std::env::var("DWARFSTAR_TEST_TOKENS").expect("set").parse().expect("one");
    let service = serve(kept(tokens), 1, on_disk(&PathBuf::from(folder), EAGER));
    let mut stream =
        service.handle().stream(Request::new(text(0, tokens), sampler(0.0, 0), 900)).expect("one");
    for event in stream.by_ref() {
        if let Event::Token(token) = event {
            println!("token {}", token.id.0);
        }
    }
}

/// `kill -9` while it writes an answer: the next process goes on from the last checkpoint, with the
/// very logits of one that never stopped.
fn killed(tokens: usize) {
    use std::io::BufRead;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "--nocapture", "nano::victim"])
        .env(CHILD, folder.path())
        .env("DWARFSTAR_TEST_TOKENS", tokens.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = std::io::BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut answer = Vec::new();
    for line in lines {
        let line = line.expect("a line");
        let Some((_, id)) = line.split_once("token ") else { continue };
        answer.push(TokenId(id.parse().expect("an id")));
        if answer.len() == 20 {
            break;
        }
    }
    child.kill().expect("a process that runs"); // SIGKILL
    child.wait().expect("its end");

    let mut engine = open(kept(tokens), 1, on_disk(folder.path(), EAGER));
    let mut text = text(0, tokens);
    text.extend(answer);
    let mut session = engine.open_session().expect("a session");
    let start = Instant::now();
    let synced = engine.sync(&mut session, &text, &mut |_| Flow::Continue).expect("a sync");
    let took = start.elapsed();
    let engine::Plan::Load { from, .. } = synced.plan else { panic!("{:?}", synced.plan) };
    println!("killed after {} tokens: loaded {from}, fed {} in {took:?}", text.len(), synced.fed);
    assert!(from + 512 + 20 >= tokens && from + synced.fed == text.len());
    let mut fresh = open(kept(tokens), 1, None);
    let mut whole = fresh.open_session().expect("a session");
    fresh.sync(&mut whole, &text, &mut |_| Flow::Continue).expect("a sync");
    assert_eq!(session.logits(), whole.logits());
}

#[test]
fn a_killed_process_loses_no_checkpoint() {
    killed(700);
}

#[test]
#[ignore = "reads 20,000 tokens three times"]
fn a_long_conversation_survives_being_killed() {
    killed(20_000);
}

/// How fast a checkpoint is loaded, against computing it again.
#[test]
#[ignore = "a measurement: wants the machine for itself"]
fn loading_is_reading() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokens = text(0, 20_000);
    let service = serve(kept(20_000), 2, on_disk(folder.path(), EAGER));
    let ask = |service: &Service| {
        hear(
            &mut service
                .handle()
                .stream(Request::new(tokens.clone(), sampler(0.0, 0), 1))
                .expect("one"),
        )
    };
    let (first, cold) = ask(&service);
    drop(service);
    let bytes: u64 = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|file| file.expect("a file").metadata().expect("its size").len())
        .sum();
    for _ in 0..5 {
        let service = serve(kept(20_000), 2, on_disk(folder.path(), EAGER));
        let (again, usage) = ask(&service);
        assert_eq!((&again, usage.source), (&first, Source::Disk));
        println!(
            "cold {:?}; loaded {} tokens and fed {} in {:?} after {:?}; {bytes} bytes in all",
            cold.prefill,
            usage.cached,
            usage.prompt - usage.cached,
            usage.prefill,
            usage.waited,
        );
    }
}
