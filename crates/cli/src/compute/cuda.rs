//! Opening a CUDA device: what is kept of its kernels between runs, and whether a model fits.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use backend::Error;
use backend::cuda::kernels::CodeCache;
use backend::cuda::{Cuda, CudaOptions};
use gguf::File;

use super::{Computer, weight_bytes};
use crate::exit::say;
use crate::folders;
use crate::human;

/// Enough tokens that reading the weights is nothing beside computing with them.
const STEP_TOKENS: usize = 4096;

/// Opens device `ordinal` for a model.
///
/// # Errors
/// It cannot be used, or the weights do not fit.
pub fn open(ordinal: usize, model: &File) -> Result<Computer> {
    let cache =
        folders::cache("kernels").map(|folder| Box::new(Folder(folder)) as Box<dyn CodeCache>);
    let cuda = Cuda::open(CudaOptions { ordinal, cache, compiler: None })?;
    let (free, total) = cuda.memory()?;
    let weights = weight_bytes(model);
    if weights > free {
        bail!(
            "the weights of {} take {}, and the CUDA device has {} free of {}: use a smaller file, \
             or --device cpu",
            model.name(),
            human::bytes(weights as u64),
            human::bytes(free as u64),
            human::bytes(total as u64)
        );
    }
    let memory_max = Some((free - weights) / 16 * 15);
    Ok(Computer { backend: Box::new(cuda), memory_max, step_tokens: STEP_TOKENS })
}

/// The first device if it can be used. Where there is none nothing is said; why one that is there
/// is not used, is.
pub fn open_if_any(model: &File) -> Option<Computer> {
    match open(0, model) {
        Ok(computer) => Some(computer),
        Err(error) => {
            let none = matches!(
                error.downcast_ref::<Error>(),
                Some(Error::NoDriver | Error::NoDevice { .. })
            );
            if !none {
                say(&format!("computing on the CPU: {error}"));
            }
            None
        }
    }
}

/// A folder of kernels. What cannot be read or written is compiled again.
struct Folder(PathBuf);

impl CodeCache for Folder {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(name)).ok()
    }

    fn put(&self, name: &str, code: &[u8]) {
        // Whole or not at all: other processes may be reading.
        let write = || -> Result<()> {
            fs::create_dir_all(&self.0)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            std::io::Write::write_all(&mut file, code)?;
            file.persist(self.0.join(name))?;
            Ok(())
        };
        let _ = write();
    }
}
