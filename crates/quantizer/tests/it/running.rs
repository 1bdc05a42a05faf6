//! Runs: progress, pieces, cancelling, what is left behind, and that the same input gives the same
//! bytes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use quantizer::{Error, Plan, Recipe, Start};

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
    let stats =
        plan.run(&path, (false, Start::New), &mut progress, &AtomicBool::new(false)).unwrap();
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

/// Runs until `calls` pieces are written, or to the end.
fn until(plan: &Plan, path: &Path, start: Start, calls: usize) -> Result<usize, Error> {
    let (cancel, mut called) = (AtomicBool::new(calls == 0), 0);
    let mut stop = |_: quantizer::Progress<'_>| {
        called += 1;
        assert!(!path.exists(), "the output is not there before it is complete");
        cancel.store(called == calls, Ordering::Relaxed);
    };
    plan.run(path, (false, start), &mut stop, &cancel)?;
    Ok(called)
}

/// Wherever a run is stopped, and however often, what is in the end is what it would have been.
#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    let (at, folder) = (Folder::small(Scales::Half).write(), out.path());
    let path = |name: &str| folder.join(name);
    let plan = plan(at.path(), Recipe::Q8).unwrap();
    let pieces = until(&plan, &path("whole.gguf"), Start::New, usize::MAX).unwrap();
    let whole = fs::read(path("whole.gguf")).unwrap();
    let parts: usize = plan.tensors().len() + 3 * 3 * (plan.shape().experts - 1);
    assert_eq!(pieces, parts, "small parts are one piece each");
    for stop in [1, 2, 7, parts / 2, parts - 1] {
        let error = until(&plan, &path("m.gguf"), Start::New, stop).unwrap_err();
        let Error::Kept { file, bytes, byte_count } = &error else { panic!("{error}") };
        assert!(file.ends_with("m.gguf.partial") && bytes < byte_count, "{error}");
        let kept = ["m.gguf.partial", "m.gguf.partial.journal", "whole.gguf"];
        assert_eq!(listing(folder), kept, "stopped after {stop}");
        // It is not lost by mistake.
        let refused = until(&plan, &path("m.gguf"), Start::New, 0).unwrap_err();
        assert!(matches!(refused, Error::Unfinished { .. }), "{refused}");
        // Stopped again at once, and after a few more.
        assert!(until(&plan, &path("m.gguf"), Start::GoOn, 0).is_err());
        let mut left = pieces - stop;
        if left > 3 {
            until(&plan, &path("m.gguf"), Start::GoOn, 3).unwrap_err();
            left -= 3;
        }
        let written = until(&plan, &path("m.gguf"), Start::GoOn, usize::MAX).unwrap();
        assert_eq!(written, left, "what is there is not written again");
        assert!(fs::read(path("m.gguf")).unwrap() == whole, "stopped after {stop}: other bytes");
        assert_eq!(listing(folder), ["m.gguf", "whole.gguf"]);
        fs::remove_file(path("m.gguf")).unwrap();
    }
    // Without anything to go on from, a run begins.
    assert_eq!(until(&plan, &path("m.gguf"), Start::GoOn, usize::MAX).unwrap(), pieces);
}

/// What a process leaves that is killed: the files as they are between two pieces, in a folder of
/// their own. Then some bytes behind what the journal counts are lost, or others.
#[test]
fn a_run_that_died_goes_on_to_the_same_bytes() {
    let folder = large();
    let (at, out) = (folder.write(), tempfile::tempdir().unwrap());
    let path = out.path().join("m.gguf");
    let plan = plan(at.path(), Recipe::F32).unwrap();
    let (mut died, mut calls) = (Vec::new(), 0);
    let mut copy = |_: quantizer::Progress<'_>| {
        calls += 1;
        // The embedding, three pieces, is noted when it is complete; so is the head, after a norm.
        if [2, 4, 30].contains(&calls) {
            let copy = tempfile::tempdir().unwrap();
            for name in listing(out.path()) {
                fs::copy(out.path().join(&name), copy.path().join(&name)).unwrap();
            }
            died.push(copy);
        }
    };
    plan.run(&path, (false, Start::New), &mut copy, &AtomicBool::new(false)).unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!([1, 2, 2], [0, 1, 2].map(|at: usize| listing(died[at].path()).len()));
    for (number, copy) in died.iter().enumerate() {
        let partial = copy.path().join("m.gguf.partial");
        if number == 1 {
            let mut bytes = fs::read(&partial).unwrap();
            bytes.extend([7; 999]);
            fs::write(&partial, bytes).unwrap();
        }
        let path = copy.path().join("m.gguf");
        let written = until(&plan, &path, Start::GoOn, usize::MAX).unwrap();
        assert_eq!(written, calls - [0, 3, 7][number]);
        assert!(fs::read(&path).unwrap() == whole, "copy {number}: other bytes");
        assert_eq!(listing(copy.path()), ["m.gguf"]);
    }
}

/// Whatever is wrong with what was begun is told, and nothing is touched.
#[test]
fn what_does_not_fit_is_not_gone_on_with() {
    let out = tempfile::tempdir().unwrap();
    let (at, folder) = (Folder::small(Scales::Half).write(), out.path());
    let path = folder.join("m.gguf");
    let (partial, journal) = (folder.join("m.gguf.partial"), folder.join("m.gguf.partial.journal"));
    let q8 = plan(at.path(), Recipe::Q8).unwrap();
    until(&q8, &path, Start::New, 9).unwrap_err();
    let (bytes, noted) = (fs::read(&partial).unwrap(), fs::read_to_string(&journal).unwrap());
    let refused = |plan: &Plan, piece: &str| {
        let error = until(plan, &path, Start::GoOn, usize::MAX).unwrap_err();
        let Error::Partial { file, problem } = &error else { panic!("{error}") };
        assert!(file.ends_with("m.gguf.partial") && problem.contains(piece), "{error}");
        assert!(partial.exists() && journal.exists() && !path.exists());
    };
    refused(&plan(at.path(), Recipe::F16).unwrap(), "other formats");
    let mut other = Folder::small(Scales::Half);
    other.tensors.get_mut("head.weight").unwrap().bytes[0] ^= 1;
    let other = other.write();
    refused(&plan(other.path(), Recipe::Q8).unwrap(), "other weights");

    let damaged = [
        ("", "damaged"),
        ("{}", "damaged"),
        ("[1, 2", "damaged"),
        (&noted.replace("\"version\":1", "\"version\":2"), "of version 2"),
        (&noted.replace("\"parts\":9", "\"parts\":8"), "8 parts have no"),
        (&noted.replace("\"parts\":9", "\"parts\":99999999"), "99999999 parts have no"),
        (&noted.replace("\"parts\":9", "\"parts\":-1"), "damaged"),
        (&noted.replace("\"parts\":9", "\"parts\":9,\"more\":1"), "damaged"),
        (&noted.replace("\"identity\":\"", "\"identity\":\"0"), "other weights"),
    ];
    for (text, piece) in damaged {
        assert_ne!(text, noted);
        fs::write(&journal, text).unwrap();
        refused(&q8, piece);
    }
    fs::write(&journal, &noted).unwrap();
    fs::write(&partial, &bytes[..bytes.len() / 2]).unwrap();
    refused(&q8, "that were complete, found");
    let mut header = bytes.clone();
    header[40] ^= 1;
    fs::write(&partial, header).unwrap();
    refused(&q8, "begun with other tensors or keys");

    // To begin again is always possible.
    let over = |calls| {
        let cancel = AtomicBool::new(calls == 0);
        q8.run(&path, (false, Start::Over), &mut |_| {}, &cancel)
    };
    assert!(matches!(over(0).unwrap_err(), Error::Cancelled));
    assert_eq!(listing(folder), [""; 0], "nothing was complete, so nothing is kept");
    over(1).unwrap();
    assert_eq!(listing(folder), ["m.gguf"]);
}

#[test]
fn a_cancelled_run_spoils_nothing() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    let plan = plan(&testdata("golden"), Recipe::F32).unwrap();
    fs::write(&path, "precious").unwrap();
    let cancel = AtomicBool::new(true);
    let error = plan.run(&path, (true, Start::New), &mut |_| {}, &cancel).unwrap_err();
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
    let run =
        |overwrite| plan.run(&path, (overwrite, Start::New), &mut |_| {}, &AtomicBool::new(false));
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
        let error = plan
            .run(path, (true, Start::Over), &mut progress, &AtomicBool::new(false))
            .unwrap_err();
        error.to_string()
    };
    let message = refused(&out.path().join("none/m.gguf"));
    assert!(message.contains("none/m.gguf.partial: could not create the file"), "{message}");
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
