//! Texts to an importance file to a quantized model; interrupted in between, and gone on with.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::signals::signal;
use crate::support::{command, ended_as, refuses, testdata, text, tiny, works};

/// A text of the repository, and one whose reading takes minutes.
fn long_text(folder: &Path) -> String {
    let path = folder.join("long.txt");
    fs::write(&path, "The night train leaves at nine, and nobody is on it. ".repeat(20_000))
        .unwrap();
    text(&path)
}

/// Both layouts mean the same to the quantizer, which finds every matrix in them. Of eight experts
/// each is chosen by some of the tokens of a text.
#[test]
fn texts_become_an_importance_file_in_both_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (book, chats) = (inside("book.txt"), inside("chats.jsonl"));
    fs::write(&book, "One two three, four five. ".repeat(60)).unwrap();
    fs::write(&chats, "{\"text\": \"six seven\"}\n\n{\"text\": \"eight\", \"more\": 1}\n").unwrap();
    let golden = tiny();
    let make = |out: &str, format: &str| {
        let args =
            ["imatrix", "-m", &golden, "--text", &book, &chats, "--out", out, "--chunk", "64"];
        works(&[&args[..], &["--format", format, "--json", "--few", "3"]].concat()).json()
    };
    let (modern, legacy) = (inside("m.gguf"), inside("m.dat"));
    let told = make(&modern, "gguf");
    let again = make(&legacy, "legacy");
    assert_eq!((&told["tokens"], &told["chunks"]), (&again["tokens"], &again["chunks"]));
    assert!(told["chunks"].as_u64().unwrap() > 10 && told["layers"] == 3, "{told}");

    let file = gguf::File::open(Path::new(&modern)).unwrap();
    let key = |key: &str| file.metadata().get(key).cloned().unwrap();
    assert_eq!(key("general.type"), "imatrix".into());
    assert_eq!(key("imatrix.datasets"), vec!["book.txt".to_owned(), "chats.jsonl".into()].into());
    assert_eq!(key("imatrix.chunk_size"), 64u32.into());
    let counts = file.bytes(file.tensor("blk.1.ffn_down_exps.weight.counts").unwrap());
    let counts = counts.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    // Every token chooses two experts.
    assert_eq!(counts.sum::<f32>() as u64, 2 * told["tokens"].as_u64().unwrap());
    assert_eq!(file.tensors().len(), 3 * 3 * 2, "sums and counts, and nothing else");

    let quantized = |importance: &str, out: &str| {
        let args = ["quantize", "--from", &golden, "--recipe", "q2", "--imatrix", importance];
        works(&[&args[..], &["--imatrix-strict", "--out", out, "--compare", &golden]].concat());
    };
    let (first, second) = (inside("first.gguf"), inside("second.gguf"));
    quantized(&modern, &first);
    let args = ["quantize", "--from", &golden, "--recipe", "q2", "--imatrix", &legacy];
    let ended = works(&[&args[..], &["--out", &second, "--compare", &first]].concat());
    assert!(ended.text().contains("all 92 tensors are the same"), "{}", ended.text());
}

#[test]
fn an_interrupted_measurement_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (words, out, partial) = (long_text(folder.path()), inside("m.gguf"), "m.gguf.partial");
    let golden = tiny();
    let args = ["imatrix", "-m", &golden, "--text", &words, "--out", &out, "--chunk", "48"];
    let mut start = command(&[&args[..], &["--save-every", "2"]].concat());
    let child = start.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !folder.path().join(partial).exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was kept");
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "INT");
    let ended = ended_as(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("the same command with --resume goes on"), "{}", ended.stderr);
    let kept = fs::read(folder.path().join(partial)).unwrap();
    let file = gguf::File::open(&folder.path().join(partial)).unwrap();
    let chunks = file.metadata().get("imatrix.chunk_count").unwrap().as_u64().unwrap();
    drop(file);
    assert!(chunks >= 2 && !Path::new(&out).exists());

    // What is there is not lost by mistake, and not mixed with something else.
    let most = (48 * (chunks + 3)).to_string();
    let args = [&args[..], &["--max-tokens", &most]].concat();
    refuses(&args, 1, &["m.gguf.partial", "--resume", "--force"]);
    let with = |at: usize, other: &str| {
        let mut args = [&args[..], &["--resume"]].concat();
        args[at] = other;
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let readme = text(&testdata("golden/prompts.json"));
    refuses(&with(2, "nano"), 1, &["m.gguf.partial", "--force"]);
    refuses(&with(4, &readme), 1, &["measured on other texts", "--force"]);
    refuses(&with(8, "47"), 1, &["--chunk 48, not 47", "--force"]);
    refuses(&with(10, "48"), 1, &["more of them", "--force"]);
    assert_eq!(fs::read(folder.path().join(partial)).unwrap(), kept, "it was touched");
    fs::write(folder.path().join(partial), &kept[..kept.len() - 40]).unwrap();
    refuses(&with(10, &most), 1, &["m.gguf.partial"]);
    fs::write(folder.path().join(partial), &kept).unwrap();

    works(&with(10, &most));
    assert!(!folder.path().join(partial).exists(), "it is not needed any more");
    let other = inside("other.gguf");
    let mut whole = args.clone();
    whole[6] = &other;
    works(&whole);
    assert!(fs::read(&out).unwrap() == fs::read(&other).unwrap(), "other bytes");
    refuses(&args, 1, &["m.gguf: exists already", "--force"]);
}

#[test]
fn what_cannot_be_measured_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&folder.path().join(name));
    let (empty, broken, chat) = (inside("e.jsonl"), inside("b.jsonl"), inside("c.jsonl"));
    fs::write(&empty, "\n").unwrap();
    fs::write(&broken, "{\"text\": \"a\"}\n{\"words\": 3}\n").unwrap();
    fs::write(&chat, "{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}").unwrap();
    let (golden, out) = (tiny(), inside("m.gguf"));
    let refused = |file: &str, more: &[&str], code: i32, pieces: &[&str]| {
        let args = ["imatrix", "-m", &golden, "--out", &out, "--text", file];
        refuses(&[&args[..], more].concat(), code, pieces);
    };
    refused(&empty, &[], 1, &["no text"]);
    refused(&broken, &[], 1, &["b.jsonl, line 2 (byte 14)", "messages, a prompt or a text"]);
    refused(&chat, &[], 1, &["c.jsonl, line 1", "expected system, user or assistant"]);
    refused("nowhere.txt", &[], 1, &["nowhere.txt"]);
    refused(&golden, &[], 1, &["not UTF-8"]);
    refused(&broken, &["--chunk", "1"], 2, &["--chunk 1"]);
    refused(&broken, &["--save-every", "0"], 2, &["--save-every 0"]);
    refused(&broken, &["--format", "npy"], 2, &["--format"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left behind");
}
