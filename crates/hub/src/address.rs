//! Addresses: the hub's own, those of repositories and files in it, and where redirects lead.
//!
//! All of it is pure. The rules that matter for safety stand here: connections are encrypted
//! unless that was given up on purpose, and nobody but the hub itself is the hub.

use std::fmt;

use ureq::http::Uri;

use crate::error::Error;

/// Longest address that is followed. Signed ones have a few thousand bytes.
const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// Longest name of a host: that of DNS.
const HOST_BYTES_MAX: usize = 253;

/// Where addresses may lead without encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// To this machine only.
    Loopback,
    /// Anywhere: somebody asked for it.
    Anywhere,
}

/// A scheme, a host and a port: what two addresses share if the same party answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// That of an address, if it is one of HTTP.
    pub fn of(address: &Uri) -> Option<Origin> {
        let scheme = address.scheme_str()?.to_ascii_lowercase();
        let authority = address.authority()?;
        let usual = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = authority.host().to_ascii_lowercase();
        // A name or a password in an address hides which host it leads to.
        let named = (1..=HOST_BYTES_MAX).contains(&host.len());
        if !named || authority.as_str().contains('@') {
            return None;
        }
        Some(Origin { scheme, host, port: authority.port_u16().unwrap_or(usual) })
    }

    /// Whether nobody on the way can read along: encrypted, or never outside this machine.
    pub fn is_private(&self) -> bool {
        self.scheme == "https" || self.is_loopback()
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        let parsed = address.parse::<std::net::IpAddr>();
        self.host == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)
    }
}

/// The hub, or a mirror of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at its end.
    base: String,
    origin: Origin,
}

impl Endpoint {
    /// Where models are published.
    pub const OFFICIAL: &str = "https://huggingface.co";

    /// An address such as `https://huggingface.co`.
    ///
    /// # Errors
    /// No address of HTTP, or an unencrypted one where that is not allowed.
    pub fn parse(text: &str, plain: Plain) -> Result<Endpoint, Error> {
        let base = text.trim().trim_end_matches('/');
        let wrong = || Error::Endpoint { found: text.to_owned() };
        let address: Uri = base.parse().map_err(|_| wrong())?;
        let origin = Origin::of(&address).ok_or_else(wrong)?;
        if base.contains(['?', '#']) || base.len() > 1000 {
            return Err(wrong());
        }
        if plain == Plain::Loopback && !origin.is_private() {
            return Err(Error::PlainEndpoint { found: base.to_owned() });
        }
        Ok(Endpoint { base: base.to_owned(), origin })
    }

    /// Whether it is the one where models are published, and no mirror.
    pub fn is_official(&self) -> bool {
        self.origin.scheme == "https" && self.origin.host == "huggingface.co"
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.origin.is_loopback()
    }

    /// Its host, for messages.
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The page of a repository, for people.
    pub fn page(&self, repository: &Repository) -> String {
        format!("{}/{repository}", self.base)
    }

    /// Where the files of a repository are listed.
    pub(crate) fn tree(&self, repository: &Repository, query: &str) -> String {
        format!("{}/api/models/{repository}/tree/main?{query}", self.base)
    }

    /// Where a file is.
    pub(crate) fn file(&self, repository: &Repository, path: &str) -> String {
        let parts: Vec<_> = path.split('/').map(encoded).collect();
        format!("{}/{repository}/resolve/main/{}", self.base, parts.join("/"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// The name of a repository: an owner and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// `owner/name`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Repository, Error> {
        let is_word = |word: &str| {
            let fits = (1..=96).contains(&word.len()) && !word.starts_with('.');
            let usual = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            fits && word.bytes().all(usual)
        };
        match text.split_once('/') {
            Some((owner, name)) if is_word(owner) && is_word(name) => {
                Ok(Repository(text.to_owned()))
            }
            _ => Err(Error::Repository { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One part of a path, with everything escaped that means something in an address.
fn encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Where a redirect leads.
///
/// # Errors
/// Not to an address of HTTP, or from encryption to none.
pub fn redirect(from: &Uri, location: &str, plain: Plain) -> Result<Uri, String> {
    if location.len() > ADDRESS_BYTES_MAX {
        return Err("a redirect to an address of more than 16 KiB".to_owned());
    }
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let full = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
        location.to_owned()
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to: Uri = full.parse().map_err(|_| "a redirect to what is no address".to_owned())?;
    let origin = Origin::of(&to).ok_or("a redirect to what is no address of HTTP")?;
    if plain == Plain::Loopback && !origin.is_private() {
        return Err(format!("a redirect to {origin} without encryption"));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_encrypted_unless_they_are_here_or_asked_for() {
        for text in ["https://huggingface.co", "https://mirror.example/hf/", "http://127.0.0.1:80"]
        {
            assert!(Endpoint::parse(text, Plain::Loopback).is_ok(), "{text}");
        }
        for text in ["http://localhost:8080", "http://[::1]:8080", "http://127.9.9.9"] {
            assert!(Endpoint::parse(text, Plain::Loopback).is_ok(), "{text}");
        }
        for text in ["http://mirror.example", "http://localhost.example", "http://10.0.0.1"] {
            let refused = Endpoint::parse(text, Plain::Loopback).unwrap_err();
            assert!(matches!(refused, Error::PlainEndpoint { .. }), "{text}: {refused}");
            assert!(Endpoint::parse(text, Plain::Anywhere).is_ok(), "{text}");
        }
        for text in ["", "huggingface.co", "ftp://a.example", "https://a:b@c.example", "https://"] {
            assert!(Endpoint::parse(text, Plain::Anywhere).is_err(), "{text}");
        }
    }

    #[test]
    fn files_have_addresses_that_say_what_they_mean() {
        let endpoint = Endpoint::parse("https://mirror.example/hf/", Plain::Loopback).unwrap();
        let repository = Repository::parse("some.one/models_v-1").unwrap();
        let address = endpoint.file(&repository, "a folder/50%?#\u{e9}.gguf");
        let expected = "https://mirror.example/hf/some.one/models_v-1/resolve/main/\
                        a%20folder/50%25%3F%23%C3%A9.gguf";
        assert_eq!(address, expected);
        for text in ["one", "a/b/c", "../b", "a/..", "a/.b", "/b", "a/", "a b/c", "a/b?c", "a/b#"] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn redirects_keep_encryption() {
        let from: Uri = "https://a.example/x/y?z".parse().unwrap();
        let rows = [
            ("/up", "https://a.example/up"),
            ("beside", "https://a.example/x/beside"),
            ("beside?to=http://c.example", "https://a.example/x/beside?to=http://c.example"),
            ("//b.example/x", "https://b.example/x"),
            ("https://b.example/x?y", "https://b.example/x?y"),
            ("http://127.0.0.1/x", "http://127.0.0.1/x"),
        ];
        for (location, expected) in rows {
            assert_eq!(redirect(&from, location, Plain::Loopback).unwrap(), expected);
        }
        for location in ["http://b.example/", "file:///etc/passwd", "https://a@b.example/", "a b"] {
            assert!(redirect(&from, location, Plain::Loopback).is_err(), "{location}");
        }
        assert!(redirect(&from, "http://b.example/", Plain::Anywhere).is_ok());
        let named = |letters: usize| format!("https://{}/x", "b".repeat(letters));
        assert!(redirect(&from, &named(HOST_BYTES_MAX), Plain::Loopback).is_ok());
        assert!(redirect(&from, &named(HOST_BYTES_MAX + 1), Plain::Loopback).is_err());
    }

    #[test]
    fn the_same_party_is_the_same_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).unwrap();
        let hub = origin("https://a.example/x");
        assert_eq!(hub, origin("https://A.example:443/y"));
        for other in ["http://a.example", "https://a.example:444", "https://b.a.example"] {
            assert_ne!(hub, origin(other), "{other}");
        }
    }
}
