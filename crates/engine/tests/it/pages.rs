//! Row pages: whoever fits into the context that was promised gets an answer, however conversations
//! share, fork and crowd each other out; and requests that go on from a state by its name.

use engine::serve::{Request, ServeOptions, Service, Source, Stream};
use engine::{Engine, Error, OpenOptions};
use spec::TokenId;

use crate::disk::{EAGER, on_disk};
use crate::serve::{conversation, hear, sampler};
use crate::session::tiny;

/// Four pages for each of four sessions, and not one more.
const CONTEXT: usize = 512;

fn options() -> OpenOptions {
    OpenOptions {
        context: CONTEXT,
        step_tokens: 128,
        sessions: 4,
        anchor_bytes_max: 64 << 20,
        anchor_tokens: 128,
        ..OpenOptions::default()
    }
}

fn serve(options: OpenOptions) -> Service {
    let open = move || {
        let threads = backend::Threads { count: 1, processors: Vec::new() };
        Engine::open(&tiny(), backend::open_cpu(&threads, 0), options)
    };
    Service::start(open, ServeOptions::default()).expect("a service")
}

/// Numbers that are the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Constants of Knuth's MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// Conversations near the end of the context that fork in the middle of pages, as many at once as
/// there are sessions and a few that wait: the pages are exactly those that the sessions need, and
/// a fork wants one more while it copies. [`hear`] panics if an answer fails.
#[test]
fn what_fits_into_the_context_is_never_short_of_pages() {
    crowd(serve(options()), 5);
    crowd(serve(OpenOptions { drafts_max: 3, ..options() }), 6);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = on_disk(folder.path(), EAGER).expect("a disk");
    let open = move || {
        let threads = backend::Threads { count: 1, processors: Vec::new() };
        let mut engine = Engine::open(&tiny(), backend::open_cpu(&threads, 0), options())?;
        engine.keep_on_disk(disk)?;
        Ok(engine)
    };
    crowd(Service::start(open, ServeOptions::default()).expect("a service"), 7);
}

fn crowd(service: Service, seed: u64) {
    let mut dice = Dice(seed);
    let (handle, mut heard, mut known) = (service.handle(), 0, Vec::<Vec<TokenId>>::new());
    for round in 0..18 {
        let mut asked: Vec<(Vec<TokenId>, usize, Stream)> = Vec::new();
        for _ in 0..1 + dice.roll(6) {
            let mut prompt = match dice.roll(4) {
                0 => Vec::new(),
                _ if known.is_empty() => Vec::new(),
                _ => {
                    let base = &known[dice.roll(known.len())];
                    base[..1 + dice.roll(base.len())].to_vec()
                }
            };
            let len = (prompt.len() + 1 + dice.roll(300)).min(CONTEXT - 1);
            prompt.extend(conversation(dice.roll(9) as u32, CONTEXT));
            prompt.truncate(len);
            let wanted = 1 + dice.roll(40);
            let request = Request::new(prompt.clone(), sampler(0.0, 0), wanted);
            asked.push((prompt, wanted, handle.stream(request).expect("a place")));
        }
        for (prompt, wanted, mut stream) in asked {
            let (answer, usage) = hear(&mut stream);
            let most = wanted.min(CONTEXT - prompt.len());
            assert_eq!(answer.len(), most, "round {round}: {} tokens, {usage:?}", prompt.len());
            let all = [prompt, answer].concat();
            known.push(all[..all.len().min(CONTEXT - 2)].to_vec());
            heard += 1;
        }
        known.drain(..known.len().saturating_sub(12));
    }
    println!("{heard} answers");
    assert!(heard > 40);
}

/// The whole state of all sessions is taken by three that answer and a conversation whose last page
/// is filled in part: going on from it before its end needs a copy for which there is no page.
#[test]
fn a_fork_without_a_page_for_its_copy_is_computed() {
    let service = serve(options());
    let handle = service.handle();
    let last = conversation(7, 500);
    hear(&mut handle.stream(Request::new(last.clone(), sampler(0.0, 0), 2)).expect("a place"));
    let long = |kind| Request::new(conversation(kind, 400), sampler(0.0, 0), 110);
    let mut running: Vec<Stream> =
        (1..4).map(|kind| handle.stream(long(kind)).expect("a place")).collect();
    let fork = [&last[..500], &conversation(8, 5)[..]].concat();
    let (answer, usage) =
        hear(&mut handle.stream(Request::new(fork.clone(), sampler(0.0, 0), 5)).expect("a place"));
    for stream in &mut running {
        assert_eq!(hear(stream).0.len(), 110);
    }
    let cold = serve(OpenOptions { anchor_bytes_max: 0, ..options() });
    let request = Request::new(fork, sampler(0.0, 0), 5);
    let expected = hear(&mut cold.handle().stream(request).expect("a place")).0;
    assert_eq!(answer, expected, "{usage:?}");
}

/// Room for one context and a half, and four conversations that each need a whole one, one of them
/// answering when the pages run out: they take turns, and nobody hears of it.
#[test]
fn who_finds_no_page_waits_for_one() {
    let threads = backend::Threads { count: 1, processors: Vec::new() };
    let open = |options| Engine::open(&tiny(), backend::open_cpu(&threads, 0), options);
    let bytes = open(options()).expect("an engine").page_bytes() * 6;
    let plain = serve(OpenOptions { anchor_bytes_max: 0, ..options() });
    for (anchors, lens) in [
        (64 << 20, [450, 450, 450, 450]),
        (0, [120, 380, 100, 250]),
        (64 << 20, [250, 120, 500, 30]),
    ] {
        let small =
            OpenOptions { row_bytes_max: Some(bytes), anchor_bytes_max: anchors, ..options() };
        let service = serve(small);
        let request = |kind: usize| {
            let prompt = conversation(kind as u32, lens[kind]);
            Request::new(prompt, sampler(1.0, kind as u64), CONTEXT)
        };
        let handle = service.handle();
        let streams = (0..4).map(|kind| handle.stream(request(kind)).expect("a place"));
        let mut streams: Vec<Stream> = streams.collect();
        for (kind, stream) in streams.iter_mut().enumerate() {
            let expected = hear(&mut plain.handle().stream(request(kind)).expect("a place")).0;
            let (answer, usage) = hear(stream);
            assert_eq!(answer.len(), CONTEXT - lens[kind], "{lens:?} {kind}: {usage:?}");
            assert_eq!(answer, expected, "{lens:?} {kind}");
        }
    }
}

/// Less room than one context: a prompt that cannot ever fit is told so, with the numbers, and an
/// answer ends where the pages do.
#[test]
fn a_small_budget_is_a_small_context() {
    let pages = |engine: &Engine| engine.page_bytes() * 2;
    let threads = backend::Threads { count: 1, processors: Vec::new() };
    let open = |options| Engine::open(&tiny(), backend::open_cpu(&threads, 0), options);
    let bytes = pages(&open(options()).expect("an engine"));
    let service = serve(OpenOptions { row_bytes_max: Some(bytes), ..options() });
    let handle = service.handle();
    assert_eq!(handle.info().context, 256);
    let request = Request::new(conversation(1, 250), sampler(0.0, 0), 100);
    assert_eq!(hear(&mut handle.stream(request).expect("a place")).0.len(), 6);
    let request = Request::new(conversation(1, 256), sampler(0.0, 0), 1);
    let failed = handle.stream(request).expect("a place").find_map(|event| match event {
        engine::serve::Event::Failed(error) => Some(error),
        _ => None,
    });
    let error = failed.expect("an error");
    assert!(matches!(*error, Error::PromptBeyondRows { prompt: 256, rows: 256 }), "{error}");
}

#[test]
fn a_request_goes_on_from_a_state_by_its_name() {
    let service = serve(options());
    let handle = service.handle();
    let prompt = conversation(0, 200);
    let request = Request::new(prompt.clone(), sampler(0.0, 0), 20);
    let (answer, usage) = hear(&mut handle.stream(request).expect("a place"));
    let more = conversation(3, 30);
    // The last token of the answer was not fed: whoever goes on says it.
    let rest = [&answer[19..], &more].concat();
    let request = Request { after: usage.state, ..Request::new(rest, sampler(0.0, 0), 9) };
    let (got, usage) = hear(&mut handle.stream(request).expect("a place"));
    assert_eq!((usage.prompt, usage.cached, usage.source), (250, 219, Source::Session));
    let whole = [prompt, answer, more].concat();
    let (expected, _) =
        hear(&mut handle.stream(Request::new(whole, sampler(0.0, 0), 9)).expect("a place"));
    assert_eq!(got, expected);
    // States give way to others; then there is nothing to go on from.
    let small = OpenOptions { anchor_bytes_max: 1 << 20, ..options() };
    let service = serve(OpenOptions { sessions: 1, ..small });
    let handle = service.handle();
    let ask = |kind| {
        let request = Request::new(conversation(kind, 300), sampler(0.0, 0), 5);
        hear(&mut handle.stream(request).expect("a place")).1
    };
    let state = ask(0).state;
    for kind in 1..40 {
        ask(kind);
    }
    let request = Request { after: state, ..Request::new(vec![TokenId(3)], sampler(0.0, 0), 1) };
    let mut events = handle.stream(request).expect("a place");
    match events.next().expect("an event") {
        engine::serve::Event::Failed(error) => {
            assert!(matches!(*error, Error::StateGone), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
