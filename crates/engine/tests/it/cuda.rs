//! Nano on a CUDA device: the same text as on the CPU, and states that come and go. Skipped, with
//! the reason, where there is no device.

use backend::cuda::{Cuda, CudaOptions};
use engine::{Engine, Flow, OpenOptions};
use spec::TokenId;
use text::special;

use crate::nano::nano;

/// Questions whose answers are clear: at every token the second best is [`CLEAR`] behind. Between
/// any two orders of summation, rounding activations to 8 bits leaves some tenths, so where a model
/// hesitates more than that, two devices may choose differently and both be right. Each question is
/// asked again where its answer ends, so that texts are long.
const QUESTIONS: [&str; 5] = [
    "Good morning!",
    "What is a token?",
    "Can you tell me something about the sea?",
    "Which model do you run?",
    "What does the server do?",
];
const CLEAR: f32 = 0.6;
const TOKENS: usize = 256;

/// Nano on the first device; `None` where there is none, which is said.
fn on_cuda(options: OpenOptions) -> Option<Engine> {
    let compiler = std::env::var_os("DWARFSTAR_NVRTC").map(Into::into);
    match Cuda::open(CudaOptions { compiler, ..CudaOptions::default() }) {
        Ok(cuda) => Some(Engine::open(&nano(), Box::new(cuda), options).expect("Nano")),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn options() -> OpenOptions {
    let (context, sessions, anchor_tokens) = (2048, 4, 256);
    let anchor_bytes_max = 64 << 20;
    OpenOptions { context, sessions, anchor_tokens, anchor_bytes_max, ..OpenOptions::default() }
}

/// A question, as a turn that asks for an answer at once.
fn turn(engine: &Engine, number: usize, first: bool) -> Vec<TokenId> {
    let text = engine.tokenizer().expect("a tokenizer");
    let mark = |name| text.special(name).expect("a token of the chat format");
    let begin = [mark(special::BOS)].into_iter().take(usize::from(first));
    let question = text.encode_text(QUESTIONS[number % QUESTIONS.len()]);
    let after = [mark(special::ASSISTANT), mark(special::THINK_END)];
    begin.chain([mark(special::USER)]).chain(question).chain(after).collect()
}

/// The two most probable tokens, and how far apart they are.
fn best(logits: &[f32]) -> (TokenId, f32) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    (TokenId(order[0] as u32), logits[order[0]] - logits[order[1]])
}

/// The most probable tokens of a conversation that begins with a question, with margins.
fn greedy(engine: &mut Engine, question: usize) -> Vec<(TokenId, f32)> {
    let end = engine.tokenizer().expect("a tokenizer").special(special::EOS);
    let mut session = engine.open_session().expect("a session");
    let (mut written, mut turns) = (Vec::new(), 0);
    while written.len() < TOKENS {
        let mut tokens = session.tokens().to_vec();
        tokens.extend(turn(engine, question, turns == 0));
        turns += 1;
        engine.sync(&mut session, &tokens, &mut |_| Flow::Continue).expect("a prompt");
        while written.len() < TOKENS {
            let next = best(session.logits());
            written.push(next);
            engine.step(&mut session, next.0).expect("a step");
            if Some(next.0) == end {
                break;
            }
        }
    }
    written
}

#[test]
fn cuda_writes_what_the_cpu_writes() {
    let Some(mut cuda) = on_cuda(options()) else { return };
    let threads = backend::Threads { count: 2, processors: Vec::new() };
    let mut cpu = Engine::open(&nano(), backend::open_cpu(&threads, 1 << 30), options());
    let cpu = cpu.as_mut().expect("Nano");
    let mut wrong = Vec::new();
    for (number, question) in QUESTIONS.iter().enumerate() {
        let (got, want) = (greedy(&mut cuda, number), greedy(cpu, number));
        let smallest = want.iter().map(|w| w.1).fold(f32::INFINITY, f32::min);
        println!("{question:?}: {TOKENS} tokens, smallest margin {smallest:.2}");
        assert!(smallest > CLEAR, "{question:?} is not clear: {smallest}");
        if let Some(i) = (0..TOKENS).find(|&i| got[i].0 != want[i].0) {
            wrong.push(format!("{question:?}, token {i}: {:?} and {:?}", got[i], want[i]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A fork shares pages and copies a part of one; a branch goes on from an anchor, which was on the
/// host meanwhile: both give the logits of a session that was fed from the start.
#[test]
fn cuda_states_come_and_go() {
    let Some(mut engine) = on_cuda(options()) else { return };
    let plain = OpenOptions { anchor_bytes_max: 0, ..options() };
    let mut plain = on_cuda(plain).expect("the same device");
    let turns = (0..).flat_map(|number| turn(&plain, number, number == 0));
    let long: Vec<TokenId> = turns.take(700).collect();
    let mut first = engine.open_session().expect("a session");
    engine.sync(&mut first, &long, &mut |_| Flow::Continue).expect("a prompt");
    let mut fork = engine.fork_session(&first).expect("a fork");
    assert_eq!(fork.logits(), first.logits());
    for (session, kept) in [(&mut fork, 700), (&mut first, 650)] {
        let tail = long.iter().rev().take(40).copied();
        let tokens: Vec<TokenId> = long[..kept].iter().copied().chain(tail).collect();
        let synced = engine.sync(session, &tokens, &mut |_| Flow::Continue).expect("a branch");
        assert!(synced.fed < tokens.len(), "{:?}", synced.plan);
        let mut alone = plain.open_session().expect("a session");
        plain.sync(&mut alone, &tokens, &mut |_| Flow::Continue).expect("a prompt");
        let (got, want) = (session.logits(), alone.logits());
        let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = got.iter().zip(want).map(|(g, w)| (g - w).abs() / largest);
        let mut off: Vec<f32> = off.collect();
        off.sort_by(f32::total_cmp);
        println!("{kept} tokens kept, {} fed: median {:.1e}", synced.fed, off[off.len() / 2]);
        assert!(off[off.len() / 2] < 1e-2, "{kept} tokens kept: {:?}", off[off.len() / 2]);
        assert_eq!(best(got).0, best(want).0);
    }
}
