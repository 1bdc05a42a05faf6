//! What every kernel takes where it runs: among the others, overlapping with those beside it.
//!
//! Kernels that are compiled for it stamp the time at the moment when what they read is there,
//! which is when all in front of them have ended. From one stamp to the next is what a kernel added
//! to the step, with the gap that its launch left. A launch that does nothing ends every list, so
//! that the last kernel counts as well, and waiting for the host does not.

use std::collections::HashMap;

use super::driver::{Gpu, Launch, Memory};
use super::kernels::Unit;
use super::{COMMON, Cuda, values};
use crate::{Error, KernelTime};

/// Does nothing.
pub static STAMP: Unit = Unit {
    family: "device",
    name: "stamp",
    source: &[COMMON, include_str!("stamp.cu")],
    parameters: &[],
    kernels: &["stamp"],
};

/// Most stamps between two reports; launches beyond them are not counted.
pub const STAMPS_MAX: usize = 1 << 17;

/// Stamps, and whose they are.
pub struct Trace {
    /// How many there are, then nanoseconds, all as 64-bit numbers.
    memory: Memory,
    launched: Vec<Launched>,
}

struct Launched {
    /// Family, kernel, and what it was compiled for; `None` for the launch that ends a list.
    kernel: Option<(&'static str, &'static str, u32)>,
    weights: u64,
}

impl Trace {
    fn new(gpu: &Gpu) -> Result<Trace, Error> {
        let memory = gpu.allocate((1 + STAMPS_MAX) * 8, "stamps of kernels")?;
        Ok(Trace { memory, launched: Vec::new() })
    }

    /// Notes launches that are about to run, the last of which ends the list.
    pub fn note(&mut self, launches: &[Launch]) {
        let room = STAMPS_MAX - self.launched.len().min(STAMPS_MAX);
        self.launched.extend(launches.iter().take(room).map(|launch| {
            let (family, kernel) = launch.name;
            let ends = kernel == STAMP.kernels[0];
            let kernel = (!ends).then_some((family, kernel, launch.variant));
            Launched { kernel, weights: launch.weights }
        }));
    }

    /// Times by kernel since the last call. All work is done.
    fn report(&mut self, gpu: &Gpu) -> Result<Vec<KernelTime>, Error> {
        let launched = std::mem::take(&mut self.launched);
        let mut stamps = vec![0u64; 1 + launched.len()];
        gpu.download(self.memory.address, &mut [bytemuck::cast_slice_mut(&mut stamps)])?;
        gpu.upload(self.memory.address, bytemuck::bytes_of(&0u64))?;
        let (mut places, mut times) = (HashMap::new(), Vec::<KernelTime>::new());
        for (launch, stamps) in launched.iter().zip(stamps[1..].windows(2)) {
            let Some((family, name, variant)) = launch.kernel else { continue };
            let at = *places.entry((name, variant)).or_insert_with(|| {
                let name = format!("{name} {variant}");
                times.push(KernelTime { family, name, count: 0, seconds: 0.0, weight_bytes: 0 });
                times.len() - 1
            });
            let time = &mut times[at];
            time.count += 1;
            time.seconds += stamps[1].saturating_sub(stamps[0]) as f64 / 1e9;
            time.weight_bytes += launch.weights;
        }
        Ok(times)
    }
}

impl Cuda {
    /// Times since the last call; from the first call on kernels are timed.
    pub(super) fn times(&mut self) -> Result<Vec<KernelTime>, Error> {
        self.flush()?;
        self.gpu.wait()?;
        if let Some(trace) = &mut self.trace {
            return trace.report(&self.gpu);
        }
        let trace = Trace::new(&self.gpu)?;
        self.kernels.stamp(trace.memory.address);
        self.forget_lists();
        self.trace = Some(trace);
        Ok(Vec::new())
    }

    /// Ends a list that is timed, and notes it.
    pub(super) fn trace(&mut self) {
        if self.trace.is_some() && !self.recorded.is_empty() {
            self.record((&STAMP, values(&[]), STAMP.kernels[0]), [1, 1, 1], 32, &[]);
        }
        if let Some(trace) = &mut self.trace {
            trace.note(&self.recorded);
        }
    }
}
