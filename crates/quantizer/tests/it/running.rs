//! Runs: progress, pieces, cancelling, what is left behind, and that the same input gives the same
//! bytes.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use quantizer::{Error, Recipe};

use crate::folder::{Folder, Scales, shape_of};
use crate::{convert, listing, oracle, plan, testdata, values};

/// A folder whose embedding is an FP8 matrix of several pieces, with rows that do not divide them.
fn large() -> Folder {
    let mut folder = Folder::small(Scales::Bf16);
    folder.config["vocab_size"] = 30_001.into();
    folder.config["hidden_size"] = 320.into();
    for (name, class, dims) in crate::folder::sources(&shape_of(&folder.config)) {
        let dtype = match class {
            spec::Class::RouteTable => "I64",
            _ if name == "embed.weight" => "F8_E4M3",
            _ => "BF16",
        };
        folder.put(&name, dtype, &dims, Scales::Bf16);
    }
    folder
}

#[test]
fn large_tensors_pass_in_pieces_and_keep_every_value() {
    let folder = large();
    let (at, out) = (folder.write(), tempfile::tempdir().unwrap());
    let path = out.path().join("m.gguf");
    let plan = plan(at.path(), Recipe::F32).unwrap();
    let mut steps = Vec::new();
    let mut progress = |p: quantizer::Progress<'_>| {
        assert_eq!((p.byte_count, p.tensor_count), (plan.byte_count(), plan.tensors().len()));
        assert_eq!(p.tensor, plan.tensors()[p.tensors_done].name);
        steps.push(p.bytes_done);
    };
    let stats = plan.run(&path, false, &mut progress, &AtomicBool::new(false)).unwrap();
    assert_eq!(stats.byte_count, plan.byte_count());
    assert_eq!(*steps.last().unwrap(), plan.byte_count());
    // The embedding is first: 30,001 rows of 320 in pieces of 13,184, a multiple of 128.
    let row = 320 * 4;
    assert_eq!(steps[..3], [13_184 * row, 26_368 * row, 30_001 * row]);
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] < 17 << 20));

    let file = gguf::File::open(&path).unwrap();
    assert!(values(&file, "token_embd.weight") == oracle::values(&folder, "embed.weight"));
    let size = fs::metadata(&path).unwrap().len();
    assert!(size > stats.byte_count && size < stats.byte_count + 100_000, "{size}");
}

/// Of several flaws the first is told, whichever thread meets one first.
#[test]
fn the_same_flaw_is_told_every_time() {
    let mut folder = large();
    // The first piece has 13,184 rows; its second half is flawed from the start on.
    folder.tensors.get_mut("embed.weight").unwrap().bytes[6_500 * 320..].fill(0x7f);
    let (at, out) = (folder.write(), tempfile::tempdir().unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    for _ in 0..8 {
        let path = out.path().join("m.gguf");
        let error = pool.install(|| convert(at.path(), Recipe::F32, &path)).unwrap_err();
        assert!(error.to_string().contains("value [6500, 0]"), "{error}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_on_any_number_of_threads() {
    let (at, out) = (Folder::small(Scales::Bf16).write(), tempfile::tempdir().unwrap());
    let written = |threads: usize| {
        let path = out.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| convert(at.path(), Recipe::AsIs, &path)).unwrap();
        fs::read(path).unwrap()
    };
    let one = written(1);
    assert!(one == written(3) && one == written(2), "the bytes differ");
}

#[test]
fn a_cancelled_run_leaves_nothing_and_spoils_nothing() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    let plan = plan(&testdata("golden"), Recipe::F32).unwrap();
    let cancel = AtomicBool::new(false);
    let mut calls = 0;
    let mut stop = |_: quantizer::Progress<'_>| {
        calls += 1;
        // The partial output is there, under another name.
        assert_eq!(listing(out.path()).len(), 1);
        assert!(!path.exists());
        cancel.store(calls == 5, Ordering::Relaxed);
    };
    let error = plan.run(&path, false, &mut stop, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!((calls, listing(out.path()).len()), (5, 0));

    fs::write(&path, "precious").unwrap();
    let cancel = AtomicBool::new(true);
    let error = plan.run(&path, true, &mut |_| {}, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(listing(out.path()), ["m.gguf"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_file_that_exists_is_replaced_only_on_request() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    fs::write(&path, "precious").unwrap();
    let plan = plan(&testdata("golden"), Recipe::F16).unwrap();
    let run = |overwrite| plan.run(&path, overwrite, &mut |_| {}, &AtomicBool::new(false));
    let error = run(false).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(error.to_string().contains("m.gguf: exists already"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    run(true).unwrap();
    assert!(gguf::File::open(&path).is_ok());
    assert_eq!(listing(out.path()), ["m.gguf"]);
}

#[test]
fn an_impossible_output_path_is_told_at_once() {
    let out = tempfile::tempdir().unwrap();
    let plan = plan(&testdata("golden"), Recipe::F16).unwrap();
    let refused = |path: &std::path::Path| {
        let mut progress = |_: quantizer::Progress<'_>| panic!("work was begun");
        let error = plan.run(path, true, &mut progress, &AtomicBool::new(false)).unwrap_err();
        error.to_string()
    };
    let message = refused(&out.path().join("none/m.gguf"));
    assert!(message.contains("none/m.gguf: could not create the file"), "{message}");
    let message = refused(out.path());
    assert!(message.contains("is no regular file, expected the path of one"), "{message}");
}

#[test]
fn draft_layers_and_strangers_are_counted() {
    let mut folder = Folder::small(Scales::Bf16);
    folder.put("mtp.0.e_proj.weight", "F8_E4M3", &[192, 192], Scales::Bf16);
    folder.put("rotary.table", "F32", &[8], Scales::Bf16);
    let (at, out) = (folder.write(), tempfile::tempdir().unwrap());
    let stats = convert(at.path(), Recipe::AsIs, &out.path().join("m.gguf")).unwrap();
    assert_eq!(stats.skipped.draft_count, 2);
    assert_eq!(stats.skipped.unknown.shown(), ["'rotary.table'"]);
}
