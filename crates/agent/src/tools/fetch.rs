//! `fetch`: a page of the web as Markdown. It is there only if somebody has allowed it.
//!
//! What a model reads there may have been written to mislead it, and what it asks for tells others
//! what it knows. So every host is asked for, a redirect to another host is told instead of
//! followed, and addresses of this machine and its network are refused where names are resolved,
//! which a name that changes its mind cannot get around. Bytes, time and redirects are bounded.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use text::ToolSpec;
use ureq::config::Config;
use ureq::http::{Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::arguments::{schema, text};
use super::result::{bounded, done, failed, head, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool};
use crate::event::Shown;
use crate::harmless;
use crate::workplace::Workplace;

const PAGE_BYTES_MAX: u64 = 2 << 20;
const TIME_MAX: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 5;
const ADDRESS_BYTES_MAX: usize = 2048;
/// Elements within elements that are converted; pages of people have tens.
const DEPTH_MAX: usize = 400;
const STACK_BYTES: usize = 64 << 20;

/// What may be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reachable {
    /// Addresses of this machine and of private networks too.
    pub private: bool,
}

/// Fetches pages.
#[derive(Debug)]
pub struct Fetch {
    place: Arc<Workplace>,
    reachable: Reachable,
}

impl Fetch {
    /// Fetches what is reachable; long pages are kept in this place.
    pub fn new(place: Arc<Workplace>, reachable: Reachable) -> Fetch {
        Fetch { place, reachable }
    }
}

impl Tool for Fetch {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "fetch",
            Some("Fetch a page of the web; HTML comes as Markdown.".to_owned()),
            Some(schema(&[("url", "string", "Its address, with http:// or https://")], 1)),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let address = address(text(arguments, "url")?)?.to_string();
        let title = title(&address);
        let detail = Shown::Text(harmless::shown(&address));
        Ok(Plan { title, needs: vec![Need::Reach(address)], detail })
    }

    fn run(&self, _: &Arguments, plan: &Plan, _: &mut dyn FnMut(&str), stop: &Stop) -> Outcome {
        let [Need::Reach(planned)] = &plan.needs[..] else {
            return failed("this is no plan of a page");
        };
        self.fetch(planned, stop).map_or_else(failed, done)
    }
}

impl Fetch {
    fn fetch(&self, planned: &str, stop: &Stop) -> Result<String, String> {
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        let (address, reachable) = (address(planned)?, self.reachable);
        let (send, receive) = mpsc::sync_channel(1);
        // A thread of its own: reading cannot be interrupted, waiting for it can. The stack is for
        // pages whose elements are nested deeply.
        let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let _ = send.send(page(address, reachable)); // nobody waits any more if it was stopped
        });
        worker.map_err(|error| format!("the page cannot be fetched: {error}"))?;
        let text = loop {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok(page) => break page?,
                Err(RecvTimeoutError::Timeout) if !stop.is_stopped() => {}
                Err(RecvTimeoutError::Timeout) => return Err("stopped".to_owned()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the page could not be read".to_owned());
                }
            }
        };
        Ok(bounded(&self.place, "page", text))
    }
}

/// An address that may be asked for.
fn address(text: &str) -> Result<Uri, String> {
    let wrong = |what: &str| format!("{what}; give an address such as https://example.org/page");
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(wrong("the address is too long"));
    }
    let text = text.trim();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err(wrong("only http and https can be fetched"));
    }
    let address: Uri = text.parse().map_err(|_| wrong("this is no address"))?;
    match address.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(wrong("an address may not hold a name or a password"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(address),
        _ => Err(wrong("the address has no host")),
    }
}

/// Fetches a page; what it holds, as text.
fn page(mut address: Uri, reachable: Reachable) -> Result<String, String> {
    let config = Config::builder()
        .timeout_global(Some(TIME_MAX))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent("dwarfstar")
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), Careful { reachable });
    for _ in 0..=REDIRECTS_MAX {
        let response = agent.get(&address).call();
        let mut response = response.map_err(|error| format!("{address}: {error}"))?;
        let status = response.status();
        if status.is_redirection() {
            address = redirect(&address, response.headers().get(header::LOCATION))?;
            continue;
        }
        let kind = response.body().mime_type().unwrap_or("text/plain").to_ascii_lowercase();
        if !is_text(&kind) {
            return Err(format!("{address}: {kind} is no text"));
        }
        let body = response.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| format!("{address}: {error}"))?;
        let text = harmless::marked(&body);
        let text = if kind.contains("html") { to_markdown(&text) } else { text };
        if !status.is_success() {
            return Err(format!("{address}: status {status}\n{}", head(&text, 2000)));
        }
        return Ok(text);
    }
    Err(format!("{address}: more than {REDIRECTS_MAX} redirects"))
}

fn is_text(kind: &str) -> bool {
    let parts = ["json", "xml", "javascript", "yaml", "toml"];
    kind.starts_with("text/") || parts.iter().any(|part| kind.contains(part))
}

/// Where a redirect leads, if that is still the host that was asked for.
fn redirect(from: &Uri, location: Option<&header::HeaderValue>) -> Result<Uri, String> {
    let location = location.and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| format!("{from}: a redirect to nowhere"))?;
    let (scheme, authority) = (from.scheme_str().unwrap_or("https"), from.authority());
    let authority = authority.map_or("", |authority| authority.as_str());
    let full = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to = address(&full)?;
    if to.authority() != from.authority() {
        return Err(format!("{from}: leads to {to}, which is another host; fetch that if wanted"));
    }
    Ok(to)
}

/// Resolves names, and refuses addresses that are not public.
#[derive(Debug)]
struct Careful {
    reachable: Reachable,
}

impl Resolver for Careful {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        if !self.reachable.private
            && let Some(private) = found.iter().find(|found| !is_public(found.ip()))
        {
            let what =
                format!("{} is an address of a private network, which is refused", private.ip());
            return Err(ureq::Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, what)));
        }
        Ok(found)
    }
}

/// Whether an address belongs to everybody's network.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!(
            (a, b, c),
            (0 | 224.., ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _)
        ))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // Forms that hold another address: mapped, translated, tunnelled.
        [0, 0, 0, 0, 0, 0 | 0xFFFF, high, low] => inner(high, low),
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => inner(high, low),
        [0x2002, high, low, ..] => inner(high, low),
        // 2000::/3 is what is given out; of it the tunnels and the examples are left out.
        [first, second, ..] => {
            (0x2000..0x4000).contains(&first) && !(first == 0x2001 && matches!(second, 0 | 0xDB8))
        }
    }
}

/// HTML as Markdown. A page whose elements are nested too deeply gives its bare text.
pub fn to_markdown(html: &str) -> String {
    if depth(html) > DEPTH_MAX {
        return without_tags(html);
    }
    let skipped = vec!["script", "style", "noscript", "svg", "iframe", "template"];
    let converter = htmd::HtmlToMarkdown::builder().skip_tags(skipped).build();
    converter.convert(html).unwrap_or_else(|_| without_tags(html))
}

/// Elements that others close without being told to.
const CLOSED_BY_OTHERS: [&str; 32] = [
    "area", "base", "br", "col", "colgroup", "dd", "dt", "embed", "hr", "img", "input", "li",
    "link", "meta", "optgroup", "option", "p", "param", "rp", "rt", "source", "tbody", "td",
    "tfoot", "th", "thead", "tr", "track", "wbr", "body", "html", "head",
];

/// How deeply elements are nested, at most.
fn depth(html: &str) -> usize {
    let (mut depth, mut depth_max) = (0_usize, 0);
    for (at, _) in html.match_indices('<') {
        let rest = &html[at + 1..];
        let (closes, rest) = match rest.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest[..end.min(16)].to_ascii_lowercase();
        if name.is_empty() || CLOSED_BY_OTHERS.contains(&name.as_str()) {
            continue;
        }
        depth = if closes { depth.saturating_sub(1) } else { depth + 1 };
        depth_max = depth_max.max(depth);
    }
    depth_max
}

fn without_tags(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some((text, tag)) = rest.split_once('<') {
        out.push_str(text);
        rest = tag.split_once('>').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"];
        let private = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "ff02::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_that_are_refused_say_why() {
        let rows = [
            ("ftp://example.org/x", "only http and https"),
            ("file:///etc/passwd", "only http and https"),
            ("/etc/passwd", "only http and https"),
            ("https://user:secret@example.org/", "a name or a password"),
            ("no address", "only http and https"),
            ("https://a b/", "this is no address"),
            ("https:///x", "this is no address"),
        ];
        for (given, expected) in rows {
            let error = address(given).unwrap_err();
            assert!(error.contains(expected), "{given}: {error}");
        }
        assert!(address("https://example.org/a?b=c").is_ok());
    }

    #[test]
    fn redirects_stay_with_their_host() {
        let from: Uri = "https://a.example/x/y?z".parse().unwrap();
        let to = |location: &'static str| {
            redirect(&from, Some(&header::HeaderValue::from_static(location)))
        };
        assert_eq!(to("/up").unwrap(), "https://a.example/up");
        assert_eq!(to("beside").unwrap(), "https://a.example/x/beside");
        assert_eq!(to("http://a.example/").unwrap(), "http://a.example/");
        for other in ["https://b.example/", "//b.example/x", "https://a.example:8080/"] {
            assert!(to(other).unwrap_err().contains("another host"), "{other}");
        }
        assert!(to("file:///etc/passwd").unwrap_err().contains("only http"));
    }

    #[test]
    fn pages_become_markdown_whatever_they_are() {
        let html = "<html><head><title>t</title><style>p{}</style></head><body><h1>Head</h1>\
                    <p>Some <b>bold</b> <a href='/x'>link</a></p><script>bad()</script></body>";
        let text = to_markdown(html);
        assert!(text.contains("# Head") && text.contains("**bold**"), "{text}");
        assert!(text.contains("[link](/x)") && !text.contains("bad()"), "{text}");
        let deep = format!("{}deep{}", "<div>".repeat(200_000), "</div>".repeat(200_000));
        assert_eq!(to_markdown(&deep), "deep");
        assert!(to_markdown(&"<b><i>x".repeat(100_000)).contains('x'));
    }
}
