//! `bash`, `bash_status`, `bash_stop`: commands of the shell.
//!
//! A command runs confined (`sandbox/`), without a terminal and without input, as a job
//! (`jobs.rs`). Its call comes back when it has ended, or earlier if the model says so; then the
//! two other tools look after it. The result holds the beginning and the end of what was printed,
//! and names the file that holds all of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use text::ToolSpec;

use super::arguments::{number, schema, text};
use super::jobs::{End, Job, Jobs, OUTPUT_BYTES_MAX};
use super::result::{done, failed, head, tail, title};
use super::{Arguments, Need, Outcome, Plan, Stop, Tool};
use crate::event::Shown;
use crate::harmless::{self, Output};
use crate::sandbox::Network;
use crate::undo::KeptTree;

const SCRIPT_BYTES_MAX: usize = 64 << 10;
const TIME_DEFAULT: u64 = 120;
const TIME_LATER_DEFAULT: u64 = 3600;
const TIME_MAX: u64 = 24 * 3600;
const LOOK_EVERY: Duration = Duration::from_millis(25);
const PIECE_BYTES_MAX: usize = 256 << 10;

/// Runs commands.
#[derive(Debug)]
pub struct Bash {
    jobs: Arc<Jobs>,
    /// The tree as it was kept before the last command.
    snapshot: Mutex<KeptTree>,
}

/// Looks after a command that goes on running.
#[derive(Debug)]
pub struct BashStatus(pub Arc<Jobs>);

/// Ends one.
#[derive(Debug)]
pub struct BashStop(pub Arc<Jobs>);

impl Bash {
    /// Runs commands as jobs of these.
    pub fn new(jobs: Arc<Jobs>) -> Bash {
        Bash { jobs, snapshot: Mutex::default() }
    }
}

impl Tool for Bash {
    fn spec(&self) -> ToolSpec {
        let protection = self.jobs.protection();
        let files = match protection.files {
            true => " It can write in the working tree and in $TMPDIR only.",
            false => "",
        };
        let network = match protection.network {
            Network::Filtered => " It reaches no network, nor servers of this machine.",
            Network::Allowed | Network::Open => "",
        };
        ToolSpec::new(
            "bash",
            Some(format!(
                "Run a shell command in the working tree. It gets no input and no terminal, and \
                 ends after {TIME_DEFAULT} seconds unless timeout_sec says otherwise.\
                 {files}{network} With refresh_sec the call comes back after that many seconds \
                 while the command goes on: use bash_status and bash_stop."
            )),
            Some(schema(
                &[
                    ("command", "string", "The command"),
                    ("timeout_sec", "integer", "Seconds after which it is ended"),
                    (
                        "refresh_sec",
                        "integer",
                        "Seconds after which to come back while it runs; 0 for a server",
                    ),
                ],
                1,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let script = text(arguments, "command")?;
        if script.trim().is_empty() || script.len() > SCRIPT_BYTES_MAX || script.contains('\0') {
            return Err(format!("the command must have 1 to {SCRIPT_BYTES_MAX} bytes of text"));
        }
        times(arguments)?;
        let needs = vec![Need::Run(script.to_owned())];
        let detail = Shown::Text(harmless::shown(script));
        Ok(Plan { title: title(script), needs, detail })
    }

    fn run(
        &self,
        arguments: &Arguments,
        plan: &Plan,
        print: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Outcome {
        let [Need::Run(script)] = &plan.needs[..] else {
            return failed("this is no plan of a command");
        };
        let (time, refresh) = match times(arguments) {
            Ok(times) => times,
            Err(why) => return failed(why),
        };
        let place = self.jobs.place();
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let before = place.undo.before_command(place.tree(), &snapshot);
        let job = match self.jobs.start(script, time) {
            Ok(job) => job,
            Err(why) => return failed(why),
        };
        let until = refresh.map(|refresh| Instant::now() + refresh);
        follow(&job, 0, until, print, stop, true);
        if let Some(before) = before {
            place.undo.after_command(place.tree(), &before);
            *snapshot = before;
        }
        if job.end().is_none() {
            place.undo.leave_uncovered("what a command changed after its call had come back");
        }
        told(&job, place.limits().result_bytes)
    }
}

impl Tool for BashStatus {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "bash_status",
            Some("Look at a command that goes on running: how it is, what it printed.".to_owned()),
            Some(schema(
                &[
                    ("job", "integer", "The number that bash gave it"),
                    ("refresh_sec", "integer", "Seconds to wait for its end first"),
                ],
                1,
            )),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        number(arguments, "refresh_sec", 0..=TIME_MAX)?;
        Ok(plan_for(job_of(&self.0, arguments)?.as_ref()))
    }

    fn run(
        &self,
        arguments: &Arguments,
        _: &Plan,
        print: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Outcome {
        let refresh = number(arguments, "refresh_sec", 0..=TIME_MAX);
        let (job, refresh) = match (job_of(&self.0, arguments), refresh) {
            (Ok(job), Ok(refresh)) => (job, Duration::from_secs(refresh.unwrap_or(0))),
            (Err(why), _) | (_, Err(why)) => return failed(why),
        };
        follow(&job, job.printed(), Some(Instant::now() + refresh), print, stop, false);
        told(&job, self.0.place().limits().result_bytes)
    }
}

impl Tool for BashStop {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new(
            "bash_stop",
            Some("End a command that goes on running, and all that it started.".to_owned()),
            Some(schema(&[("job", "integer", "The number that bash gave it")], 1)),
        )
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        Ok(plan_for(job_of(&self.0, arguments)?.as_ref()))
    }

    fn run(&self, arguments: &Arguments, _: &Plan, _: &mut dyn FnMut(&str), _: &Stop) -> Outcome {
        const END_WITHIN: Duration = Duration::from_secs(5);
        match job_of(&self.0, arguments) {
            Ok(job) => {
                job.stop();
                job.wait(END_WITHIN);
                let told = told(&job, self.0.place().limits().result_bytes);
                // It is what was asked for.
                Outcome { failed: job.end().is_none(), ..told }
            }
            Err(why) => failed(why),
        }
    }
}

/// How long a command may take, and after which time its call comes back.
fn times(arguments: &Arguments) -> Result<(Duration, Option<Duration>), String> {
    let refresh = number(arguments, "refresh_sec", 0..=TIME_MAX)?;
    let default = if refresh.is_some() { TIME_LATER_DEFAULT } else { TIME_DEFAULT };
    let time = number(arguments, "timeout_sec", 1..=TIME_MAX)?.unwrap_or(default);
    Ok((Duration::from_secs(time), refresh.map(Duration::from_secs)))
}

fn job_of(jobs: &Jobs, arguments: &Arguments) -> Result<Arc<Job>, String> {
    let wanted = number(arguments, "job", 1..=u64::MAX)?.ok_or("the argument `job` is missing")?;
    jobs.job(wanted).ok_or_else(|| {
        let running: Vec<String> = jobs.running().iter().map(u64::to_string).collect();
        let running = if running.is_empty() { "none".to_owned() } else { running.join(", ") };
        format!("there is no job {wanted}; running are: {running}")
    })
}

/// Who was allowed to start a command may look after it.
fn plan_for(job: &Job) -> Plan {
    let title = format!("job {}: {}", job.number, title(&job.script));
    Plan { title, needs: Vec::new(), detail: Shown::Text(harmless::shown(&job.script)) }
}

/// Prints what a command prints until it ends, `until` comes, or somebody stops it; then `ends`
/// says whether the command ends too.
fn follow(
    job: &Job,
    from: u64,
    until: Option<Instant>,
    print: &mut dyn FnMut(&str),
    stop: &Stop,
    ends: bool,
) {
    let mut output = Output::default();
    let mut from = from;
    loop {
        let ended = job.wait(LOOK_EVERY).is_some();
        loop {
            let bytes = job.read(from, PIECE_BYTES_MAX);
            from += bytes.len() as u64;
            let text = output.push(&bytes);
            if !text.is_empty() {
                print(&text);
            }
            if bytes.len() < PIECE_BYTES_MAX || stop.is_stopped() {
                break;
            }
        }
        if ended || until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        if stop.is_stopped() {
            if ends {
                job.stop();
                job.wait(Duration::from_secs(2));
            }
            break;
        }
    }
    let rest = output.finish();
    if !rest.is_empty() {
        print(&rest);
    }
}

/// What the model is told of a command.
fn told(job: &Job, bytes_max: usize) -> Outcome {
    // The beginning says what it is, the end how it went.
    let (head_max, tail_max) = (bytes_max / 4, bytes_max - bytes_max / 4);
    let printed = job.printed();
    let (mut text, whole) = if printed <= bytes_max as u64 * 2 {
        (harmless::output(&job.read(0, bytes_max * 2)), true)
    } else {
        let head = harmless::output(&job.read(0, head_max));
        let tail = harmless::output(&job.read(printed - tail_max as u64, tail_max));
        (format!("{head}\n{tail}"), false)
    };
    if !whole || text.len() > bytes_max {
        let (from, to) = (head(&text, head_max), tail(&text, tail_max));
        let output = job.output.display();
        text = format!(
            "{from}\n[{printed} bytes in all, the middle is left out; all of it is in \
                        {output}: use read or search]\n{to}"
        );
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let took = job.age().as_secs();
    let (line, is_failed) = match job.end() {
        None => (
            format!("[job {} runs since {took} s; use bash_status or bash_stop]", job.number),
            false,
        ),
        Some(End::Code(0)) => ("[done, exit code 0]".to_owned(), false),
        Some(End::Code(code)) => (format!("[exit code {code}]"), true),
        Some(End::Signal(signal)) => (format!("[ended by signal {signal}]"), true),
        Some(End::Time(time)) => {
            (format!("[ended after {} s; give a larger timeout_sec]", time.as_secs()), true)
        }
        Some(End::Output) => {
            (format!("[ended, as it printed more than {} MiB]", OUTPUT_BYTES_MAX >> 20), true)
        }
        Some(End::Stopped) => ("[stopped]".to_owned(), true),
    };
    text.push_str(&line);
    Outcome { failed: is_failed, ..done(text) }
}
