//! Verifying: every byte of every pack is read and held against what should be there.
//!
//! Manifests are checked whenever a folder is opened; what was met then is part of the result. The
//! folder is not changed. Whoever asks gets a list of flaws and of the checkpoints they cost.

use std::collections::HashSet;

use crate::catalog::{Block, PackKind};
use crate::error::Error;
use crate::key::{Id, PageKey};
use crate::load::{Placed, Reader, run};
use crate::store::{Store, pack_name};

/// What a check of everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Checkpoints that were looked at, of all models.
    pub checkpoints: usize,
    /// Packs that were read.
    pub packs: usize,
    /// Blocks that were read.
    pub blocks: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub flaws: Vec<Flaw>,
    /// It was ended before everything was read.
    pub stopped: bool,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong with what.
    pub problem: String,
    /// The checkpoints that cannot be loaded because of it.
    pub checkpoints: Vec<Id>,
}

impl Store {
    /// Reads everything. `progress` is told how many bytes of how many are done, and says whether
    /// to go on. Damaged blocks are forgotten, so that they are not built upon.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64) -> bool) -> Verified {
        let mut verified = Verified::default();
        let packs: Vec<(u64, u64, PackKind)> = {
            let catalog = self.0.catalog();
            verified.checkpoints = catalog.kept.len();
            catalog.packs.iter().map(|(number, pack)| (*number, pack.bytes, pack.kind)).collect()
        };
        let total = packs.iter().map(|(_, bytes, _)| bytes).sum();
        let mut done = 0;
        for (number, bytes, kind) in packs {
            if !progress(done, total) {
                verified.stopped = true;
                return verified;
            }
            if kind == PackKind::Ours {
                self.verify_pack(number, &mut verified);
            }
            done += bytes;
        }
        progress(total, total);
        let remarks = self.remarks().iter().cloned();
        verified.flaws.extend(remarks.map(|problem| Flaw { problem, checkpoints: Vec::new() }));
        self.add_broken(&mut verified.flaws);
        verified
    }

    fn verify_pack(&self, number: u64, verified: &mut Verified) {
        let blocks = self.0.catalog().all(number);
        verified.packs += 1;
        let mut reader = Reader::new(self.0.storage.as_ref(), &self.0.dir);
        let placed: Vec<Placed> = blocks.iter().filter_map(placed).collect();
        let mut rest = &placed[..];
        while !rest.is_empty() {
            let mut read = 0;
            let result = reader.read(run(rest), |_, bytes| {
                read += 1;
                verified.bytes += bytes.len() as u64;
            });
            verified.blocks += read;
            if let Err(lost) = result {
                verified.flaws.push(self.flaw(&lost.key, &lost.error));
                self.0.catalog().lose(&lost.key);
                // An unreadable file is told once, a damaged block leaves the others to be read.
                if !matches!(lost.error, Error::Damaged { .. }) {
                    let name = pack_name(number);
                    let problem = format!("{name}: the rest of it was not read");
                    verified.flaws.push(Flaw { problem, checkpoints: Vec::new() });
                    return;
                }
                read += 1;
            }
            rest = &rest[read..];
        }
    }

    fn flaw(&self, key: &PageKey, error: &Error) -> Flaw {
        Flaw { problem: error.to_string(), checkpoints: self.0.catalog().who_names(key) }
    }

    /// Checkpoints that are broken for a reason that was not met on the way.
    fn add_broken(&self, flaws: &mut Vec<Flaw>) {
        let known: HashSet<Id> = flaws.iter().flat_map(|flaw| &flaw.checkpoints).copied().collect();
        for info in self.list() {
            if let (Some(why), false) = (&info.broken, known.contains(&info.id)) {
                let problem = format!("checkpoint {}: {why}", info.id);
                flaws.push(Flaw { problem, checkpoints: vec![info.id] });
            }
        }
    }
}

fn placed(block: &Block) -> Option<Placed> {
    Some(Placed { key: block.key, bytes: block.bytes, place: block.place? })
}
