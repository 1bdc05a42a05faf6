//! Tests of the crate at its boundary, with the golden data of `testdata`.
//!
//! The golden prompts and replies come from the encoder that ships with the weights. A new case
//! is a new entry in a file; what cannot be said as data is a test in the module of its room.

mod parse;
mod render;

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
