//! Names the kind of a file that is not GGUF.
//!
//! People hand a model loader the wrong file all the time: the page that a download link answered
//! with, the pointer that git left in place of a large file, the weights in another container. One
//! sentence about what the file looks like saves them an hour. Nothing here decides whether a file
//! is good; it is asked only after the first four bytes were wrong.

/// What the first bytes look like, as the end of the sentence "not a GGUF file, it ...".
pub(crate) fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    let opens_with = |prefix: &str| {
        text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    if opens_with("version https://git-lfs") {
        Some("looks like a git-lfs pointer; fetch the real file with 'git lfs pull'")
    } else if opens_with("<!doctype html") || opens_with("<html") {
        Some("looks like an HTML page, perhaps the error page of a download")
    } else if bytes.starts_with(b"PK\x03\x04") {
        Some("looks like a zip archive or a PyTorch checkpoint; expected the GGUF conversion")
    } else if is_safetensors(bytes) {
        Some("looks like a safetensors file; make a GGUF file of it first")
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        Some("looks like a gzip archive; unpack it first")
    } else if [b"tjgg", b"lmgg", b"algg", b"fmgg"].iter().any(|magic| bytes.starts_with(*magic)) {
        Some("looks like a ggml file from before GGUF; convert it again from its source")
    } else if opens_with("{") {
        Some("looks like a JSON file")
    } else if bytes.len() >= 4 && bytes.iter().take(4096).all(|&byte| byte == 0) {
        Some("begins with zeros, as an unfinished download does")
    } else {
        None
    }
}

/// A safetensors file is the length of a JSON object, then the object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    (2..1 << 32).contains(&length) && rest.first() == Some(&b'{')
}
