//! What `dwarfstar serve` was told, as values that make sense.
//!
//! Keys and certificates are read here. That others than this machine can ask only with a key is
//! decided here, before anything listens.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engine::{DiskOptions, Sampling};
use server::{Listen, Tls};

use super::steer::{Steer, steer};
use super::{Compute, at_least_one, compute, disk, model, sampling};
use crate::exit::usage;
use crate::open::Model;
use crate::typed::serve as typed;

/// Bytes of a file of keys or certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Serve.
#[derive(Debug)]
pub struct Serve {
    pub model: Model,
    pub listen: Vec<Listen>,
    pub keys: Vec<String>,
    pub tls: Option<Tls>,
    pub origins: Vec<String>,
    pub hosts: Vec<String>,
    pub client_requests: usize,
    /// Tokens of the context, if it was said.
    pub context: Option<usize>,
    pub sessions: usize,
    pub queue: usize,
    pub state_bytes: usize,
    pub disk: Option<DiskOptions>,
    pub drafts: usize,
    pub sampling: Sampling,
    pub steer: Option<Steer>,
    pub honour_sampling: bool,
    pub name: String,
    pub tools_first: bool,
    pub ignore_unknown: bool,
    pub replay_calls: usize,
    pub trace: Option<PathBuf>,
    pub quiet: bool,
    pub compute: Compute,
}

/// `dwarfstar serve`.
pub fn serve(typed: typed::Serve) -> Result<Serve> {
    let listen = typed.listen.iter().map(|place| listen(place)).collect::<Result<Vec<_>>>()?;
    let keys = keys(typed.api_key, typed.api_key_file.as_deref())?;
    let open = listen.iter().find(|place| match place {
        Listen::Tcp(address) => !address.ip().is_loopback(),
        Listen::Unix(_) => false,
    });
    if let (Some(place), true) = (open, keys.is_empty()) {
        return Err(usage(format!(
            "--listen {place}: others than this machine can ask there, so it needs --api-key KEY \
             or --api-key-file FILE"
        )));
    }
    let tls = match (typed.tls_cert, typed.tls_key) {
        (Some(certificates), Some(key)) => {
            Some(Tls { certificates: read(&certificates)?, key: read(&key)? })
        }
        _ => None,
    };
    let gigabytes = typed.state_memory.checked_mul(1_000_000_000);
    let state_bytes = gigabytes.ok_or_else(|| usage("--state-memory: expected a number of GB"))?;
    Ok(Serve {
        model: model(typed.model),
        listen,
        keys,
        tls,
        origins: typed.cors,
        hosts: typed.host_name,
        client_requests: needed("--client-requests", typed.client_requests)?,
        context: at_least_one("--ctx", typed.ctx)?,
        sessions: needed("--sessions", typed.sessions)?,
        queue: typed.queue,
        state_bytes,
        disk: typed.kv_dir.map(|dir| disk(dir, typed.kv_disk_space)).transpose()?,
        drafts: typed.drafts,
        sampling: sampling(&typed.sampling)?,
        steer: steer(typed.steer)?,
        honour_sampling: typed.honour_sampling,
        name: typed.name,
        tools_first: typed.tools_first,
        ignore_unknown: typed.ignore_unknown,
        replay_calls: typed.replay_calls,
        trace: typed.trace,
        quiet: typed.quiet,
        compute: compute(typed.compute.device, typed.compute.threads)?,
    })
}

fn needed(flag: &str, value: usize) -> Result<usize> {
    Ok(at_least_one(flag, Some(value))?.unwrap_or(value))
}

/// An address and port, or a socket in the file system.
fn listen(place: &str) -> Result<Listen> {
    if let Some(path) = place.strip_prefix("unix:") {
        return match path {
            "" => Err(usage("--listen unix: expected a path after it")),
            path => Ok(Listen::Unix(path.into())),
        };
    }
    if let Ok(address) = place.parse::<SocketAddr>() {
        return Ok(Listen::Tcp(address));
    }
    let found = place.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let expected = "expected ADDRESS:PORT, [IPv6]:PORT or unix:PATH";
    found.map(Listen::Tcp).ok_or_else(|| usage(format!("--listen {place}: {expected}")))
}

/// Keys that were typed, and those of a file.
fn keys(typed: Vec<String>, file: Option<&Path>) -> Result<Vec<String>> {
    let mut keys = typed;
    if let Some(path) = file {
        let name = path.display();
        let text = String::from_utf8(read(path)?).with_context(|| format!("{name}: not text"))?;
        let before = keys.len();
        keys.extend(text.lines().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned));
        if keys.len() == before {
            bail!("{name}: no key in it, expected one per line");
        }
    }
    let odd = |key: &&String| key.is_empty() || key.contains(|c: char| !c.is_ascii_graphic());
    match keys.iter().find(odd) {
        Some(_) => Err(usage("a key has to consist of visible ASCII characters, without spaces")),
        None => Ok(keys),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let found = fs::metadata(path).with_context(|| format!("{name}: could not read it"))?;
    if found.len() > FILE_BYTES_MAX {
        bail!("{name}: {} bytes, expected {FILE_BYTES_MAX} at most", found.len());
    }
    fs::read(path).with_context(|| format!("{name}: could not read it"))
}
