//! Walks the folder of hostile files. Each `NAME.gguf` must be refused with exactly the sentence in
//! `NAME.txt`; adding a case is adding two files.

use std::fs;
use std::path::PathBuf;

use gguf::File;

use crate::testdata;

/// Where the cases are.
pub fn folder() -> PathBuf {
    testdata("attacks/gguf")
}

#[test]
fn every_attack_gets_its_sentence() {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| !path.ends_with("README.md")).collect();
    paths.sort();
    assert!(paths.len() > 100, "the folder of cases is nearly empty");
    let mut wrong = String::new();
    for pair in paths.chunks(2) {
        let [attack, message] = pair else { panic!("{pair:?} is half a case") };
        assert_eq!(attack.with_extension("txt"), *message, "every case is NAME.gguf and NAME.txt");
        assert_eq!(attack.extension().unwrap(), "gguf");
        let name = attack.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(attack).unwrap();
        assert!(bytes.len() < 1024, "{name} is larger than an attack needs to be");
        let expected = fs::read_to_string(message).unwrap();

        let found = match File::from_bytes(name, bytes) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        };
        if found != expected.trim_end() {
            wrong += &format!("{name}:\n  expected {expected}  found    {found}\n");
        }
        let mapped = File::open(attack).expect_err(name);
        assert_eq!(mapped.file(), attack.display().to_string());
    }
    assert!(wrong.is_empty(), "{wrong}");
}
