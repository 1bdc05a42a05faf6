//! A disk in memory that does what disks do on bad days.
//!
//! It keeps apart what programs see and what would be left after the power went: bytes are durable
//! when their file was synced, names when the folder was. [`Sim::crash`] makes the disk that the
//! next start would find, in several ways, all of which POSIX allows.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use kvstore::{Listed, Sink, Source, Storage};

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Sim(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    /// What programs see.
    names: BTreeMap<String, usize>,
    /// What is left after a crash, before the changes in `pending`.
    durable: BTreeMap<String, usize>,
    pending: Vec<Change>,
    locked: bool,
    now: u64,
    /// Changing operations so far.
    operations: u64,
    failing: Failing,
    /// Bytes that fit.
    capacity: Option<u64>,
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// How many of them are durable.
    synced: usize,
}

#[derive(Clone)]
enum Change {
    Name(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

/// When operations fail.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Failing {
    #[default]
    Never,
    /// From this one on, all.
    From(u64),
    /// This one only.
    Once(u64),
}

/// What a crash leaves of that which was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Some names and some bytes, others torn, by this seed.
    Some(u64),
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    pub fn new() -> Sim {
        let sim = Sim::default();
        sim.state().now = 1_700_000_000;
        sim
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: u64) {
        self.state().now += seconds;
    }

    pub fn fail(&self, failing: Failing) {
        self.state().failing = failing;
    }

    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// All files and their bytes.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let bytes =
            |(name, &inode): (&String, &usize)| (name.clone(), state.inodes[inode].bytes.clone());
        state.names.iter().map(bytes).collect()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files().values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Puts a durable file there.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        state.inodes.push(Inode { bytes: bytes.to_vec(), synced: bytes.len() });
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), inode);
        state.durable.insert(name.to_owned(), inode);
    }

    /// A disk with these files.
    pub fn with(files: &BTreeMap<String, Vec<u8>>) -> Sim {
        let sim = Sim::new();
        files.iter().for_each(|(name, bytes)| sim.put(name, bytes));
        sim
    }

    /// The disk after the power went.
    pub fn crash(&self, left: Left) -> Sim {
        let state = self.state();
        let mut dice = Dice(match left {
            Left::Some(seed) => seed,
            _ => 0,
        });
        let mut keeps = |part: u64| match left {
            Left::Nothing => false,
            Left::Everything => true,
            Left::Some(_) => dice.below(part) != 0,
        };
        let mut names = state.durable.clone();
        for change in &state.pending {
            if !keeps(3) {
                continue;
            }
            match change {
                Change::Name(name, inode) => drop(names.insert(name.clone(), *inode)),
                Change::Rename(from, to, inode) => {
                    names.retain(|name, held| !(name == from && held == inode));
                    names.insert(to.clone(), *inode);
                }
                Change::Remove(name) => drop(names.remove(name)),
            }
        }
        let sim = Sim::new();
        sim.state().now = state.now + 60;
        for (name, inode) in names {
            let Inode { bytes, synced } = &state.inodes[inode];
            sim.put(&name, &torn(bytes, *synced, left));
        }
        sim
    }
}

/// What is left of a file of which `synced` bytes are durable.
fn torn(bytes: &[u8], synced: usize, left: Left) -> Vec<u8> {
    match left {
        Left::Nothing => bytes[..synced].to_vec(),
        Left::Everything => bytes.to_vec(),
        Left::Some(seed) => {
            let mut dice = Dice(seed ^ bytes.len() as u64);
            let length = synced + dice.below((bytes.len() - synced) as u64 + 1) as usize;
            let mut bytes = bytes[..length].to_vec();
            // Blocks that were allocated but never written read as zeros.
            if dice.below(2) == 0 {
                bytes[synced..].fill(0);
            }
            bytes
        }
    }
}

/// Numbers that look random (xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        let mut x = self.0 ^ 0x9E37_79B9_7F4A_7C15;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

impl State {
    /// Counts an operation, which may be one that fails.
    fn operation(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let fails = match self.failing {
            Failing::Never => false,
            Failing::From(first) => number >= first,
            Failing::Once(only) => number == only,
        };
        if fails { Err(io::Error::other("the disk failed")) } else { Ok(()) }
    }

    fn spare(&self) -> u64 {
        let used: usize = self.names.values().map(|&inode| self.inodes[inode].bytes.len()).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used as u64))
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

struct Lock(Sim);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

struct Pen {
    sim: Sim,
    inode: usize,
}

impl Write for Pen {
    /// A write that fails leaves half of itself, one on a full disk what fits.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.sim.state();
        let fate = state.operation();
        let fits = bytes.len().min(usize::try_from(state.spare()).unwrap_or(usize::MAX));
        let written = if fate.is_err() { fits / 2 } else { fits };
        state.inodes[self.inode].bytes.extend_from_slice(&bytes[..written]);
        fate?;
        if fits == 0 && !bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Pen {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.sim.state();
        state.operation()?;
        let inode = &mut state.inodes[self.inode];
        inode.synced = inode.bytes.len();
        Ok(())
    }
}

impl Storage for Sim {
    fn prepare(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let free = !std::mem::replace(&mut self.state().locked, true);
        Ok(free.then(|| Box::new(Lock(self.clone())) as Box<dyn Send + Sync>))
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<Listed>> {
        let listed = |(name, bytes): (String, Vec<u8>)| Listed { name, bytes: bytes.len() as u64 };
        Ok(self.files().into_iter().map(listed).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        let state = self.state();
        let inode = *state.names.get(&name(path)).ok_or_else(missing)?;
        Ok(Box::new(Cursor::new(state.inodes[inode].bytes.clone())))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        let mut state = self.state();
        state.operation()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(name(path), inode);
        state.pending.push(Change::Name(name(path), inode));
        drop(state);
        Ok(Box::new(Pen { sim: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let inode = state.names.remove(&name(from)).ok_or_else(missing)?;
        state.names.insert(name(to), inode);
        state.pending.push(Change::Rename(name(from), name(to), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.names.remove(&name(path)).ok_or_else(missing)?;
        state.pending.push(Change::Remove(name(path)));
        Ok(())
    }

    fn sync(&self, _folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.durable = state.names.clone();
        state.pending.clear();
        Ok(())
    }

    fn now(&self) -> u64 {
        self.state().now
    }
}
