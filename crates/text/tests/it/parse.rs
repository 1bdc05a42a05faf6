//! The parser against the golden outputs, cut in every way, and its promises about streaming.
//!
//! Most tests compare whole lists of events with neighbours joined, so that they hold for what a
//! streaming client sees and not only for the reply that comes out at the end.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use text::{
    ArgumentTypes, Broken, DropCause, End, Event, FinishReason, Fragment, HELD_VALUE_BYTES_MAX,
    NAME_BYTES_MAX, NESTING_MAX, Parser, ParserOptions, Region, Reply, TAG_BYTES_MAX, ToolSpec,
    special,
};

/// A piece of a test's output: text, or a special token if the flag is set.
type Sampled<'a> = (&'a str, bool);

fn options(thinking: bool, tools_offered: bool) -> ParserOptions {
    ParserOptions { thinking, tools_offered, ..ParserOptions::default() }
}

fn tools() -> ParserOptions {
    options(false, true)
}

/// All events of a reply, neighbours of a kind joined.
fn events(options: &ParserOptions, sampled: &[Sampled<'_>], end: End) -> Vec<Event> {
    let mut parser = Parser::new(options.clone());
    let mut events = Vec::new();
    for (text, is_special) in sampled {
        let fragment = if *is_special { Fragment::Special(text) } else { Fragment::Text(text) };
        join(&mut events, parser.push(fragment));
    }
    join(&mut events, parser.finish(end));
    events
}

fn join(events: &mut Vec<Event>, more: Vec<Event>) {
    for event in more {
        match (events.last_mut(), event) {
            (Some(Event::Text(last)), Event::Text(text))
            | (Some(Event::Reasoning(last)), Event::Reasoning(text))
            | (Some(Event::CallArguments(last)), Event::CallArguments(text)) => {
                last.push_str(&text)
            }
            (_, event) => events.push(event),
        }
    }
}

fn reply(events: Vec<Event>) -> Reply {
    let mut reply = Reply::default();
    reply.extend(events);
    reply
}

fn parse(options: &ParserOptions, text: &str) -> Reply {
    reply(events(options, &[(text, false)], End::Stop))
}

/// The text cut at special tokens, which become pieces of their own.
fn with_specials(text: &str) -> Vec<Sampled<'_>> {
    let names = [special::DSML, special::THINK, special::THINK_END, special::EOS];
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((at, name)) =
        names.iter().filter_map(|name| Some((rest.find(name)?, *name))).min()
    {
        pieces.extend([(&rest[..at], false), (&rest[at..at + name.len()], true)]);
        rest = &rest[at + name.len()..];
    }
    pieces.push((rest, false));
    pieces
}

struct Case {
    id: String,
    options: ParserOptions,
    text: String,
    end: End,
    recommended: Value,
}

impl Case {
    /// The text as an engine that stops at the token hands it over.
    fn body(&self) -> &str {
        self.text.strip_suffix(special::EOS).unwrap_or(&self.text)
    }
}

fn cases() -> Vec<Case> {
    let read = |case: &Value| Case {
        id: case["id"].as_str().unwrap().to_owned(),
        options: options(
            case["thinking_mode"] == "thinking",
            case["tools_offered"].as_bool().unwrap(),
        ),
        text: case["text"].as_str().unwrap().to_owned(),
        end: if case["recommended"]["finish"] == "length" { End::Length } else { End::Stop },
        recommended: case["recommended"].clone(),
    };
    crate::cases("parse").iter().map(read).collect()
}

fn assert_recommended(case: &Case, reply: &Reply) {
    let Case { id, recommended, .. } = case;
    assert_eq!(reply.text, recommended["content"].as_str().unwrap(), "{id}");
    assert_eq!(reply.reasoning, recommended["reasoning_content"].as_str().unwrap(), "{id}");
    let finish = match reply.finish.as_ref().unwrap() {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        other => panic!("{id}: {other:?}"),
    };
    assert_eq!(finish, recommended["finish"], "{id}");
    let calls = recommended["tool_calls"].as_array().unwrap();
    assert_eq!(reply.calls.len(), calls.len(), "{id}");
    for (call, expected) in reply.calls.iter().zip(calls) {
        assert_eq!(call.name, expected["name"], "{id}");
        match expected.get("arguments") {
            Some(arguments) => assert_eq!(&call.arguments, arguments, "{id}"),
            None => {
                let value: Value = serde_json::from_str(&call.arguments).unwrap();
                assert_eq!(value, expected["arguments_value"], "{id}");
            }
        }
    }
}

#[test]
fn golden_outputs() {
    let cases = cases();
    assert_eq!(cases.len(), 35);
    for case in cases {
        let whole = events(&case.options, &[(case.body(), false)], case.end);
        assert_recommended(&case, &reply(whole.clone()));
        for special_tokens in [false, true] {
            let options = ParserOptions { special_tokens, ..case.options.clone() };
            let cut = events(&options, &with_specials(&case.text), case.end);
            assert_recommended(&case, &reply(cut.clone()));
            assert_eq!(joined(cut), joined(whole.clone()), "{}", case.id);
        }
    }
}

/// Events without what depends on knowing the special tokens: the pieces of the sampled block.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let plain = |event| match event {
        Event::CallsEnd { sampled } => {
            Event::CallsEnd { sampled: text::block_from_text(&sampled.text()) }
        }
        event => event,
    };
    events.into_iter().map(plain).collect()
}

#[test]
fn golden_outputs_cut_at_every_pair_of_characters() {
    let cases = cases();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for share in 0..threads {
            let cases = cases.iter().skip(share).step_by(threads);
            scope.spawn(|| cases.for_each(check_every_pair_of_cuts));
        }
    });
}

fn check_every_pair_of_cuts(case: &Case) {
    let text = case.body();
    let whole = events(&case.options, &[(text, false)], case.end);
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    for (place, first) in places.iter().enumerate() {
        for second in &places[place..] {
            let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
            let cut = events(&case.options, &pieces.map(|text| (text, false)), case.end);
            assert_eq!(cut, whole, "{} at {first} and {second}", case.id);
        }
    }
}

/// Texts made of whole and broken markup, JSON, white space and prose.
fn markup() -> impl Strategy<Value = String> {
    let tag = prop::sample::select(vec![
        "<｜DSML｜tool_calls>",
        "</｜DSML｜tool_calls>",
        "<｜DSML｜invoke name=\"bash\">",
        "<｜DSML｜invoke name=\"t\">",
        "</｜DSML｜invoke>",
        "<｜DSML｜parameter name=\"command\" string=\"true\">",
        "<｜DSML｜parameter name=\"n\" string=\"false\">",
        "<｜DSML｜parameter name=\"o\">",
        "</｜DSML｜parameter>",
        "<tool_calls>",
        "<invoke name=\"x\">",
        "</invoke>",
        "</tool_calls>",
        "<DSML｜function_calls>",
        "<｜DSML｜ calls>",
    ]);
    let text = prop::sample::select(vec![
        "<think>",
        "</think>",
        "\n",
        "\n\n",
        " ",
        "é",
        "世",
        "STOP",
        "ST",
        "<",
        "</",
        "｜DSML｜",
        "<｜DSML｜",
        "DSML｜",
        "&lt;/｜DSML｜parameter>",
        "&lt;/",
        "{\"a\": [1, ",
        "2]}",
        "\"",
        "true",
        "-1.5",
        "ls -la",
        "name=\"",
        ">",
        "tool_calls>",
        "invoke",
    ]);
    let call = "[a-z<é\"\\\\]{0,6}".prop_map(|value| {
        format!(
            "<｜DSML｜invoke name=\"bash\">\n\
             <｜DSML｜parameter name=\"command\" string=\"true\">{value}\
             </｜DSML｜parameter>\n</｜DSML｜invoke>\n"
        )
    });
    let part =
        prop_oneof![3 => tag.prop_map(str::to_owned), 3 => text.prop_map(str::to_owned), 1 => call];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// However text is cut, the events are the same; special tokens stay whole.
    #[test]
    fn any_cut_gives_the_same_events(
        text in markup(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        thinking in any::<bool>(), offered in prop::bool::weighted(0.9),
        special_tokens in any::<bool>(), as_specials in any::<bool>(), length in any::<bool>(),
        stop in prop::sample::select(vec![vec![], vec!["STOP"], vec!["\n\n", "世T"], vec!["<"]]),
        (ends, real_markers) in (any::<bool>(), prop::bool::weighted(0.2)),
    ) {
        let options = ParserOptions {
            special_tokens,
            broken: if ends { Broken::End } else { Broken::Text },
            real_markers,
            stop: stop.into_iter().map(str::to_owned).collect(),
            ..options(thinking, offered)
        };
        let end = if length { End::Length } else { End::Stop };
        let pieces = if as_specials { with_specials(&text) } else { vec![(text.as_str(), false)] };
        let whole = events(&options, &pieces, end);
        let mut cut = Vec::new();
        for (piece, is_special) in &pieces {
            if *is_special {
                cut.push((*piece, true));
                continue;
            }
            let mut places: Vec<usize> = cuts.iter().map(|cut| {
                let mut place = cut.index(piece.len() + 1);
                while !piece.is_char_boundary(place) { place -= 1 }
                place
            }).collect();
            places.extend([0, piece.len()]);
            places.sort_unstable();
            cut.extend(places.windows(2).map(|pair| (&piece[pair[0]..pair[1]], false)));
        }
        prop_assert_eq!(&events(&options, &cut, end), &whole);
        let letters: Vec<Sampled<'_>> = pieces.iter().flat_map(|(piece, is_special)| {
            let step = if *is_special { vec![*piece] } else { chars(piece) };
            step.into_iter().map(|text| (text, *is_special))
        }).collect();
        prop_assert_eq!(&events(&options, &letters, end), &whole);
        check_reply(&options, &text, whole)?;
    }
}

fn chars(text: &str) -> Vec<&str> {
    text.char_indices().map(|(at, letter)| &text[at..at + letter.len_utf8()]).collect()
}

/// What holds for every reply: arguments are JSON objects, the events nest, nothing is invented.
fn check_reply(
    options: &ParserOptions,
    text: &str,
    events: Vec<Event>,
) -> Result<(), TestCaseError> {
    let finishes = events.iter().filter(|event| matches!(event, Event::Finish(_))).count();
    prop_assert!(finishes == 1 && matches!(events.last(), Some(Event::Finish(_))));
    let reply = reply(events);
    let has_calls = reply.finish == Some(FinishReason::ToolCalls);
    prop_assert_eq!(has_calls, !reply.calls.is_empty());
    prop_assert_eq!(has_calls, reply.sampled_calls.is_some());
    prop_assert!(options.tools_offered || !has_calls);
    for call in &reply.calls {
        let value = serde_json::from_str::<Value>(&call.arguments);
        prop_assert!(value.is_ok_and(|value| value.is_object()), "{}", call.arguments);
    }
    if let Some(sampled) = &reply.sampled_calls {
        let before = format!("{}{}", reply.text, sampled.text());
        prop_assert!(text.contains(&before), "{:?} in {:?}", before, text);
    }
    if !has_calls && reply.finish == Some(FinishReason::Stop) && !text.contains(special::THINK_END)
    {
        let seen = reply.reasoning + &reply.text;
        prop_assert!(text.contains(&seen));
    }
    Ok(())
}

const OPENERS: [&str; 9] = [
    "<｜DSML｜tool_calls>",
    "<｜DSML｜function_calls>",
    "<｜DSML｜ calls>",
    "<｜DSML｜invoke name=",
    "<｜DSML｜ invoke name=",
    "<DSML｜tool_calls>",
    "<DSML｜function_calls>",
    "<tool_calls>",
    "<function_calls>",
];

/// Length of the longest tail of `text` that begins one of the patterns.
fn tail(text: &str, patterns: &[&str]) -> usize {
    let tails = text.char_indices().map(|(at, _)| &text[at..]);
    let mut begins = tails.filter(|tail| patterns.iter().any(|p| p.starts_with(*tail)));
    begins.next().map_or(0, str::len)
}

fn push_all(parser: &mut Parser, text: &str, mut after: impl FnMut(&Reply, &str)) -> Reply {
    let mut reply = Reply::default();
    for (at, letter) in text.char_indices() {
        reply.extend(parser.push(Fragment::Text(&text[at..at + letter.len_utf8()])));
        after(&reply, &text[..at + letter.len_utf8()]);
    }
    reply
}

proptest! {
    /// In an answer with tools, exactly this is held back: the beginning of an opener and white
    /// space before it, white space at the end, the beginning of a stop sequence.
    #[test]
    fn an_answer_is_held_back_exactly_as_much_as_allowed(
        text in prop::collection::vec(prop::sample::select(vec![
            "a", "é", " ", "\n", "<", "<｜DSML｜", "<｜DSML｜ call", "<tool_", "｜", "STO", "S", "</x>",
        ]), 0..20).prop_map(|parts| parts.concat()),
        offered in any::<bool>(),
    ) {
        let options = ParserOptions { stop: vec!["STOP".to_owned()], ..options(false, offered) };
        let mut parser = Parser::new(options);
        push_all(&mut parser, &text, |reply, seen| {
            let stop = tail(seen, &["STOP"]);
            let opener = tail(seen, &OPENERS);
            let before = &seen[..seen.len() - opener];
            let separator = before.len() - before.trim_end_matches([' ', '\n', '\t', '\r']).len();
            let held = if offered { stop.max(opener + separator) } else { stop };
            assert_eq!(reply.text, seen[..seen.len() - held], "after {seen:?}");
        });
    }

    /// In reasoning, exactly the beginning of `</think>` is held back; nothing, if the special
    /// token will be reported.
    #[test]
    fn reasoning_is_held_back_exactly_as_much_as_allowed(
        text in "[a-c]([<>/think ]|</th|</think|STOP|<tool_calls>){0,12}", known in any::<bool>(),
    ) {
        prop_assume!(!text.contains(special::THINK_END));
        let stop = vec!["STOP".to_owned()];
        let options = ParserOptions { special_tokens: known, stop, ..options(true, true) };
        push_all(&mut Parser::new(options), &text, |reply, seen| {
            let held = if known { 0 } else { tail(seen, &[special::THINK_END]) };
            assert_eq!(reply.reasoning, seen[..seen.len() - held], "after {seen:?}");
        });
    }

    /// In a string value, exactly the beginning of the closing tag is held back.
    #[test]
    fn a_string_is_held_back_exactly_as_much_as_allowed(
        text in prop::collection::vec(prop::sample::select(vec![
            "a", "é", "\"", "\n", "<", "</", "</｜DSML｜", "</｜DSML｜param", "&", "&lt;/",
            "&lt;/｜DSML｜p",
        ]), 0..20).prop_map(|parts| parts.concat()),
    ) {
        let mut parser = Parser::new(tools());
        let mut arguments = String::new();
        let mut push = |text: &str| {
            for event in parser.push(Fragment::Text(text)) {
                if let Event::CallArguments(json) = event { arguments.push_str(&json) }
            }
            arguments.clone()
        };
        prop_assert_eq!(push("<｜DSML｜tool_calls><｜DSML｜invoke name=\"a\">"), "{");
        let head = push("<｜DSML｜parameter name=\"k\" string=\"true\">");
        prop_assert_eq!(&head, "{\"k\": \"");
        for (at, letter) in text.char_indices() {
            let seen = &text[..at + letter.len_utf8()];
            let arguments = push(&seen[at..]);
            let held = tail(seen, &["</｜DSML｜parameter>", "&lt;/｜DSML｜parameter>"]);
            let mut expected = head.clone();
            text::json::write_escaped(&seen[..seen.len() - held], &mut expected);
            prop_assert_eq!(arguments, expected, "after {:?}", seen);
        }
    }
}

/// A block in the usual dialect.
fn block(inside: &str) -> String {
    format!("<｜DSML｜tool_calls>\n{inside}\n</｜DSML｜tool_calls>")
}

fn invoke(inside: &str) -> String {
    format!("<｜DSML｜invoke name=\"t\">\n{inside}\n</｜DSML｜invoke>")
}

fn parameter(attribute: &str, value: &str) -> String {
    format!("<｜DSML｜parameter name=\"k\"{attribute}>{value}</｜DSML｜parameter>")
}

const STRING: &str = " string=\"true\"";
const JSON: &str = " string=\"false\"";

/// The arguments of the one call with this parameter.
fn arguments(options: &ParserOptions, attribute: &str, value: &str) -> String {
    let text = block(&invoke(&parameter(attribute, value)));
    let reply = parse(options, &text);
    assert_eq!(reply.calls.len(), 1, "{text}: {reply:?}");
    reply.calls[0].arguments.clone()
}

#[test]
fn values_as_the_attribute_says_and_the_text_allows() {
    for (attribute, value, expected) in [
        (STRING, "a \"b\"\n", r#""a \"b\"\n""#),
        (STRING, "", r#""""#),
        (STRING, "1", r#""1""#),
        (
            STRING,
            "&lt;b&gt; &lt;/｜DSML｜parameter> &lt;/",
            r#""&lt;b&gt; </｜DSML｜parameter> &lt;/""#,
        ),
        (JSON, "1.50", "1.50"),
        (JSON, " [1,\n2] ", " [1,\n2] "),
        (JSON, r#"{"a": "</｜DSML｜", "b": "é"}"#, r#"{"a": "</｜DSML｜", "b": "é"}"#),
        (JSON, "ls -la", r#""ls -la""#),
        (JSON, "true story", r#""true story""#),
        (JSON, "[1, 2", r#""[1, 2""#),
        (JSON, "", r#""""#),
        ("", " x", r#"" x""#),
        ("", "\n", r#""\n""#),
        ("", "5", r#""5""#),
        (" string=\"maybe\"", "x", r#""x""#),
        ("", "<b>", r#""<b>""#),
        ("", "\n<｜DSML｜param", r#""\n<｜DSML｜param""#),
        (
            "",
            &format!(" {}\n{}", parameter(JSON, "1"), parameter("", &parameter(STRING, "x"))),
            r#"{"k": 1, "k": {"k": "x"}}"#,
        ),
    ] {
        let found = arguments(&tools(), attribute, value);
        assert_eq!(found, format!("{{\"k\": {expected}}}"), "{attribute} {value:?}");
    }
}

#[test]
fn a_string_becomes_what_its_schema_wants_if_it_reads_as_that() {
    let schema = |kind: &str| {
        let parameters = serde_json::json!({"properties": {"k": {"type": kind}}});
        ParserOptions {
            types: ArgumentTypes::of(&[ToolSpec::new("t", None, Some(parameters))]),
            ..tools()
        }
    };
    let long = "9".repeat(HELD_VALUE_BYTES_MAX + 1);
    for (kind, attribute, value, expected) in [
        ("number", STRING, "1.5", "1.5"),
        ("number", STRING, " 1e3\n", "1e3"),
        ("number", "", "7", "7"),
        ("number", STRING, "7 apples", "\"7 apples\""),
        ("number", STRING, "true", "\"true\""),
        ("number", STRING, &long, &format!("\"{long}\"")),
        ("integer", STRING, "-3", "-3"),
        ("integer", STRING, "3.5", "\"3.5\""),
        ("boolean", STRING, "false", "false"),
        ("boolean", STRING, "False", "\"False\""),
        ("array", STRING, "[\"a\"]", "[\"a\"]"),
        ("array", STRING, "{}", "\"{}\""),
        ("object", STRING, "{\"a\": 1}", "{\"a\": 1}"),
        ("string", STRING, "1", "\"1\""),
        ("string", JSON, "1", "1"),
    ] {
        let found = arguments(&schema(kind), attribute, value);
        assert_eq!(found, format!("{{\"k\": {expected}}}"), "{kind} {value:?}");
    }
}

#[test]
fn every_spelling_of_a_block() {
    for (marker, gap, name) in [
        ("｜DSML｜", "", "tool_calls"),
        ("｜DSML｜", "", "function_calls"),
        ("｜DSML｜", " ", "calls"),
        ("DSML｜", "", "tool_calls"),
        ("DSML｜", "", "function_calls"),
        ("", "", "tool_calls"),
        ("", "", "function_calls"),
    ] {
        let tags = block(&invoke(&parameter(STRING, "v")));
        let tags = tags.replace("tool_calls", name).replace("｜DSML｜", &format!("{marker}{gap}"));
        let reply = parse(&tools(), &format!("Go. \n\n{tags} tail"));
        assert_eq!((reply.text.as_str(), reply.calls.len()), ("Go.", 1), "{tags}");
        assert_eq!(reply.calls[0].arguments, r#"{"k": "v"}"#, "{tags}");
        assert_eq!(reply.sampled_calls.unwrap().text(), format!(" \n\n{tags}"));
    }
    let bare = format!("{}\n{}", invoke(&parameter(STRING, "v")), invoke(""));
    for (tail, kept) in [
        ("", ""),
        ("\n", "\n"),
        ("\nDone!", ""),
        ("<b>", ""),
        ("\n</｜DSML｜tool_calls>x", "\n</｜DSML｜tool_calls>"),
    ] {
        let reply = parse(&tools(), &format!("Go.\n{bare}{tail}"));
        assert_eq!((reply.text.as_str(), reply.calls.len()), ("Go.", 2), "{tail}");
        assert_eq!(reply.sampled_calls.unwrap().text(), format!("\n{bare}{kept}"));
    }
}

#[test]
fn calls_stream_while_they_are_sampled() {
    let mut parser = Parser::new(tools());
    let mut push = |text: &str| parser.push(Fragment::Text(text));
    let begin = |name: &str| Event::CallBegin { index: 0, name: name.to_owned() };
    let json = |text: &str| Event::CallArguments(text.to_owned());
    assert_eq!(push("Go.\n\n"), [Event::Text("Go.".to_owned())]);
    assert_eq!(push("<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"t\""), []);
    assert_eq!(push(">"), [begin("t"), json("{")]);
    assert_eq!(push("\n<｜DSML｜parameter name=\"k\" string=\"true\""), []);
    assert_eq!(push(">"), [json("\"k\": \"")]);
    let mut sent = String::new();
    for piece in 0..1000 {
        let events = push("0123456\n\"<");
        let [Event::CallArguments(text)] = &events[..] else { panic!("{piece}: {events:?}") };
        sent.push_str(text);
        assert!(sent.len() > piece * 12, "deltas keep up with the value");
    }
    assert_eq!(push("/｜DSML｜parameter>"), [json("\"")]);
    let closed = push("\n</｜DSML｜invoke>");
    assert_eq!(closed, [json("}"), Event::CallEnd]);
    let end = push("\n</｜DSML｜tool_calls>");
    assert!(matches!(&end[..], [Event::CallsEnd { .. }]), "{end:?}");
    assert!(parser.is_done());
    assert_eq!(parser.push(Fragment::Text("more")), []);
    assert_eq!(parser.finish(End::Stop), [Event::Finish(FinishReason::ToolCalls)]);
}

#[test]
fn long_json_streams_and_short_json_may_still_become_a_string() {
    let mut parser = Parser::new(tools());
    parser.push(Fragment::Text(&block("").replace("\n\n</｜DSML｜tool_calls>", "")));
    parser.push(Fragment::Text(
        "<｜DSML｜invoke name=\"t\"><｜DSML｜parameter name=\"k\" string=\"false\">",
    ));
    assert_eq!(parser.push(Fragment::Text("[\"")), []);
    let mut silent = 2;
    while parser.push(Fragment::Text("0123456789")).is_empty() {
        silent += 10;
        assert!(silent <= HELD_VALUE_BYTES_MAX);
    }
    let json = |text: &str| Event::CallArguments(text.to_owned());
    assert_eq!(parser.push(Fragment::Text("more")), [json("more")]);
    let broken = parser.push(Fragment::Text("\" oops é"));
    let [Event::CallArguments(sent), Event::CallsDropped { first: 0, sampled, cause }] =
        &broken[..]
    else {
        panic!("{broken:?}");
    };
    assert_eq!((sent.as_str(), *cause), ("\" ", DropCause::Malformed));
    assert!(sampled.starts_with("<｜DSML｜tool_calls>") && sampled.ends_with("more\" o"));
    assert!(parser.is_done());
    assert_eq!(parser.finish(End::Length), [Event::Finish(FinishReason::Stop)]);
}

/// The limit falls on a byte of the value, not on a place where the stream was cut.
#[test]
fn long_json_gives_the_same_events_however_it_is_cut() {
    for (held, rest) in [(0, "\"]"), (0, "\" é"), (0, ""), (2, "\" é"), (2, "\"]"), (3, "")] {
        for extra in 0..4 {
            let text = "é".repeat((HELD_VALUE_BYTES_MAX - held) / 2 - 1) + &"x".repeat(extra);
            let text = block(&invoke(&parameter(JSON, &format!("[\"{text}{rest}"))));
            let letters: Vec<Sampled<'_>> =
                chars(&text).into_iter().map(|text| (text, false)).collect();
            let whole = events(&tools(), &[(&text, false)], End::Stop);
            assert_eq!(events(&tools(), &letters, End::Stop), whole, "{held} {extra} {rest}");
        }
    }
}

#[test]
fn malformed_before_anything_was_sent_is_text() {
    let call = block(&invoke(""));
    for text in [
        "See <tool_calls> for more.",
        "<｜DSML｜tool_calls>\n\nplease run é",
        "<｜DSML｜tool_calls></｜DSML｜tool_calls>",
        "<｜DSML｜tool_calls><｜DSML｜invoke>",
        "<｜DSML｜tool_calls><｜DSML｜invoke name=\"\">",
        "<｜DSML｜tool_calls>\n<invoke name=\"t\">\n</invoke></tool_calls>",
        "<｜DSML｜invoke name=oops",
        "<｜DSML｜invoke name=\"t",
        "<tool_calls>",
        "<tool_calls>\n<invoke",
        &block(&format!("Sure: {}", invoke("")).replace("\n", "")),
        &format!(
            "<｜DSML｜tool_calls><｜DSML｜invoke name=\"{}\">",
            "n".repeat(NAME_BYTES_MAX + 1)
        ),
        &format!("<｜DSML｜tool_calls><{}", "é".repeat(TAG_BYTES_MAX)),
    ] {
        let expected = [Event::Text(text.to_owned()), Event::Finish(FinishReason::Stop)];
        assert_eq!(events(&tools(), &[(text, false)], End::Stop), expected);
    }
    let reply = parse(&tools(), &format!("The <tool_calls> tag:\n\n{call}"));
    assert_eq!((reply.text.as_str(), reply.calls.len()), ("The <tool_calls> tag:", 1));
    let reply = parse(&tools(), &format!("<｜DSML｜tool_calls>\n{call}"));
    assert_eq!((reply.text.as_str(), reply.calls.len()), ("<｜DSML｜tool_calls>", 1));
}

/// Whoever can sample again is told of a broken block instead of being shown it; what has no marker
/// may be prose and stays text.
#[test]
fn malformed_before_anything_was_sent_may_end_the_reply() {
    let dsml = (special::DSML, true);
    let again = |special_tokens, real_markers| ParserOptions {
        broken: Broken::End,
        special_tokens,
        real_markers,
        ..tools()
    };
    for (sampled, options, dropped) in [
        (vec![("<｜DSML｜tool_calls>\noh é. And", false)], again(false, false), true),
        (vec![("<DSML｜tool_calls>\noh", false)], again(false, false), true),
        (vec![("<", false), dsml, ("tool_calls>\noh", false)], again(true, false), true),
        (vec![("<｜DSML｜tool_calls>\n<｜DS", false)], again(false, false), true),
        (vec![("<tool_calls>\noh", false)], again(false, false), false),
        (vec![("<tool_calls>\n<invoke name=\"t\">", false)], again(true, true), false),
        // A spelled marker is broken at once where only real ones count.
        (vec![("<｜DSML｜tool_calls>\n<｜DSML｜invoke", false)], again(true, true), true),
    ] {
        let sampled = [vec![("Go.\n\n", false)], sampled].concat();
        let events = events(&options, &sampled, End::Stop);
        let all: String = sampled.iter().map(|(text, _)| *text).collect();
        let finish = Event::Finish(FinishReason::Stop);
        if !dropped {
            assert_eq!(events, [Event::Text(all), finish], "{sampled:?}");
            continue;
        }
        let [text, Event::CallsDropped { first: 0, sampled, cause }, end] = &events[..] else {
            panic!("{all}: {events:?}");
        };
        assert_eq!((text, end), (&Event::Text("Go.".to_owned()), &finish), "{all}");
        assert_eq!(*cause, DropCause::Malformed);
        assert!(all.strip_prefix("Go.").unwrap().starts_with(sampled.as_str()), "{all}: {sampled}");
    }
    let mut parser = Parser::new(again(false, false));
    parser.push(Fragment::Text("<｜DSML｜tool_calls>\noh"));
    assert!(parser.is_done());
}

#[test]
fn malformed_after_a_call_was_sent_drops_the_block() {
    let deep = "<｜DSML｜parameter name=\"k\">".repeat(NESTING_MAX + 2);
    for inside in [
        format!("{}\nThen é", invoke("")),
        format!("{}\n<b>", invoke("")),
        "<｜DSML｜invoke name=\"t\">oops".to_owned(),
        "<｜DSML｜invoke name=\"t\">\n</｜DSML｜parameter>".to_owned(),
        "<｜DSML｜invoke name=\"t\">\n</｜DSML｜tool_calls>".to_owned(),
        format!("<｜DSML｜invoke name=\"t\">{deep}"),
        "<｜DSML｜invoke name=\"t\"><｜DSML｜parameter string=\"true\">".to_owned(),
    ] {
        let text = format!("Go.\n\n<｜DSML｜tool_calls>\n{inside}");
        let events = events(&tools(), &[(&text, false)], End::Length);
        let [.., Event::CallsDropped { first: 0, sampled, cause }, finish] = &events[..] else {
            panic!("{text}: {events:?}");
        };
        assert_eq!((finish, cause), (&Event::Finish(FinishReason::Stop), &DropCause::Malformed));
        assert!(text.strip_prefix("Go.").unwrap().starts_with(sampled), "{sampled}");
        let reply = reply(events.clone());
        assert_eq!((reply.text, reply.calls), (format!("Go.{sampled}"), vec![]));
    }
}

#[test]
fn a_reply_that_ends_inside_a_block() {
    let one = invoke(&parameter(STRING, "v"));
    let whole = format!("Go.\n\n<｜DSML｜tool_calls>\n{one}");
    let second = format!("{whole}\n<｜DSML｜invoke name=\"u\">\n<｜DSML｜parameter name=\"k\" str");
    let opened = "Go.\n\n<｜DSML｜tool_calls>\n<｜DSML｜inv";
    let begun = "Go.\n\n<｜DSML｜tool_ca";
    let prose = "Go.\n\n<tool_ca";
    // Text, how it ended, what the answer is, calls, reason, index of the first dropped call.
    for (text, end, answer, calls, finish, dropped) in [
        (whole.as_str(), End::Stop, "Go.", 1, FinishReason::ToolCalls, None),
        (&whole, End::Length, "Go.", 0, FinishReason::Length, Some(0)),
        (&second, End::Stop, "Go.", 1, FinishReason::ToolCalls, Some(1)),
        (&second, End::ContextFull, "Go.", 0, FinishReason::ContextFull, Some(0)),
        (opened, End::Stop, opened, 0, FinishReason::Stop, None),
        (opened, End::Length, "Go.", 0, FinishReason::Length, Some(0)),
        (begun, End::Stop, begun, 0, FinishReason::Stop, None),
        (begun, End::Cancelled, "Go.", 0, FinishReason::Cancelled, None),
        (prose, End::Length, prose, 0, FinishReason::Length, None),
    ] {
        let events = events(&tools(), &[(text, false)], end);
        let first = events.iter().find_map(|event| match event {
            Event::CallsDropped { first, cause: DropCause::Truncated, .. } => Some(*first),
            _ => None,
        });
        let reply = reply(events);
        assert_eq!((reply.text.as_str(), reply.calls.len()), (answer, calls), "{text} {end:?}");
        assert_eq!((reply.finish, first), (Some(finish), dropped), "{text} {end:?}");
        if calls == 1 {
            let sampled = reply.sampled_calls.unwrap().text();
            assert_eq!(sampled, whole.strip_prefix("Go.").unwrap());
        }
    }
}

#[test]
fn stop_sequences_count_in_the_answer_only() {
    let stop = |stops: &[&str], thinking| ParserOptions {
        stop: stops.iter().map(|stop| (*stop).to_owned()).collect(),
        ..options(thinking, true)
    };
    let hit = |text: &str| Some(FinishReason::StopSequence(text.to_owned()));
    let reply = parse(&stop(&["END", ""], true), "END</think>a EN b\n END c");
    assert_eq!((reply.reasoning.as_str(), reply.text.as_str()), ("END", "a EN b\n "));
    assert_eq!(reply.finish, hit("END"));
    // The sequence that is complete first wins, and of those the one that began first.
    let reply = parse(&stop(&["bcdef", "c", "abc"], false), "xabcdef");
    assert_eq!((reply.text.as_str(), reply.finish), ("x", hit("abc")));
    // Not inside a call, nor where a block opens; but in the text of what proves to be none.
    let call = block(&invoke(&parameter(STRING, "END")));
    let reply = parse(&stop(&["END", "calls>"], false), &format!("a\n{call}"));
    assert_eq!((reply.text.as_str(), reply.calls.len()), ("a", 1));
    let reply = parse(&stop(&["s> EN"], false), "a\n<tool_calls> END");
    assert_eq!((reply.text.as_str(), reply.finish), ("a\n<tool_call", hit("s> EN")));
    let reply = parse(&stop(&["\n\n"], false), &format!("a\n\n{call}"));
    assert_eq!((reply.text.as_str(), reply.finish), ("a", hit("\n\n")));
}

#[test]
fn a_real_token_is_stronger_than_its_spelling() {
    let options = ParserOptions { special_tokens: true, ..options(true, true) };
    let dsml = (special::DSML, true);
    let sampled = [
        ("A literal </think> is ", false),
        ("</think>", false),
        (special::THINK_END, true),
        ("\n\n<", false),
        dsml,
        ("tool_calls>\n<", false),
        dsml,
        ("invoke name=\"t\">\n<", false),
        dsml,
        ("parameter name=\"k\" string=\"true\">a</｜DSML｜parameter>&lt;/", false),
        dsml,
        ("parameter>b</", false),
        dsml,
        ("parameter>\n</", false),
        dsml,
        ("invoke>\n</", false),
        dsml,
        ("tool_calls>", false),
        (special::EOS, true),
        ("never sampled", false),
    ];
    let reply = reply(events(&options, &sampled, End::Length));
    assert_eq!(reply.reasoning, "A literal </think> is </think>");
    let value = "{\"k\": \"a</｜DSML｜parameter></｜DSML｜parameter>b\"}";
    assert_eq!(reply.calls[0].arguments, value);
    assert_eq!(reply.finish, Some(FinishReason::ToolCalls));
    let pieces = reply.sampled_calls.unwrap().pieces;
    let specials = pieces.iter().filter(|piece| matches!(piece, text::Piece::Special(_)));
    assert_eq!(specials.count(), 7, "the spelled tag in the value stays text");
}

#[test]
fn the_region_tells_structure_from_payload() {
    let mut parser = Parser::new(options(true, true));
    for (text, region) in [
        ("r", Region::Outside),
        ("</think>a <", Region::Outside),
        ("\n<｜DSML｜tool_calls>", Region::Structure),
        ("\n<｜DSML｜invoke name=\"t\">", Region::Structure),
        ("<｜DSML｜parameter name=\"k\" string=\"true\">", Region::StringBody),
        ("ab<", Region::StringBody),
        ("/", Region::Structure),
        ("｜DSML｜parameter>", Region::Structure),
        ("<｜DSML｜parameter name=\"k\" string=\"false\">", Region::Json),
        ("[1, \"a", Region::JsonString),
        ("\\\"", Region::JsonString),
        ("\"]", Region::Json),
        ("</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜tool_calls>", Region::Outside),
    ] {
        parser.push(Fragment::Text(text));
        assert_eq!(parser.region(), region, "after {text:?}");
    }
}

/// One megabyte in small pieces takes about as long as plain text, whatever it is made of.
#[test]
fn time_is_linear_on_any_input() {
    let time = |start: &str, unit: &str| {
        let begun = Instant::now();
        let stop = vec!["<<<<<<<<<<<<<<<<!".to_owned(), " \n".repeat(500)];
        let mut parser = Parser::new(ParserOptions { stop, ..tools() });
        parser.push(Fragment::Text(start));
        let mut bytes = 0;
        while bytes < 1_000_000 {
            for piece in chars(unit) {
                parser.push(Fragment::Text(piece));
                bytes += piece.len();
            }
        }
        assert!(!parser.is_done(), "{start}{unit} ended early");
        parser.finish(End::Length);
        begun.elapsed()
    };
    let call = "<｜DSML｜tool_calls><｜DSML｜invoke name=\"t\">";
    let string = format!("{call}<｜DSML｜parameter name=\"k\" string=\"true\">");
    let json = format!("{call}<｜DSML｜parameter name=\"k\" string=\"false\">[\"");
    let open = format!("{call}<｜DSML｜parameter name=\"k\">");
    let plain = time("", "plain text ").max(Duration::from_millis(50));
    for (start, unit) in [
        ("", "<"),
        ("", " "),
        ("", "<｜DSML｜"),
        ("", "&lt;/"),
        ("", "<tool_calls>"),
        ("", "<tool_calls> <invoke name=\""),
        ("<tool_calls>", " "),
        (&string, "<"),
        (&string, "</｜DSML｜"),
        (&string, "&lt;/"),
        (&string, " "),
        (&json, "[<"),
        (&json, "&lt;/"),
        (&open, " "),
        (&open, "<｜DSML｜"),
    ] {
        let took = time(start, unit);
        assert!(took < plain * 25, "{start}({unit})*: {took:?}, plain text: {plain:?}");
    }
}
