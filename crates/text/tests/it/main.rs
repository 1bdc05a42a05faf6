//! Tests of `text` at its boundary: vocabularies, conversations and model output go in, ids,
//! prompts and events come out. Most cases are data under `testdata/`.

mod oracle;
mod tokenize;
