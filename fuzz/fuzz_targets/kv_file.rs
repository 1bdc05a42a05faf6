//! Any bytes as the head of a checkpoint's file: manifest, directory of a pack, uses.
//!
//! The first byte says which, and whether the frame is made right: with a length and a checksum
//! that fit, the bytes behind it are looked at as if a program had written them. Parsing may fail
//! with a sentence; what was parsed must give the same bytes again.
#![no_main]

use std::path::Path;

use kvstore::PageKey;
use kvstore::hostile::{Directory, Head, Manifest, Parsed, Uses};
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES: usize = 56;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    let magic: &[u8; 8] = [b"DwarfKVC", b"DwarfKVP", b"DwarfKVU"][usize::from(kind % 3)];
    if kind & 0x80 != 0 && bytes.len() >= FRAME_BYTES {
        seal(&mut bytes, magic);
    }
    let path = Path::new("fuzz");
    match kind % 3 {
        0 => {
            if let Ok(Parsed::Ours(manifest)) = Manifest::parse(path, &bytes) {
                assert_eq!(manifest.encode(), bytes);
                assert_eq!(manifest.lengths().count(), manifest.keys.len());
            }
        }
        1 => directory(path, &bytes),
        _ => drop(Uses::parse(path, &bytes)),
    }
});

/// A pack of which only the head is there.
fn directory(path: &Path, bytes: &[u8]) {
    let says = bytes.get(16..24).map_or(0, |at| u64::from_le_bytes(at.try_into().unwrap()));
    for file_bytes in [bytes.len() as u64, says] {
        let Ok(Head::Ours(head)) = Directory::head(path, bytes, file_bytes) else { continue };
        let Some(head) = bytes.get(..head) else { continue };
        if let Ok(directory) = Directory::parse(path, head, file_bytes) {
            assert_eq!(directory.encode(), head);
            assert_eq!(directory.file_bytes(), file_bytes);
            assert!(directory.offsets().all(|at| at <= file_bytes));
        }
    }
}

/// Makes magic, version, length and checksum right.
fn seal(bytes: &mut [u8], magic: &[u8; 8]) {
    bytes[..8].copy_from_slice(magic);
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    if magic != b"DwarfKVP" {
        let length = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
    }
    let count = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let head = match magic {
        b"DwarfKVP" => count.saturating_mul(40).saturating_add(FRAME_BYTES).min(bytes.len()),
        _ => bytes.len(),
    };
    let checksum = PageKey::of(&[&bytes[..24], &bytes[FRAME_BYTES..head]].concat());
    bytes[24..FRAME_BYTES].copy_from_slice(&checksum.0);
}
