//! The worker from outside: many answers at once are those of each alone, and nobody waits for
//! somebody else's client.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use engine::serve::{
    Event, Offer, Pace, Request, ServeOptions, Service, Sink, Source, Stream, Ticket, Usage,
};
use engine::{Engine, Error, Finish, Held, OpenOptions, Sampler, Sampling};
use spec::TokenId;

use crate::session::{prompt, tiny};

const MIB: usize = 1 << 20;

fn options() -> OpenOptions {
    OpenOptions {
        context: 700,
        step_tokens: 128,
        sessions: 8,
        anchor_bytes_max: 64 * MIB,
        anchor_tokens: 128,
        ..OpenOptions::default()
    }
}

fn serve(options: OpenOptions, serve: ServeOptions) -> Service {
    let open = move || {
        let threads = backend::Threads { count: 1, processors: Vec::new() };
        Engine::open(&tiny(), backend::open_cpu(&threads, 0), options)
    };
    Service::start(open, serve).expect("a service")
}

pub fn sampler(temperature: f32, seed: u64) -> Sampler {
    let sampling = Sampling { temperature, top_p: 1.0, top_k: 0, min_p: 0.0 };
    Sampler::new(sampling, seed).expect("settings in range")
}

pub fn conversation(kind: u32, len: usize) -> Vec<TokenId> {
    prompt(len as u32).into_iter().map(|t| TokenId((t.0 + 37 * kind) % 512)).collect()
}

/// The answer and what it took.
pub fn hear(stream: &mut Stream) -> (Vec<TokenId>, Usage) {
    let mut tokens = Vec::new();
    loop {
        match stream.next().expect("an end") {
            Event::Token(token) => tokens.push(token.id),
            Event::Finished(usage) => return (tokens, usage),
            Event::Failed(error) => panic!("{error}"),
            Event::Queued { .. } | Event::Resumed { .. } | Event::Prefill(_) => {}
        }
    }
}

fn ask(service: &Service, request: Request) -> (Vec<TokenId>, Usage) {
    hear(&mut service.handle().stream(request).expect("a place"))
}

/// More room, and less: what was read stays read, and the answers are those of a service that had
/// the room from the beginning.
#[test]
fn the_context_changes_and_nothing_is_read_again() {
    let service = serve(OpenOptions { context: 256, ..options() }, ServeOptions::default());
    let handle = service.handle();
    let request = |text: &[TokenId]| Request::new(text.to_vec(), sampler(0.0, 0), 20);
    let mut text = conversation(0, 200);
    let (answer, _) = ask(&service, request(&text));
    text.extend(&answer);
    text.extend(conversation(9, 150));
    let refused = |request| match handle.stream(request).expect("a place").next() {
        Some(Event::Failed(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(request(&text)).contains("370"));
    let too_much = handle.set_context(1 << 30).expect_err("more than the model has").to_string();
    assert!(too_much.contains("1073741824"), "{too_much}");
    assert_eq!(handle.set_context(700).expect("room"), 700);
    let (grown, usage) = ask(&service, request(&text));
    assert_eq!((usage.source, usage.cached), (Source::Session, 219));
    let cold = serve(OpenOptions { anchor_bytes_max: 0, ..options() }, ServeOptions::default());
    assert_eq!(grown, ask(&cold, request(&text)).0);
    // While somebody is being answered there is no less room, but more.
    let mut stream = handle.stream(Request::new(text.clone(), sampler(0.0, 0), 300)).unwrap();
    while !matches!(stream.next().expect("an answer"), Event::Token(_)) {}
    assert!(matches!(handle.set_context(300), Err(Error::InUse { requests: 1 })));
    assert_eq!(handle.set_context(701).expect("room"), 701);
    drop(stream);
    let until = Instant::now() + Duration::from_secs(10);
    while handle.set_context(300).is_err() {
        assert!(Instant::now() < until, "the request does not end");
    }
    assert!(refused(request(&text)).contains("370"));
    let (again, usage) = ask(&service, request(&text[..210]));
    assert!(usage.cached >= 200 && again.len() == 20, "{usage:?}");
    assert_eq!(again, ask(&cold, request(&text[..210])).0);
}

/// Prompts of different lengths, greedy and sampled, some with shared beginnings: whoever computes
/// beside them changes nothing.
#[test]
fn answers_together_are_those_of_each_alone() {
    let requests = || {
        (0..12u32).map(|i| {
            let len = [3, 60, 127, 128, 129, 200, 300, 301][i as usize % 8];
            let temperature = if i % 3 == 0 { 1.0 } else { 0.0 };
            Request::new(conversation(i / 2, len), sampler(temperature, u64::from(i)), 30)
        })
    };
    let cold = || serve(OpenOptions { anchor_bytes_max: 0, ..options() }, ServeOptions::default());
    let service = cold();
    let alone: Vec<_> = requests().map(|request| ask(&service, request).0).collect();
    assert!(alone.iter().all(|answer| answer.len() == 30));
    for service in [cold(), serve(options(), ServeOptions::default())] {
        let handle = service.handle();
        let mut streams: Vec<_> =
            requests().map(|request| handle.stream(request).expect("a place")).collect();
        let together: Vec<_> = streams.iter_mut().map(|stream| hear(stream).0).collect();
        assert_eq!(together, alone);
        let report = handle.report().expect("a worker");
        assert_eq!((report.running, report.waiting), (0, 0));
    }
}

#[test]
fn turns_go_on_where_the_last_one_ended() {
    let service = serve(options(), ServeOptions::default());
    let mut text = conversation(0, 300);
    let (answer, usage) = ask(&service, Request::new(text.clone(), sampler(0.0, 0), 20));
    assert_eq!((usage.source, usage.cached, usage.prompt), (Source::Cold, 0, 300));
    text.extend(&answer);
    text.extend(conversation(9, 30));
    let (again, usage) = ask(&service, Request::new(text.clone(), sampler(0.0, 0), 20));
    // The last token of an answer is not fed until somebody goes on from it.
    assert_eq!((usage.source, usage.cached, usage.prompt), (Source::Session, 319, 350));
    let cold = serve(OpenOptions { anchor_bytes_max: 0, ..options() }, ServeOptions::default());
    assert_eq!(ask(&cold, Request::new(text.clone(), sampler(0.0, 0), 20)).0, again);
    // The same again: the state of the prompt's end was kept, logits and all.
    let (third, usage) = ask(&service, Request::new(text.clone(), sampler(0.0, 0), 20));
    assert_eq!((usage.source, usage.cached), (Source::Memory, 350));
    assert_eq!(third, again);
    // Another question after the same beginning.
    let mut other = text[..310].to_vec();
    other.extend(conversation(5, 40));
    let (got, usage) = ask(&service, Request::new(other.clone(), sampler(0.0, 0), 20));
    assert_eq!((usage.source, usage.cached), (Source::Memory, 300));
    assert_eq!(got, ask(&cold, Request::new(other, sampler(0.0, 0), 20)).0);
}

/// Several answers to one prompt share one reading of it, and so do prompts that begin alike, if
/// they come at once.
#[test]
fn prompts_that_begin_alike_are_read_once() {
    let plain = serve(OpenOptions { anchor_bytes_max: 0, ..options() }, ServeOptions::default());
    let other = |kind| [&conversation(0, 500)[..], &conversation(kind, 60)].concat();
    let same: Vec<_> = (0..5).map(|_| conversation(0, 560)).collect();
    let alike: Vec<_> = (1..6).map(other).collect();
    for (prompts, read, cached) in [(same, 560, 560), (alike, 500 + 5 * 60, 500)] {
        let service = serve(options(), ServeOptions::default());
        let request = |(seed, prompt): (usize, &Vec<TokenId>)| {
            Request::new(prompt.clone(), sampler(1.0, seed as u64), 9)
        };
        let streams = prompts.iter().enumerate().map(request);
        let streams = streams.map(|request| service.handle().stream(request).expect("a place"));
        let mut streams: Vec<_> = streams.collect();
        for (i, stream) in streams.iter_mut().enumerate() {
            let (answer, usage) = hear(stream);
            assert_eq!(answer, ask(&plain, request((i, &prompts[i]))).0, "answer {i}");
            let from = if i == 0 { (Source::Cold, 0) } else { (Source::Memory, cached) };
            assert_eq!((usage.source, usage.cached), from, "answer {i}");
        }
        // Of each answer's nine tokens the last is not fed.
        let report = service.handle().report().expect("a worker");
        assert_eq!(report.tokens, read + 5 * 8);
        let Pace { busy, longest, prefill, decode } = report.pace;
        assert_eq!((prefill.tokens, decode.tokens), (read, 5 * 8));
        assert!(prefill.speed() > 0.0 && decode.speed() > 0.0, "{report:?}");
        assert!(longest <= busy && busy <= longest * report.steps as u32, "{report:?}");
        let Held { row_pages, row_pages_left, .. } = report.held;
        assert!(row_pages_left < row_pages, "{report:?}");
    }
}

/// Who waits for another's prompt is not left alone with it: if that one is cancelled, or its
/// client does not read, the next goes on from there or begins itself.
#[test]
fn nobody_follows_one_who_does_not_go_on() {
    let slow = OpenOptions { context: 3000, step_tokens: 16, ..options() };
    let service = serve(slow, ServeOptions { slice_tokens: 16, ..ServeOptions::default() });
    let request = || Request::new(conversation(0, 2000), sampler(0.0, 0), 3);
    // Its sink is full long before its prompt is read.
    let (sink, events) = sync_channel(4);
    let deaf = service.handle().submit(request(), Box::new(sink)).expect("a place");
    let (want, usage) = ask(&service, request());
    assert_eq!((want.len(), usage.prompt), (3, 2000));
    drop(events);
    deaf.cancel();

    let service = serve(slow, ServeOptions::default());
    let first = service.handle().stream(request()).expect("a place");
    let mut second = service.handle().stream(request()).expect("a place");
    let mut third = service.handle().stream(request()).expect("a place");
    assert!(matches!(second.next(), Some(Event::Queued { .. })));
    first.ticket().cancel();
    assert_eq!(hear(&mut second).0, want);
    assert_eq!(hear(&mut third).0, want);
    let report = service.handle().report().expect("a worker");
    assert!(report.tokens < 2000 + 2000, "{report:?}");
}

/// A client that does not read holds up nobody, and gets everything in the end.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let service = serve(options(), ServeOptions::default());
    let (sink, events) = sync_channel(2);
    let slow = Request::new(conversation(1, 20), sampler(0.0, 0), 40);
    service.handle().submit(slow, Box::new(sink)).expect("a place");
    let (fast, _) = ask(&service, Request::new(conversation(2, 20), sampler(0.0, 0), 300));
    assert_eq!(fast.len(), 300);
    let report = service.handle().report().expect("a worker");
    assert_eq!(report.running, 1, "the slow one rests");
    let tokens = events.iter().filter(|event| matches!(event, Event::Token(_))).count();
    assert_eq!(tokens, 40);

    let impatient = ServeOptions { patience: Duration::ZERO, ..ServeOptions::default() };
    let service = serve(options(), impatient);
    let (sink, events) = sync_channel(2);
    let slow = Request::new(conversation(1, 20), sampler(0.0, 0), 40);
    service.handle().submit(slow, Box::new(sink)).expect("a place");
    while service.handle().report().expect("a worker").idle == 0 {}
    assert!(events.iter().count() < 10, "nobody waited for its 40 tokens");
}

#[test]
fn cancelled_requests_end_at_once_and_leave_a_state() {
    let service = serve(options(), ServeOptions::default());
    let handle = service.handle();
    let request = || Request::new(conversation(3, 500), sampler(0.0, 0), 150);
    let mut stream = handle.stream(request()).expect("a place");
    while !matches!(stream.next(), Some(Event::Token(_))) {}
    stream.ticket().cancel();
    let (rest, usage) = hear(&mut stream);
    assert_eq!(usage.finish, Finish::Cancelled);
    assert!(rest.len() < 149);
    // Dropped in the middle of the prompt.
    let mut stream = handle.stream(request()).expect("a place");
    stream.next();
    drop(stream);
    let (answer, usage) = ask(&service, request());
    assert_eq!((answer.len(), usage.source), (150, Source::Memory));
}

/// A sink that does what it is told with every event, on the worker's own thread: whatever comes
/// after that came too late.
struct Act<F>(F);

impl<F: FnMut(Event) -> Offer + Send> Sink for Act<F> {
    fn offer(&mut self, event: Event) -> Offer {
        (self.0)(event)
    }
}

/// Not one step later: a request that is cancelled, or whose client goes, at its third part of a
/// prompt or third token gets no fourth.
#[test]
fn cancelling_costs_no_step_more() {
    let service = serve(options(), ServeOptions::default());
    let cases = [(false, true), (false, false), (true, true), (true, false)];
    for (kind, (goes, in_prompt)) in (1..).zip(cases) {
        let (ticket, given) = sync_channel::<Ticket>(1);
        let (told, heard) = sync_channel(1000);
        let (mut seen, mut mine) = (0, None);
        let act = move |event: Event| {
            let mine = mine.get_or_insert_with(|| given.recv().expect("its ticket"));
            let counts = match &event {
                Event::Prefill(_) => in_prompt,
                Event::Token(_) => !in_prompt,
                _ => false,
            };
            seen += usize::from(counts);
            told.send(event).expect("a test that listens");
            match (seen, goes) {
                (3, true) => return Offer::Gone,
                (3, false) => mine.cancel(),
                _ => {}
            }
            Offer::Taken
        };
        let request = Request::new(conversation(kind, 500), sampler(0.0, 0), 100);
        let handed = service.handle().submit(request, Box::new(Act(act))).expect("a place");
        ticket.send(handed).expect("a worker that waits for it");
        let events: Vec<Event> = heard.iter().collect();
        let count = |kind: fn(&Event) -> bool| events.iter().filter(|event| kind(event)).count();
        let parts = count(|event| matches!(event, Event::Prefill(_)));
        let tokens = count(|event| matches!(event, Event::Token(_)));
        let (part, token) = if in_prompt { (3, 0) } else { (parts, 3) };
        assert_eq!((parts, tokens), (part, token), "goes: {goes}, in its prompt: {in_prompt}");
        let end = events.last().expect("some");
        let end = matches!(end, Event::Finished(usage) if usage.finish == Finish::Cancelled);
        assert_eq!(end, !goes);
    }
}

/// Between two tokens of an answer, no more of all other prompts is read than a slice.
#[test]
fn nobody_waits_for_more_than_a_slice() {
    const SLICE: usize = 40;
    let service = serve(options(), ServeOptions { slice_tokens: SLICE, ..ServeOptions::default() });
    let (told, heard) = sync_channel(10_000);
    let submit = |kind: u32, len: usize, tokens: usize| {
        let (told, mut done) = (told.clone(), 0);
        let act = move |event: Event| {
            let read = match event {
                Event::Prefill(at) => at.done - std::mem::replace(&mut done, at.done),
                Event::Token(_) if kind == 0 => usize::MAX,
                _ => 0,
            };
            told.send(read).expect("a test that listens");
            Offer::Taken
        };
        let request = Request::new(conversation(kind, len), sampler(0.0, 0), tokens);
        service.handle().submit(request, Box::new(Act(act))).expect("a place");
    };
    submit(0, 20, 60);
    while heard.recv().expect("a token") != usize::MAX {}
    (1..4).for_each(|kind| submit(kind, 600, 2));
    drop(told);
    let events: Vec<usize> = heard.iter().collect();
    let last = events.iter().rposition(|read| *read == usize::MAX).expect("its last token");
    let between = events[..last].split(|read| *read == usize::MAX);
    let between: Vec<usize> = between.map(|parts| parts.iter().sum()).collect();
    assert!(between.iter().all(|read| *read <= SLICE), "{between:?}");
    assert!(between.iter().filter(|read| **read == SLICE).count() >= 30, "{between:?}");
}

#[test]
fn who_comes_too_late_is_told_so() {
    let few = OpenOptions { sessions: 1, ..options() };
    let service = serve(few, ServeOptions { queue_max: 2, ..ServeOptions::default() });
    let handle = service.handle();
    let request = |tokens| Request::new(conversation(3, 20), sampler(0.0, 0), tokens);
    // A client that does not read keeps the only session.
    let (sink, events) = sync_channel(1);
    let first = handle.submit(request(100), Box::new(sink)).expect("a place");
    let mut second = handle.stream(request(1)).expect("a place");
    let third = handle.stream(request(1)).expect("a place");
    let error = handle.stream(request(1)).expect_err("no place");
    assert_eq!(error.to_string(), "busy: 3 requests are running or waiting already");
    assert!(matches!(error, Error::Busy { requests: 3 }));
    assert!(matches!(second.next(), Some(Event::Queued { .. })));
    first.cancel();
    assert_eq!(hear(&mut second).0.len(), 1);
    drop((events, third));
    // Places are free again a moment after their clients have heard the end.
    let until = Instant::now() + Duration::from_secs(60);
    let mut fourth = loop {
        match handle.stream(request(1)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert_eq!(hear(&mut fourth).0.len(), 1);
}

#[test]
fn bad_requests_fail_alone() {
    let page_bytes = {
        let threads = backend::Threads { count: 1, processors: Vec::new() };
        let backend = backend::open_cpu(&threads, 0);
        Engine::open(&tiny(), backend, options()).expect("an engine").page_bytes()
    };
    let row_bytes_max = Some(4 * page_bytes);
    let service = serve(OpenOptions { row_bytes_max, ..options() }, ServeOptions::default());
    let handle = service.handle();
    let mut good = handle.stream(Request::new(conversation(1, 100), sampler(0.0, 0), 100));
    let said = |prompt: Vec<TokenId>, tokens| {
        let mut stream =
            handle.stream(Request::new(prompt, sampler(0.0, 0), tokens)).expect("a place");
        loop {
            match stream.next().expect("an end") {
                Event::Failed(error) => return error.to_string(),
                Event::Finished(usage) => panic!("{usage:?}"),
                _ => {}
            }
        }
    };
    assert!(said(Vec::new(), 5).contains("the prompt is empty"));
    assert!(said(vec![TokenId(512)], 5).contains("token 512 is not in the vocabulary"));
    assert!(said(conversation(1, 700), 5).contains("the prompt has 700 tokens"));
    let error = said(conversation(2, 600), 5);
    assert!(error.contains("the memory for KV rows holds 512"), "{error}");
    assert_eq!(hear(good.as_mut().expect("a place")).0.len(), 100);
}

/// Guesses change nothing but the number of steps, whether they are greedy or sampled; and an
/// answer that repeats itself takes fewer.
#[test]
fn guesses_change_no_token() {
    let plain = serve(OpenOptions { anchor_bytes_max: 0, ..options() }, ServeOptions::default());
    let (mut steps, mut accepted) = (0, 0);
    for drafts_max in [1, 3, 7] {
        let bold = OpenOptions { drafts_max, ..options() };
        let bold = serve(bold, ServeOptions::default());
        for (kind, temperature) in [(0, 0.0), (1, 0.0), (2, 0.7), (3, 1.0)] {
            // A prompt that says everything twice.
            let text = conversation(kind, 50).repeat(3);
            let request = || Request::new(text.clone(), sampler(temperature, 7), 200);
            let (want, slow) = ask(&plain, request());
            let (got, usage) = ask(&bold, request());
            assert_eq!(got, want, "{drafts_max} guesses, temperature {temperature}");
            assert_eq!((usage.finish, slow.drafted), (Finish::Length, 0));
            accepted += usage.accepted;
        }
        steps += bold.handle().report().expect("a worker").steps;
    }
    println!("{accepted} guesses were right, {steps} steps for {} tokens", 3 * 4 * 200);
    assert!(accepted > 0 && steps + accepted / 2 < 3 * 4 * 201);
}

#[test]
fn probabilities_come_with_tokens() {
    let service = serve(options(), ServeOptions::default());
    let mut request = Request::new(conversation(4, 20), sampler(0.0, 0), 5);
    request.logprobs = Some(3);
    let mut stream = service.handle().stream(request).expect("a place");
    let mut seen = 0;
    for event in stream.by_ref() {
        let Event::Token(token) = event else { continue };
        let logprobs = token.logprobs.expect("wanted");
        assert_eq!(logprobs.top.len(), 3);
        assert_eq!(logprobs.top[0], (token.id, logprobs.chosen), "greedy takes the first");
        assert!(logprobs.top.is_sorted_by(|a, b| a.1 >= b.1) && logprobs.chosen < 0.0);
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn stopping_ends_everybody() {
    let service = serve(options(), ServeOptions::default());
    let handle = service.handle();
    let mut stream = handle.stream(Request::new(conversation(1, 20), sampler(0.0, 0), 600));
    let stream = stream.as_mut().expect("a place");
    while !matches!(stream.next(), Some(Event::Token(_))) {}
    drop(service);
    let (_, usage) = hear(stream);
    assert_eq!(usage.finish, Finish::Cancelled);
    let request = Request::new(conversation(1, 20), sampler(0.0, 0), 1);
    assert!(matches!(handle.stream(request), Err(Error::Stopped)));
    // An engine that cannot be opened says why.
    let error = Service::start(|| Err(Error::EmptyPrompt), ServeOptions::default());
    assert!(matches!(error, Err(Error::EmptyPrompt)));
}
