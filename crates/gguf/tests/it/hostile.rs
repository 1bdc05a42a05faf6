//! Good files cut short and corrupted: every result is a value or a sentence, never a panic, and
//! never more memory than the file could have needed.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use gguf::{Array, File, Format, Metadata, Value};

use crate::{MEMORY, plan, seed, testdata, walk, write};

/// Far above what the files of these tests need (all tests of this binary run at once), far below
/// what a count that is believed would ask for.
const MEMORY_BYTES_MAX: usize = 512 << 20;

/// Every length up to the end of the tensor directory, and some within the data.
#[test]
fn every_truncation_is_an_error() {
    let bytes: &'static [u8] = fs::read(testdata("golden/tiny.gguf")).unwrap().leak();
    let whole = File::from_bytes("whole", bytes).unwrap();
    let data_start = whole.tensors().iter().map(|tensor| tensor.offset).min().unwrap() as usize;
    let data_end = whole.tensors().iter().map(|tensor| tensor.offset + tensor.byte_count as u64);
    let data_end = data_end.max().unwrap() as usize;
    let within = [data_start + 1, data_start + 32, bytes.len() / 2, data_end - 1];
    for length in (0..=data_start).chain(within) {
        let error = File::from_bytes("cut", &bytes[..length]).expect_err("cut");
        assert!(error.offset().is_none_or(|at| at <= length as u64), "{length}: {error}");
    }
    File::from_bytes("cut", &bytes[..data_end]).expect("nothing but padding is missing");
}

/// The golden model's keys and tensor names, with one block of data for each tensor.
#[test]
fn every_corrupted_header_byte_is_survived() {
    let whole = File::open(&testdata("golden/tiny.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    let tensors = whole.tensors().iter();
    let plans: Vec<_> =
        tensors.map(|t| plan(&t.name, &[t.format.block_values(), 1], t.format)).collect();
    let data_bytes = plans.iter().map(|plan| plan.format.block_bytes()).sum();
    write(&path, whole.metadata(), &plans, &vec![0x3c; data_bytes]);
    let good = fs::read(&path).unwrap();
    let header_bytes = File::open(&path).unwrap().tensors()[0].offset as usize;
    assert!(header_bytes > 15_000, "the header is the golden one");

    MEMORY.reset_peak_usage();
    let mut refused = 0;
    for at in 0..header_bytes {
        for change in [0x01, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            match File::from_bytes("corrupted", bytes) {
                Ok(file) => walk(&file),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > header_bytes, "{refused} of {} were refused", 2 * header_bytes);
    assert!(MEMORY.peak_usage() < MEMORY_BYTES_MAX, "{} bytes", MEMORY.peak_usage());
}

/// A file with every value type and format, each byte of it replaced by many others.
#[test]
fn every_corrupted_byte_of_every_format_is_survived() {
    let good = fs::read(seed::path()).unwrap();
    walk(&File::from_bytes("good", good.clone()).unwrap());
    for at in 0..good.len() {
        for byte in (0..=255).step_by(15) {
            let mut bytes = good.clone();
            bytes[at] = byte;
            if let Ok(file) = File::from_bytes("corrupted", bytes) {
                walk(&file);
            }
        }
    }
}

/// Every count, as large as it gets, with memory watched.
#[test]
fn counts_are_not_believed() {
    let array = |element: u32| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(b"k\x09\0\0\0");
        bytes.extend(element.to_le_bytes());
        bytes
    };
    MEMORY.reset_peak_usage();
    for element in 0..13 {
        for shift in 10..64 {
            let mut bytes = array(element);
            bytes.extend((1_u64 << shift).to_le_bytes());
            bytes.resize(1000, 0);
            File::from_bytes("count", bytes).unwrap_err();
        }
    }
    for counts in [[1 << 40, 0], [0, 1 << 40]] {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(counts.map(u64::to_le_bytes).as_flattened());
        bytes.resize(1000, 0);
        File::from_bytes("count", bytes).unwrap_err();
    }
    assert!(MEMORY.peak_usage() < MEMORY_BYTES_MAX, "{} bytes", MEMORY.peak_usage());
}

/// A file that is really as long as its array claims, though it holds nothing.
#[test]
fn endless_headers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.gguf");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"GGUF\x03\0\0\0").unwrap();
    file.write_all(&0_u64.to_le_bytes()).unwrap();
    file.write_all(&1_u64.to_le_bytes()).unwrap();
    file.write_all(&1_u64.to_le_bytes()).unwrap();
    file.write_all(b"k\x09\0\0\0\x08\0\0\0").unwrap();
    file.write_all(&(1_u64 << 36).to_le_bytes()).unwrap();
    file.seek(SeekFrom::Start(1 << 40)).unwrap();
    if file.set_len(1 << 40).is_err() {
        return; // no sparse files of a terabyte here
    }
    let error = File::open(&path).unwrap_err();
    assert_eq!(error.key(), Some("k"));
    assert!(error.to_string().contains("expected at most 33554425 array elements"), "{error}");
}

#[test]
fn paths_that_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let error = File::open(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with(": is a directory, expected a GGUF file"), "{error}");
    let missing = folder.path().join("missing.gguf");
    let error = File::open(&missing).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: no such file", missing.display()));
    assert_eq!((error.key(), error.tensor(), error.offset()), (None, None, None));
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, b"").unwrap();
    let error = File::open(&empty).unwrap_err().to_string();
    assert!(error.ends_with(": the file is empty, expected a GGUF file"), "{error}");
}

/// What is unusual and still good.
#[test]
fn odd_files_open() {
    let unknown_type = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.gguf");
        let metadata = Metadata::from_iter([
            ("general.alignment", Value::U64(64)),
            ("empty", Value::Array(Array::String(vec![]))),
            ("", Value::I64(-1)),
        ]);
        let plans =
            [plan("first", &[32, 2], Format::Q8_0), plan("second", &[2, 1, 1, 1], Format::F32)];
        write(&path, &metadata, &plans, &[0; 76]);
        let mut bytes = fs::read(&path).unwrap();
        let name = bytes.windows(5).position(|window| window == b"first").unwrap();
        bytes[name + 5 + 4 + 16] = 200;
        bytes
    };
    let file = File::from_bytes("odd", unknown_type).unwrap();
    let first = file.tensor("first").unwrap();
    assert_eq!(first.format, Format::Unknown(200));
    assert_eq!((first.byte_count, first.row_bytes(), file.bytes(first).len()), (0, 0, 0));
    let second = file.tensor("second").unwrap();
    assert_eq!(second.offset, first.offset + 128, "two blocks of 34 bytes, padded to 64");
    assert_eq!(file.metadata().get("").unwrap().as_integers(), None);
    assert_eq!(file.metadata().get("empty").unwrap().as_strings(), Some(&[][..]));

    let nothing = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(File::from_bytes("nothing", nothing.as_slice()).unwrap().tensors(), []);
}
