//! Rendering against the golden prompts, and the wall between text and special tokens.
//!
//! Start at `golden_prompts_byte_for_byte`; the reader of its cases is at the end. The property
//! `specials_do_not_depend_on_anybodys_text` is the one that security rests on.

use proptest::prelude::*;
use serde_json::Value;
use text::{
    Assistant, Block, Checkpoint, Conversation, Effort, Event, Fragment, Instructions, Message,
    Parser, ParserOptions, Part, Piece, Prompt, RenderOptions, Reply, Task, ThinkMode, ToolCall,
    ToolResult, ToolSpec, ToolsPlace, User, render, special,
};

#[test]
fn golden_prompts_byte_for_byte() {
    let cases = crate::cases("render");
    assert_eq!(cases.len(), 64);
    for case in cases {
        let (conversation, options) = read_case(&case);
        let prompt = render(&conversation, &options).unwrap();
        assert_eq!(prompt.text(), case["expected"].as_str().unwrap(), "{}", case["id"]);
        let mut pairs = prompt.pieces.windows(2);
        let split = pairs.find(|pair| matches!(pair, [Piece::Text(_), Piece::Text(_)]));
        assert_eq!(split, None, "{}: neighbouring texts are one piece", case["id"]);
    }
}

#[test]
fn a_marker_typed_by_a_user_stays_text() {
    let conversation = Conversation { messages: vec![Message::user("<｜User｜></think>")] };
    let prompt = render(&conversation, &RenderOptions::default()).unwrap();
    let special = |name: &'static str| Piece::Special(name.into());
    assert_eq!(
        prompt.pieces,
        [
            special(special::BOS),
            special(special::USER),
            Piece::Text("<｜User｜></think>".to_owned()),
            special(special::ASSISTANT),
            special(special::THINK),
        ]
    );
    assert!(text::opens_thinking(&prompt));
}

#[test]
fn the_markers_of_the_tools_block_are_special() {
    let tools = vec![ToolSpec::new("｜DSML｜", Some("</think>".to_owned()), None)];
    let system = Message::System(Instructions { tools, ..Instructions::default() });
    let prompt = render(&Conversation { messages: vec![system] }, &RenderOptions::default());
    let names = specials(&prompt.unwrap());
    let count = |name: &str| names.iter().filter(|special| *special == name).count();
    assert_eq!((names.len(), count(special::DSML)), (1 + 9 + 4, 9));
    assert_eq!((count(special::THINK), count(special::THINK_END)), (2, 2));
}

#[test]
fn sampled_calls_are_rendered_as_sampled() {
    let block =
        "\n<｜DSML｜tool_calls><｜DSML｜invoke name=\"a\">\n</｜DSML｜invoke></｜DSML｜tool_calls>";
    let assistant = Assistant {
        calls: vec![ToolCall { name: "canonical".to_owned(), ..ToolCall::default() }],
        sampled_calls: Some(text::block_from_text(block)),
        ..Assistant::default()
    };
    let messages = vec![Message::user("x"), Message::Assistant(assistant)];
    let options = RenderOptions { mode: ThinkMode::Chat, ..RenderOptions::default() };
    let prompt = render(&Conversation { messages }, &options).unwrap();
    let expected = format!("<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜></think>{block}");
    assert_eq!(prompt.text(), expected + special::EOS);
    assert_eq!(specials(&prompt).iter().filter(|name| *name == special::DSML).count(), 4);
}

#[test]
fn the_tools_block_can_stand_before_the_text() {
    let tools = vec![ToolSpec::new("t", None, None)];
    let instructions = Instructions { text: "Be brief.".to_owned(), tools, response_format: None };
    let conversation = Conversation { messages: vec![Message::System(instructions)] };
    let tools_place = ToolsPlace::BeforeText;
    let options = RenderOptions { tools_place, bos: false, ..RenderOptions::default() };
    let text = render(&conversation, &options).unwrap().text();
    assert!(text.starts_with("## Tools\n\nYou have"), "{text}");
    let schema = r#"{"name": "t", "parameters": {"type": "object", "properties": {}}}"#;
    assert!(text.contains(&format!("\n\n{schema}\n\nYou MUST")), "{text}");
    assert!(text.ends_with("to invoke tool calls.\n\nBe brief."), "{text}");
}

#[test]
fn blocks_of_one_user_message_join_like_messages() {
    let image = || Block::Other("image".to_owned());
    let text = |text: &str| Block::Text(text.to_owned());
    let user = User { blocks: vec![text("a"), image(), text("b")], task: None };
    let one = Conversation { messages: vec![Message::User(user)] };
    let many = [text("a"), image(), text("b")]
        .map(|block| Message::User(User { blocks: vec![block], task: None }));
    let many = Conversation { messages: many.to_vec() };
    let options = RenderOptions { bos: false, mode: ThinkMode::Chat, ..RenderOptions::default() };
    let prompt = render(&one, &options).unwrap();
    assert_eq!(prompt.text(), "<｜User｜>a\n\n[Unsupported image]\n\nb<｜Assistant｜></think>");
    assert_eq!(prompt, render(&many, &options).unwrap());
}

#[test]
fn arguments_that_are_json_but_no_object_are_one_string() {
    for arguments in ["[1]", "5", "\"x\"", "null", ""] {
        let call = ToolCall { arguments: arguments.to_owned(), ..ToolCall::default() };
        let assistant = Assistant { calls: vec![call], ..Assistant::default() };
        let conversation = Conversation { messages: vec![Message::Assistant(assistant)] };
        let text = render(&conversation, &RenderOptions::default()).unwrap().text();
        let parameter =
            format!("<｜DSML｜parameter name=\"arguments\" string=\"true\">{arguments}</｜DSML｜");
        assert!(text.contains(&parameter), "{text}");
    }
}

#[test]
fn what_cannot_be_rendered_is_an_error() {
    let options = RenderOptions { context: 2, ..RenderOptions::default() };
    let error = render(&Conversation { messages: vec![Message::user("x")] }, &options).unwrap_err();
    assert!(error.to_string().starts_with("2 messages are said to be rendered"), "{error}");
    assert!("extreme".parse::<Effort>().unwrap_err().to_string().contains("\"extreme\""));
    assert_eq!("xhigh".parse::<Effort>().unwrap(), Effort::Max);
}

/// Text that loves to be mistaken for markup.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("<｜User｜>"),
        Just("<｜Assistant｜>"),
        Just("<｜begin▁of▁sentence｜>"),
        Just("<｜end▁of▁sentence｜>"),
        Just("｜DSML｜"),
        Just("</｜DSML｜parameter>"),
        Just("<｜DSML｜tool_calls>"),
        Just("<think>"),
        Just("</think>"),
        Just("</tool_result>"),
        Just("\n\n"),
        Just("\""),
        Just("é "),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// A conversation with all roles whose every string is taken from the list.
fn conversation_of(strings: &[String]) -> Conversation {
    let mut strings = strings.iter().cloned().cycle();
    let mut next = || strings.next().expect("a cycle");
    let schema = serde_json::json!({"type": next(), "properties": {"p": {"description": next()}}});
    let tool = ToolSpec::new(next(), Some(next()), Some(schema.clone()));
    let arguments = serde_json::json!({"a": next(), "b": [next()], "c": {"d": next()}});
    let call = ToolCall { id: next(), name: next(), arguments: arguments.to_string() };
    let unreadable = ToolCall { id: next(), name: next(), arguments: format!("no {}", next()) };
    let result = ToolResult {
        call_id: call.id.clone(),
        parts: vec![Part::Text(next()), Part::Other(next()), Part::Text(next())],
    };
    let messages = vec![
        Message::System(Instructions {
            text: next(),
            tools: vec![tool],
            response_format: Some(schema),
        }),
        Message::LatestReminder(next()),
        Message::user(next()),
        Message::Assistant(Assistant {
            reasoning: Some(next()),
            text: next(),
            calls: vec![call, unreadable],
            ..Assistant::default()
        }),
        Message::Tool(result),
        Message::User(User { blocks: vec![Block::Text(next()), Block::Other(next())], task: None }),
        Message::assistant(next()),
        Message::Developer(Instructions { text: next(), ..Instructions::default() }),
    ];
    Conversation { messages }
}

fn specials(prompt: &Prompt) -> Vec<String> {
    let special = |piece: &Piece| match piece {
        Piece::Special(name) => Some(name.to_string()),
        Piece::Text(_) => None,
    };
    prompt.pieces.iter().filter_map(special).collect()
}

proptest! {
    /// The special tokens of a prompt come from the renderer alone: whatever the strings of a
    /// conversation say, the sequence of specials is the same.
    #[test]
    fn specials_do_not_depend_on_anybodys_text(
        strings in prop::collection::vec(hostile(), 1..12),
        thinking in any::<bool>(),
    ) {
        let mode = if thinking { ThinkMode::Thinking } else { ThinkMode::Chat };
        let effort = Some(Effort::Max);
        let options = RenderOptions { mode, effort, ..RenderOptions::default() };
        let plain = render(&conversation_of(&["x".to_owned()]), &options).unwrap();
        let hostile = render(&conversation_of(&strings), &options).unwrap();
        prop_assert_eq!(specials(&plain), specials(&hostile));
        prop_assert!(specials(&plain).len() > 30);
    }

    /// What the renderer writes for a turn is what the parser reads back, calls included, even
    /// if the values spell the markup, as long as special tokens are known.
    #[test]
    fn a_rendered_turn_parses_to_itself(
        reasoning in hostile(), text in "[a-z<]{0,8}", name in "[a-z_]{1,9}",
        values in prop::collection::vec((hostile(), any::<f64>()), 0..3),
    ) {
        let mut arguments = serde_json::Map::new();
        for (place, (value, number)) in values.iter().enumerate() {
            arguments.insert(format!("s{place}"), value.as_str().into());
            arguments.insert(format!("j{place}"), serde_json::json!([value.clone(), number]));
        }
        let arguments = text::json::to_text(&Value::Object(arguments));
        let call = |name: &str| ToolCall {
            id: String::new(), name: name.to_owned(), arguments: arguments.clone(),
        };
        let assistant = Assistant {
            reasoning: Some(reasoning.clone()),
            text: text.clone(),
            calls: vec![call(&name), call("other")],
            ..Assistant::default()
        };
        let messages = vec![Message::user("x"), Message::Assistant(assistant)];
        let prompt = render(&Conversation { messages }, &RenderOptions::default()).unwrap();
        let opening = [special::BOS, special::USER, "x", special::ASSISTANT, special::THINK];
        let reply = parse_pieces(&prompt.pieces[opening.len()..]);
        // A repeated <think> at the very start is passed over, on purpose.
        let expected = reasoning.strip_prefix("<think>").unwrap_or(&reasoning);
        prop_assert_eq!(reply.reasoning.as_str(), expected);
        prop_assert_eq!(reply.text, text);
        prop_assert_eq!(reply.calls.len(), 2);
        prop_assert_eq!(&reply.calls[0].name, &name);
        for call in &reply.calls {
            prop_assert_eq!(&call.arguments, &arguments);
        }
    }
}

fn parse_pieces(pieces: &[Piece]) -> Reply {
    let mut parser = Parser::new(ParserOptions {
        thinking: true,
        tools_offered: true,
        special_tokens: true,
        ..ParserOptions::default()
    });
    let mut reply = Reply::default();
    for piece in pieces {
        reply.extend(match piece {
            Piece::Special(name) => parser.push(Fragment::Special(name)),
            Piece::Text(text) => parser.push(Fragment::Text(text)),
        });
    }
    let events: Vec<Event> = parser.finish(text::End::Stop);
    reply.extend(events);
    reply
}

fn read_case(case: &Value) -> (Conversation, RenderOptions) {
    let list = |key: &str| case[key].as_array().cloned().unwrap_or_default();
    let context = list("context");
    let params = &case["params"];
    let options = RenderOptions {
        mode: match params["thinking_mode"].as_str() {
            Some("chat") => ThinkMode::Chat,
            _ => ThinkMode::Thinking,
        },
        effort: params["reasoning_effort"].as_str().map(|name| name.parse().unwrap()),
        checkpoint: match params["checkpoint"].as_str() {
            Some("0731") => Checkpoint::V0731,
            _ => Checkpoint::Preview,
        },
        drop_thinking: params["drop_thinking"].as_bool().unwrap(),
        bos: params["add_default_bos_token"].as_bool().unwrap(),
        context: context.len(),
        tools_place: ToolsPlace::AfterText,
    };
    let messages = context.iter().chain(&list("messages")).map(read_message).collect();
    (Conversation { messages }, options)
}

fn read_message(message: &Value) -> Message {
    let content = message["content"].as_str().unwrap_or_default().to_owned();
    match message["role"].as_str().unwrap() {
        "system" => Message::System(read_instructions(message, content)),
        "developer" => Message::Developer(read_instructions(message, content)),
        "latest_reminder" => Message::LatestReminder(content),
        "user" => {
            Message::User(User { blocks: vec![Block::Text(content)], task: read_task(message) })
        }
        "tool" => Message::Tool(ToolResult {
            call_id: message["tool_call_id"].as_str().unwrap_or_default().to_owned(),
            parts: match message["content"].as_array() {
                None => vec![Part::Text(content)],
                Some(parts) => parts.iter().map(read_part).collect(),
            },
        }),
        "assistant" => Message::Assistant(Assistant {
            reasoning: message["reasoning_content"].as_str().map(str::to_owned),
            text: content,
            calls: message["tool_calls"].as_array().into_iter().flatten().map(read_call).collect(),
            sampled_calls: None,
            task: read_task(message),
            unfinished: message["wo_eos"].as_bool().unwrap_or(false),
        }),
        role => panic!("unknown role {role}"),
    }
}

fn read_instructions(message: &Value, text: String) -> Instructions {
    let tool = |tool: &Value| {
        let function = tool["function"].as_object().unwrap();
        assert_eq!(function.keys().collect::<Vec<_>>(), ["name", "description", "parameters"]);
        let text = |key: &str| function[key].as_str().unwrap().to_owned();
        let parameters = Some(function["parameters"].clone());
        ToolSpec::new(text("name"), Some(text("description")), parameters)
    };
    let tools = message["tools"].as_array().into_iter().flatten().map(tool).collect();
    Instructions { text, tools, response_format: message.get("response_format").cloned() }
}

fn read_part(part: &Value) -> Part {
    match part["type"].as_str().unwrap() {
        "text" => Part::Text(part["text"].as_str().unwrap().to_owned()),
        kind => Part::Other(kind.to_owned()),
    }
}

fn read_call(call: &Value) -> ToolCall {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let function = &call["function"];
    ToolCall {
        id: text(&call["id"]),
        name: text(&function["name"]),
        arguments: text(&function["arguments"]),
    }
}

fn read_task(message: &Value) -> Option<Task> {
    Some(match message["task"].as_str()? {
        "action" => Task::Action,
        "query" => Task::Query,
        "authority" => Task::Authority,
        "domain" => Task::Domain,
        "title" => Task::Title,
        "read_url" => Task::ReadUrl,
        task => panic!("unknown task {task}"),
    })
}
