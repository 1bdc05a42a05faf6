//! A server with Nano on a free port of loopback, and a client that shows every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::serve::ServeOptions;
use engine::{DiskOptions, Engine, OpenOptions};
use serde_json::Value;
use server::{Choosing, Form, Limits, Lines, Listen, Loading, ReadOptions, Settings};

pub fn nano() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../nano/nano.gguf")
}

/// A server that runs until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub log: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), server::Error>>>,
}

/// What most tests want: greedy answers, and time for slow machines.
pub fn settings() -> Settings {
    Settings {
        listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))],
        tls: None,
        keys: Vec::new(),
        hosts: Vec::new(),
        origins: Vec::new(),
        model: "deepseek-v4-flash".to_owned(),
        form: Form::default(),
        choosing: Choosing {
            sampling: engine::Sampling { temperature: 0.0, ..engine::Sampling::default() },
            honour: false,
        },
        read: ReadOptions::default(),
        limits: Limits { grace: Duration::from_millis(200), ..Limits::default() },
        replay_calls: 1000,
        log: Lines::new(|_| {}),
        notices: Lines::new(|_| {}),
        trace: None,
    }
}

pub fn options() -> OpenOptions {
    OpenOptions {
        context: 4096,
        sessions: 4,
        step_tokens: 256,
        anchor_bytes_max: 256 << 20,
        anchor_tokens: 256,
        ..OpenOptions::default()
    }
}

pub fn start(settings: Settings) -> Running {
    start_with(settings, options(), None)
}

pub fn start_with(settings: Settings, options: OpenOptions, disk: Option<&Path>) -> Running {
    let open = open(options, disk);
    let secret = settings.tls.is_some();
    let running = launch(settings, |_| open());
    if !secret && running.address.port() != 1 {
        running.wait_until_loaded();
    }
    running
}

/// Opens Nano.
pub fn open(
    options: OpenOptions,
    disk: Option<&Path>,
) -> impl FnOnce() -> Result<Engine, engine::Error> + Send + 'static {
    let disk = disk.map(|dir| DiskOptions {
        dir: dir.to_owned(),
        bytes_max: 1 << 30,
        policy: engine::Policy { min: 16, turn: 1, ..engine::Policy::default() },
    });
    move || {
        let threads = engine::Threads { count: 1, processors: Vec::new() };
        let mut engine = Engine::open(&nano(), engine::open_cpu(&threads, 1 << 30), options)?;
        if let Some(disk) = disk {
            engine.keep_on_disk(disk)?;
        }
        Ok(engine)
    }
}

/// Starts a server whose model is opened by `open`, and does not wait for that.
pub fn launch(
    mut settings: Settings,
    open: impl FnOnce(&Loading) -> Result<Engine, engine::Error> + Send + 'static,
) -> Running {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = log.clone();
    settings.log = Lines::new(move |line| lines.lock().unwrap().push(line.to_owned()));
    let stop: Arc<AtomicBool> = Arc::default();
    let (tell, hear) = channel();
    let thread = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let started = move |places: &[Listen]| tell.send(places.to_vec()).unwrap();
            let ended = || stop.load(Ordering::Relaxed);
            server::serve(settings, ServeOptions::default(), open, started, ended)
        })
    };
    let places = hear.recv().expect("the server listens");
    let address = places.iter().find_map(|place| match place {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    });
    let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1)));
    Running { address, log, stop, thread: Some(thread) }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("a good end");
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The data of the events of a stream.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        let values = lines.filter(|line| *line != "[DONE]");
        values.map(|line| serde_json::from_str(line).expect("events are JSON")).collect()
    }
}

impl Running {
    pub fn wait_until_loaded(&self) {
        wait("the model is loaded", || self.get("/health").status == 200);
    }

    /// Ctrl+C.
    pub fn interrupt(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The lines of the log so far.
    pub fn lines(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// A figure of `/metrics`; the name is all that stands before the value.
    pub fn figure(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> Got {
        let mut stream = self.connect();
        // A server that has refused already may not read the rest.
        let _ = stream.write_all(bytes);
        read(&mut stream)
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Got {
        self.raw(
            format!(
                "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\
                 content-length: {}\r\n\r\n{body}",
                self.address,
                body.len()
            )
            .as_bytes(),
        )
    }

    pub fn get(&self, path: &str) -> Got {
        self.request("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Got {
        self.request("POST", path, "", &body.to_string())
    }

    pub fn ok(&self, path: &str, body: &Value) -> Value {
        let got = self.post(path, body);
        assert_eq!(got.status, 200, "{}", got.body);
        got.json()
    }
}

/// Waits until something is so.
pub fn wait(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "waited for nothing: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads an answer to its end.
pub fn read(stream: &mut impl Read) -> Got {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    // An alert of TLS is no text.
    let text = String::from_utf8(bytes).unwrap_or_default();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let length = head.to_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let body = match (chunked, length) {
        (true, _) => dechunk(body),
        // What follows answers bytes that were sent too many.
        (false, Some(length)) => body[..length.min(body.len())].to_owned(),
        (false, None) => body.to_owned(),
    };
    Got { status, head: head.to_lowercase(), body }
}

fn dechunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
        out.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    out
}
