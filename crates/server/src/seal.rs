//! Reasoning as clients carry it: text that they cannot read by accident, and that we know again.
//!
//! Some clients send reasoning back only if it came as `encrypted_content`, or with a signature.
//! Nothing here is secret: it is the reader's own conversation. The form says whose it is and has a
//! check, so that what another server made, or what was cut, is not taken for ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const MARK: &str = "ds1.";

/// Packs reasoning.
pub fn seal(reasoning: &str) -> String {
    format!("{}.{}", signature(reasoning), URL_SAFE_NO_PAD.encode(reasoning))
}

/// What is said about reasoning that travels as plain text.
pub fn signature(reasoning: &str) -> String {
    format!("{MARK}{:016x}", sum(reasoning))
}

/// What was packed, if it was packed here.
pub fn open(sealed: &str) -> Option<String> {
    let (check, packed) = sealed.strip_prefix(MARK)?.split_once('.')?;
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(packed).ok()?).ok()?;
    (check == format!("{:016x}", sum(&text))).then_some(text)
}

/// FNV-1a, 64 bits.
fn sum(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_is_opened() {
        for text in ["", "Because.", "世界 \n \"quoted\""] {
            assert_eq!(open(&seal(text)).as_deref(), Some(text));
        }
        let sealed = seal("Because.");
        for foreign in ["", "enc123", "ds1.", "ds1.0.QQ", &sealed[..sealed.len() - 1]] {
            assert_eq!(open(foreign), None, "{foreign}");
        }
    }
}
