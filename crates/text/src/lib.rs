//! Tokenizer, prompt rendering and the incremental parser of the model's output.
