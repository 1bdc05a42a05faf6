//! Pages, from a server of this machine that must be allowed first.

use std::io::{Read, Write};
use std::net::TcpListener;

use agent::tools::{Fetch, Outcome, Reachable, Stop, Tool};
use serde_json::json;

use crate::site::{Site, map};

/// Answers every request by its path; gives its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("").to_owned();
            let (status, headers, body) = match path.as_str() {
                "/page" => {
                    ("200 OK", "Content-Type: text/html", "<h1>Head</h1><p>a <b>b</b>".into())
                }
                "/text" => ("200 OK", "Content-Type: text/plain", "plain \u{1b}[2J".into()),
                "/long" => ("200 OK", "Content-Type: text/plain", "word ".repeat(50_000)),
                "/huge" => ("200 OK", "Content-Type: text/plain", "x".repeat(3 << 20)),
                "/image" => ("200 OK", "Content-Type: image/png", "png".into()),
                "/moved" => ("302 Found", "Location: /page", String::new()),
                "/loop" => ("302 Found", "Location: /loop", String::new()),
                "/away" => ("302 Found", "Location: http://example.org/", String::new()),
                "/file" => ("302 Found", "Location: file:///etc/passwd", String::new()),
                _ => ("404 Not Found", "Content-Type: text/html", "<p>nothing here".into()),
            };
            let length = body.len();
            let headers = format!("{headers}\r\nContent-Length: {length}\r\nConnection: close");
            let head = format!("HTTP/1.1 {status}\r\n{headers}\r\n");
            // Whoever has seen enough goes away in the middle.
            let _ = write!(stream, "{head}\r\n{body}");
        }
    });
    address
}

fn fetch(site: &Site, private: bool, url: &str) -> Outcome {
    let tool = Fetch::new(site.place.clone(), Reachable { private });
    let arguments = map(json!({"url": url}));
    let plan = tool.plan(&arguments).unwrap();
    tool.run(&arguments, &plan, &mut |_| {}, &Stop::default())
}

#[test]
fn pages_come_as_text() {
    let (site, base) = (Site::new(), serve());
    let get = |path: &str| fetch(&site, true, &format!("{base}{path}"));
    assert_eq!(get("/page").text, "# Head\n\na **b**");
    assert_eq!(get("/moved").text, "# Head\n\na **b**");
    let text = get("/text");
    let agent::event::Shown::Text(shown) = text.shown else { panic!("no text") };
    assert_eq!(shown, "plain ␛[2J");
    let long = get("/long");
    assert!(long.text.len() < site.place.limits().result_bytes + 500);
    assert!(long.text.contains("250000 bytes in all; all of it is in"), "{}", long.text.len());
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let (site, base) = (Site::new(), serve());
    for (path, expected) in [
        ("/image", "image/png is no text"),
        ("/none", "status 404 Not Found\nnothing here"),
        ("/loop", "more than 5 redirects"),
        ("/away", "leads to http://example.org/, which is another host"),
        ("/file", "only http and https"),
        ("/huge", "limit"),
    ] {
        let outcome = fetch(&site, true, &format!("{base}{path}"));
        assert!(outcome.failed && outcome.text.contains(expected), "{path}: {}", outcome.text);
    }
}

#[test]
fn this_machine_is_not_reached_unless_allowed() {
    let (site, base) = (Site::new(), serve());
    let port = base.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"] {
        let outcome = fetch(&site, false, &format!("http://{host}:{port}/page"));
        assert!(outcome.failed, "{host}: {}", outcome.text);
        let refused = outcome.text.contains("is an address of a private network");
        assert!(refused, "{host}: {}", outcome.text);
    }
}
