//! `dwarfstar agent` and `dwarfstar chat`: a conversation with the model in this process.
//!
//! The engine's worker is started, the loop of the crate `agent` is given what it needs, and
//! whatever shows it runs until it ends. What the agent works with is put together in `work.rs`.

mod work;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use agent::event::TurnEnd;
use agent::gate::Shut;
use agent::paint::Ansi;
use agent::plain::{self, Plain};
use agent::terminal::{Found, Signals};
use agent::{Notices, Settings, chat, commands, instructions, screen};
use anyhow::Result;
use engine::serve::{ServeOptions, Service};
use engine::{DiskOptions, Engine, Notice, OpenOptions};
use text::Checkpoint;

use crate::cmd::prompt;
use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::folders;
use crate::human;
use crate::interrupt;
use crate::meant::agent::{Agent, Talk};
use crate::open;
use crate::steering;
use crate::terminal::Terminal;
pub use work::CONFINE;
use work::Work;

/// Room for a conversation if nothing is said. Memory for it is taken only as it is used.
const CONTEXT_TOKENS: usize = 100_000;

/// Bytes on the host for states of earlier conversations.
const STATE_BYTES: usize = 1 << 30;

/// What the model is told in a chat if nothing is said.
const CHAT_SYSTEM: &str = "You are a helpful assistant.";

/// Works in a folder.
pub fn agent(meant: Agent, terminal: &Terminal) -> Result<Exit> {
    let tree = instructions::tree_of(&meant.folder);
    let own: Vec<PathBuf> = folders::config("").into_iter().collect();
    let found = instructions::gather(&own, &tree, &meant.folder);
    let system = meant.talk.system.as_deref();
    let system = instructions::system(&tree, &meant.folder, system, &found);
    let opened = open(&meant.talk, terminal)?;
    let work = work::work(&meant, &tree, opened.context)?;
    hold(meant.talk, opened, work, (system, tree), (Face::Screen, terminal))
}

/// Talks.
pub fn chat((talk, folder): (Talk, PathBuf), terminal: &Terminal) -> Result<Exit> {
    let system = talk.system.clone().unwrap_or_else(|| CHAT_SYSTEM.to_owned());
    let opened = open(&talk, terminal)?;
    let work = Work { tools: Vec::new(), gate: Box::new(Shut), keeper: None };
    hold(talk, opened, work, (system, folder), (Face::Prompt, terminal))
}

/// What people see in a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Face {
    /// The whole screen.
    Screen,
    /// A prompt, and answers that scroll by.
    Prompt,
}

/// An engine at work.
struct Opened {
    service: Service,
    context: usize,
    checkpoint: Checkpoint,
}

fn open(talk: &Talk, terminal: &Terminal) -> Result<Opened> {
    let file = open::model(&talk.model)?;
    let native = model::read_shape(&file)?.context_max;
    let context = talk.context.unwrap_or(CONTEXT_TOKENS.min(native));
    let checkpoint = prompt::checkpoint(&file);
    talk.model.introduction().iter().filter(|_| !talk.quiet).for_each(|line| say(line));
    let shown = terminal.messages && !talk.quiet;
    let steering = steering::read(talk.steer.as_ref(), &file)?;
    let (choice, disk, named) = (talk.compute, talk.disk.clone(), talk.disk_named);
    let refused = compute::Refused::default();
    let device = refused.clone();
    let opening = move || {
        let Computer { backend, memory_max, step_tokens } = device.open(choice, &file)?;
        let anchor_bytes_max = STATE_BYTES;
        let default = OpenOptions::default();
        let options = OpenOptions { context, anchor_bytes_max, step_tokens, memory_max, ..default };
        let mut engine = compute::load(file, backend, options, shown)?;
        steering::load(&mut engine, steering.as_ref())?;
        if let Some(disk) = disk {
            keep(&mut engine, disk, named)?;
        }
        Ok(engine)
    };
    let service = refused.or(Service::start(opening, ServeOptions::default()))?;
    Ok(Opened { service, context, checkpoint })
}

/// Keeps states on disk. A folder that nobody named may be in use by another dwarfstar.
fn keep(engine: &mut Engine, disk: DiskOptions, named: bool) -> Result<(), engine::Error> {
    match engine.keep_on_disk(disk) {
        Ok(remarks) => remarks.iter().for_each(|remark| say(remark)),
        Err(error) if named => return Err(error),
        Err(error) => say(&format!(
            "note: states of conversations are not kept on disk: {}; --kv-dir names another folder",
            human::safe(&error.to_string())
        )),
    }
    Ok(())
}

/// Holds the conversation.
fn hold(
    talk: Talk,
    opened: Opened,
    work: Work,
    (system, tree): (String, PathBuf),
    (face, terminal): (Face, &Terminal),
) -> Result<Exit> {
    let Opened { service, checkpoint, .. } = opened;
    let Work { tools, gate, keeper } = work;
    let settings = Settings {
        system,
        reminder: Some(instructions::reminder()),
        tree,
        folder: talk.folder.clone(),
        open: talk.open.clone(),
        thinking: talk.thinking,
        sampling: talk.sampling,
        seed: talk.seed,
        answer_tokens_max: talk.tokens_max,
        checkpoint,
        gate,
        keeper,
        read_ahead: people(terminal) && talk.prompt.is_none() && !talk.json,
    };
    let agent = agent::Agent::start(Arc::new(service.handle()), tools, settings)?;
    let telling = service.notices().map(|notices| tell(notices, agent.notices.clone()));
    let shown = show(agent, talk, face, terminal);
    drop(service);
    if let Some(telling) = telling.transpose()? {
        // It ends with the service; what it was told at the end is said before the program's end.
        let _ = telling.join();
    }
    shown
}

/// Tells what the engine has to say: in the conversation while there is one, where a line of ours
/// would be lost on a screen that is drawn, and by itself afterwards.
fn tell(notices: Receiver<Notice>, conversation: Notices) -> io::Result<JoinHandle<()>> {
    let work = move || {
        for notice in notices {
            if let Err(line) = conversation.tell(notice.to_string()) {
                say(&human::safe(&line));
            }
        }
    };
    thread::Builder::new().name("notices".to_owned()).spawn(work)
}

/// Shows the conversation until it ends: to people in a terminal, to scripts otherwise.
fn show(agent: agent::Agent, talk: Talk, face: Face, terminal: &Terminal) -> Result<Exit> {
    interrupt::listen(terminal);
    if talk.prompt.is_none() && !talk.json && people(terminal) {
        return show_people(agent, &talk, face, terminal);
    }
    let how = Plain { json: talk.json, quiet: talk.quiet };
    let (mut out, mut notes) = (io::stdout(), io::stderr());
    let streams: (&mut dyn io::Write, &mut dyn io::Write) = (&mut out, &mut notes);
    let end = match talk.prompt {
        Some(prompt) => plain::run(agent, [Ok(prompt)], streams, how, interrupt::requested)?,
        None => {
            let lines = plain::lines(io::stdin().lock());
            plain::run(agent, lines, streams, how, interrupt::requested)?
        }
    };
    Ok(match end {
        None | Some(TurnEnd::Done) => Exit::Done,
        Some(TurnEnd::Stopped) => Exit::Interrupted,
        Some(_) => Exit::Problems,
    })
}

/// Whether somebody types, and sees what comes.
fn people(terminal: &Terminal) -> bool {
    terminal.output && io::stdin().is_terminal()
}

fn show_people(agent: agent::Agent, talk: &Talk, face: Face, terminal: &Terminal) -> Result<Exit> {
    let agent::Agent { wishes, events, thread, .. } = agent;
    let commands = commands::LIST.iter();
    let commands = commands.map(|of| (of.name.to_owned(), of.help.to_owned())).collect();
    let name = if face == Face::Screen { "agent-history" } else { "chat-history" };
    let history = talk.folder.as_ref().and_then(|_| folders::state(name));
    let Terminal { styles, moves, .. } = *terminal;
    let found = Found::look();
    let leave = move || found.leave(&mut io::stdout(), face == Face::Screen);
    interrupt::restore_with({
        let leave = leave.clone();
        move || drop(leave())
    });
    let shown = match face {
        Face::Screen => {
            let default = screen::Look::default();
            let look = screen::Look { colours: styles, history, commands, ..default };
            screen::run(&wishes, events, look, io::stdout, interrupt::flag())
        }
        Face::Prompt => {
            let ansi = Ansi { styles, colours: styles };
            let look = chat::Look { ansi, moves, reasoning: true, history, commands };
            let signals = Signals { interrupted: interrupt::flag(), ended: interrupt::ended() };
            let shown = chat::run(&wishes, &events, look, io::stdout(), signals);
            // Whoever asks for lines is left to itself when a signal ends the program.
            shown.and(leave())
        }
    };
    // Nobody wishes any more, so the loop ends, and what it holds is kept.
    drop(wishes);
    let _ = thread.join();
    shown?;
    Ok(Exit::Done)
}
