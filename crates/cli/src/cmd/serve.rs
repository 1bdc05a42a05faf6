//! `dwarfstar serve`: the model behind HTTP, until Ctrl+C.
//!
//! Everything about requests is the server's; here the model is opened in the way that was asked
//! for, and lines go to standard error or to a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use engine::OpenOptions;
use engine::serve::ServeOptions;
use server::{Choosing, Form, Limits, Lines, Listen, Loading, ReadOptions, Settings};
use text::ToolsPlace;

use crate::cmd::prompt;
use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::meant::serve::Serve;
use crate::open;
use crate::steering;
use crate::terminal::Terminal;

/// Room for a conversation if nothing is said. Memory for it is taken only as it is used.
const CONTEXT_TOKENS: usize = 64 << 10;

/// Tokens from one kept state of a prompt to the next.
const STATE_TOKENS: usize = 2048;

/// Serves.
pub fn serve(meant: Serve, terminal: &Terminal) -> Result<Exit> {
    let file = open::model(&meant.model)?;
    let native = model::read_shape(&file)?.context_max;
    let context = meant.context.unwrap_or(CONTEXT_TOKENS.min(native));
    let form = Form {
        checkpoint: prompt::checkpoint(&file),
        tools_place: if meant.tools_first { ToolsPlace::BeforeText } else { ToolsPlace::AfterText },
        context,
    };
    meant.model.introduction().iter().filter(|_| !meant.quiet).for_each(|line| say(line));
    let steering = steering::read(meant.steer.as_ref(), &file)?;
    let scheme = if meant.tls.is_some() { "https" } else { "http" };
    let options = ServeOptions { queue_max: meant.queue, ..ServeOptions::default() };
    let Serve { compute, sessions, state_bytes, drafts, disk, quiet, .. } = meant;
    let refused = compute::Refused::default();
    let device = refused.clone();
    let shown = terminal.messages && !quiet;
    let open = move |loading: &Loading| {
        loading.expect(compute::weight_bytes(&file) as u64);
        let Computer { backend, memory_max, step_tokens } = device.open(compute, &file)?;
        let options = OpenOptions {
            context,
            sessions,
            anchor_bytes_max: state_bytes,
            anchor_tokens: STATE_TOKENS,
            drafts_max: drafts,
            step_tokens: step_tokens.max(sessions),
            memory_max,
            ..OpenOptions::default()
        };
        let tell = |bytes| loading.add(bytes);
        let mut engine = compute::load_telling(file, backend, options, shown, &tell)?;
        steering::load(&mut engine, steering.as_ref())?;
        if let Some(disk) = disk {
            engine.keep_on_disk(disk)?.iter().for_each(|remark| say(remark));
        }
        Ok(engine)
    };
    let settings = Settings {
        trace: meant.trace.as_deref().map(trace).transpose()?,
        log: if quiet { Lines::new(|_| {}) } else { Lines::new(say) },
        notices: Lines::new(|line| say(&human::safe(line))),
        listen: meant.listen,
        tls: meant.tls,
        keys: meant.keys,
        hosts: meant.hosts,
        origins: meant.origins,
        model: meant.name,
        form,
        choosing: Choosing { sampling: meant.sampling, honour: meant.honour_sampling },
        read: ReadOptions { ignore_unknown: meant.ignore_unknown },
        limits: Limits { answers_per_client: meant.client_requests, ..Limits::default() },
        replay_calls: meant.replay_calls,
    };
    interrupt::listen(terminal);
    let started = |places: &[Listen]| places.iter().for_each(|place| tell_place(place, scheme));
    let served = server::serve(settings, options, open, started, interrupt::requested);
    refused.or(served)?;
    Ok(Exit::Done)
}

fn tell_place(place: &Listen, scheme: &str) {
    match place {
        Listen::Tcp(address) => say(&format!("listening on {scheme}://{address}")),
        Listen::Unix(path) => say(&format!("listening on unix:{}", path.display())),
    }
}

/// A file that takes lines. What cannot be written is lost: answers go on.
fn trace(path: &Path) -> Result<Lines> {
    let name = path.display();
    let file = File::options().create(true).append(true).open(path);
    let file = Mutex::new(file.with_context(|| format!("{name}: could not write it"))?);
    Ok(Lines::new(move |line| {
        if let Ok(mut file) = file.lock() {
            let _ = writeln!(file, "{line}");
        }
    }))
}
