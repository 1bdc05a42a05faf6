//! Opening what computes: the device that was meant, and the processors its threads go to.
//!
//! Where the processors are is known to the operating system alone, and asked here, since no crate
//! below reads files of the system. On Linux the threads of one memory node come first, and of the
//! two threads of a core the second is used only when all cores have one. Elsewhere, and where the
//! system does not tell, threads are not pinned.

mod cuda;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use anyhow::Result;
use backend::{Backend, Threads};
use engine::{Engine, OpenOptions};
use gguf::File;

use crate::machine;
use crate::meant::Compute;
use crate::progress::Progress;
use crate::typed::Device;

/// A device, and what a model may reserve on it besides its weights.
pub struct Computer {
    /// The device.
    pub backend: Box<dyn Backend>,
    /// Bytes; `None` where nobody says.
    pub memory_max: Option<usize>,
    /// Tokens of a prompt that are best computed at once.
    pub step_tokens: usize,
}

/// Opens the device for a model. To be called before any parallel work: work besides the device's
/// own gets as many threads. Who opens a second one lets the first go before.
///
/// # Errors
/// The system does not give so many threads; a CUDA device that was asked for cannot be used.
pub fn open(compute: Compute, model: &File) -> Result<Computer> {
    let allowed = available_parallelism().map_or(1, usize::from);
    let count = compute.threads.unwrap_or(allowed);
    machine::use_threads(count)?;
    let backend = match compute.device {
        Device::Cuda(ordinal) => return cuda::open(ordinal, model),
        Device::Auto => match cuda::open_if_any(model) {
            Some(computer) => return Ok(computer),
            None => open_cpu(count, model),
        },
        Device::Cpu => open_cpu(count, model),
        Device::Reference => backend::open_reference(),
    };
    let step_tokens = OpenOptions::default().step_tokens;
    Ok(Computer { backend, memory_max: machine::memory_available(), step_tokens })
}

/// Why there is no device, for whoever started the thread that was to use it: a device is opened
/// there, and what it says when it cannot be is told here. Clones are equal.
#[derive(Clone, Debug, Default)]
pub struct Refused(Arc<Mutex<Option<anyhow::Error>>>);

impl Refused {
    /// What [`open`] says; an error is kept.
    ///
    /// # Errors
    /// There is no device.
    pub fn open(&self, compute: Compute, model: &File) -> Result<Computer, engine::Error> {
        open(compute, model).map_err(|error| {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            engine::Error::Stopped
        })
    }

    /// What was kept comes before what came of it.
    ///
    /// # Errors
    /// There was no device, or whatever `result` says.
    pub fn or<T, E: Into<anyhow::Error>>(self, result: Result<T, E>) -> Result<T> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.map_or_else(|| result.map_err(Into::into), Err)
    }
}

/// Weights that are there before anybody wonders.
const SOON_BYTES: usize = 1 << 30;

/// Loads a model on a device, with a bar where a person watches and has to wait.
///
/// # Errors
/// As for [`Engine::from_file_watched`].
pub fn load(
    model: File,
    backend: Box<dyn Backend>,
    options: OpenOptions,
    shown: bool,
) -> Result<Engine, engine::Error> {
    load_telling(model, backend, options, shown, &|_| {})
}

/// The same; `tell` is told how many bytes more are there, of [`weight_bytes`].
///
/// # Errors
/// As for [`load`].
pub fn load_telling(
    model: File,
    backend: Box<dyn Backend>,
    options: OpenOptions,
    shown: bool,
    tell: &dyn Fn(u64),
) -> Result<Engine, engine::Error> {
    let bytes = weight_bytes(&model);
    let bar = Progress::bytes("loading", bytes as u64, shown && bytes > SOON_BYTES);
    Engine::from_file_watched(model, backend, options, &mut |bytes| {
        bar.add(bytes as u64);
        tell(bytes as u64);
    })
}

fn open_cpu(count: usize, model: &File) -> Box<dyn Backend> {
    // With fewer processors than threads, pinning would only tie some of them together.
    let found = processors().filter(|found| found.len() >= count);
    let processors = found.unwrap_or_default().into_iter().skip(1).collect();
    backend::open_cpu(&Threads { count, processors }, repack_bytes_max(model))
}

/// Half of what memory has left when it holds the whole file.
fn repack_bytes_max(model: &File) -> usize {
    machine::memory_available().unwrap_or(0).saturating_sub(weight_bytes(model)) / 2
}

/// Bytes of all tensors.
pub fn weight_bytes(model: &File) -> usize {
    model.tensors().iter().map(|tensor| tensor.byte_count).sum()
}

/// Processors that this process may use, in the order in which threads should take them.
fn processors() -> Option<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let nodes = (0..).map_while(|node| {
        fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")).ok()
    });
    let siblings = |id: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{id}/topology/thread_siblings_list");
        fs::read_to_string(path).ok().and_then(|text| list(&text))
    };
    Some(order(
        &list(allowed)?,
        &nodes.filter_map(|text| list(&text)).collect::<Vec<_>>(),
        siblings,
    ))
}

/// The allowed processors: first threads of cores before second ones, and by node among these.
fn order(
    allowed: &[usize],
    nodes: &[Vec<usize>],
    siblings: impl Fn(usize) -> Option<Vec<usize>>,
) -> Vec<usize> {
    let place = |id: usize| {
        let node = nodes.iter().position(|node| node.contains(&id)).unwrap_or(0);
        let of_core = siblings(id).unwrap_or_default();
        let turn = of_core.iter().filter(|other| **other < id && allowed.contains(other)).count();
        (turn, node, id)
    };
    let ordered: BTreeMap<_, _> = allowed.iter().map(|&id| (place(id), id)).collect();
    ordered.into_values().collect()
}

/// `0-3,8,10-11`, as the system writes lists of processors.
fn list(text: &str) -> Option<Vec<usize>> {
    const MAX: usize = 1 << 16;
    let mut ids = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse::<usize>().ok()?);
        if last >= MAX {
            return None;
        }
        ids.extend(first..=last);
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list(" 5"), Some(vec![5]));
        for text in ["", "a", "1-", "0-99999999999", "3,,4"] {
            assert_eq!(list(text), None, "{text:?}");
        }
    }

    /// Two nodes of two cores with two threads each, as the system numbers them: cores first.
    #[test]
    fn cores_before_second_threads_and_nodes_together() {
        let siblings = |id: usize| Some(vec![id % 4, id % 4 + 4]);
        let nodes = [vec![0, 1, 4, 5], vec![2, 3, 6, 7]];
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(order(&all, &nodes, siblings), [0, 1, 2, 3, 4, 5, 6, 7]);
        // Odd numbers on the second node.
        let nodes = [vec![0, 2, 4, 6], vec![1, 3, 5, 7]];
        assert_eq!(order(&all, &nodes, siblings), [0, 2, 1, 3, 4, 6, 5, 7]);
        // A core whose first thread is not ours counts with its second.
        assert_eq!(order(&[1, 4, 5], &nodes, siblings), [4, 1, 5]);
        assert_eq!(order(&[3, 1], &[], |_| None), [1, 3]);
    }
}
