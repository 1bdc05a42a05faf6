//! A server that imitates the hub: one port is the hub, another one is where its files are.
//!
//! By default it behaves. A rule of the test may have it do something else with a request, and
//! everything that was asked is remembered.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::{Hub, Patience, Repository, Settings, Sha256, Token};

/// The repository that everything is in.
pub const REPOSITORY: &str = "some-one/models";

/// A file that is offered.
#[derive(Clone, Debug)]
pub struct Offer {
    pub path: String,
    pub bytes: Vec<u8>,
    /// What the list says of it, where that is not the truth.
    pub size: u64,
    pub sha256: Option<String>,
}

impl Offer {
    /// As it should be.
    pub fn new(path: &str, bytes: Vec<u8>) -> Offer {
        let (size, sha256) = (bytes.len() as u64, Some(Sha256::of(&bytes).to_string()));
        Offer { path: path.to_owned(), bytes, size, sha256 }
    }
}

/// Bytes without a pattern that a shift would keep.
pub fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Whether it came to the hub, and not to where its files are.
    pub of_hub: bool,
    pub target: String,
    /// First and last byte.
    pub range: Option<(u64, u64)>,
    pub authorization: Option<String>,
    /// Its number among all requests, from 0.
    pub number: usize,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// What is right.
    Behave,
    /// A status with headers, and a body that nobody wants.
    Status(u16, String),
    /// Closes the connection after so many bytes of the body.
    Cut(usize),
    /// Sends so many bytes, and then nothing for a while.
    Stall(usize, Duration),
    /// Sends the body in chunks with pauses.
    Slow(usize, Duration),
    /// 200 and everything.
    Whole,
    /// 206 with this `Content-Range`.
    Range(String),
    /// The right bytes but for one.
    Corrupt,
    /// Bytes as an answer, headers and all.
    Raw(String),
}

type Rule = Box<dyn Fn(&Asked) -> Act + Send + Sync>;

struct State {
    offers: Mutex<Vec<Offer>>,
    rule: Mutex<Rule>,
    asked: Mutex<Vec<Asked>>,
    count: AtomicUsize,
    files: String,
}

/// The imitation. Its threads end with the test's process.
#[derive(Clone)]
pub struct Site {
    pub address: String,
    state: Arc<State>,
}

impl Site {
    /// A hub with these files.
    pub fn new(offers: Vec<Offer>) -> Site {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (front, back) = (bind(), bind());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            offers: Mutex::new(offers),
            rule: Mutex::new(Box::new(|_| Act::Behave)),
            asked: Mutex::default(),
            count: AtomicUsize::new(0),
            files: address(&back),
        });
        let site = Site { address: address(&front), state: Arc::clone(&state) };
        for (listener, of_hub) in [(front, true), (back, false)] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (state, stream) = (Arc::clone(&state), stream.unwrap());
                    // Whoever has seen enough goes away in the middle.
                    std::thread::spawn(move || drop(state.answer(stream, of_hub)));
                }
            });
        }
        site
    }

    /// From now on, requests are treated like this.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on, these are the files.
    pub fn offer(&self, offers: Vec<Offer>) {
        *self.state.offers.lock().unwrap() = offers;
    }

    /// Everything that was asked so far, which is forgotten then.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }

    /// A way to it, with a token or without.
    pub fn hub(&self, token: Option<&str>) -> Hub {
        self.hub_with(token, Duration::from_secs(30))
    }

    /// A way to it on which a connection may say nothing for so long.
    pub fn hub_with(&self, token: Option<&str>, stall: Duration) -> Hub {
        let endpoint = hub::Endpoint::parse(&self.address, hub::Plain::Loopback).unwrap();
        let token = token.map(|token| Token::new(token).unwrap());
        Hub::new(Settings { endpoint, token, proxy: None, stall }).unwrap()
    }
}

/// The repository's name.
pub fn repository() -> Repository {
    Repository::parse(REPOSITORY).unwrap()
}

/// Somebody who does not wait long.
pub fn hasty() -> Patience {
    Patience {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(20),
        asked_max: Duration::from_secs(5),
        attempts: 5,
    }
}

/// The ranges of requests for a file's bytes, from where the files are, in order.
pub fn ranges(asked: &[Asked]) -> Vec<(u64, u64)> {
    let of_files = asked.iter().filter(|asked| !asked.of_hub);
    let mut ranges: Vec<_> = of_files.filter_map(|asked| asked.range).collect();
    ranges.sort_unstable();
    ranges
}

impl State {
    fn answer(&self, stream: TcpStream, of_hub: bool) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut asked = Asked { of_hub, ..Asked::default() };
        let mut line = String::new();
        reader.read_line(&mut line)?;
        asked.target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let (first, last) =
                        value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                    asked.range = Some((first.parse().unwrap(), last.parse().unwrap()));
                }
                "authorization" => asked.authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        asked.number = self.count.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(asked.clone());
        let act = (self.rule.lock().unwrap())(&asked);
        self.act(&asked, act, stream)
    }

    fn act(&self, asked: &Asked, act: Act, mut to: TcpStream) -> std::io::Result<()> {
        match &act {
            Act::Status(status, headers) => {
                return write!(
                    to,
                    "HTTP/1.1 {status} As Told\r\n{headers}Content-Length: 4\r\n\
                     Connection: close\r\n\r\nbody"
                );
            }
            Act::Raw(bytes) => return to.write_all(bytes.as_bytes()),
            _ => {}
        }
        let path = asked.target.split('?').next().unwrap_or_default();
        if path == format!("/api/models/{REPOSITORY}/tree/main") {
            return self.list(&asked.target, to);
        }
        let offers = self.offers.lock().unwrap().clone();
        let name = path.rsplit("/resolve/main/").next().unwrap_or_default();
        let offer = offers.iter().find(|offer| name == offer.path);
        let Some(offer) = offer else {
            return write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        if asked.of_hub {
            let linked = match &offer.sha256 {
                Some(hash) => format!("X-Linked-Etag: \"{hash}\"\r\n"),
                None => String::new(),
            };
            return write!(
                to,
                "HTTP/1.1 302 Found\r\nLocation: {}{path}?signed=yes\r\n{linked}\
                 Content-Length: 0\r\nConnection: close\r\n\r\n",
                self.files
            );
        }
        bytes_of(&offer.bytes, asked, act, to)
    }

    /// Two files per page.
    fn list(&self, target: &str, mut to: TcpStream) -> std::io::Result<()> {
        let offers = self.offers.lock().unwrap().clone();
        let page: usize = target.split_once("cursor=").map_or(0, |(_, page)| page.parse().unwrap());
        let items: Vec<_> = offers.iter().skip(2 * page).take(2).map(item).collect();
        let body = format!("[{}]", items.join(","));
        let link = match offers.len() > 2 * (page + 1) {
            true => {
                let next = page + 1;
                format!(
                    "Link: <https://hub.example/list?recursive=true&cursor={next}>; \
                     rel=\"next\"\r\n"
                )
            }
            false => String::new(),
        };
        let length = body.len();
        let head = format!("{link}Content-Length: {length}\r\nConnection: close\r\n");
        write!(to, "HTTP/1.1 200 OK\r\n{head}\r\n{body}")
    }
}

fn item(offer: &Offer) -> String {
    let Offer { path, size, sha256, .. } = offer;
    let lfs = match sha256 {
        Some(hash) => {
            format!(",\"lfs\":{{\"oid\":\"{hash}\",\"size\":{size},\"pointerSize\":135}}")
        }
        None => String::new(),
    };
    format!("{{\"type\":\"file\",\"oid\":\"9f2c\",\"size\":{size},\"path\":\"{path}\"{lfs}}}")
}

fn bytes_of(all: &[u8], asked: &Asked, act: Act, mut to: TcpStream) -> std::io::Result<()> {
    let size = all.len() as u64;
    let (first, last) = asked.range.unwrap_or((0, size.saturating_sub(1)));
    let part = match act {
        Act::Whole => 0..all.len(),
        _ => first.min(size) as usize..(last + 1).min(size) as usize,
    };
    let mut body = all[part].to_vec();
    let range = match &act {
        Act::Range(range) => range.clone(),
        _ => format!("bytes {first}-{last}/{size}"),
    };
    let head = match (&act, asked.range) {
        (Act::Whole, _) | (_, None) => "200 OK\r\n".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: {range}\r\n"),
    };
    let length = body.len();
    write!(to, "HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
    match act {
        Act::Cut(count) => to.write_all(&body[..count.min(length)]),
        Act::Stall(count, pause) => {
            to.write_all(&body[..count.min(length)])?;
            std::thread::sleep(pause);
            Ok(())
        }
        Act::Slow(count, pause) => body.chunks(count).try_for_each(|chunk| {
            std::thread::sleep(pause);
            to.write_all(chunk)
        }),
        Act::Corrupt => {
            body[length / 2] ^= 1;
            to.write_all(&body)
        }
        _ => to.write_all(&body),
    }
}
