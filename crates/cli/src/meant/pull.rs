//! What `dwarfstar pull` was meant to do: names become files, the environment becomes settings.
//!
//! The names of published files stand here. Which of them exist is known to the hub alone.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use hub::{Endpoint, Plain, Repository, Token};

use crate::exit::usage;
use crate::folders;
use crate::typed::pull as typed;

/// Where the files of this project are published.
pub const REPOSITORY: &str = "antirez/deepseek-v4-gguf";

/// Most connections that a hub should be asked over.
const CONNECTIONS_MAX: usize = 32;

/// Short names, and the files of [`REPOSITORY`] that they stand for.
const NAMES: [(&str, &str); 6] = [
    ("q2-imatrix", "DeepSeek-V4-Flash-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2-imatrix-0731.gguf"),
    (
        "q2-q4",
        "DeepSeek-V4-Flash-Layers37-42Q4KExperts-OtherExpertLayersIQ2XXSGateUp-Q2KDown-AProjQ8-\
         SExpQ8-OutQ8-chat-v2-imatrix-fixed-0731.gguf",
    ),
    (
        "q4-imatrix",
        "DeepSeek-V4-Flash-Q4KExperts-F16HC-F16Compressor-F16Indexer-Q8Attn-Q8Shared-Q8Out-\
         chat-v2-imatrix-0731.gguf",
    ),
    (
        "mxfp4",
        "DeepSeek-V4-Flash-MXFP4Experts-F16HC-F16Compressor-F16Indexer-Q8Attn-Q8Shared-Q8Out-\
         chat-v2-mxfp4-0731.gguf",
    ),
    ("dspark", "DeepSeek-V4-Flash-DSpark-support-0731.gguf"),
    ("mtp", "DeepSeek-V4-Flash-MTP-Q4K-Q8_0-F32.gguf"),
];

/// Fetch a file, or show which there are.
#[derive(Debug)]
pub struct Pull {
    pub endpoint: Endpoint,
    pub repository: Repository,
    pub token: Option<Token>,
    pub proxy: Option<String>,
    pub what: What,
    pub json: bool,
}

/// What to do at the hub.
#[derive(Debug)]
pub enum What {
    List,
    File(Wanted),
}

/// A file to fetch.
#[derive(Debug)]
pub struct Wanted {
    /// Its path in the repository.
    pub path: String,
    /// The folder that it is put in.
    pub dir: PathBuf,
    pub overwrite: bool,
    /// Whether it becomes the default model, if it is a model.
    pub make_default: bool,
    /// At least one.
    pub connections: usize,
}

/// `dwarfstar pull`.
pub fn pull(typed: typed::Pull) -> Result<Pull> {
    let repository = Repository::parse(&typed.repo);
    let repository = repository.map_err(|error| usage(format!("--repo: {error}")))?;
    let endpoint = endpoint(typed.endpoint)?;
    if !(1..=CONNECTIONS_MAX).contains(&typed.connections) {
        let found = typed.connections;
        return Err(usage(format!("--connections {found}: expected 1 to {CONNECTIONS_MAX}")));
    }
    let what = match typed.name.filter(|_| !typed.list) {
        None => What::List,
        Some(name) => What::File(Wanted {
            path: file(&typed.repo, &name).to_owned(),
            dir: folder(typed.dir)?,
            overwrite: typed.force,
            make_default: !typed.no_default,
            connections: typed.connections,
        }),
    };
    let (token, proxy) = (token(&endpoint), proxy(&endpoint));
    Ok(Pull { endpoint, repository, token, proxy, what, json: typed.json })
}

/// The file that a name stands for in a repository.
fn file<'a>(repository: &str, name: &'a str) -> &'a str {
    let known = NAMES.iter().find(|(short, _)| repository == REPOSITORY && *short == name);
    known.map_or(name, |(_, file)| file)
}

/// The name that stands for a file of a repository.
pub fn short_name(repository: &Repository, path: &str) -> Option<&'static str> {
    let known = NAMES.iter().find(|(_, file)| *file == path);
    known.filter(|_| repository.to_string() == REPOSITORY).map(|(short, _)| *short)
}

fn folder(said: Option<PathBuf>) -> Result<PathBuf> {
    let folder = said.or_else(|| folders::data("models"));
    folder.ok_or_else(|| anyhow!("no folder for models is known: name one with --dir"))
}

fn endpoint(said: Option<String>) -> Result<Endpoint> {
    if let Some(said) = said {
        // Whoever writes http:// there means it.
        let endpoint = Endpoint::parse(&said, Plain::Anywhere);
        return endpoint.map_err(|error| usage(format!("--endpoint: {error}")));
    }
    let set = variable(&["HF_ENDPOINT"]);
    let endpoint = Endpoint::parse(set.as_deref().unwrap_or(Endpoint::OFFICIAL), Plain::Loopback);
    endpoint.map_err(|error| {
        let other = set.unwrap_or_default();
        anyhow!("HF_ENDPOINT: {error}; unset it, or say --endpoint {other} if that is meant")
    })
}

/// Who asks: what the variable says, or what was saved for the hub itself.
fn token(endpoint: &Endpoint) -> Option<Token> {
    if let Some(set) = variable(&["HF_TOKEN"]) {
        return Token::new(&set);
    }
    if !endpoint.is_official() && !endpoint.is_loopback() {
        return None;
    }
    let mut text = String::new();
    let file = File::open(folders::hugging_face()?.join("token")).ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    Token::new(&text)
}

fn proxy(endpoint: &Endpoint) -> Option<String> {
    let host = endpoint.host();
    let direct = variable(&["NO_PROXY", "no_proxy"]).is_some_and(|list| is_listed(host, &list));
    let proxy = variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    proxy.filter(|_| !direct && !endpoint.is_loopback())
}

/// Whether a host, or a domain that it is in, stands in a list.
fn is_listed(host: &str, list: &str) -> bool {
    list.split(',').map(|entry| entry.trim().trim_start_matches('.')).any(|entry| {
        let inside =
            host.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        entry == "*" || (!entry.is_empty() && inside)
    })
}

/// The first of these variables that says something.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| env::var(name).ok()).find(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_files_of_one_repository() {
        let dspark = "DeepSeek-V4-Flash-DSpark-support-0731.gguf";
        assert_eq!(file(REPOSITORY, "dspark"), dspark);
        assert_eq!(file("some-one/models", "dspark"), "dspark");
        assert_eq!(file(REPOSITORY, "other.gguf"), "other.gguf");
        let repository = Repository::parse(REPOSITORY).unwrap();
        assert_eq!(short_name(&repository, dspark), Some("dspark"));
        let other = Repository::parse("some-one/models").unwrap();
        assert_eq!(short_name(&other, dspark), None);
        for (_, file) in NAMES {
            assert!(file.ends_with(".gguf") && !file.contains(' '), "{file}");
        }
    }

    #[test]
    fn hosts_without_a_proxy() {
        for (host, list, expected) in [
            ("hub.example", "hub.example", true),
            ("a.hub.example", "other, .hub.example", true),
            ("a.hub.example", "hub.example", true),
            ("ahub.example", "hub.example", false),
            ("hub.example", "*", true),
            ("hub.example", ",", false),
            ("hub.example", "b.hub.example", false),
        ] {
            assert_eq!(is_listed(host, list), expected, "{host} {list}");
        }
    }
}
