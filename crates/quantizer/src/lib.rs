//! Checkpoint to GGUF by recipe.
