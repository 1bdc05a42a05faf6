//! Servers over stdio, played by a script: tools, results, limits, and servers that break.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::mcp::{Config, Started, start};
use agent::permit::{Decision, Mode, Rules};
use agent::tools::{Need, Outcome, Stop};
use serde_json::{Value, json};

use crate::site::{Site, map};

/// A server: answers one line with one line. What it does beside that is its first argument.
const SERVER: &str = r#"
import json, os, sys, time
how = sys.argv[1]
def say(id, **rest):
    print(json.dumps({"jsonrpc": "2.0", "id": id, **rest}), flush=True)
def tool(name, **properties):
    return {"name": name, "description": "does \x1b[31mthings", "inputSchema": {
        "type": "object", "properties": properties}}
if how == "dead":
    print("cannot find \x1b[31mmy files", file=sys.stderr, flush=True)
    sys.exit(3)
for line in sys.stdin:
    message = json.loads(line)
    id, method = message.get("id"), message["method"]
    if method == "initialize":
        say(id, result={"protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "test", "version": "1"}})
    elif method == "tools/list":
        names = ["echo", "fail", "die", "hang", "flood", "refuse", "image"]
        if how == "odd":
            names = ["echo", "read it", "n" * 100, "evil\x1b[2J", ""]
        if how == "endless":
            say(id, result={"tools": [tool("t%s" % time.time_ns())], "nextCursor": "more"})
            continue
        say(id, result={"tools": [tool(name, text={"type": "string"}) for name in names]})
    elif method == "tools/call":
        name, given = message["params"]["name"], message["params"].get("arguments")
        text = lambda text, **rest: say(id, result={
            "content": [{"type": "text", "text": text}], **rest})
        if name == "echo":
            text(json.dumps([given, os.environ.get("KEY"), os.getcwd()]))
        elif name == "fail":
            text("it did not \x1b]0;owned\x07work", isError=True)
        elif name == "die":
            print("out of \x1b[5mluck", file=sys.stderr, flush=True)
            os._exit(1)
        elif name == "hang":
            open("hanging", "w").write(str(os.getpid()))
            time.sleep(300)
        elif name == "flood":
            text("flood " * 200000)
        elif name == "refuse":
            say(id, error={"code": -32000, "message": "not \x1b[2Jtoday"})
        elif name == "image":
            say(id, result={"content": [
                {"type": "image", "data": "AAAA", "mimeType": "image/png"},
                {"type": "text", "text": "below"}]})
"#;

fn begin(site: &Site, servers: &[(&str, &str)], taken: &[&str]) -> Started {
    let script = site.beside("server.py");
    fs::write(&script, SERVER).unwrap();
    let mut listed = serde_json::Map::new();
    for (name, how) in servers {
        let server = json!({
            "type": "stdio",
            "command": "python3",
            "args": [script.display().to_string(), how],
            "env": {"KEY": "value"},
        });
        listed.insert((*name).to_owned(), server);
    }
    let config = Config::parse(&json!({"mcpServers": listed}).to_string()).unwrap();
    let taken: Vec<String> = taken.iter().map(|name| (*name).to_owned()).collect();
    start(&config, &site.place, &taken).unwrap()
}

fn call(started: &Started, tool: &str, arguments: Value, stop: &Stop) -> Outcome {
    let mut tools = started.tools.iter();
    let tool = tools.find(|known| known.spec().name == tool).expect("a tool of this name");
    let plan = tool.plan(&map(arguments.clone())).unwrap();
    tool.run(&map(arguments), &plan, &mut |_| {}, stop)
}

fn names(started: &Started) -> Vec<String> {
    started.tools.iter().map(|tool| tool.spec().name).collect()
}

#[test]
fn tools_of_servers_are_tools() {
    let site = Site::new();
    let started = begin(&site, &[("one", "well"), ("two", "well")], &[]);
    assert!(started.notices.is_empty(), "{:?}", started.notices);
    assert_eq!(started.tools.len(), 14);
    let spec = started.tools[0].spec();
    assert_eq!(spec.name, "one__echo");
    assert_eq!(spec.parameters["properties"]["text"]["type"], "string");
    assert_eq!(spec.description.as_deref(), Some("does ␛[31mthings"));
    let plan = started.tools[0].plan(&map(json!({"text": "x"}))).unwrap();
    assert_eq!(plan.needs, [Need::Ask("one".to_owned(), "echo".to_owned())]);
    let decision = site.place.decide(Mode::AutoEdit, &Rules::default(), &plan);
    assert!(matches!(decision, Decision::Ask { .. }), "{decision:?}");

    let stop = Stop::default();
    let echo = call(&started, "two__echo", json!({"text": "hi"}), &stop);
    let tree = site.tree().display();
    assert_eq!(echo.text, format!(r#"[{{"text": "hi"}}, "value", "{tree}"]"#));
    let image = call(&started, "one__image", json!({}), &stop);
    assert_eq!(image.text, "[an image: image/png]\nbelow");
    let flood = call(&started, "one__flood", json!({}), &stop);
    assert!(flood.text.len() < site.place.limits().result_bytes + 500);
    assert!(flood.text.contains("1200000 bytes in all; all of it is in"), "{}", flood.text);
}

#[test]
fn what_goes_wrong_is_an_outcome() {
    let site = Site::new();
    let started = begin(&site, &[("s", "well")], &[]);
    let stop = Stop::default();
    let fail = call(&started, "s__fail", json!({}), &stop);
    assert!(fail.failed, "{fail:?}");
    let refuse = call(&started, "s__refuse", json!({}), &stop);
    let expected = "s: the server refuses: not ␛[2Jtoday";
    assert_eq!((refuse.failed, refuse.text.as_str()), (true, expected));
    let die = call(&started, "s__die", json!({}), &stop);
    assert!(die.failed && die.text.contains("it said last: out of luck"), "{}", die.text);
    let again = call(&started, "s__echo", json!({}), &stop);
    let expected = "s: the server has ended; it said last: out of luck";
    assert_eq!((again.failed, again.text.as_str()), (true, expected));
    for outcome in [fail, die, again] {
        let agent::event::Shown::Text(shown) = outcome.shown else { panic!("no text") };
        assert!(shown.chars().all(agent::harmless::is_harmless), "{shown:?}");
    }
}

#[test]
fn a_call_that_hangs_can_be_stopped_and_the_server_goes_with_its_tools() {
    let site = Site::new();
    let started = begin(&site, &[("s", "well")], &[]);
    let hanging = site.tree().join("hanging");
    let stop = Stop::default();
    let (stopper, file) = (stop.clone(), hanging.clone());
    let thread = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(20);
        while !file.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        stopper.stop();
    });
    let hang = call(&started, "s__hang", json!({}), &stop);
    thread.join().unwrap();
    assert_eq!((hang.failed, hang.text.as_str()), (true, "s: stopped"));
    let pid = fs::read_to_string(&hanging).unwrap();
    drop(started);
    let until = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < until, "the server {pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn servers_that_do_not_start_are_told_and_the_rest_works() {
    let site = Site::new();
    let servers = [("dead", "dead"), ("endless", "endless"), ("odd", "odd"), ("ok", "well")];
    let mut started = begin(&site, &servers, &["ok__die"]);
    let all = names(&started);
    assert!(all.contains(&"ok__echo".to_owned()) && all.contains(&"odd__echo".to_owned()));
    assert!(!all.iter().any(|name| name == "ok__die"), "that name is another's: {all:?}");
    let endless = all.iter().filter(|name| name.starts_with("endless__")).count();
    assert!((1..=32).contains(&endless), "{endless}");
    assert_eq!(all.iter().filter(|name| name.starts_with("odd__")).count(), 1, "{all:?}");
    let notices = std::mem::take(&mut started.notices).join("\n");
    for expected in [
        "the MCP server dead cannot be used",
        "it said last: cannot find my files",
        "the MCP server ok has a tool ok__die, but there is one of this name already",
        "a tool of the MCP server odd is left out: odd__read it",
        "odd__evil␛[2J",
    ] {
        assert!(notices.contains(expected), "{expected}: {notices}");
    }
    let nothing = Config::parse(r#"{"mcpServers": {"x": {"command": "no-such-program-here"}}}"#);
    let started = start(&nothing.unwrap(), &site.place, &[]).unwrap();
    assert!(started.notices[0].contains("no-such-program-here"), "{:?}", started.notices);
}

#[test]
fn configurations_are_read_with_care() {
    for (text, expected) in [
        ("{", "EOF"),
        ("{}", "missing field `mcpServers`"),
        (r#"{"mcpServers": {"a b": {"command": "x"}}}"#, "cannot be a server's name"),
        (r#"{"mcpServers": {"a__b": {"command": "x"}}}"#, "cannot be a server's name"),
        (r#"{"mcpServers": {"web": {"url": "https://example.org"}}}"#, "web has no command"),
    ] {
        let error = Config::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let site = Site::new();
    let error = Config::open(&site.beside("none.json")).unwrap_err().to_string();
    assert!(error.contains("none.json"), "{error}");
    assert_eq!(Config::parse(r#"{"mcpServers": {}}"#).unwrap(), Config::default());
    assert!(start(&Config::default(), &Arc::clone(&site.place), &[]).unwrap().tools.is_empty());
}
