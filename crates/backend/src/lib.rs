//! The only home of device code: buffers, operations, kernels.
