//! Starting an agent: a thread of its own that holds one conversation after the other.
//!
//! Whoever shows it has both ends of two channels, [`Agent::wishes`] and [`Agent::events`], and
//! nothing else. What it needs of the world (folders, the date, what may be done) comes in
//! [`Settings`]. The thread ends when it is told to, or when nobody can wish any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;

use engine::Sampling;
use text::Checkpoint;

use crate::desk::{Desk, EVENTS, Heard};
use crate::event::{Event, Wish};
use crate::format::Thinking;
use crate::gate::{Gate, Keeper};
use crate::tools::Tool;
use crate::turn::Loop;
use crate::{Error, Model};

/// What a conversation is held with.
pub struct Settings {
    /// Instructions, equal for all conversations of a project, so that the model reads them once.
    pub system: String,
    /// What is true of this conversation only (the date), told where it begins.
    pub reminder: Option<String>,
    /// The working tree.
    pub tree: PathBuf,
    /// Where conversations are kept, if they are.
    pub folder: Option<PathBuf>,
    /// Which conversation is opened.
    pub open: Open,
    /// Whether the model reasons.
    pub thinking: Thinking,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Makes choices that can be repeated.
    pub seed: u64,
    /// Tokens of one answer at most.
    pub answer_tokens_max: usize,
    /// Which release the weights are of.
    pub checkpoint: Checkpoint,
    /// Decides what may be done.
    pub gate: Box<dyn Gate>,
    /// Keeps what tools change.
    pub keeper: Option<Box<dyn Keeper>>,
    /// Whether the model reads what there is before anybody asks: where people type, their first
    /// answer begins sooner.
    pub read_ahead: bool,
}

/// Which conversation is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Open {
    /// A new one.
    #[default]
    New,
    /// The last one of the working tree, or a new one if there is none.
    Last,
    /// The one whose id begins so.
    Id(String),
}

/// A running agent. Its parts may be taken by different threads.
pub struct Agent {
    /// What the person wants. If all of them are dropped, the agent ends.
    pub wishes: Sender<Wish>,
    /// What happens; [`Event::Closed`] is last.
    pub events: Receiver<Event>,
    /// For whoever else has something to say to the person.
    pub notices: Notices,
    /// Ends after that.
    pub thread: JoinHandle<()>,
}

/// Says lines to whoever shows the conversation, as [`Event::Notice`].
#[derive(Clone)]
pub struct Notices(Sender<Heard>);

impl Notices {
    /// Says a line.
    ///
    /// # Errors
    /// The agent has ended; the line comes back.
    pub fn tell(&self, line: String) -> Result<(), String> {
        self.0.send(Heard::Notice(line)).map_err(|back| match back.0 {
            Heard::Notice(line) => line,
            _ => String::new(),
        })
    }
}

impl Agent {
    /// Starts one. A conversation that is to be opened is read before this returns.
    ///
    /// # Errors
    /// The model cannot hold a conversation, instructions leave no room for one, or the one that is
    /// to be opened cannot be.
    pub fn start(
        model: Arc<dyn Model>,
        tools: Vec<Box<dyn Tool>>,
        settings: Settings,
    ) -> Result<Agent, Error> {
        let (sender, heard) = channel();
        let (tell, events) = sync_channel(EVENTS);
        let desk = Desk::new(sender.clone(), heard, tell);
        let tools = tools.into_iter().map(Arc::from).collect();
        let agent = Loop::new(model, tools, settings, desk)?;
        let (wishes, wished) = channel();
        let notices = Notices(sender.clone());
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(Error::Thread)
        };
        spawn("agent-wishes", Box::new(move || forward(&wished, &sender)))?;
        let thread = spawn("agent", Box::new(move || agent.run()))?;
        Ok(Agent { wishes, events, notices, thread })
    }
}

/// Hands wishes to the loop, which waits in one place for everything.
fn forward(wished: &Receiver<Wish>, sender: &Sender<Heard>) {
    let wishes = wished.iter().chain([Wish::Quit]);
    for wish in wishes {
        if sender.send(Heard::Wish(wish)).is_err() {
            return;
        }
    }
}
