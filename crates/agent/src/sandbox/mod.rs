//! What keeps the model's commands in: they write in the working tree and reach no network.
//!
//! A command is started through this program itself: `dwarfstar confine ... -- bash -c COMMAND`
//! leaves the terminal, restricts itself ([`confined`]) and becomes the shell. Restrictions are
//! inherited and never lifted, so they hold for whatever the shell starts. On Linux these are
//! landlock for files (`linux.rs`) and seccomp for sockets; other systems have none (`other.rs`),
//! and nothing pretends otherwise: [`Protection`] says what holds here, found by trying.
//!
//! A command that was promised a protection and does not get it is not started.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use other as system;

pub(crate) use system::SEARCH;

/// What a confined command may do. Everything else of the file system is there to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Folders that it may change.
    pub writable: Vec<PathBuf>,
    /// Files and folders that it may not read, as far as they lie outside the writable ones.
    pub hidden: Vec<PathBuf>,
    /// Files and folders that it may read although they lie in hidden ones.
    pub shown: Vec<PathBuf>,
    /// Whether it may reach the network.
    pub network: bool,
}

/// What holds for commands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Whether files outside the writable folders are safe from being changed.
    pub files: bool,
    /// Whether the network is out of reach.
    pub network: Network,
    /// Why nothing holds, where nothing does.
    why_none: &'static str,
}

/// What keeps a command from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A filter of system calls.
    Filtered,
    /// Nothing, as it was wanted.
    Allowed,
    /// Nothing, as the system has no such filter.
    Open,
}

impl Protection {
    fn none(why: &'static str) -> Protection {
        Protection { files: false, network: Network::Open, why_none: why }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.files, self.network) {
            (true, Network::Filtered) => f.write_str("landlock+seccomp"),
            (true, Network::Allowed) => f.write_str("landlock (network allowed)"),
            (true, Network::Open) => f.write_str("landlock (no network filter)"),
            (false, Network::Filtered) => f.write_str("seccomp (files unprotected)"),
            (false, _) => write!(f, "none: {}", self.why_none),
        }
    }
}

/// Starts commands, confined.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The program and first arguments that lead to [`confined`].
    program: Vec<OsString>,
    /// `None`: commands leave the terminal, and are not restricted.
    confinement: Option<Confinement>,
    protection: Protection,
}

impl Sandbox {
    /// Finds out what this system offers. `program` is what leads to [`confined`]: this program's
    /// path and `confine`.
    pub fn new(program: Vec<OsString>, confinement: Confinement) -> Sandbox {
        // Restrictions hold for the thread that asks for them, so one is spent on asking.
        let tried = {
            let confinement = confinement.clone();
            std::thread::spawn(move || system::restrict(&confinement)).join()
        };
        let nothing = Protection::none("the system offers neither landlock nor seccomp");
        let protection = tried.unwrap_or(nothing);
        Sandbox { program, confinement: Some(confinement), protection }
    }

    /// Restricts nothing, as it was wanted.
    pub fn off(program: Vec<OsString>) -> Sandbox {
        let protection = Protection::none("switched off");
        Sandbox { program, confinement: None, protection }
    }

    /// What holds for commands.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// A shell command, to be started in `folder`.
    ///
    /// # Errors
    /// There is no program to start it with.
    pub fn shell(&self, script: &str, folder: &Path) -> Result<Command, String> {
        let (program, first) =
            self.program.split_first().ok_or("no program is known that confines commands")?;
        let mut command = Command::new(program);
        command.args(first).current_dir(folder);
        if let Some(confinement) = &self.confinement {
            command.args(promised(confinement, self.protection));
        }
        command.args(["--", shell(), "-c", script]);
        Ok(command)
    }
}

/// The shell that models write for, or the one that every system has.
fn shell() -> &'static str {
    const SHELLS: [&str; 3] = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
    SHELLS.into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("sh")
}

/// The confinement as arguments, and what must hold.
fn promised(confinement: &Confinement, protection: Protection) -> Vec<OsString> {
    let mut arguments = vec!["--restrict".into()];
    for folder in &confinement.writable {
        arguments.extend(["--write".into(), folder.clone().into_os_string()]);
    }
    for path in &confinement.hidden {
        arguments.extend(["--hide".into(), path.clone().into_os_string()]);
    }
    for path in &confinement.shown {
        arguments.extend(["--show".into(), path.clone().into_os_string()]);
    }
    if confinement.network {
        arguments.push("--network".into());
    }
    if protection.files {
        arguments.push("--promise-files".into());
    }
    if protection.network == Network::Filtered {
        arguments.push("--promise-no-network".into());
    }
    arguments
}

/// Does what [`Sandbox::shell`] asks for: leaves the terminal, restricts this process, and becomes
/// the command. Returns only where that failed, and says why.
pub fn confined(arguments: impl Iterator<Item = OsString>) -> String {
    match become_confined(arguments) {
        Ok(never) => match never {},
        Err(why) => format!("the command was not started: {why}"),
    }
}

fn become_confined(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, String> {
    let mut confinement = Confinement::default();
    let (mut restricted, mut files, mut no_network) = (false, false, false);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--restrict") => restricted = true,
            Some("--write") => confinement.writable.extend(arguments.next().map(PathBuf::from)),
            Some("--hide") => confinement.hidden.extend(arguments.next().map(PathBuf::from)),
            Some("--show") => confinement.shown.extend(arguments.next().map(PathBuf::from)),
            Some("--network") => confinement.network = true,
            Some("--promise-files") => files = true,
            Some("--promise-no-network") => no_network = true,
            Some("--") => break,
            _ => return Err(format!("unknown argument {}", argument.to_string_lossy())),
        }
    }
    let program = arguments.next().ok_or("no command after --")?;
    // A new session has no terminal: nothing can be typed into it or read from it. Only a process
    // that leads its group has to stay in its session.
    let _ = rustix::process::setsid();
    let holds = restricted.then(|| system::restrict(&confinement));
    if files && !holds.is_some_and(|holds| holds.files) {
        return Err("its files would not be protected as promised".to_owned());
    }
    if no_network && !holds.is_some_and(|holds| holds.network == Network::Filtered) {
        return Err("the network would not be out of reach as promised".to_owned());
    }
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("{}: {error}", program.to_string_lossy()))
}

/// Where people keep keys and passwords, below their home.
pub fn secrets(home: &Path) -> Vec<PathBuf> {
    const NAMES: [&str; 18] = [
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        ".netrc",
        ".pgpass",
        ".git-credentials",
        ".password-store",
        ".mozilla",
        ".config/gcloud",
        ".config/gh",
        ".config/google-chrome",
        ".config/chromium",
        ".local/share/keyrings",
        ".cargo/credentials.toml",
        ".npmrc",
    ];
    NAMES.iter().map(|name| home.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protection_says_what_holds() {
        let rows = [
            (true, Network::Filtered, "landlock+seccomp"),
            (true, Network::Allowed, "landlock (network allowed)"),
            (true, Network::Open, "landlock (no network filter)"),
            (false, Network::Filtered, "seccomp (files unprotected)"),
            (false, Network::Open, "none: not Linux"),
        ];
        for (files, network, expected) in rows {
            let protection = Protection { files, network, why_none: "not Linux" };
            assert_eq!(protection.to_string(), expected);
        }
        assert_eq!(Sandbox::off(Vec::new()).protection().to_string(), "none: switched off");
    }

    #[test]
    fn what_is_asked_for_without_sense_is_refused() {
        let confined = |arguments: &[&str]| confined(arguments.iter().map(OsString::from));
        assert!(confined(&["--writ", "x"]).contains("unknown argument --writ"));
        assert!(confined(&["--network"]).contains("no command after --"));
        let broken = confined(&["--promise-files", "--", "true"]);
        assert!(broken.contains("not be protected as promised"), "{broken}");
    }
}
