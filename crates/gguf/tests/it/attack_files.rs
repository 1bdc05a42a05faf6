//! Makes the attack files that fit in a line of code: one defect each, named after it.
//!
//! Every file is the smallest one with its defect. `write_attack_files` is run by hand after adding
//! a case here; the change of the folder, messages included, is then read by a person. Cases that
//! a fuzzer found are simply put into the folder.

use std::fs;

use gguf::File;

use crate::attacks::folder;

const U8: u32 = 0;
const U32: u32 = 4;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const F32: u32 = 0;
const Q8_0: u32 = 8;
const Q2_K: u32 = 10;

/// The bytes of a file, appended in the order of the format.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// A file of version 3 with so many tensors and keys.
    fn file(tensors: u64, keys: u64) -> Bytes {
        Bytes::default().raw(b"GGUF").u32(3).u64(tensors).u64(keys)
    }

    fn raw(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend(bytes);
        self
    }

    fn u32(self, number: u32) -> Bytes {
        self.raw(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Bytes {
        self.raw(&number.to_le_bytes())
    }

    fn string(self, text: &[u8]) -> Bytes {
        self.u64(text.len() as u64).raw(text)
    }

    /// A key up to its value.
    fn key(self, name: &str, value_type: u32) -> Bytes {
        self.string(name.as_bytes()).u32(value_type)
    }

    fn tensor(self, name: &str, dims: &[u64], format: u32, offset: u64) -> Bytes {
        let named = self.string(name.as_bytes()).u32(dims.len() as u32);
        dims.iter().fold(named, |bytes, &size| bytes.u64(size)).u32(format).u64(offset)
    }

    /// Pads to the usual alignment and adds so many bytes of data.
    fn data(mut self, count: usize) -> Bytes {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start, 0);
        self.0.resize(start + count, 0x11);
        self
    }
}

/// A file with one key.
fn key(name: &str, value_type: u32) -> Bytes {
    Bytes::file(0, 1).key(name, value_type)
}

/// A file with one tensor of F32 and so much data.
fn tensor(dims: &[u64], format: u32, offset: u64, data: usize) -> Bytes {
    Bytes::file(1, 0).tensor("weights", dims, format, offset).data(data)
}

fn alignment(alignment: u32) -> Bytes {
    key("general.alignment", U32).u32(alignment)
}

fn cases() -> Vec<(&'static str, Bytes)> {
    let mut cases = preamble_cases();
    cases.extend(other_kinds_of_file());
    cases.extend(metadata_cases());
    cases.extend(directory_cases());
    cases.extend(placement_cases());
    cases
}

fn preamble_cases() -> Vec<(&'static str, Bytes)> {
    let raw = |bytes: &[u8]| Bytes::default().raw(bytes);
    vec![
        ("magic-unknown", raw(b"ELF? not a model")),
        ("magic-cut", raw(b"GG")),
        ("magic-only", raw(b"GGUF")),
        ("magic-big-endian", raw(b"FUGG\0\0\0\x03")),
        ("version-1", raw(b"GGUF").u32(1).u32(0).u32(0)),
        ("version-2", raw(b"GGUF").u32(2).u64(0).u64(0)),
        ("version-4", raw(b"GGUF").u32(4).u64(0).u64(0)),
        ("version-big-endian", raw(b"GGUF").u32(3 << 24).u64(0).u64(0)),
        ("tensor-count-huge", Bytes::file(1 << 60, 0).data(64)),
        ("tensor-count-cut", raw(b"GGUF").u32(3).raw(&[0; 7])),
        ("key-count-huge", Bytes::file(0, 1 << 60).data(64)),
        ("key-count-of-large-file", Bytes::file(0, 8).data(64)),
    ]
}

fn other_kinds_of_file() -> Vec<(&'static str, Bytes)> {
    let raw = |bytes: &[u8]| Bytes::default().raw(bytes);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    vec![
        ("kind-empty", raw(b"")),
        ("kind-html", raw(b"\n<!DOCTYPE html><html><title>404 Not Found</title></html>\n")),
        ("kind-html-bare", raw(b"<HTML><body>Sign in</body></HTML>")),
        ("kind-git-lfs", raw(pointer)),
        ("kind-safetensors", Bytes::default().u64(2).raw(b"{}")),
        ("kind-zip", raw(b"PK\x03\x04\x14\0\0\0")),
        ("kind-gzip", raw(&[0x1f, 0x8b, 8, 0])),
        ("kind-json", raw(b"{\"error\": \"not found\"}")),
        ("kind-ggml", raw(b"tjgg\x03\0\0\0")),
        ("kind-zeros", raw(&[0; 64])),
    ]
}

fn metadata_cases() -> Vec<(&'static str, Bytes)> {
    let array = |element: u32| key("list", ARRAY).u32(element);
    vec![
        ("key-name-longer-than-file", Bytes::file(0, 1).u64(1 << 40).data(8)),
        ("key-name-length-overflows", Bytes::file(0, 1).u64(u64::MAX).data(8)),
        ("key-name-not-utf8", Bytes::file(0, 1).string(b"ab\xffc").u32(U8).raw(&[0])),
        ("key-name-hostile", key("\x1b[2J\n'", 99).raw(&[0])),
        ("key-name-long", key(&"k".repeat(200), 99).raw(&[0])),
        ("key-twice", Bytes::file(0, 2).key("k", U8).raw(&[1]).key("k", U8).raw(&[1])),
        ("value-type-unknown", key("k", 13).raw(&[0; 8])),
        ("value-cut", key("k", U32).raw(&[1, 0])),
        ("value-missing", key("k", ARRAY)),
        ("bool-is-2", key("k", BOOL).raw(&[2])),
        ("bool-in-array-is-2", array(BOOL).u64(3).raw(&[0, 1, 2])),
        ("string-longer-than-file", key("k", STRING).u64(9).raw(b"12345678")),
        ("string-not-utf8", key("k", STRING).string(b"\xc3\x28")),
        ("string-in-array-not-utf8", array(STRING).u64(2).string(b"good").string(b"\x80")),
        ("string-in-array-longer-than-file", array(STRING).u64(1).u64(1 << 50)),
        ("array-of-arrays", array(ARRAY).u64(1).u32(U8).u64(1).raw(&[0])),
        ("array-element-type-unknown", array(77).u64(1).raw(&[0])),
        ("array-count-huge", array(U8).u64(1 << 60).raw(&[0; 8])),
        ("array-count-overflows-bytes", array(10).u64((1 << 61) + 1).raw(&[0; 8])),
        ("array-of-strings-count-huge", array(STRING).u64(1 << 40).u64(0)),
        ("array-cut", array(U32).u64(2).u32(1).raw(&[0; 3])),
        ("alignment-not-power-of-two", alignment(48)),
        ("alignment-absurd", alignment(1 << 31)),
        ("alignment-is-string", key("general.alignment", STRING).string(b"32")),
    ]
}

fn directory_cases() -> Vec<(&'static str, Bytes)> {
    let named = |name: &[u8]| Bytes::file(1, 0).string(name);
    let twice = Bytes::file(2, 0).tensor("weights", &[8], F32, 0).tensor("weights", &[8], F32, 32);
    vec![
        ("tensor-missing", Bytes::file(1, 1).key("filler", STRING).string(&[b' '; 32])),
        ("tensor-name-not-utf8", named(b"\xf0\x28\x8c\x28").data(64)),
        ("tensor-name-longer-than-file", Bytes::file(1, 0).u64(1 << 33).data(64)),
        ("tensor-twice", twice.data(64)),
        ("tensor-rank-0", tensor(&[], F32, 0, 32)),
        ("tensor-rank-5", tensor(&[1, 1, 1, 1, 1], F32, 0, 32)),
        ("tensor-rank-huge", named(b"weights").u32(u32::MAX).data(64)),
        ("tensor-dim-0", tensor(&[8, 0], F32, 0, 32)),
        ("tensor-dims-overflow", tensor(&[1 << 32, 1 << 32], F32, 0, 32)),
        ("tensor-dims-overflow-with-0", tensor(&[1 << 63, 1 << 63, 0], F32, 0, 32)),
        ("tensor-bytes-overflow", tensor(&[1 << 61], F32, 0, 32)),
        ("tensor-row-not-whole-blocks", tensor(&[255, 256], Q2_K, 0, 96)),
        ("tensor-directory-cut", named(b"weights").u32(1).u64(8).u32(F32).raw(&[0; 7])),
    ]
}

fn placement_cases() -> Vec<(&'static str, Bytes)> {
    let two = |first: u64, second: u64| {
        let files = Bytes::file(2, 0).tensor("a", &[16], F32, first);
        files.tensor("b", &[32], Q8_0, second).data(128)
    };
    let shared_start =
        Bytes::file(2, 0).tensor("a", &[8], F32, 0).tensor("b", &[8], F32, 0).data(32);
    let split = Bytes::file(0, 3).key("split.count", U32).u32(2).key("split.no", U32).u32(0);
    let split_no = Bytes::file(0, 2).key("split.count", U32).u32(2).key("split.no", U32);
    vec![
        ("tensor-past-end", tensor(&[16], F32, 0, 63)),
        ("tensor-past-end-by-offset", tensor(&[16], F32, 32, 64)),
        ("tensor-offset-past-end", tensor(&[16], F32, 1 << 40, 64)),
        ("tensor-offset-overflows", tensor(&[16], F32, u64::MAX - 31, 64)),
        ("tensor-offset-unaligned", tensor(&[8], F32, 4, 64)),
        ("tensor-data-missing", Bytes::file(1, 0).tensor("weights", &[8], F32, 0)),
        ("tensor-of-unknown-type-past-end", tensor(&[8], 18, 1 << 20, 64)),
        ("tensors-overlap", two(0, 32)),
        ("tensors-overlap-backwards", two(32, 0)),
        ("tensors-share-start", shared_start),
        ("split-part-alone", split.key("split.tensors.count", U32).u32(0)),
        ("split-number-out-of-range", split_no.clone().u32(2)),
        ("split-tensor-count-missing", split_no.u32(0)),
        ("split-count-is-string", key("split.count", STRING).string(b"2")),
    ]
}

#[test]
#[ignore = "rewrites testdata/attacks/gguf from the cases in this file"]
fn write_attack_files() {
    fs::create_dir_all(folder()).unwrap();
    for (name, Bytes(bytes)) in cases() {
        let message = match File::from_bytes(&format!("{name}.gguf"), bytes.clone()) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        };
        fs::write(folder().join(name).with_extension("gguf"), bytes).unwrap();
        fs::write(folder().join(name).with_extension("txt"), message + "\n").unwrap();
    }
}

#[test]
fn the_folder_holds_these_cases() {
    for (name, Bytes(bytes)) in cases() {
        let found = fs::read(folder().join(name).with_extension("gguf")).unwrap_or_default();
        assert!(found == bytes, "{name} differs; run the ignored test write_attack_files");
    }
}
