//! Tests of `text` at its boundary: vocabularies, conversations and model output go in, ids,
//! prompts and events come out. Most cases are data under `testdata/`; the golden prompts and
//! replies come from the encoder that ships with the weights. A new case is a new entry in a file.

mod oracle;
mod parse;
mod render;
mod tokenize;

/// The cases of a file of `testdata`.
fn cases(folder: &str) -> Vec<serde_json::Value> {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/../../testdata/{folder}/cases.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: serde_json::Value = serde_json::from_str(&text).expect("a JSON file");
    let cases = file["cases"].as_array().expect("a list of cases");
    assert_eq!(file["count"].as_u64(), Some(cases.len() as u64), "{path}: cases are missing");
    cases.clone()
}
