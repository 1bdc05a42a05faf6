//! `dwarfstar eval`: questions for a model, and what is done with its answers.
//!
//! How questions are asked and judged is the business of `measure::eval`; here the model is opened
//! with room for the longest of them, answers go to the report, and whoever watches is told.
//! `show.rs` makes the tables.

mod show;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use engine::{Engine, Flow, OpenOptions};
use measure::eval::{self as measuring, Answer, Event, Header, Report, SetName, Summary, Writer};
use measure::eval::{ModelName, Settings, Thinking};
use serde_json::json;

use crate::cmd::prompt::{self, THINK_MAX_CONTEXT};
use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::meant::eval::{Ask, Eval, Set};
use crate::open;
use crate::progress::Progress;
use crate::steering;
use crate::terminal::Terminal;

/// Does what is meant.
pub fn eval(meant: Eval, terminal: &Terminal) -> Result<Exit> {
    let out = &mut io::stdout().lock();
    match meant {
        Eval::Ask(meant) => ask(*meant, terminal),
        Eval::List { set, json: true } => {
            let items: Vec<_> = set.items.iter().map(measuring::Item::to_json).collect();
            json::print(&json!({"items": items, "left_out": set.left_out}))?;
            Ok(Exit::Done)
        }
        Eval::List { set, json: false } => {
            show::list(&set, out)?;
            Ok(Exit::Done)
        }
        Eval::Validate { set, json } => {
            match json {
                true => json::print(&json!({"items": set.items.len(), "left_out": set.left_out}))?,
                false => show::set(&set, out)?,
            }
            Ok(Exit::Done)
        }
        Eval::Regrade { report, set, json } => regrade(&report, &set, json, terminal),
        Eval::Compare { reports: [first, second], json } => {
            let reports = [read(&first)?, read(&second)?];
            let compared = measuring::compare(&reports[0], &reports[1])?;
            match json {
                true => json::print_pretty(&compared)?,
                false => show::comparison(&compared, &reports, out)?,
            }
            Ok(Exit::Done)
        }
        Eval::SelfTest { json } => {
            let test = measuring::self_test();
            match json {
                true => json::print(&json!({"cases": test.cases, "failures": test.failures}))?,
                false => show::self_test(&test, out)?,
            }
            Ok(if test.failures.is_empty() { Exit::Done } else { Exit::Problems })
        }
    }
}

/// A report; what was cut at its end is told.
fn read(path: &Path) -> Result<Report> {
    let report = Report::read(path)?;
    tell_dropped(path, report.dropped);
    Ok(report)
}

fn tell_dropped(path: &Path, bytes: u64) {
    if bytes > 0 {
        let path = path.display();
        say(&format!("{path}: the last line was cut ({bytes} bytes), and does not count"));
    }
}

fn regrade(path: &Path, set: &Set, json: bool, terminal: &Terminal) -> Result<Exit> {
    let mut report = read(path)?;
    let changed = report.judge(&set.items)?;
    let summary = Summary::new(&set.items, &report.answers, report.header.settings.repeat);
    match json {
        true => json::print_pretty(&json!({
            "report": report.header,
            "changed": changed,
            "summary": summary,
        }))?,
        false => {
            let out = &mut io::stdout().lock();
            show::summary(&report.header, &summary, terminal, out)?;
            show::changed(changed, report.answers.len(), out)?;
        }
    }
    Ok(Exit::Done)
}

/// Asks a model.
fn ask(mut meant: Ask, terminal: &Terminal) -> Result<Exit> {
    // Told before a model is loaded, which may take minutes.
    if let Some(path) = meant.out.as_ref().filter(|path| !meant.resume && path.exists()) {
        bail!(measure::Error::ReportExists { path: path.clone() });
    }
    let file = open::model(&meant.model)?;
    let native = model::read_shape(&file)?.context_max;
    meant.model.introduction().iter().filter(|_| !meant.quiet).for_each(|line| say(line));
    let directions = steering::read(meant.steer.as_ref(), &file)?;
    let tokenizer = prompt::tokenizer(&file)?;
    if meant.thinking == Thinking::Max && native < THINK_MAX_CONTEXT {
        meant.thinking = Thinking::On;
        say(&format!(
            "note: --think-max needs a context of {THINK_MAX_CONTEXT}: reasoning as usual"
        ));
    }
    let how = (meant.thinking, prompt::checkpoint(&file));
    let prompts = measuring::prompts(&tokenizer, &meant.set.items, how, native)?;
    let longest = prompts.iter().map(measuring::Prompt::tokens).max().unwrap_or(0);
    let mut context = native.min(longest.saturating_add(meant.budget.tokens_max));
    if meant.thinking == Thinking::Max {
        context = context.max(THINK_MAX_CONTEXT);
    }
    let Computer { backend, memory_max, step_tokens } = compute::open(meant.compute, &file)?;
    let (sessions, step_tokens) = (meant.sessions, step_tokens.max(meant.sessions));
    let options =
        OpenOptions { context, sessions, memory_max, step_tokens, ..OpenOptions::default() };
    let watched = terminal.messages && !meant.quiet;
    let mut engine = compute::load(file, backend, options, watched).map_err(too_large)?;
    steering::load(&mut engine, directions.as_ref())?;
    let header = header(&engine, &meant);
    let (mut writer, answers) = begin(&meant, &header)?;
    interrupt::listen(terminal);
    let mut course = Course::new(&meant, answers, terminal);
    let done: HashSet<_> = measuring::done(&course.answers);
    let asked = (meant.set.items.as_slice(), prompts.as_slice());
    let complete = measuring::run(&mut engine, asked, &header.settings, &done, &mut |event| {
        if let Event::Answered(answer) = &event {
            writer.as_mut().map_or(Ok(()), |writer| writer.add(answer))?;
        }
        course.hear(event);
        Ok(if interrupt::requested() { Flow::Stop } else { Flow::Continue })
    });
    let answers = course.end();
    let complete = complete?;
    let summary = Summary::new(&meant.set.items, &answers, meant.repeat);
    match meant.json {
        true => json::print_pretty(&json!({
            "report": header,
            "complete": summary.is_complete(),
            "left_out": meant.set.left_out,
            "summary": summary,
        }))?,
        false => show::summary(&header, &summary, terminal, &mut io::stdout().lock())?,
    }
    if !complete && !meant.quiet {
        say(&match &meant.out {
            Some(path) => format!("interrupted; go on with --out {} --resume", path.display()),
            None => "interrupted: what is shown is what was complete".to_owned(),
        });
    }
    Ok(if complete { Exit::Done } else { Exit::Interrupted })
}

/// Which flags make a session smaller.
fn too_large(error: engine::Error) -> anyhow::Error {
    match error {
        engine::Error::Memory { file, needed, available, context, .. } => anyhow!(
            "{file} needs {needed} bytes besides its weights for sessions of {context} tokens, and \
             {available} are available: use fewer --sessions, or a smaller --max-tokens"
        ),
        other => other.into(),
    }
}

fn header(engine: &Engine, meant: &Ask) -> Header {
    let name = engine.file().name().to_owned();
    let model = ModelName { name, fingerprint: engine::fingerprint(engine.file()).to_string() };
    let engine::Sampling { temperature, top_p, top_k, min_p } = meant.sampling;
    let Ask { thinking, budget, seed, repeat, .. } = *meant;
    let steered = engine.steered();
    let settings =
        Settings { thinking, budget, temperature, top_p, top_k, min_p, seed, repeat, steered };
    let set = SetName::of(&meant.set.name, &meant.set.items);
    Header::new(model, engine.device(), set, settings)
}

/// The report to write to, and the answers that it has already.
fn begin(meant: &Ask, header: &Header) -> Result<(Option<Writer>, Vec<Answer>)> {
    match &meant.out {
        None => Ok((None, Vec::new())),
        Some(path) if meant.resume => {
            let (writer, answers, dropped) = Writer::resume(path, header)?;
            tell_dropped(path, dropped);
            Ok((Some(writer), answers))
        }
        Some(path) => Ok((Some(Writer::create(path, header)?), Vec::new())),
    }
}

/// Time from one look at the speed to the next.
const BETWEEN_TELLING: Duration = Duration::from_millis(200);

/// How far it is.
struct Course {
    answers: Vec<Answer>,
    wanted: usize,
    right: usize,
    tokens: usize,
    began: Instant,
    told: Instant,
    /// The question that was begun last.
    asking: String,
    bar: Progress,
    /// Where no bar is drawn, lines tell.
    lines: bool,
    quiet: bool,
}

impl Course {
    fn new(meant: &Ask, answers: Vec<Answer>, terminal: &Terminal) -> Course {
        let wanted = meant.set.items.len() * meant.repeat;
        let right = answers.iter().filter(|answer| answer.right).count();
        let shown = terminal.messages && !meant.quiet;
        let bar = Progress::questions(wanted, answers.len(), shown);
        let (began, asking) = (Instant::now(), String::new());
        let (tokens, told, lines, quiet) = (0, began, !shown, meant.quiet);
        Course { answers, wanted, right, tokens, began, told, asking, bar, lines, quiet }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Tokens(more) => {
                self.tokens += more;
                if self.told.elapsed() >= BETWEEN_TELLING {
                    self.tell();
                }
            }
            Event::Answered(answer) => {
                self.answers.push(answer.clone());
                self.right += usize::from(answer.right);
                self.bar.add(1);
                let place = format!("{}/{}", self.answers.len(), self.wanted);
                let line = format!("{place} {}; {}", show::answer(answer), self.so_far());
                match (self.quiet, self.lines) {
                    (true, _) => {}
                    (false, true) => say(&human::safe(&line)),
                    (false, false) => self.bar.say(&human::safe(&line)),
                }
            }
            Event::Began { item, .. } => {
                self.asking = human::safe(&item.id);
                self.tell();
            }
            Event::Reading(_) => {}
        }
    }

    fn tell(&mut self) {
        self.told = Instant::now();
        if !self.lines {
            self.bar.tell(format!("{}: {}", self.asking, self.so_far()));
        }
    }

    /// The share of right answers until now, and the speed.
    fn so_far(&self) -> String {
        let answers = self.answers.len();
        let rate = self.tokens as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        if answers == 0 {
            return format!("{rate:.1} t/s");
        }
        let share = self.right as f64 / answers as f64;
        let interval = show::percents(share, measuring::wilson(share, answers));
        format!("{} right of {answers}, {interval}; {rate:.1} t/s", self.right)
    }

    fn end(self) -> Vec<Answer> {
        self.bar.clear();
        self.answers
    }
}
