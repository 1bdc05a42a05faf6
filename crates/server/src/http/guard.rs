//! Who may ask: keys, hosts and origins.
//!
//! A server on loopback is in reach of every page that a browser on this machine shows. So there a
//! request must name this machine as its host, or a page could point a name of its own here; and a
//! request that says from which page it comes is refused unless that page is ours or was named.
//! Keys are compared in constant time.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::{Choice, ConstantTimeEq};

use super::listen::Peer;
use super::reply::{read_away, refuse, request_id};
use crate::app::App;
use crate::log::Line;
use crate::refusal::{Reason, Refusal};
use crate::settings::Settings;

/// Paths that say nothing about conversations and need no key.
const OPEN: [&str; 3] = ["/", "/health", "/api/hello"];

/// Lets through who may ask.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let settings = &app.settings;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path().to_owned();
    let checked = check(settings, &request);
    let mut response = match checked {
        Err(refusal) => {
            let peer = request.extensions().get::<Peer>().copied();
            let peer = peer.unwrap_or(Peer { addresses: None });
            Line::new(app.clone(), None, (&request_id(), &path), peer).refused(&refusal);
            let response = refuse(&path, request.headers(), &refusal);
            read_away(request).await;
            response
        }
        Ok(()) if request.method() == Method::OPTIONS => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(()) => next.run(request).await,
    };
    if let Some(origin) = origin {
        allow(settings, &origin, response.headers_mut());
    }
    response
}

fn check(settings: &Settings, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>();
    let local = peer.and_then(|peer| peer.addresses).map(|(_, ours)| ours.ip());
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    check_host(settings, local, host)?;
    check_origin(settings, headers, host)?;
    if request.method() == Method::OPTIONS || OPEN.contains(&request.uri().path()) {
        return Ok(());
    }
    check_key(settings, headers)
}

/// On loopback only names of loopback will do, and those that were typed.
fn check_host(
    settings: &Settings,
    local: Option<IpAddr>,
    host: Option<&str>,
) -> Result<(), Refusal> {
    let (Some(local), Some(host)) = (local, host) else { return Ok(()) };
    let name = without_port(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| match address {
        IpAddr::V6(six) => {
            six.is_loopback() || six.to_ipv4_mapped().is_some_and(|four| four.is_loopback())
        }
        IpAddr::V4(four) => four.is_loopback(),
    };
    let named = settings.hosts.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(name));
    let is_ours = name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(is_loopback)
        || named;
    if !is_loopback(local) || is_ours {
        return Ok(());
    }
    let name: String = name.chars().take(80).collect();
    let message = format!("this server is not known as {name:?}: allow it with --host-name {name}");
    Err(Refusal::new(Reason::Forbidden, message))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Browsers say which page asks; others say nothing.
fn check_origin(
    settings: &Settings,
    headers: &HeaderMap,
    host: Option<&str>,
) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("?");
    let own = |host: &str| {
        origin.strip_prefix("http://").or(origin.strip_prefix("https://")) == Some(host)
    };
    if is_named(settings, origin) || host.is_some_and(own) {
        return Ok(());
    }
    let origin: String = origin.chars().take(80).collect();
    let message = format!("pages of {origin} may not ask: allow them with --cors {origin}");
    Err(Refusal::new(Reason::Forbidden, message))
}

fn is_named(settings: &Settings, origin: &str) -> bool {
    settings.origins.iter().any(|known| known == "*" || known == origin)
}

fn check_key(settings: &Settings, headers: &HeaderMap) -> Result<(), Refusal> {
    if settings.keys.is_empty() {
        return Ok(());
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let given = headers.get("x-api-key").and_then(|value| value.to_str().ok()).or(bearer);
    let Some(given) = given else {
        let message = "a key is needed: send Authorization: Bearer KEY, or x-api-key: KEY";
        return Err(Refusal::new(Reason::Key, message));
    };
    // Every key is compared, whichever is right.
    let right = settings
        .keys
        .iter()
        .fold(Choice::from(0), |right, key| right | key.as_bytes().ct_eq(given.as_bytes()));
    match bool::from(right) {
        true => Ok(()),
        false => Err(Refusal::new(Reason::Key, "the key is wrong")),
    }
}

/// Tells the browser that the page may read the answer.
fn allow(settings: &Settings, origin: &HeaderValue, headers: &mut HeaderMap) {
    if !origin.to_str().is_ok_and(|origin| is_named(settings, origin)) {
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let methods = HeaderValue::from_static("GET, POST, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
}
