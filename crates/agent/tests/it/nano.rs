//! The loop with a trained model behind it: what the engine reads, and what it reads again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::event::TurnEnd;
use agent::tools::Tool;
use agent::{Event, Model, Open, Settings, Wish};
use engine::serve::{Handle, Info, Offer, Request, ServeOptions, Service, Sink, Source, Ticket};
use engine::{DiskOptions, Error, OpenOptions, Policy};

use crate::script::open_nano;
use crate::support::{Small, argument, done, kept_in, start};

/// A worker with Nano, which keeps checkpoints in `disk`.
pub fn serve(context: usize, disk: Option<&Path>) -> Service {
    let options =
        OpenOptions { context, sessions: 2, anchor_bytes_max: 256 << 20, ..OpenOptions::default() };
    let disk = disk.map(|dir| DiskOptions {
        dir: dir.to_owned(),
        bytes_max: 1 << 30,
        policy: Policy { min: 64, ..Policy::default() },
    });
    let open = move || {
        let mut engine = open_nano(options)?;
        if let Some(disk) = disk {
            engine.keep_on_disk(disk)?;
        }
        Ok(engine)
    };
    Service::start(open, ServeOptions::default()).expect("Nano")
}

/// What was asked of the engine, and what it made of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub prompt: Vec<spec::TokenId>,
    /// Tokens that were wanted at most.
    pub most: usize,
    pub source: Source,
    pub cached: usize,
    pub generated: usize,
    /// It is over.
    pub done: bool,
    /// From the request to the first token of the answer.
    first: Duration,
}

/// A model that keeps what it is asked.
pub struct Watched {
    handle: Handle,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Watch {
    inner: Box<dyn Sink>,
    seen: Arc<Mutex<Vec<Seen>>>,
    at: usize,
    began: Instant,
}

impl Sink for Watch {
    fn offer(&mut self, event: engine::serve::Event) -> Offer {
        use engine::serve::Event::{Finished, Resumed, Token};
        let mut list = self.seen.lock().unwrap();
        let seen = &mut list[self.at];
        match &event {
            Resumed { source, cached, .. } => (seen.source, seen.cached) = (*source, *cached),
            Token(_) if seen.first.is_zero() => seen.first = self.began.elapsed(),
            Finished(usage) => (seen.generated, seen.done) = (usage.generated, true),
            _ => {}
        }
        drop(list);
        self.inner.offer(event)
    }
}

impl Model for Watched {
    fn submit(&self, request: Request, sink: Box<dyn Sink>) -> Result<Ticket, Error> {
        let (source, first) = (Source::Cold, Duration::ZERO);
        let prompt = request.prompt.clone();
        let mut list = self.seen.lock().unwrap();
        let most = request.tokens_max;
        list.push(Seen { prompt, most, source, cached: 0, generated: 0, done: false, first });
        let at = list.len() - 1;
        drop(list);
        let (seen, began) = (self.seen.clone(), Instant::now());
        self.handle.submit(request, Box::new(Watch { inner: sink, seen, at, began }))
    }

    fn forget(&self, tokens: &[spec::TokenId], spared: usize) -> Result<usize, Error> {
        self.handle.forget(tokens.to_vec(), spared)
    }

    fn set_context(&self, tokens: usize) -> Result<usize, Error> {
        self.handle.set_context(tokens)
    }

    fn info(&self) -> &Info {
        self.handle.info()
    }
}

pub fn watched(service: &Service) -> (Arc<Watched>, Arc<Mutex<Vec<Seen>>>) {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    (Arc::new(Watched { handle: service.handle(), seen: seen.clone() }), seen)
}

/// Tools of a few lines that work in a folder.
pub fn tools(folder: &Path) -> Vec<Box<dyn Tool>> {
    let at = |folder: &Path| {
        let folder = folder.to_owned();
        move |path: &str| folder.join(path)
    };
    let said = |result: std::io::Result<String>| match result {
        Ok(text) => done(text),
        Err(error) => agent::tools::Outcome { failed: true, ..done(error.to_string()) },
    };
    let (of, into, over, inside, here) =
        (at(folder), at(folder), at(folder), at(folder), folder.to_owned());
    let read = Small::new("read", &["path"], move |arguments, _, _| {
        said(std::fs::read_to_string(of(argument(arguments, "path"))))
    });
    let write = Small::new("write", &["path", "content"], move |arguments, _, _| {
        let path = into(argument(arguments, "path"));
        said(std::fs::write(path, argument(arguments, "content")).map(|()| "written".to_owned()))
    });
    let edit = Small::new("edit", &["path", "old", "new"], move |arguments, _, _| {
        let path = over(argument(arguments, "path"));
        let edited = std::fs::read_to_string(&path).and_then(|text| {
            let text = text.replacen(argument(arguments, "old"), argument(arguments, "new"), 1);
            std::fs::write(&path, text).map(|()| "edited".to_owned())
        });
        said(edited)
    });
    let list = Small::new("list", &["path"], move |arguments, _, _| {
        let entries = std::fs::read_dir(inside(argument(arguments, "path")));
        said(entries.map(|entries| {
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names.join("\n")
        }))
    });
    let bash = Small::new("bash", &["command"], move |arguments, print, _| {
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", argument(arguments, "command")]).current_dir(&here).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.iter().for_each(|text| print(text));
        said(text)
    });
    let among = folder.to_owned();
    let search = Small::new("search", &["pattern", "path"], move |arguments, _, _| {
        let pattern = argument(arguments, "pattern");
        let names = std::fs::read_dir(&among).unwrap().map(|entry| entry.unwrap().path());
        let holds =
            |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains(pattern));
        let found: Vec<_> = names.filter(holds).map(|path| path.display().to_string()).collect();
        done(found.join("\n"))
    });
    [read, write, edit, list, bash, search].into_iter().map(Small::boxed).collect()
}

/// Turn after turn, with calls: everything that was read or said before needs no work.
#[test]
fn nothing_is_read_twice_in_a_long_conversation() {
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("notes.txt"), "The night train leaves at nine.\n").unwrap();
    let service = serve(8192, None);
    let (model, seen) = watched(&service);
    let settings = crate::support::settings();
    let mut held = start(model, tools(work.path()), settings);
    for prompt in ["hello", "read notes.txt", "run `echo hi`", "what are you?", "list the files"] {
        assert_eq!(held.ask(prompt).0, TurnEnd::Done, "{prompt}");
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() >= 6, "some of the turns called tools: {}", held.text());
    for pair in seen.windows(2) {
        let (before, now) = (&pair[0], &pair[1]);
        assert!(now.prompt.starts_with(&before.prompt));
        // All of the prompt, and all of the answer that was fed.
        assert_eq!(now.cached, before.prompt.len() + before.generated, "{now:?}");
        assert_eq!(now.source, Source::Session);
    }
}

/// The second conversation of a project begins with the state of the first one's instructions.
#[test]
fn instructions_are_read_once_for_all_conversations() {
    let (kept, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let service = serve(4096, Some(disk.path()));
    let (model, seen) = watched(&service);
    let settings =
        || Settings { reminder: Some("Today is 2026-11-30.".to_owned()), ..kept_in(kept.path()) };
    let mut held = start(model, tools(folder.path()), settings());
    held.ask("hello");
    held.command("/new");
    held.ask("what are you?");
    let first = seen.lock().unwrap().clone();
    let (one, two) = (&first[0].prompt, &first[1].prompt);
    let shared = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let system = first[1].cached;
    assert!(system > 300 && system <= shared && system + 24 > shared, "{system} of {shared}");
    // Back to the first: all of it is known.
    held.command("/resume");
    held.ask("thanks");
    let back = seen.lock().unwrap()[2].clone();
    assert!(back.prompt.starts_with(one));
    assert_eq!(back.cached, one.len() + first[0].generated);
    held.quit();
    drop(service);
    // And after a restart, from the disk.
    let service = serve(4096, Some(disk.path()));
    let (model, seen) = watched(&service);
    let mut held = start(model, tools(folder.path()), settings());
    held.ask("hello");
    let again = seen.lock().unwrap()[0].clone();
    assert_eq!(again.source, Source::Disk);
    assert!(again.cached >= system, "{} of {system}", again.cached);
}

/// A conversation of 10,000 tokens goes on at once: in memory after another one, and from the disk
/// after a restart. The figures are printed; the bound is one that a busy machine keeps too.
#[test]
fn a_long_conversation_is_resumed_at_once() {
    const CONTEXT: usize = 16_384;
    const BOUND: Duration = Duration::from_millis(2000);
    let (kept, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = |open| Settings { open, answer_tokens_max: 24, seed: 3, ..kept_in(kept.path()) };
    let service = serve(CONTEXT, Some(disk.path()));
    let (model, seen) = watched(&service);
    let mut held = start(model, vec![], settings(Open::New));
    let long = "The night train to the north leaves at nine. ".repeat(775);
    held.ask(&format!("{long}\nWhat is this about?"));
    let tokens = held.status().tokens;
    assert!((9_500..11_500).contains(&tokens), "{tokens} tokens");
    held.command("/new");
    held.ask("hello");
    held.command("/resume");
    assert_eq!(held.status().tokens, tokens);
    held.ask("thanks");
    let memory = seen.lock().unwrap().last().unwrap().clone();
    assert!(memory.cached + 32 > tokens, "{} of {tokens}", memory.cached);
    held.quit();
    drop(service);

    let began = Instant::now();
    let service = serve(CONTEXT, Some(disk.path()));
    let opened = began.elapsed();
    let (model, seen) = watched(&service);
    let began = Instant::now();
    let mut held = start(model, vec![], settings(Open::Last));
    let read = began.elapsed();
    held.wish(Wish::Prompt("and?".to_owned()));
    let began = Instant::now();
    held.until(|event| matches!(event, Event::Said(_)));
    let said = began.elapsed();
    held.end_of_turn();
    let disk = seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(disk.source, Source::Disk);
    assert!(disk.cached + 64 > disk.prompt.len() - 16, "{} of {tokens}", disk.cached);
    println!(
        "{tokens} tokens; first token after /resume in memory {:?}; after a restart: engine opened \
         in {opened:?}, conversation read in {read:?}, first token in {:?}, shown after {said:?}",
        memory.first, disk.first
    );
    assert!(memory.first < BOUND && read + disk.first < BOUND);
}
