//! The GGUF container and its block formats.
