//! What can go wrong on a device. Wrong shapes are bugs and assert; these are the world's errors.

/// An error of a backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reservation did not fit.
    #[error("out of memory: {what} needs {bytes} bytes")]
    OutOfMemory {
        /// What the memory was for.
        what: &'static str,
        /// How much was asked for.
        bytes: usize,
    },
    /// No decoder for a weight's format.
    #[error("no decoder for tensor type {format}")]
    Format {
        /// Name of the format.
        format: String,
    },
    /// No CUDA driver.
    #[error(
        "no CUDA driver found: install NVIDIA's driver (libcuda.so.1), or compute with --device cpu"
    )]
    NoDriver,
    /// A CUDA device that is not there.
    #[error("no CUDA device {ordinal}: the driver shows {count}")]
    NoDevice {
        /// Which was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// A CUDA device without what the kernels use.
    #[error(
        "the CUDA device has compute capability {}.{}, and 8.0 (Ampere) is the least: \
         compute with --device cpu",
        capability / 10, capability % 10
    )]
    OldDevice {
        /// `major · 10 + minor`.
        capability: i32,
    },
    /// No run-time compiler.
    #[error(
        "no NVRTC library found, which compiles the kernels: install CUDA's \
         (libnvrtc.so.12 or .13; `pip install nvidia-cuda-nvrtc-cu12` has it, its folder then \
         belongs into LD_LIBRARY_PATH), or compute with --device cpu"
    )]
    NoCompiler,
    /// A kernel that does not compile.
    #[error("kernel {name} does not compile: {log}")]
    Kernel {
        /// The unit.
        name: String,
        /// What the compiler says.
        log: String,
    },
    /// The device failed.
    #[error("CUDA device, while {what}: {reason}")]
    Device {
        /// What was being done.
        what: &'static str,
        /// What the driver says.
        reason: String,
    },
}
