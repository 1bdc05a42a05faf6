//! Linux: landlock for files, seccomp for sockets.
//!
//! Both hold for the calling thread and for whatever it becomes or starts, need no privilege and
//! cannot be lifted. What a kernel lacks is left out by the libraries; what holds in the end is
//! returned.
//!
//! Landlock lists what is allowed. "Everything but these secrets may be read" is therefore said
//! folder by folder: a folder with a secret below it is opened, and its entries are allowed one by
//! one. Names can be listed everywhere; what is new beside a secret cannot be read by commands that
//! run already.
//!
//! The filter knows numbers only, no addresses. Without network it lets sockets be made that
//! belong to one process family (pairs, and listening ones), and none be connected: a socket of
//! this machine leads to programs that are not confined (a container daemon, a terminal
//! multiplexer, an init system), and they would do what they are asked to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::OFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::{Confinement, Network, Protection};

/// How a folder is opened that is only passed through: needs no permission to list it.
pub const SEARCH: OFlags = OFlags::PATH;

/// The rights that are asked for; older kernels know fewer.
const KNOWN: ABI = ABI::V9;

/// Devices that every program may write to.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts the calling thread; says what holds from now on.
pub fn restrict(confinement: &Confinement) -> Protection {
    // The filter last: it has no say in what landlock asks for, and landlock none in it.
    let files = restrict_files(confinement).unwrap_or(false);
    let filtered = restrict_calls(confinement.network).is_ok();
    drop_privileges();
    let network = match (confinement.network, filtered) {
        (true, _) => Network::Allowed,
        (false, true) => Network::Filtered,
        (false, false) => Network::Open,
    };
    Protection { files, network, why_none: "the kernel offers neither landlock nor seccomp" }
}

/// Whoever runs as the superuser keeps what concerns files and processes, and neither the kernel's
/// own matters nor those of other processes. It cannot be had back, as no new privileges are given.
fn drop_privileges() {
    let keep = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::KILL
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID;
    let Ok(now) = rustix::thread::capabilities(None) else {
        return;
    };
    let dropped = CapabilitySets {
        effective: now.effective & keep,
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    // Giving up what one has is always allowed.
    let _ = rustix::thread::set_capabilities(None, dropped);
}

fn restrict_files(confinement: &Confinement) -> Result<bool, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?;
    if !confinement.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(KNOWN))?;
    }
    let mut rules = Rules(ruleset.create()?);
    rules.allow(Path::new("/"), AccessFs::ReadDir.into())?;
    rules.allow_but(Path::new("/"), &confinement.hidden, AccessFs::from_read(KNOWN))?;
    for path in &confinement.shown {
        rules.allow(path, AccessFs::from_read(KNOWN))?;
    }
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    for folder in &confinement.writable {
        rules.allow(folder, AccessFs::from_all(KNOWN) & !devices)?;
    }
    for device in DEVICES {
        rules.allow(Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    let status = rules.0.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

struct Rules(RulesetCreated);

impl Rules {
    /// Allows `access` at `path` and below; what is not there needs no rule.
    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), RulesetError> {
        let Ok(opened) = PathFd::new(path) else {
            return Ok(());
        };
        let of_file = AccessFs::from_file(KNOWN);
        let access = if path.is_dir() { access } else { access & of_file };
        (&mut self.0).add_rule(PathBeneath::new(opened, access))?;
        Ok(())
    }

    /// The same for all that lies below `folder` and is none of `hidden`.
    fn allow_but(
        &mut self,
        folder: &Path,
        hidden: &[PathBuf],
        access: BitFlags<AccessFs>,
    ) -> Result<(), RulesetError> {
        if !hidden.iter().any(|hidden| hidden.starts_with(folder)) {
            return self.allow(folder, access);
        }
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            // Rules follow links; where one leads has a rule of its own, or is hidden.
            let is_link = entry.file_type().map_or(true, |kind| kind.is_symlink());
            let path = entry.path();
            if !is_link && !hidden.contains(&path) {
                self.allow_but(&path, hidden, access)?;
            }
        }
        Ok(())
    }
}

fn restrict_calls(network: bool) -> Result<(), seccompiler::Error> {
    let filter = SeccompFilter::new(
        refused(network)?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}

/// System calls that fail, each under one of its conditions, or always if it has none.
fn refused(network: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let when = |argument, length, operation, value| {
        let condition = SeccompCondition::new(argument, length, operation, value)?;
        SeccompRule::new(vec![condition])
    };
    let number = |value: i32| u64::from(value.unsigned_abs());
    let (local, datagram) = (number(libc::AF_UNIX), number(libc::SOCK_DGRAM));
    // Datagrams carry their address along, in memory that a filter does not see.
    let is_datagram = when(1, Dword, MaskedEq(0xF), datagram)?;
    let mut refused = BTreeMap::from([
        // Its requests are system calls that no filter sees.
        (libc::SYS_io_uring_setup, Vec::new()),
        // Keys of the person's session.
        (libc::SYS_keyctl, Vec::new()),
        (libc::SYS_add_key, Vec::new()),
        (libc::SYS_request_key, Vec::new()),
        // Typing into a terminal that was inherited.
        (libc::SYS_ioctl, vec![when(1, Dword, Eq, libc::TIOCSTI)?]),
    ]);
    refused.insert(libc::SYS_socketpair, vec![is_datagram.clone()]);
    if network {
        refused.insert(libc::SYS_socket, vec![when(0, Dword, Eq, local)?]);
    } else {
        refused.insert(libc::SYS_socket, vec![when(0, Dword, Ne, local)?, is_datagram]);
        refused.insert(libc::SYS_connect, Vec::new());
        refused.insert(libc::SYS_sendto, vec![when(4, Qword, Ne, 0)?]);
    }
    // The second numbers of the same calls, for programs with short pointers.
    let short: Vec<_> =
        refused.iter().map(|(call, rules)| (call | 0x4000_0000, rules.clone())).collect();
    refused.extend(short);
    Ok(refused)
}
