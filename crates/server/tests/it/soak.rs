//! An hour's work in a minute: 64 streams at once, in four dialects, request after request.
//!
//! What must hold whatever else the machine does:
//!
//! - every stream says exactly what the same request says alone and in one piece, so that no event
//!   is dropped, doubled, reordered or somebody else's;
//! - events of a stream have their order: first, middle, last, numbers where there are numbers;
//! - between two tokens of a stream no more time passes than a step and a step with a slice take,
//!   plus what this machine needs to wake a reader;
//! - memory after the minute is that after the warm-up.
//!
//! Times are printed. They are those of a busy machine if it is one.

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Limits, Settings};

use crate::support::{Running, options, settings, start_with};

const STREAMS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

/// Looks at memory in that minute.
const LOOKS: u32 = 6;

/// Memory that may come and go: stacks, buffers of sockets, what the allocator holds back.
const BYTES_MORE_MAX: usize = 12 << 20;

/// How late a reader may be woken on a machine whose processors all have other work: 64 readers,
/// the server's threads and the device's share them.
const WAKING: Duration = Duration::from_millis(250);

const TEXTS: [&str; 4] = [
    "Who are you, and what can you do?",
    "The night train crosses the plain. Where does it go?",
    "One two three four five six seven",
    "Tell me about the weather in Oslo and in Rome, and which of them is warmer in May.",
];

/// Path, body, and where the text of an event or of a whole answer stands.
struct Ask {
    path: &'static str,
    body: Value,
    delta: &'static [&'static str],
    whole: fn(&Value) -> String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Texts of blocks of `kind`s, joined.
fn blocks(list: &Value, members: &[&str]) -> String {
    let list = list.as_array().into_iter().flatten();
    list.flat_map(|block| members.iter().map(|member| text(&block[*member]))).collect()
}

fn ask(number: usize) -> Ask {
    let said = TEXTS[number / 4 % TEXTS.len()];
    let messages = json!([{"role": "user", "content": said}]);
    let tokens = 20 + 15 * (number % 7);
    match number % 4 {
        0 => Ask {
            path: "/v1/chat/completions",
            body: json!({"model": "m", "messages": messages, "max_tokens": tokens}),
            delta: &["/choices/0/delta/reasoning_content", "/choices/0/delta/content"],
            whole: |whole| {
                let message = &whole["choices"][0]["message"];
                text(&message["reasoning_content"]) + &text(&message["content"])
            },
        },
        1 => Ask {
            path: "/v1/completions",
            body: json!({"prompt": said, "max_tokens": tokens}),
            delta: &["/choices/0/text"],
            whole: |whole| text(&whole["choices"][0]["text"]),
        },
        2 => Ask {
            path: "/v1/responses",
            body: json!({"model": "m", "input": said, "max_output_tokens": tokens,
                "reasoning": {"effort": "none"}}),
            delta: &["/delta"],
            whole: |whole| {
                let items = whole["output"].as_array().into_iter().flatten();
                items.map(|item| blocks(&item["content"], &["text"])).collect()
            },
        },
        _ => Ask {
            path: "/v1/messages",
            body: json!({"model": "m", "messages": messages, "max_tokens": tokens}),
            delta: &["/delta/thinking", "/delta/text"],
            whole: |whole| blocks(&whole["content"], &["thinking", "text"]),
        },
    }
}

/// What a stream began and ended with, and numbers that must count up from 0.
#[derive(Default)]
struct Order {
    first: String,
    last: String,
    events: u64,
}

impl Order {
    fn note(&mut self, data: &str, event: &Value) {
        let kind = event["type"].as_str().unwrap_or(if data == "[DONE]" { data } else { "chunk" });
        if let Some(number) = event["sequence_number"].as_u64() {
            assert_eq!(number, self.events, "an event is missing or doubled: {data}");
        }
        if self.events == 0 {
            self.first = kind.to_owned();
        }
        assert!(self.last != "[DONE]" && !self.last.ends_with("_stop") || kind != "chunk");
        self.last = kind.to_owned();
        self.events += 1;
    }

    fn check(&self, path: &str) {
        let expected = match path {
            "/v1/messages" => ["message_start", "message_stop"].as_slice(),
            "/v1/responses" => &["response.created", "response.completed", "response.incomplete"],
            _ => &["chunk", "[DONE]"],
        };
        assert_eq!(self.first, expected[0], "{path}");
        assert!(expected[1..].contains(&self.last.as_str()), "{path}: {}", self.last);
    }
}

/// How often something took how long, in classes of five percent.
struct Times(Vec<usize>);

impl Times {
    fn new() -> Times {
        Times(vec![0; 400])
    }

    fn add(&mut self, time: Duration) {
        let class = (time.as_secs_f64().max(1e-6) / 1e-6).ln() / 1.05_f64.ln();
        let last = self.0.len() - 1;
        self.0[(class as usize).min(last)] += 1;
    }

    fn merge(&mut self, other: &Times) {
        self.0.iter_mut().zip(&other.0).for_each(|(all, more)| *all += more);
    }

    fn count(&self) -> usize {
        self.0.iter().sum()
    }

    /// Milliseconds within which so many of a hundred were.
    fn percentile(&self, percent: f64) -> f64 {
        let rank = self.count() as f64 * percent / 100.0;
        let mut seen = 0;
        let class = self.0.iter().position(|count| {
            seen += count;
            seen as f64 >= rank
        });
        1.05_f64.powi(class.unwrap_or(0) as i32 + 1) * 1e-3
    }
}

/// What readers have seen.
struct Seen {
    first: Times,
    between: Times,
    longest: Duration,
    answers: usize,
}

impl Seen {
    fn new() -> Seen {
        Seen { first: Times::new(), between: Times::new(), longest: Duration::ZERO, answers: 0 }
    }

    fn merge(&mut self, other: &Seen) {
        self.first.merge(&other.first);
        self.between.merge(&other.between);
        self.longest = self.longest.max(other.longest);
        self.answers += other.answers;
    }
}

/// One streamed answer, which must say `want`.
fn stream(server: &Running, ask: &Ask, want: &str, seen: &mut Seen) {
    let mut body = ask.body.clone();
    body["stream"] = true.into();
    let body = body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        ask.path,
        body.len()
    );
    let mut connection = BufReader::new(server.connect());
    connection.get_mut().write_all((head + &body).as_bytes()).expect("it reads");
    let (began, mut last) = (Instant::now(), None);
    let (mut got, mut order, mut line) = (String::new(), Order::default(), String::new());
    while connection.read_line(&mut line).expect("text") > 0 {
        if let Some(data) = line.trim_end().strip_prefix("data: ") {
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            assert!(event["error"].is_null(), "{data}");
            order.note(data, &event);
            let is_delta = event["type"].as_str().is_none_or(|kind| kind.ends_with("delta"));
            let said = ask.delta.iter().filter_map(|path| event.pointer(path)?.as_str());
            let before = got.len();
            said.filter(|_| is_delta).for_each(|more| got.push_str(more));
            if got.len() > before {
                let now = Instant::now();
                match last {
                    None => seen.first.add(now - began),
                    Some(last) => {
                        seen.between.add(now - last);
                        seen.longest = seen.longest.max(now - last);
                    }
                }
                last = Some(now);
            }
        }
        line.clear();
    }
    order.check(ask.path);
    assert_eq!(got, want, "{}: {}", ask.path, ask.body);
    seen.answers += 1;
}

/// Bytes of this process in memory, without the lines that the test keeps.
fn resident(server: &Running) -> usize {
    *server.log.lock().expect("no panic") = Vec::new();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<usize>().ok());
    kilobytes.expect("a number") << 10
}

/// The longest step since the server began, and how many there were.
fn steps(server: &Running) -> (Duration, f64) {
    let longest = Duration::from_secs_f64(server.figure("dwarfstar_step_seconds_max"));
    (longest, server.figure("dwarfstar_steps_total"))
}

/// Prints what was seen, in a minute of so many steps.
fn tell(all: &Seen, longest: Duration, steps: f64, memory: &[usize]) {
    let (pieces, seconds) = (all.between.count() + all.first.count(), MINUTE.as_secs_f64());
    let p = |times: &Times, percent| times.percentile(percent);
    println!(
        "{} answers, {pieces} pieces ({:.0} per second), {:.1} ms per step, longest step {:.0} ms\n\
         first token: p50 {:.0} ms, p99 {:.0} ms\n\
         between tokens: p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms\n\
         resident, in MB, from the warm-up on: {}",
        all.answers,
        pieces as f64 / seconds,
        seconds / steps * 1e3,
        longest.as_secs_f64() * 1e3,
        p(&all.first, 50.0),
        p(&all.first, 99.0),
        p(&all.between, 50.0),
        p(&all.between, 99.0),
        all.longest.as_secs_f64() * 1e3,
        memory.iter().map(|bytes| format!("{:.1} ", *bytes as f64 / 1e6)).collect::<String>(),
    );
}

#[test]
#[ignore = "takes a minute and a half"]
fn a_minute_of_64_streams() {
    let limits = Limits { answers_per_client: 2 * STREAMS, ..settings().limits };
    let options = engine::OpenOptions {
        context: 1024,
        sessions: STREAMS,
        // States of prompts fill their budget during the warm-up.
        anchor_bytes_max: 4 << 20,
        ..options()
    };
    let server = start_with(Settings { limits, ..settings() }, options, None);
    let asks: Vec<Ask> = (0..STREAMS).map(ask).collect();
    let wants: Vec<String> =
        asks.iter().map(|ask| (ask.whole)(&server.ok(ask.path, &ask.body))).collect();
    assert!(wants.iter().all(|want| want.len() > 10), "{wants:?}");
    let (ended, warm) = (AtomicBool::new(false), AtomicBool::new(false));
    let (all, next) = (Mutex::new(Seen::new()), AtomicUsize::new(0));
    let together = Barrier::new(STREAMS + 1);
    let (memory, at_first, at_last) = std::thread::scope(|scope| {
        for _ in 0..STREAMS {
            scope.spawn(|| {
                // Whoever fails ends everything, so that nobody is waited for.
                let _end = OnPanic(&ended);
                let mut seen = Seen::new();
                together.wait();
                while !ended.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed) % STREAMS;
                    let counts = warm.load(Ordering::Relaxed);
                    let mut unseen = Seen::new();
                    let seen = if counts { &mut seen } else { &mut unseen };
                    stream(&server, &asks[number], &wants[number], seen);
                }
                all.lock().expect("no panic").merge(&seen);
            });
        }
        together.wait();
        sleep(WARM_UP, &ended);
        let mut memory = vec![resident(&server)];
        let at_first = steps(&server);
        warm.store(true, Ordering::Relaxed);
        for _ in 0..LOOKS {
            sleep(MINUTE / LOOKS, &ended);
            memory.push(resident(&server));
        }
        let at_last = steps(&server);
        ended.store(true, Ordering::Relaxed);
        (memory, at_first, at_last)
    });
    let (before, after) = (memory[0], memory[memory.len() - 1]);
    let all = all.into_inner().expect("no panic");
    tell(&all, at_last.0, at_last.1 - at_first.1, &memory);
    assert!(all.answers > STREAMS, "{}", all.answers);
    let stall = 2 * at_last.0 + WAKING;
    assert!(all.longest <= stall, "a stall of {:?}, at most {stall:?} is right", all.longest);
    assert!(after <= before + BYTES_MORE_MAX, "memory grew: {before} to {after} bytes");
    assert_eq!(server.figure("dwarfstar_batch_size"), 0.0);
    assert_eq!(server.figure("dwarfstar_requests_total{dialect=\"chat\",status=\"5xx\"}"), 0.0);
}

fn sleep(time: Duration, ended: &AtomicBool) {
    let until = Instant::now() + time;
    while Instant::now() < until && !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets a flag when its thread panics.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
