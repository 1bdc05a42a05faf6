//! Commands that run: started confined, watched until they end, ended with all that they started.
//!
//! A command writes into a file, not into a pipe: whatever it prints is kept whole, and nobody who
//! holds the other end open keeps anyone waiting. A thread per command watches it: when its time is
//! over, when it has printed too much or when it was stopped, its whole process group ends; the
//! group of one that has ended by itself ends too. A process that made a session of its own is in
//! no group of ours and is not found.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::sandbox::{Protection, Sandbox};
use crate::workplace::Workplace;

/// What a command may print before it is ended.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 20;
const JOBS_MAX: usize = 16;
/// Outputs that are kept for the model to read, and their bytes; the oldest go.
const OUTPUTS_MAX: usize = 100;
const OUTPUTS_BYTES_MAX: u64 = 512 << 20;
/// How long what is asked to end may take to tidy up.
const GRACE: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// All commands that were started here.
#[derive(Debug)]
pub struct Jobs {
    place: Arc<Workplace>,
    sandbox: Sandbox,
    jobs: Mutex<(u64, Vec<Arc<Job>>)>,
}

/// One command.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub number: u64,
    /// The command.
    pub script: String,
    /// Where its output is kept.
    pub output: PathBuf,
    /// The same file, which stays readable whatever happens to its name.
    file: File,
    started: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    end: Option<End>,
    wanted: Option<End>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that nobody here sent.
    Signal(i32),
    /// It took longer than it may.
    Time(Duration),
    /// It printed more than it may.
    Output,
    /// Somebody wanted it.
    Stopped,
}

impl Jobs {
    /// Runs commands of this place, confined by this sandbox.
    pub fn new(place: Arc<Workplace>, sandbox: Sandbox) -> Jobs {
        Jobs { place, sandbox, jobs: Mutex::default() }
    }

    /// Where they run.
    pub fn place(&self) -> &Workplace {
        &self.place
    }

    /// What keeps them in.
    pub fn protection(&self) -> Protection {
        self.sandbox.protection()
    }

    /// Starts a command, which may take `time`.
    ///
    /// # Errors
    /// It cannot be started; a text for the model.
    pub fn start(&self, script: &str, time: Duration) -> Result<Arc<Job>, String> {
        let mut jobs = self.lock();
        jobs.1.retain(|job| job.is_running() || Arc::strong_count(job) > 1 || job.is_recent());
        if jobs.1.iter().filter(|job| job.is_running()).count() >= JOBS_MAX {
            return Err(format!("{JOBS_MAX} commands run already; stop one with bash_stop"));
        }
        jobs.0 += 1;
        let number = jobs.0;
        let said = |error: io::Error| format!("the command cannot be started: {error}");
        let (output, file) =
            new_output(&self.place.outputs(), &number.to_string()).map_err(said)?;
        let mut command = self.sandbox.shell(script, self.place.tree())?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(said)?)
            .stderr(file.try_clone().map_err(said)?)
            .env("TMPDIR", self.place.temporary())
            .envs([("TERM", "dumb"), ("PAGER", "cat"), ("GIT_PAGER", "cat")])
            .env("GIT_TERMINAL_PROMPT", "0");
        let child = command.spawn().map_err(said)?;
        let job = Arc::new(Job {
            number,
            script: script.to_owned(),
            output,
            file,
            started: Instant::now(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        jobs.1.push(Arc::clone(&job));
        let watched = Arc::clone(&job);
        std::thread::spawn(move || watched.watch(child, time));
        Ok(job)
    }

    /// The command of this number, while it runs and for a while after.
    pub fn job(&self, number: u64) -> Option<Arc<Job>> {
        self.lock().1.iter().find(|job| job.number == number).map(Arc::clone)
    }

    /// Numbers of commands that run.
    pub fn running(&self) -> Vec<u64> {
        let jobs = self.lock();
        jobs.1.iter().filter(|job| job.is_running()).map(|job| job.number).collect()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Arc<Job>>)> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let jobs = std::mem::take(&mut self.lock().1);
        jobs.iter().for_each(|job| job.stop());
        jobs.iter().for_each(|job| {
            job.wait(GRACE * 2);
        });
    }
}

impl Job {
    /// Wants it to end.
    pub fn stop(&self) {
        self.want(End::Stopped);
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.state().end.clone()
    }

    /// How long it has run.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until it ends, at most for `time`.
    pub fn wait(&self, time: Duration) -> Option<End> {
        let state = self.state();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, time, |state| state.end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.end.clone()
    }

    /// How much it has printed.
    pub fn printed(&self) -> u64 {
        self.file.metadata().map_or(0, |data| data.len())
    }

    /// What it has printed from `from` on, at most `bytes_max`.
    pub fn read(&self, from: u64, bytes_max: usize) -> Vec<u8> {
        let left = usize::try_from(self.printed().saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(bytes_max)];
        let mut read = 0;
        while let Ok(count @ 1..) = self.file.read_at(&mut bytes[read..], from + read as u64) {
            read += count;
        }
        bytes.truncate(read);
        bytes
    }

    fn is_running(&self) -> bool {
        self.end().is_none()
    }

    fn is_recent(&self) -> bool {
        self.age() < Duration::from_secs(24 * 3600)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, end: End) {
        self.state().wanted.get_or_insert(end);
    }

    fn watch(&self, mut child: Child, time: Duration) {
        let group = Pid::from_child(&child);
        let mut asked: Option<Instant> = None;
        let mut pause = Duration::from_millis(1);
        while !has_ended(group) {
            if self.age() >= time {
                self.want(End::Time(time));
            }
            if self.printed() > OUTPUT_BYTES_MAX {
                self.want(End::Output);
            }
            if self.state().wanted.is_some() {
                match asked {
                    None => {
                        signal(group, Signal::TERM);
                        asked = Some(Instant::now());
                    }
                    Some(since) if since.elapsed() >= GRACE => signal(group, Signal::KILL),
                    Some(_) => {}
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_EVERY);
        }
        // Its number is nobody else's until it is waited for: what it left behind ends first.
        signal(group, Signal::KILL);
        let status = child.wait();
        let by_itself = status.map_or(End::Signal(0), |status| {
            use std::os::unix::process::ExitStatusExt;
            let signal = || End::Signal(status.signal().unwrap_or(0));
            status.code().map_or_else(signal, End::Code)
        });
        let mut state = self.state();
        let wanted = state.wanted.take();
        state.end = Some(wanted.unwrap_or(by_itself));
        self.changed.notify_all();
    }
}

/// Whether a child has ended; it is still to be waited for.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error means that there is no such child, which is an end too.
    !matches!(rustix::process::waitid(WaitId::Pid(child), options), Ok(None))
}

/// To a group, or to its first process while that has not made the group yet.
fn signal(group: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(group, signal);
    let _ = rustix::process::kill_process(group, signal);
}

/// A file that nothing else writes to, whose name says what it is of.
pub fn new_output(folder: &Path, label: &str) -> io::Result<(PathBuf, File)> {
    let mut outputs: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| {
            let data = entry.metadata().ok()?;
            Some((data.modified().ok()?, data.len(), entry.path()))
        })
        .collect();
    outputs.sort();
    let mut bytes = 0;
    for (newer, (_, size, path)) in outputs.iter().rev().enumerate() {
        bytes += size;
        if newer + 1 >= OUTPUTS_MAX || bytes > OUTPUTS_BYTES_MAX {
            let _ = fs::remove_file(path); // tried again next time
        }
    }
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let name = format!("{:08x}-{label}.txt", u32::from_le_bytes(random));
    let path = folder.join(name);
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).append(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}
