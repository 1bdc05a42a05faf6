//! What the tests share: an agent whose events are kept, small tools, a gate of their choice.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::event::{Cost, Shown, Status, TurnEnd, Verdict};
use agent::gate::{Decision, Gate};
use agent::tools::{Arguments, Need, Outcome, Plan, Stop, Tool};
use agent::{Agent, Event, Model, Open, Settings, Thinking, Wish};
use serde_json::{Value, json};
use text::{Checkpoint, ToolSpec};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent, and everything that it has told.
pub struct Held {
    pub agent: Agent,
    pub events: Vec<Event>,
    /// What is said to calls that wait for a yes.
    pub verdict: Verdict,
}

/// What most tests want: no reasoning, no files, everything allowed.
pub fn settings() -> Settings {
    Settings {
        system: "You are a helpful assistant.".to_owned(),
        reminder: None,
        tree: std::env::temp_dir(),
        folder: None,
        open: Open::New,
        thinking: Thinking::Off,
        sampling: engine::Sampling { temperature: 0.0, ..engine::Sampling::default() },
        seed: 1,
        answer_tokens_max: 50_000,
        checkpoint: Checkpoint::Preview,
        gate: Box::new(TestGate::default()),
        keeper: None,
        read_ahead: false,
    }
}

/// Settings that keep conversations in `folder`.
pub fn kept_in(folder: &Path) -> Settings {
    Settings { folder: Some(folder.to_owned()), ..settings() }
}

pub fn start(model: Arc<dyn Model>, tools: Vec<Box<dyn Tool>>, settings: Settings) -> Held {
    let agent = Agent::start(model, tools, settings).expect("an agent");
    let mut held = Held { agent, events: Vec::new(), verdict: Verdict::Once };
    held.until(|event| matches!(event, Event::Status(_)));
    held
}

impl Held {
    pub fn wish(&self, wish: Wish) {
        self.agent.wishes.send(wish).expect("the agent listens");
    }

    /// The next event, which is kept.
    pub fn next(&mut self) -> Event {
        let event = self.agent.events.recv_timeout(PATIENCE).expect("an event");
        self.events.push(event.clone());
        event
    }

    /// Hears events up to one of a kind.
    pub fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "waited in vain after {:?}", self.events);
            let event = self.next();
            if let Event::Consent(consent) = &event {
                self.wish(Wish::Consent(consent.call, self.verdict.clone()));
            }
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Says something and hears the whole turn.
    pub fn ask(&mut self, prompt: &str) -> (TurnEnd, Cost) {
        self.wish(Wish::Prompt(prompt.to_owned()));
        self.end_of_turn()
    }

    pub fn end_of_turn(&mut self) -> (TurnEnd, Cost) {
        let end = self.until(|event| matches!(event, Event::TurnEnded { .. }));
        self.until(|event| matches!(event, Event::Status(_)));
        let Event::TurnEnded { end, cost } = end else { panic!("{end:?}") };
        (end, cost)
    }

    /// Executes a command and hears it to its end: its answer, or what is wrong.
    pub fn command(&mut self, line: &str) -> String {
        let before = self.events.len();
        self.wish(Wish::Command(line.to_owned()));
        self.until(|event| matches!(event, Event::Status(_)));
        let said = self.events[before..].iter().filter_map(|event| match event {
            Event::Answer(text) | Event::Notice(text) => Some(text.as_str()),
            _ => None,
        });
        said.collect::<Vec<_>>().join("\n")
    }

    /// All text that the model said.
    pub fn text(&self) -> String {
        let text = |event: &Event| match event {
            Event::Said(text::Event::Text(text)) => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    /// How the calls ended: whether they failed, and what was shown.
    pub fn ended(&self) -> Vec<(bool, String)> {
        let ended = |event: &Event| match event {
            Event::ToolEnded { shown: Shown::Text(text), failed, .. } => {
                Some((*failed, text.clone()))
            }
            _ => None,
        };
        self.events.iter().filter_map(ended).collect()
    }

    pub fn notices(&self) -> Vec<String> {
        let notice = |event: &Event| match event {
            Event::Notice(text) => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(notice).collect()
    }

    pub fn status(&self) -> Status {
        let status = |event: &Event| match event {
            Event::Status(status) => Some(status.clone()),
            _ => None,
        };
        self.events.iter().rev().find_map(status).expect("a status")
    }

    /// Ends it, and waits for that.
    pub fn quit(mut self) -> Vec<Event> {
        self.wish(Wish::Quit);
        self.until(|event| matches!(event, Event::Closed));
        let Held { agent, events, .. } = self;
        agent.thread.join().expect("no panic");
        events
    }
}

type Run = dyn Fn(&Arguments, &mut dyn FnMut(&str), &Stop) -> Outcome + Send + Sync;

/// A tool of a few lines.
pub struct Small {
    pub name: &'static str,
    pub parameters: Value,
    pub writes: bool,
    pub glance: fn(&str) -> Option<String>,
    pub run: Arc<Run>,
}

impl Small {
    /// A tool with string parameters.
    pub fn new(
        name: &'static str,
        parameters: &[&str],
        run: impl Fn(&Arguments, &mut dyn FnMut(&str), &Stop) -> Outcome + Send + Sync + 'static,
    ) -> Small {
        let property = |name: &&str| ((*name).to_owned(), json!({"type": "string"}));
        let properties: serde_json::Map<_, _> = parameters.iter().map(property).collect();
        let parameters =
            json!({"type": "object", "properties": properties, "required": parameters});
        Small { name, parameters, writes: false, glance: |_| None, run: Arc::new(run) }
    }

    pub fn boxed(self) -> Box<dyn Tool> {
        Box::new(self)
    }
}

impl Tool for Small {
    fn spec(&self) -> ToolSpec {
        let description = Some(format!("A test: {}.", self.name));
        ToolSpec::new(self.name, description, Some(self.parameters.clone()))
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let path = argument(arguments, "path");
        if self.parameters["properties"].get("path").is_some() && path.is_empty() {
            return Err("path is missing".to_owned());
        }
        let need = if self.writes { Need::Write(path.into()) } else { Need::Read(path.into()) };
        let title = format!("{} {path}", self.name);
        Ok(Plan { title, needs: vec![need], detail: Shown::Text(String::new()) })
    }

    fn glance(&self, arguments: &str) -> Option<String> {
        (self.glance)(arguments)
    }

    fn run(
        &self,
        arguments: &Arguments,
        _: &Plan,
        print: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Outcome {
        (self.run)(arguments, print, stop)
    }
}

pub fn argument<'a>(arguments: &'a Arguments, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or("")
}

pub fn done(text: impl Into<String>) -> Outcome {
    let text = text.into();
    Outcome { shown: Shown::Text(text.clone()), text, failed: false }
}

/// `read`: says which path it was given.
pub fn read() -> Box<dyn Tool> {
    Small::new("read", &["path"], |arguments, _, _| {
        done(format!("content of {}", argument(arguments, "path")))
    })
    .boxed()
}

/// A gate that decides always the same.
#[derive(Clone)]
pub struct TestGate {
    pub decision: Decision,
    pub mode: String,
    /// Calls that a lasting yes was said to.
    pub always: Arc<Mutex<Vec<String>>>,
}

impl Default for TestGate {
    fn default() -> TestGate {
        let mode = "full".to_owned();
        TestGate { decision: Decision::Allow, mode, always: Arc::default() }
    }
}

impl TestGate {
    pub fn asking() -> TestGate {
        let (reason, always) = ("a test asks".to_owned(), Some("all of it".to_owned()));
        let decision = Decision::Ask { reason, always };
        TestGate { decision, mode: "ask".to_owned(), ..TestGate::default() }
    }
}

impl Gate for TestGate {
    fn decide(&self, tool: &str, _: &Plan) -> Decision {
        let known = self.always.lock().unwrap().iter().any(|name| name == tool);
        if known || self.mode == "full" { Decision::Allow } else { self.decision.clone() }
    }

    fn always(&mut self, tool: &str, _: &Plan) -> Result<(), String> {
        self.always.lock().unwrap().push(tool.to_owned());
        Ok(())
    }

    fn mode(&self) -> String {
        self.mode.clone()
    }

    fn set_mode(&mut self, mode: &str) -> Result<(), String> {
        match mode {
            "ask" | "full" => self.mode = mode.to_owned(),
            other => return Err(format!("{other}: expected ask or full")),
        }
        Ok(())
    }

    fn protection(&self) -> String {
        "none: a test".to_owned()
    }
}

/// A block of calls, as the model writes it.
pub fn block(calls: &[(&str, &[(&str, &str)])]) -> String {
    let mut text = "\n\n<｜DSML｜tool_calls>\n".to_owned();
    for (name, arguments) in calls {
        text += &format!("<｜DSML｜invoke name=\"{name}\">\n");
        for (key, value) in *arguments {
            text += &format!(
                "<｜DSML｜parameter name=\"{key}\" string=\"true\">{value}</｜DSML｜parameter>\n"
            );
        }
        text += "</｜DSML｜invoke>\n";
    }
    text + "</｜DSML｜tool_calls>"
}
