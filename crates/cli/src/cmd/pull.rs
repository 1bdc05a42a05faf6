//! `dwarfstar pull`: a published file, from the hub to the disk, and to the default model.
//!
//! The way is `hub`'s. Here the disk is asked whether it has room, the person sees how far it is,
//! and every way that it can end has a next thing to do.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use hub::{Download, Entry, Event, Hub, Options, Outcome, Patience, Settings, Verdict};
use serde_json::json;

use crate::default;
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::machine;
use crate::meant::pull::{Pull, Wanted, What, short_name};
use crate::progress::Progress;
use crate::terminal::Terminal;

/// Bytes that stay free on the disk, for whoever else writes to it.
const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// A connection that gives nothing for so long is cut.
const STALL: Duration = Duration::from_secs(30);

/// How often it is told that something does not work, while it is tried again.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Most files that a message names.
const NAMES_MAX: usize = 20;

/// A list takes no minutes: whoever does not answer at once is told about.
const LIST_ATTEMPTS: u32 = 4;

/// Fetches, or lists.
pub fn pull(meant: &Pull, terminal: &Terminal) -> Result<Exit> {
    let (endpoint, token, proxy) =
        (meant.endpoint.clone(), meant.token.clone(), meant.proxy.clone());
    let hub = Hub::new(Settings { endpoint, token, proxy, stall: STALL })?;
    let patience = Patience { attempts: LIST_ATTEMPTS, ..Patience::default() };
    let mut told = |error: &hub::Error, wait: Duration| {
        if terminal.messages {
            say(&format!("{error}; trying again in {} s", wait.as_secs()));
        }
    };
    let entries = hub.list(&meant.repository, &patience, &mut told);
    let entries = entries.map_err(|error| explain(error, meant, None))?;
    match &meant.what {
        What::List => list(&entries, meant),
        What::File(wanted) => {
            let entry = choose(&entries, wanted, meant)?;
            let name = human::safe(entry.name());
            fs::create_dir_all(&wanted.dir)
                .with_context(|| format!("{}: could not be made", wanted.dir.display()))?;
            let target = wanted.dir.join(name);
            let download = Download::new(&hub, &meant.repository, entry, &target);
            File { meant, wanted, entry, target, download, terminal }.pull()
        }
    }
}

fn choose<'a>(entries: &'a [Entry], wanted: &Wanted, meant: &Pull) -> Result<&'a Entry> {
    if let Some(entry) = entries.iter().find(|entry| entry.path == wanted.path) {
        return Ok(entry);
    }
    let names = entries.iter().filter(|entry| entry.path.ends_with(".gguf"));
    let names: Vec<_> = names.map(|entry| human::safe(&entry.path)).take(NAMES_MAX).collect();
    let (path, repository) = (&wanted.path, &meant.repository);
    bail!(
        "{path}: no such file in {repository}; `dwarfstar pull --list` shows what there is: {}",
        names.join(", ")
    )
}

fn list(entries: &[Entry], meant: &Pull) -> Result<Exit> {
    let repository = &meant.repository;
    if meant.json {
        let files = entries.iter().map(|entry| {
            json!({
                "name": short_name(repository, &entry.path),
                "file": entry.path,
                "bytes": entry.size,
                "sha256": entry.sha256.map(|hash| hash.to_string()),
            })
        });
        let files: Vec<_> = files.collect();
        json::print_pretty(&json!({ "repository": repository.to_string(), "files": files }))?;
        return Ok(Exit::Done);
    }
    let mut out = io::stdout().lock();
    for entry in entries {
        let name = short_name(repository, &entry.path).unwrap_or_default();
        let size = human::bytes(entry.size);
        writeln!(out, "{name:12} {size:>8}  {}", human::safe(&entry.path))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// A file on its way.
struct File<'a> {
    meant: &'a Pull,
    wanted: &'a Wanted,
    entry: &'a Entry,
    target: PathBuf,
    download: Download<'a>,
    terminal: &'a Terminal,
}

impl File<'_> {
    fn pull(&self) -> Result<Exit> {
        if self.target.exists() && !self.wanted.overwrite {
            return self.verify();
        }
        let there = self.download.bytes_there()?;
        let needed = self.entry.size.saturating_sub(there);
        check_room(&self.target, needed, machine::disk_available(&self.target))?;
        match self.fetch()? {
            Outcome::Whole { fetched } => self.done(fetched),
            Outcome::Stopped { have } => {
                let (have, all) = (human::bytes(have), human::bytes(self.entry.size));
                let part = self.download.part();
                say(&format!(
                    "interrupted: {have} of {all} are in {}; the same command goes on from there",
                    part.display()
                ));
                Ok(Exit::Interrupted)
            }
        }
    }

    fn fetch(&self) -> Result<Outcome> {
        let (shown, size) = (self.terminal.messages, self.entry.size);
        let mut progress: Option<(Progress, bool)> = None;
        let mut complained: Option<Instant> = None;
        let mut told = |event: Event<'_>| match event {
            Event::Anew => {
                if shown {
                    say("what was fetched earlier is of another version: beginning anew");
                }
            }
            Event::Have(have) => match &progress {
                Some((bar, _)) => bar.set(have),
                None => progress = Some((Progress::transfer(size, have, shown), false)),
            },
            Event::Waiting(error, wait) => {
                let early = complained.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY);
                if let Some((bar, _)) = progress.as_ref().filter(|_| !early) {
                    bar.say(&format!("{error}; trying again in {} s", wait.as_secs()));
                    complained = Some(Instant::now());
                }
            }
            Event::Verifying(done) => {
                if progress.as_ref().is_none_or(|(_, verifying)| !verifying) {
                    progress = Some((Progress::bytes("verifying", size, shown), true));
                }
                progress.iter().for_each(|(bar, _)| bar.set(done));
            }
        };
        interrupt::listen(self.terminal);
        let options = Options {
            connections: self.wanted.connections,
            overwrite: self.wanted.overwrite,
            ..Options::default()
        };
        let outcome = self.download.run(&options, &mut told, interrupt::flag());
        outcome.map_err(|error| explain(error, self.meant, Some(&self.download.part())))
    }

    /// There is a file of that name: it is the right one, or it is in the way.
    fn verify(&self) -> Result<Exit> {
        let in_the_way = || {
            let target = self.target.display();
            anyhow!(
                "{target}: exists already, and is not the published file; add --force to replace \
                 it, or name another folder with --dir"
            )
        };
        let found = fs::metadata(&self.target).map(|found| (found.is_file(), found.len()));
        if !found.is_ok_and(|found| found == (true, self.entry.size)) {
            return Err(in_the_way());
        }
        if let Some(expected) = self.entry.sha256 {
            interrupt::listen(self.terminal);
            let progress = Progress::bytes("verifying", self.entry.size, self.terminal.messages);
            let mut told = |done| progress.set(done);
            match hub::verify(&self.target, &mut told, interrupt::flag())? {
                Verdict::Is(found) if found == expected => {}
                Verdict::Is(_) => return Err(in_the_way()),
                Verdict::Stopped => {
                    say("interrupted: the file is there, and was not looked at to its end");
                    return Ok(Exit::Interrupted);
                }
            }
        }
        self.done(0)
    }

    /// Tells what is there now, and makes it the default.
    fn done(&self, fetched: u64) -> Result<Exit> {
        let (target, entry) = (self.target.display().to_string(), self.entry);
        let is_default = self.wanted.make_default && is_model(&self.target);
        if is_default {
            let link = default::link().unwrap_or_default();
            default::set(&self.target).with_context(|| {
                let link = link.display();
                format!("{target}: is there, but the link {link} to it could not be made")
            })?;
        }
        if self.meant.json {
            json::print(&json!({
                "file": target,
                "repository": self.meant.repository.to_string(),
                "bytes": entry.size,
                "fetched_bytes": fetched,
                "sha256": entry.sha256.map(|hash| hash.to_string()),
                "default": is_default,
            }))?;
            return Ok(Exit::Done);
        }
        let mut out = io::stdout().lock();
        let how = match (entry.sha256, fetched) {
            (None, _) => "the hub tells no hash of it",
            (Some(_), 0) => "was there already, SHA-256 verified",
            (Some(_), _) => "SHA-256 verified",
        };
        writeln!(out, "{target}: {}, {how}", human::bytes(entry.size))?;
        if is_default {
            writeln!(out, "it is what every command uses now when no model is named")?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

/// Whether a file is a model by itself; drafters and first shards of several are not.
fn is_model(path: &Path) -> bool {
    gguf::File::open(path).is_ok_and(|file| model::read_shape(&file).is_ok())
}

/// Says so before the work if the disk has no room for what is missing.
fn check_room(target: &Path, needed: u64, available: Option<u64>) -> Result<()> {
    let Some(available) = available else { return Ok(()) };
    if needed.saturating_add(DISK_RESERVE_BYTES) <= available {
        return Ok(());
    }
    let (target, needed, available) =
        (target.display(), human::bytes(needed), human::bytes(available));
    bail!(
        "{target}: {needed} are missing, its disk has room for {available}; make room, or name a \
         folder on another disk with --dir"
    )
}

/// An error, and what to do about it.
fn explain(error: hub::Error, meant: &Pull, part: Option<&Path>) -> Error {
    use hub::Error::*;
    let Pull { endpoint, repository, .. } = meant;
    let (page, tokens) = (endpoint.page(repository), format!("{endpoint}/settings/tokens"));
    let kept = part.is_some_and(Path::exists);
    let next = match &error {
        Unauthorized { token: false, .. } => format!(
            "its name is wrong, or it is not open to all: check --repo, or put a token from \
             {tokens} into HF_TOKEN"
        ),
        Unauthorized { token: true, .. } => {
            format!("check --repo, or put a new token from {tokens} into HF_TOKEN")
        }
        Forbidden { token: false, .. } => {
            format!("ask for access at {page}, and put a token from {tokens} into HF_TOKEN")
        }
        Forbidden { token: true, .. } => {
            format!("open {page} in a browser and ask for access, or use a token that has it")
        }
        NotFound { .. } if part.is_some() => {
            "`dwarfstar pull --list` shows what there is".to_owned()
        }
        NotFound { .. } => "check --repo and --endpoint".to_owned(),
        Range { .. } => {
            "files cannot be fetched in parts from there: try another --endpoint".to_owned()
        }
        Changed { .. } => "run the same command again".to_owned(),
        Hash { .. } => "all of it was removed; run the same command again, and if it ends like \
                        this again, try another --endpoint"
            .to_owned(),
        InUse { .. } => "wait for that one, or end it".to_owned(),
        Exists { .. } => "add --force to replace it, or name another folder with --dir".to_owned(),
        Answer { .. } => "check --endpoint: this is no answer of a hub".to_owned(),
        Io { .. } if kept => {
            "see that the disk has room and can be written to, and run the same command again: \
             it goes on where this one ended"
                .to_owned()
        }
        Status { .. } | Busy { .. } | Connection { .. } if kept => {
            "what has come is kept: the same command goes on from there".to_owned()
        }
        Status { .. } | Busy { .. } | Connection { .. } => {
            "try again later, or name a mirror with --endpoint".to_owned()
        }
        Endpoint { .. } | PlainEndpoint { .. } | Proxy { .. } | Repository { .. } | Io { .. } => {
            return error.into();
        }
    };
    anyhow!("{error}; {next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_with_both_numbers() {
        let target = Path::new("m.gguf");
        let gigabyte = 1_000_000_000;
        assert!(check_room(target, gigabyte, Some(2 * gigabyte)).is_ok());
        assert!(check_room(target, 0, Some(gigabyte)).is_ok());
        assert!(check_room(target, gigabyte, None).is_ok(), "nobody knows, so it is tried");
        let message = check_room(target, 87 * gigabyte, Some(gigabyte)).unwrap_err().to_string();
        assert!(
            message.contains("87.0 GB are missing, its disk has room for 1.00 GB"),
            "{message}"
        );
        assert!(message.contains("--dir"), "{message}");
        assert!(check_room(target, u64::MAX, Some(u64::MAX - 1)).is_err());
    }
}
