//! What may be said, and what is said less: masks, penalties and biases.

use std::sync::Arc;

use engine::serve::{Request, ServeOptions, Service};
use engine::{
    Adjustments, Constraint, Engine, Error, Finish, Grammars, OpenOptions, Sampler, TokenSet,
};
use spec::TokenId;
use text::{Tokenizer, special};

use crate::nano::nano;
use crate::serve::{hear, sampler};

const LOGITS: [f32; 5] = [2.0, 1.9, 1.0, -1.0, 1.95];

fn adjusted(adjustments: Adjustments) -> Sampler {
    sampler(0.0, 0).adjusting(adjustments).expect("settings in range")
}

/// Greedy answers, worked out on paper from the formulas in the header of `adjust.rs`.
#[test]
fn penalties_and_biases() {
    let none = Adjustments::default();
    let picks = |adjustments: Adjustments, prompt: &[u32]| {
        let mut sampler = adjusted(adjustments);
        sampler.read(&prompt.iter().map(|id| TokenId(*id)).collect::<Vec<_>>());
        (0..4).map(|_| sampler.pick(&LOGITS).0).collect::<Vec<_>>()
    };
    assert_eq!(picks(none.clone(), &[]), [0, 0, 0, 0]);
    // Said once is 0.07 less, however often: 1.93, 1.88, 1.83.
    let presence = Adjustments { presence: 0.07, ..none.clone() };
    assert_eq!(picks(presence.clone(), &[]), [0, 4, 0, 0]);
    assert_eq!(picks(presence, &[0, 4]), [0, 4, 0, 0], "the prompt was not said");
    // Every time 0.04: 2.0, then 1.96 is still the largest, then 1.92 is not.
    let frequency = Adjustments { frequency: 0.04, ..none.clone() };
    assert_eq!(picks(frequency, &[]), [0, 0, 4, 0]);
    // A prompt counts: 2.0 / 1.1 = 1.82 and 1.95 / 1.1 = 1.77 are less than 1.9; then 1.73.
    let repetition = Adjustments { repetition: 1.1, ..none.clone() };
    assert_eq!(picks(repetition, &[0, 4]), [1, 0, 0, 0]);
    // Negative logits become more so: -1.0 · 0.5 is larger, and 1.0 / 0.5 = 2.0 is not 2.1.
    let bias = vec![(TokenId(2), 1.1), (TokenId(0), -1000.0), (TokenId(99), 5.0)];
    let biased = Adjustments { repetition: 0.5, bias, ..none.clone() };
    assert_eq!(picks(biased, &[3])[0], 2);

    for (bad, message) in [
        (Adjustments { presence: 2.1, ..none.clone() }, "presence penalty must be -2 to 2"),
        (Adjustments { frequency: f32::NAN, ..none.clone() }, "frequency penalty must be -2 to 2"),
        (Adjustments { repetition: 0.0, ..none.clone() }, "repetition penalty must be 0.01 to 100"),
        (
            Adjustments { bias: vec![(TokenId(1), 2000.0)], ..none },
            "logit bias must be -1000 to 1000, found 2000",
        ),
    ] {
        let error = sampler(0.0, 0).adjusting(bad).map(|_| ()).expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn only_allowed_tokens_are_chosen() {
    let mut allowed = TokenSet::new(5);
    allowed.insert(TokenId(1));
    allowed.insert(TokenId(3));
    let mut greedy = sampler(0.0, 0);
    assert_eq!(greedy.pick_from(&LOGITS, Some(&allowed)), TokenId(1));
    let mut seen = [0; 5];
    let mut random = sampler(1.0, 1);
    for _ in 0..2000 {
        seen[random.pick_from(&LOGITS, Some(&allowed)).0 as usize] += 1;
    }
    // exp(-2.9) to 1: 0.052 of 2000.
    assert_eq!((seen[0], seen[2], seen[4]), (0, 0, 0));
    assert!((70..150).contains(&seen[3]), "{seen:?}");
}

fn tokenizer() -> Arc<Tokenizer> {
    let file = gguf::File::open(&nano()).expect("Nano");
    Arc::new(engine::read_tokenizer(&file, 4608).expect("a tokenizer").expect("one"))
}

fn service() -> Service {
    let open = || {
        let threads = backend::Threads { count: 1, processors: Vec::new() };
        let options = OpenOptions { sessions: 8, drafts_max: 3, ..OpenOptions::default() };
        Engine::open(&nano(), backend::open_cpu(&threads, 1 << 30), options)
    };
    Service::start(open, ServeOptions::default()).expect("a service")
}

fn answers(service: &Service, constraint: impl Fn() -> Box<dyn Constraint>) -> Vec<String> {
    let tokenizer = tokenizer();
    let end = tokenizer.special(special::EOS).expect("an end");
    let mut streams: Vec<_> = (0..8)
        .map(|seed| {
            let prompt = tokenizer.encode_text("The weather today:");
            let mut request = Request::new(prompt, sampler(1.0, seed), 300);
            request.constraint = Some(constraint());
            request.stop = vec![end];
            service.handle().stream(request).expect("a place")
        })
        .collect();
    let answer = |(tokens, usage): (Vec<TokenId>, engine::serve::Usage)| {
        assert_eq!(usage.finish, Finish::Stop(end));
        String::from_utf8(tokenizer.decode(&tokens)).expect("text")
    };
    streams.iter_mut().map(|stream| answer(hear(stream))).collect()
}

/// Whatever a small model at temperature 1 would like to say, it says JSON of the schema.
#[test]
fn answers_are_what_the_schema_describes() {
    let grammars = Grammars::new(&tokenizer()).expect("grammars");
    let schema = r#"{"type": "object", "properties": {
        "city": {"enum": ["Paris", "Oslo", "Zürich"]},
        "degrees": {"type": "integer", "minimum": -40, "maximum": 50},
        "rain": {"type": "boolean"}
    }, "required": ["city", "degrees", "rain"], "additionalProperties": false}"#;
    let service = service();
    for answer in answers(&service, || Box::new(grammars.json_schema(schema).expect("a schema"))) {
        let value: serde_json::Value = serde_json::from_str(&answer).expect(&answer);
        let object = value.as_object().expect("an object");
        assert_eq!(object.len(), 3, "{answer}");
        assert!(["Paris", "Oslo", "Zürich"].contains(&object["city"].as_str().expect("text")));
        assert!((-40..=50).contains(&object["degrees"].as_i64().expect("a number")), "{answer}");
        assert!(object["rain"].is_boolean());
    }
    for answer in answers(&service, || Box::new(grammars.regex("[a-c]{2,5}!").expect("one"))) {
        let (letters, end) = answer.split_at(answer.len() - 1);
        assert!(end == "!" && (2..=5).contains(&letters.len()), "{answer}");
        assert!(letters.bytes().all(|letter| (b'a'..=b'c').contains(&letter)), "{answer}");
    }
    let lark = "start: \"yes\" | \"no\"";
    for answer in answers(&service, || Box::new(grammars.lark(lark).expect("a grammar"))) {
        assert!(["yes", "no"].contains(&answer.as_str()), "{answer}");
    }
    for bad in [grammars.json_schema("{"), grammars.regex("("), grammars.lark("start: nowhere")] {
        assert!(matches!(bad, Err(Error::Constraint { .. })), "{bad:?}");
    }
}

/// A constraint that fails ends its own answer.
#[test]
fn a_constraint_that_allows_nothing_is_an_error() {
    #[derive(Debug)]
    struct Silence;
    impl Constraint for Silence {
        fn allow(&mut self, _: &mut TokenSet) -> Result<(), String> {
            Ok(())
        }
        fn accept(&mut self, _: TokenId) -> Result<(), String> {
            Ok(())
        }
    }
    let service = service();
    let mut request = Request::new(tokenizer().encode_text("Say:"), sampler(0.0, 0), 5);
    request.constraint = Some(Box::new(Silence));
    let mut stream = service.handle().stream(request).expect("a place");
    let mut last = None;
    for event in stream.by_ref() {
        last = Some(event);
    }
    let Some(engine::serve::Event::Failed(error)) = last else { panic!("{last:?}") };
    assert_eq!(error.to_string(), "the answer's form: no token is allowed here");
    drop(stream);
    let request = Request::new(tokenizer().encode_text("Say:"), sampler(0.0, 0), 5);
    assert_eq!(hear(&mut service.handle().stream(request).expect("a place")).0.len(), 5);
}
