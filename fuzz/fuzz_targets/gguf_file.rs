//! Any bytes as a GGUF file: opened, walked, decoded.
//!
//! Opening may fail with a sentence; it must not panic, overflow, or allocate more than the bytes
//! could justify (the fuzzer's memory limit sees to that). Whatever opens must then be readable
//! without a failure.
#![no_main]

use gguf::File;
use libfuzzer_sys::fuzz_target;

/// Tensors above this size say nothing that smaller ones do not.
const VALUES_MAX: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let file = match File::from_bytes("fuzz", bytes.to_vec()) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.to_string().starts_with("fuzz: "));
            assert!(error.offset().is_none_or(|at| at <= bytes.len() as u64));
            return;
        }
    };
    for (key, value) in file.metadata().iter() {
        let found = file.metadata().get(key).expect("a listed key");
        assert!(std::ptr::eq(found, value));
        let _ = (value.as_u64(), value.as_f64(), value.as_bool(), value.as_str());
        let _ = (value.as_strings(), value.as_integers(), value.as_floats());
    }
    for tensor in file.tensors() {
        assert_eq!(file.tensor(&tensor.name), Some(tensor));
        let data = file.bytes(tensor);
        assert_eq!(data.len(), tensor.row_count() * tensor.row_bytes());
        if tensor.format.is_decodable() && tensor.value_count() <= VALUES_MAX {
            tensor.format.decode(&data, &mut vec![0.0; tensor.value_count()]);
        }
    }
});
