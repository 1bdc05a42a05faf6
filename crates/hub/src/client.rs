//! Asking the hub: redirects, the token, and which refusals are worth another attempt.
//!
//! Redirects are followed here and not by the library, since the hub sends every large file to
//! other hosts: those get the address that the hub has signed for them, and never the token.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy};

use crate::address::{Endpoint, Origin, Plain, redirect};
use crate::error::Error;
use crate::patience::{Patience, asked};

const REDIRECTS_MAX: usize = 8;

/// What says who asks. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// From the text of a variable or a file; `None` if that cannot be a token.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        let usual = (1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        usual.then(|| Token(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How the hub is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub, or a mirror of it.
    pub endpoint: Endpoint,
    /// Who asks. It goes to the endpoint, encrypted, and nowhere else.
    pub token: Option<Token>,
    /// The address of a proxy, if connections go through one.
    pub proxy: Option<String>,
    /// How long a connection may give nothing before it counts as cut.
    pub stall: Duration,
}

/// A connection to the hub.
#[derive(Clone, Debug)]
pub struct Hub {
    agent: Agent,
    endpoint: Endpoint,
    token: Option<Token>,
}

/// Hears why, and for how long, nothing happens.
pub type Told<'a> = &'a mut dyn FnMut(&Error, Duration);

/// A request.
pub(crate) struct Ask<'a> {
    pub url: &'a str,
    /// What is asked for, for messages.
    pub what: &'a str,
    pub range: Option<&'a Range<u64>>,
}

/// What came back: a success of some kind.
pub(crate) struct Answer {
    pub response: Response<Body>,
    /// The `ETag` of the file in the hub's storage, if the hub has told.
    pub linked: Option<String>,
}

/// Why an attempt failed.
pub(crate) enum Failure {
    /// Another one would end like this.
    Final(Error),
    /// Another one may do better, after what the server asks for.
    Passing(Error, Option<Duration>),
}

impl Hub {
    /// How the hub is asked from now on.
    ///
    /// # Errors
    /// The proxy's address cannot be understood.
    pub fn new(settings: Settings) -> Result<Hub, Error> {
        let Settings { endpoint, token, proxy, stall } = settings;
        let proxy = proxy.map(|address| Proxy::new(&address)).transpose();
        let proxy = proxy.map_err(|error| Error::Proxy { reason: error.to_string() })?;
        let config = Config::builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(proxy)
            .accept_encoding("identity")
            .max_idle_connections(64)
            .max_idle_connections_per_host(32)
            .timeout_resolve(Some(stall))
            .timeout_connect(Some(stall))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .user_agent(concat!("dwarfstar/", env!("CARGO_PKG_VERSION")))
            .build();
        // Over a line that others read, nobody is introduced.
        let token = token.filter(|_| endpoint.origin().is_private());
        Ok(Hub { agent: config.new_agent(), endpoint, token })
    }

    /// The hub that is asked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks, follows, and sorts what goes wrong.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let plain = match self.endpoint.origin().is_private() {
            true => Plain::Loopback,
            false => Plain::Anywhere,
        };
        let what = || ask.what.to_owned();
        let odd = |found: String| Failure::Final(Error::Answer { what: what(), found });
        let mut address: Uri =
            ask.url.parse().map_err(|_| odd(format!("{} is no address", ask.url)))?;
        let mut linked = None;
        for _ in 0..=REDIRECTS_MAX {
            let from_hub = Origin::of(&address).as_ref() == Some(self.endpoint.origin());
            let response = self.once(&address, ask, from_hub)?;
            if from_hub {
                linked = text(response.headers(), "x-linked-etag").or(linked);
            }
            let status = response.status();
            if !status.is_redirection() {
                let host = address.host().unwrap_or_default();
                return match status.is_success() {
                    true => Ok(Answer { response, linked }),
                    false => Err(self.refusal(ask, host, from_hub, &response)),
                };
            }
            let location = text(response.headers(), header::LOCATION.as_str());
            let location = location.ok_or_else(|| odd("a redirect to nowhere".to_owned()))?;
            address = redirect(&address, &location, plain).map_err(odd)?;
        }
        Err(odd(format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn once(&self, at: &Uri, ask: &Ask<'_>, from_hub: bool) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(at);
        if let Some(range) = ask.range {
            let range = format!("bytes={}-{}", range.start, range.end - 1);
            request = request.header(header::RANGE, range);
        }
        if let Some(Token(token)) = self.token.as_ref().filter(|_| from_hub) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            let host = at.host().unwrap_or_default();
            let reason = format!("no answer from {host}: {error}");
            let failed = Error::Connection { what: ask.what.to_owned(), reason };
            // Who cannot be trusted now cannot be trusted in a minute.
            let distrust = error.to_string().contains("certificate");
            match distrust || matches!(error, ureq::Error::Tls(_) | ureq::Error::BadUri(_)) {
                true => Failure::Final(failed),
                false => Failure::Passing(failed, None),
            }
        })
    }

    fn refusal(&self, ask: &Ask<'_>, host: &str, from_hub: bool, got: &Response<Body>) -> Failure {
        let (what, token) = (ask.what.to_owned(), self.token.is_some());
        let (status, wait) = (got.status(), asked(got.headers()));
        let other = Error::Status { what, host: host.to_owned(), status: status.as_u16() };
        let what = ask.what.to_owned();
        match status {
            StatusCode::UNAUTHORIZED if from_hub => {
                Failure::Final(Error::Unauthorized { what, token })
            }
            StatusCode::FORBIDDEN if from_hub => Failure::Final(Error::Forbidden { what, token }),
            StatusCode::NOT_FOUND => Failure::Final(Error::NotFound { what }),
            // Signed addresses expire. The next attempt asks the hub for a new one.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Passing(other, wait),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Failure::Passing(other, wait)
            }
            _ if status.is_server_error() => Failure::Passing(other, wait),
            _ => Failure::Final(other),
        }
    }

    /// Asks until `read` has what it wants, or patience ends.
    pub(crate) fn insist<T>(
        &self,
        ask: &Ask<'_>,
        patience: &Patience,
        told: Told<'_>,
        read: &dyn Fn(Answer) -> Result<T, String>,
    ) -> Result<T, Error> {
        let mut failed = 0;
        loop {
            let result = self.ask(ask).and_then(|answer| {
                read(answer).map_err(|reason| {
                    let cut = Error::Connection { what: ask.what.to_owned(), reason };
                    Failure::Passing(cut, None)
                })
            });
            failed += 1;
            match result {
                Ok(result) => return Ok(result),
                Err(failure) => {
                    let (error, wait) = failure.again(failed, patience)?;
                    told(&error, wait);
                    std::thread::sleep(wait);
                }
            }
        }
    }
}

impl Failure {
    /// How long to wait before the next attempt.
    ///
    /// # Errors
    /// There is none.
    pub fn again(self, failed: u32, patience: &Patience) -> Result<(Error, Duration), Error> {
        match self {
            Failure::Final(error) => Err(error),
            Failure::Passing(Error::Status { what, host, status }, Some(wait))
                if wait > patience.asked_max =>
            {
                Err(Error::Busy { what, host, status, wait })
            }
            Failure::Passing(error, asked) => match patience.wait(failed, asked) {
                Some(wait) => Ok((error, wait)),
                None => Err(error),
            },
        }
    }
}

/// A body of a bounded size.
pub(crate) fn limited(mut response: Response<Body>, bytes_max: u64) -> Result<Vec<u8>, String> {
    let body = response.body_mut().with_config().limit(bytes_max).read_to_vec();
    body.map_err(|error| format!("the answer ended early: {error}"))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_one_word_and_not_shown() {
        let token = Token::new(" hf_secret\n").unwrap();
        assert_eq!(token, Token("hf_secret".to_owned()));
        assert!(!format!("{token:?}").contains("secret"));
        for wrong in ["", "\n", "two words", "hf_\u{e9}", "a\r\nX: y", &"x".repeat(2000)] {
            assert!(Token::new(wrong).is_none(), "{wrong:?}");
        }
    }
}
