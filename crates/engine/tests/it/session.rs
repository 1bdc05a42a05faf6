//! The whole-prefix contract: what a session is asked for, what it computes, what it reports.

use std::path::PathBuf;

use engine::{
    Engine, Error, Event, Finish, Flow, Generation, OpenOptions, Plan, Progress, Sampler, Sampling,
    Session,
};
use gguf::{File, Format, Metadata, TensorPlan, Writer};
use spec::TokenId;

const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0 };

pub fn tiny() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/tiny.gguf")
}

fn open(options: OpenOptions) -> Engine {
    Engine::open(&tiny(), backend::open_reference(), options).expect("the tiny model")
}

fn small() -> OpenOptions {
    OpenOptions { context: 400, step_tokens: 50, sessions: 2, ..OpenOptions::default() }
}

pub fn prompt(len: u32) -> Vec<TokenId> {
    (0..len).map(|i| TokenId(3 + i * 31 % 500)).collect()
}

fn go_on(_: Progress) -> Flow {
    Flow::Continue
}

pub fn logits_after(engine: &mut Engine, tokens: &[TokenId]) -> Vec<f32> {
    let mut session = engine.open_session().expect("a session");
    engine.sync(&mut session, tokens, &mut go_on).expect("a sync");
    session.logits().to_vec()
}

#[test]
fn a_session_computes_only_what_is_new() {
    let mut engine = open(small());
    let tokens = prompt(180);
    let mut session = engine.open_session().expect("a session");
    for (len, plan, fed) in [
        (120, Plan::Extend { from: 0 }, 120),
        (180, Plan::Extend { from: 120 }, 60),
        (180, Plan::Keep, 0),
        (90, Plan::Cold, 90),
    ] {
        let synced = engine.sync(&mut session, &tokens[..len], &mut go_on).expect("a sync");
        assert_eq!((synced.plan, synced.fed, synced.complete), (plan, fed, true));
        assert_eq!(session.tokens(), &tokens[..len]);
        let want = logits_after(&mut engine, &tokens[..len]);
        assert_eq!(session.logits(), want, "as if fed at once, {len} tokens");
    }
}

#[test]
fn progress_is_reported_and_a_stop_keeps_what_was_fed() {
    let mut engine = open(small());
    let tokens = prompt(180);
    let mut session = engine.open_session().expect("a session");
    let mut seen = Vec::new();
    let mut stop_after_two = |p: Progress| {
        assert_eq!(p.total, 180);
        seen.push(p.done);
        if p.done >= 100 { Flow::Stop } else { Flow::Continue }
    };
    let synced = engine.sync(&mut session, &tokens, &mut stop_after_two).expect("a sync");
    assert_eq!((synced.fed, synced.complete), (100, false));
    assert_eq!(seen, [0, 50, 100]);
    let synced = engine.sync(&mut session, &tokens, &mut go_on).expect("a sync");
    assert_eq!((synced.plan, synced.fed), (Plan::Extend { from: 100 }, 80));
    assert_eq!(session.logits(), logits_after(&mut engine, &tokens));
}

/// Generates up to `tokens_max` tokens; the answer and how it ended.
fn answer(
    engine: &mut Engine,
    session: &mut Session,
    prompt: &[TokenId],
    tokens_max: usize,
    stop: &[TokenId],
) -> (Vec<TokenId>, Finish) {
    let mut out = Vec::new();
    let generation = Generation { prompt, tokens_max, stop };
    let mut sampler = Sampler::new(GREEDY, 0).expect("settings in range");
    let mut sink = |event| {
        if let Event::Token(token) = event {
            out.push(token);
        }
        Flow::Continue
    };
    let summary = engine.generate(session, &generation, &mut sampler, &mut sink).expect("text");
    assert_eq!(summary.generated, out.len());
    (out, summary.finish)
}

#[test]
fn an_answer_is_what_teacher_forcing_predicts() {
    let mut engine = open(small());
    let tokens = prompt(30);
    let mut session = engine.open_session().expect("a session");
    let (answer_tokens, finish) = answer(&mut engine, &mut session, &tokens, 12, &[]);
    assert_eq!(finish, Finish::Length);
    // The last token is part of the answer but was not fed.
    let mut all = tokens.clone();
    for &token in &answer_tokens {
        let logits = logits_after(&mut engine, &all);
        let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        assert_eq!(best, Some(token.0 as usize));
        all.push(token);
    }
    assert_eq!(session.tokens(), &all[..all.len() - 1]);
    // The next turn contains the answer, and computes only what is new.
    all.extend(prompt(5));
    let synced = engine.sync(&mut session, &all, &mut go_on).expect("a sync");
    assert_eq!((synced.plan, synced.fed), (Plan::Extend { from: 41 }, 6));
}

#[test]
fn what_ends_an_answer() {
    let mut engine = open(small());
    let tokens = prompt(30);
    let mut session = engine.open_session().expect("a session");
    let (full, _) = answer(&mut engine, &mut session, &tokens, 12, &[]);
    let first = full.iter().position(|t| *t == full[5]).expect("it is there");
    let (cut, finish) = answer(&mut engine, &mut session, &tokens, 12, &[full[5]]);
    assert_eq!((cut.as_slice(), finish), (&full[..first], Finish::Stop(full[5])));
    let (none, finish) = answer(&mut engine, &mut session, &tokens, 0, &[]);
    assert_eq!((none.len(), finish), (0, Finish::Length));

    let long = prompt(395);
    let (rest, finish) = answer(&mut engine, &mut session, &long, 100, &[]);
    assert_eq!((rest.len(), finish), (5, Finish::Context));

    let generation = Generation { prompt: &tokens, tokens_max: 12, stop: &[] };
    let mut count = 0;
    let mut sink = |event| {
        count += matches!(event, Event::Token(_)) as usize;
        if count == 3 { Flow::Stop } else { Flow::Continue }
    };
    let mut sampler = Sampler::new(GREEDY, 0).expect("settings in range");
    let summary = engine.generate(&mut session, &generation, &mut sampler, &mut sink);
    let summary = summary.expect("text");
    assert_eq!((summary.finish, summary.generated), (Finish::Cancelled, 3));
    // A cancelled session is a valid one.
    let (again, _) = answer(&mut engine, &mut session, &tokens, 12, &[]);
    assert_eq!(again, full);
}

#[test]
fn prompts_that_do_not_fit_are_refused_with_numbers() {
    let mut engine = open(small());
    let mut session = engine.open_session().expect("a session");
    let mut sync = |tokens: &[TokenId]| {
        engine.sync(&mut session, tokens, &mut go_on).map(|_| ()).map_err(|e| e.to_string())
    };
    let message = sync(&prompt(400)).unwrap_err();
    assert_eq!(message, "the prompt has 400 tokens, the context holds 400: use --ctx 401 or more");
    assert!(sync(&[]).unwrap_err().contains("empty"));
    assert!(sync(&[TokenId(512)]).unwrap_err().contains("token 512"));
    assert_eq!(sync(&prompt(399)), Ok(()));

    let open = |options| {
        Engine::open(&tiny(), backend::open_reference(), options)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(open(OpenOptions { context: 0, ..small() }), "cannot reserve room for 0 tokens");
    let none = OpenOptions { step_tokens: 0, ..small() };
    assert_eq!(open(none), "cannot reserve room for 0 tokens per step");
    let cramped = OpenOptions { context: 100_000, memory_max: Some(4 << 20), ..small() };
    let message = open(cramped);
    assert!(message.contains("4194304 are available: use a smaller --ctx, 6250 fits"), "{message}");

    let many = OpenOptions { sessions: 51, ..small() };
    assert_eq!(open(many), "steps of 50 tokens are too small for 51 sessions");
    let bold = OpenOptions { drafts_max: 8, ..small() };
    assert_eq!(open(bold), "8 drafted tokens per step: this model can take back 7 at most");
    let nothing = OpenOptions { row_bytes_max: Some(100), ..small() };
    assert_eq!(open(nothing), "cannot reserve room for 0 row pages");

    let too_large = OpenOptions { context: 1 << 21, ..small() };
    let message = Engine::open(&tiny(), backend::open_reference(), too_large)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert_eq!(message, "a context of 2097152 tokens: this model has 1048576 at most");
}

#[test]
fn logits_of_many_positions_are_those_of_each() {
    let mut engine = open(OpenOptions { all_logits: true, ..small() });
    let tokens = prompt(130);
    for (wanted, first) in [(130, 0), (1000, 0), (75, 55), (1, 129)] {
        let (mut rows, mut seen) = (Vec::new(), Vec::new());
        let mut sink = |fed, chunk: &[f32]| {
            seen.push(fed);
            rows.extend_from_slice(chunk);
            Flow::Continue
        };
        engine.logits_of_last(wanted, &tokens, &mut sink).expect("logits");
        assert_eq!(seen, [50, 100, 130]);
        assert_eq!(rows.len(), (130 - first) * 512);
        for position in [0, 49, 50, 55, 99, 129].into_iter().filter(|p| *p >= first) {
            let want = logits_after(&mut engine, &tokens[..position + 1]);
            assert_eq!(rows[(position - first) * 512..][..512], want, "{position} of {wanted}");
        }
    }
}

/// A copy of the tiny file with other metadata or tensor bytes.
fn changed(keys: impl Fn(&mut Metadata), bytes: impl Fn(&str, &mut Vec<u8>)) -> File {
    let file = File::open(&tiny()).expect("the tiny model");
    let mut metadata = file.metadata().clone();
    keys(&mut metadata);
    let plan = |t: &gguf::Tensor| TensorPlan {
        name: t.name.clone(),
        dims: t.dims.clone(),
        format: t.format,
    };
    let plans: Vec<_> = file.tensors().iter().map(plan).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("changed.gguf");
    let mut writer = Writer::create(&path, &metadata, &plans).expect("a writable file");
    for tensor in file.tensors() {
        let mut data = file.bytes(tensor).to_vec();
        bytes(&tensor.name, &mut data);
        writer.write(&data).expect("a write");
    }
    writer.finish().expect("a finished file");
    File::from_bytes("changed.gguf", std::fs::read(&path).expect("the file")).expect("valid")
}

/// Every tensor of the layer that has all kinds of them, damaged by one NaN: whichever it is, the
/// model must not load, or not answer a prompt that is long enough to use it.
#[test]
fn damaged_weights_are_an_error_wherever_they_are() {
    let file = File::open(&tiny()).expect("the tiny model");
    let names = file.tensors().iter().filter(|t| t.name.starts_with("blk.1."));
    let mut refused_at_load = 0;
    for tensor in names {
        // Where a block of this format has its scale; a half NaN there, or a float NaN.
        let (at, nan): (usize, &[u8]) = match tensor.format {
            Format::F32 => (0, &[0, 0, 0xc0, 0x7f]),
            Format::Q2K => (80, &[0, 0x7e]),
            _ => (0, &[0, 0x7e]),
        };
        let damage = |name: &str, bytes: &mut Vec<u8>| {
            if name == tensor.name {
                // Experts have many blocks, of which a prompt uses some: damage all of them.
                let step =
                    if tensor.dims.len() == 3 { tensor.format.block_bytes() } else { bytes.len() };
                for block in bytes.chunks_exact_mut(step) {
                    block[at..at + nan.len()].copy_from_slice(nan);
                }
            }
        };
        let Ok(mut engine) =
            Engine::from_file(changed(|_| {}, damage), backend::open_reference(), small())
        else {
            refused_at_load += 1;
            continue;
        };
        let mut session = engine.open_session().expect("a session");
        let error = engine.sync(&mut session, &prompt(200), &mut go_on).map(|_| ());
        let error = error.expect_err(&tensor.name);
        assert!(matches!(error, Error::NotFinite { .. }), "{}: {error}", tensor.name);
        assert!(error.to_string().contains("dwarfstar inspect --check changed.gguf"), "{error}");
        assert_eq!(session.tokens(), []);
    }
    assert!(refused_at_load >= 10, "vectors are checked when they are loaded");
}

#[test]
fn a_tokenizer_that_does_not_fit_is_named() {
    let open = |keys: fn(&mut Metadata)| {
        let file = changed(keys, |_, _| {});
        Engine::from_file(file, backend::open_reference(), small())
            .map(|engine| engine.tokenizer().is_ok())
    };
    let message = open(|keys| keys.set("tokenizer.ggml.tokens", vec!["a".to_owned()]));
    let message = message.unwrap_err().to_string();
    assert!(message.contains("has 1 entries, the model's vocabulary has 512"), "{message}");
    let message = open(|keys| keys.set("tokenizer.ggml.token_type", vec![1i32]));
    assert!(message.unwrap_err().to_string().contains("tokenizer.ggml.token_type has 1 entries"));
    let message = open(|keys| keys.set("tokenizer.ggml.merges", vec!["a zzz".to_owned()]));
    assert!(message.unwrap_err().to_string().contains("merge 0"));
    let message = open(|keys| keys.set("tokenizer.ggml.model", "llama")).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.model: expected gpt2, found \"llama\""), "{message}");
    let message = open(|keys| keys.set("tokenizer.ggml.pre", "qwen2")).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.pre: expected joyai-llm or"), "{message}");
    // Without a tokenizer the model runs, on ids.
    let without = open(|keys| keys.retain(|key| !key.starts_with("tokenizer.")));
    assert!(!without.expect("a model that loads"));
}
