//! Lines that begin with a slash: what the person does with the conversation itself.
//!
//! [`LIST`] is the one list of them, for help and completion. Those that only show or switch
//! something are executed at once, also while a turn runs; the others wait for its end. Answers are
//! Markdown; what goes wrong is an answer too. Exporting is in `export.rs`.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use spec::TokenId;

use crate::clock;
use crate::event::{Cost, Event, Past, TurnEnd};
use crate::export::{markdown, shown};
use crate::format::Thinking;
use crate::sessions::Listed;
use crate::steering::steer;
use crate::talk::{Record, Talk};
use crate::turn::{Loop, no_room_to_think, room_for};
use When::{Later, Now, NowAlone};

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name, without the slash.
    pub name: &'static str,
    /// What follows the name.
    pub arguments: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    when: When,
    run: fn(&mut Loop, &str) -> Answer,
}

/// When a command is executed that comes while a turn runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At once.
    Now,
    /// At once if nothing follows its name: then it only shows.
    NowAlone,
    /// When the turn has ended.
    Later,
}

/// An answer for people, if there is one; or what is wrong.
pub(crate) type Answer = Result<Option<String>, String>;

/// Turns that `/history` shows if nothing is said, and at most.
const HISTORY_TURNS: usize = 3;
const HISTORY_TURNS_MAX: usize = 200;

/// Bytes of a file that `/read` takes as a prompt.
const PROMPT_BYTES_MAX: u64 = 1 << 20;

/// Conversations that `/list` shows.
const LISTED_MAX: usize = 50;

const fn command(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    when: When,
    run: fn(&mut Loop, &str) -> Answer,
) -> Command {
    Command { name, arguments, help, when, run }
}

/// All commands, in the order in which help shows them.
pub const LIST: [Command; 27] = [
    command("help", "", "show this list", Now, |_, _| Ok(Some(help()))),
    command("new", "", "begin another conversation", Later, new),
    command("list", "[all]", "list conversations of this project, or of all", Now, list),
    command("switch", "ID", "go on with another conversation", Later, switch),
    command("resume", "[ID]", "go on with the last one, or with this one", Later, resume),
    command("fork", "", "go on in a copy, and leave this one as it is", Later, fork),
    command("save", "[NAME]", "give the conversation a name", Later, save),
    command("history", "[N]", "show the last N turns again", Now, history),
    command("undo", "[force]", "take the last turn back, and its changes to files", Later, undo),
    command("compact", "", "sum the conversation up now, to make room", Later, compact),
    command("export", "FILE", "write the conversation as Markdown", Later, export),
    command(
        "strip",
        "[ID]",
        "forget what the model computed for a conversation, keep its words",
        Later,
        strip,
    ),
    command("del", "ID", "remove a conversation and what was computed for it", Later, delete),
    command("read", "FILE", "ask what this file holds", Later, read),
    command(
        "system",
        "[TEXT]",
        "show the instructions, or add to those of new ones",
        Later,
        system,
    ),
    command("think", "", "reason before answering", Now, |a, _| think(a, Thinking::On)),
    command("nothink", "", "answer at once", Now, |a, _| think(a, Thinking::Off)),
    command(
        "think-max",
        "",
        "reason as hard as possible; mid-way: in new conversations",
        Now,
        |a, _| think(a, Thinking::Max),
    ),
    command("mode", "[MODE]", "what may be done without asking: ask, auto-edit, full", Now, mode),
    command(
        "ctx",
        "[N]",
        "show how much of the context is used, or make room for N tokens",
        NowAlone,
        context,
    ),
    command("steer", "[F [A]]", "show or change the scales of --steer", Now, steer),
    command("stats", "", "show figures since the start", Now, stats),
    command("quit", "", "end", Now, quit),
    command("exit", "", "end", Now, quit),
    command("status", "", "show how things stand", Now, |a, _| context(a, "")),
    command("rename", "NAME", "the same as /save", Later, save),
    command("clear", "", "the same as /new", Later, new),
];

/// Whether a line is a command that does not wait for the end of a turn.
pub(crate) fn is_instant(line: &str) -> bool {
    parse(line).is_some_and(|(command, rest)| match command.when {
        Now => true,
        NowAlone => rest.is_empty(),
        Later => false,
    })
}

/// Executes a command and tells what came of it.
pub(crate) fn run(agent: &mut Loop, line: &str) {
    let answer = match parse(line) {
        Some((command, arguments)) => (command.run)(agent, arguments),
        None => {
            let name: String = line.trim().chars().take(40).collect();
            Err(format!("there is no command {name}; /help lists them"))
        }
    };
    match answer {
        Ok(answer) => {
            if let Some(text) = answer {
                agent.desk.tell(Event::Answer(text));
            }
        }
        Err(problem) => agent.notice(problem),
    }
    agent.tell_status();
}

fn parse(line: &str) -> Option<(&'static Command, &str)> {
    let line = line.trim().strip_prefix('/')?;
    let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let command = LIST.iter().find(|command| command.name == name)?;
    Some((command, arguments.trim()))
}

/// The list of commands.
pub fn help() -> String {
    let mut text = String::new();
    for Command { name, arguments, help, .. } in &LIST {
        let space = if arguments.is_empty() { "" } else { " " };
        text += &format!("- `/{name}{space}{arguments}`: {help}\n");
    }
    text
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn needed<'a>(what: &str, arguments: &'a str) -> Result<&'a str, String> {
    if arguments.is_empty() { Err(format!("which {what}? /help shows how")) } else { Ok(arguments) }
}

fn new(agent: &mut Loop, _: &str) -> Answer {
    agent.begin().map_err(sentence)?;
    agent.tell_opened();
    Ok(None)
}

fn list(agent: &mut Loop, arguments: &str) -> Answer {
    let all = arguments == "all";
    let listed = agent.kept.list(all).map_err(sentence)?;
    if listed.is_empty() {
        return Ok(Some("There are no conversations yet.".to_owned()));
    }
    let mut text =
        "| | id | title | age | tokens | size | branch |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    let now = clock::now();
    for Listed { id, title, used, tokens, bytes, branch, .. } in listed.iter().take(LISTED_MAX) {
        let here = if agent.kept.id() == Some(id.as_str()) { "\u{25cf}" } else { "" };
        let age = clock::age(now.saturating_sub(*used));
        let (title, branch) = (cell(title), cell(branch.as_deref().unwrap_or("")));
        let size = format!("{} KB", bytes.div_ceil(1000));
        text += &format!("| {here} | {id} | {title} | {age} | {tokens} | {size} | {branch} |\n");
    }
    if listed.len() > LISTED_MAX {
        text += &format!("\nand {} more", listed.len() - LISTED_MAX);
    }
    Ok(Some(text))
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.chars().map(|c| if c == '|' || c.is_control() { ' ' } else { c }).collect()
}

fn switch(agent: &mut Loop, arguments: &str) -> Answer {
    let id = agent.kept.find(needed("conversation", arguments)?).map_err(sentence)?;
    if agent.kept.id() == Some(id.as_str()) {
        return Err("this is that conversation".to_owned());
    }
    agent.switch(&id).map_err(sentence)?;
    Ok(None)
}

fn resume(agent: &mut Loop, arguments: &str) -> Answer {
    if !arguments.is_empty() {
        return switch(agent, arguments);
    }
    let listed = agent.kept.list(false).map_err(sentence)?;
    let own = agent.kept.id();
    let last = listed.into_iter().map(|listed| listed.id).find(|id| Some(id.as_str()) != own);
    let id = last.ok_or("there is no other conversation of this project")?;
    switch(agent, &id)
}

fn fork(agent: &mut Loop, _: &str) -> Answer {
    if agent.talk.is_fresh() {
        return Err("there is nothing to copy yet".to_owned());
    }
    let title = format!("{} (fork)", agent.talk.title());
    let id = agent.kept.fork(&agent.talk).map_err(sentence)?;
    agent.note(Record::Title(title));
    note_turn(agent);
    Ok(Some(format!("This is {id} from now on; the other one stays as it is.")))
}

/// Lists show what is noted at the ends of turns.
fn note_turn(agent: &mut Loop) {
    let branch = crate::instructions::branch(&agent.settings.tree);
    let (at, tokens) = (clock::now(), agent.talk.tokens().len());
    let title = agent.talk.title().to_owned();
    agent.note(Record::Turn { at, tokens, title, branch });
    if let Some(problem) = agent.kept.sync() {
        agent.notice(problem);
    }
}

fn save(agent: &mut Loop, arguments: &str) -> Answer {
    if agent.talk.is_fresh() {
        return Err("there is nothing to keep yet".to_owned());
    }
    if !arguments.is_empty() {
        let title = arguments.chars().filter(|c| !c.is_control()).take(200).collect();
        agent.note(Record::Title(title));
    }
    note_turn(agent);
    match agent.kept.id() {
        Some(id) => Ok(Some(format!("Kept as {id}: {}", agent.talk.title()))),
        None => Err("conversations are not kept here: no folder was given for them".to_owned()),
    }
}

fn history(agent: &mut Loop, arguments: &str) -> Answer {
    let wrong = || format!("/history {arguments}: expected a number of turns");
    let turns = match arguments {
        "" => HISTORY_TURNS,
        number => number.parse::<usize>().map_err(|_| wrong())?.min(HISTORY_TURNS_MAX),
    };
    let past = agent.talk.past();
    let prompts = past.iter().enumerate().rev().filter(|(_, past)| is_prompt(past));
    let from = prompts.map(|(at, _)| at).take(turns).last();
    let text: String = past[from.unwrap_or(past.len())..].iter().map(shown).collect();
    Ok(Some(if text.is_empty() { "Nothing was said yet.".to_owned() } else { text }))
}

fn is_prompt(past: &Past) -> bool {
    matches!(past, Past::Prompt(_))
}

fn undo(agent: &mut Loop, arguments: &str) -> Answer {
    if !agent.talk.can_undo() {
        return Err(match agent.talk.is_fresh() {
            true => "there is no turn to take back".to_owned(),
            false => "the turns before this are summed up and cannot be taken back".to_owned(),
        });
    }
    // Files first: if they cannot be put back, the conversation says what is in them.
    let turn = agent.talk.last_turn().unwrap_or("").to_owned();
    let files = match &mut agent.settings.keeper {
        Some(keeper) => keeper.undo_turn(&turn, arguments == "force")?,
        None => Vec::new(),
    };
    agent.note(Record::Undone);
    note_turn(agent);
    agent.tell_opened();
    let lines: String = files.iter().map(|line| format!("- {line}\n")).collect();
    Ok(Some(format!("The last turn is taken back.\n\n{lines}")))
}

fn compact(agent: &mut Loop, _: &str) -> Answer {
    if agent.talk.tokens().len() == agent.talk.shared() {
        return Err("there is nothing to sum up yet".to_owned());
    }
    agent.stop = false;
    let mut cost = Cost::default();
    let done = agent.compact(&mut cost);
    agent.stop = false;
    note_turn(agent);
    match done {
        Ok(()) => Ok(None),
        Err(TurnEnd::Failed(why)) => Err(format!("not summed up: {why}")),
        Err(TurnEnd::Stopped) => Err("not summed up: it was stopped".to_owned()),
        Err(_) => Err("not summed up: the context has no room for it; /new begins anew".to_owned()),
    }
}

fn export(agent: &mut Loop, arguments: &str) -> Answer {
    let path = path_in(&agent.settings.tree, needed("file", arguments)?);
    let name = path.display();
    let text = markdown(agent.talk.title(), agent.talk.past());
    let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => format!("{name}: is there already; name another file"),
        _ => format!("{name}: could not write it: {error}"),
    })?;
    Ok(Some(format!("Written to {name}")))
}

fn strip(agent: &mut Loop, arguments: &str) -> Answer {
    let own = agent.kept.id().map(str::to_owned);
    let id = match arguments {
        "" => own,
        id => Some(agent.kept.find(id).map_err(sentence)?),
    };
    let checkpoints = match &id {
        Some(id) => forget(agent, id)?,
        None if agent.talk.is_fresh() => return Err("nothing is computed for it yet".to_owned()),
        None => {
            let (tokens, shared) = (agent.talk.tokens().to_vec(), agent.talk.shared());
            forget_tokens(agent, &tokens, shared)?
        }
    };
    Ok(Some(format!(
        "What the model computed for this conversation is gone: {checkpoints} checkpoints on disk, \
         and what was in memory. Its words stay. The next prompt in it reads them again, as far as \
         they are not instructions; so do copies of it (/fork). /del ID removes the words too."
    )))
}

fn delete(agent: &mut Loop, arguments: &str) -> Answer {
    let id = agent.kept.find(needed("conversation", arguments)?).map_err(sentence)?;
    if agent.kept.id() == Some(id.as_str()) {
        return Err("this is that conversation: /new first".to_owned());
    }
    let forgotten = forget(agent, &id);
    agent.kept.remove(&id).map_err(sentence)?;
    Ok(Some(match forgotten {
        Ok(checkpoints) => format!("{id} is removed, with {checkpoints} checkpoints on disk."),
        Err(problem) => format!(
            "{id} is removed. What the model computed for it may be left: {problem}; it goes when \
             room is needed."
        ),
    }))
}

/// Forgets the states of all that a conversation ever was, but for the instructions that it shares
/// with others. How many of them were on disk.
fn forget(agent: &mut Loop, id: &str) -> Result<usize, String> {
    let mut lives = Vec::new();
    let see = |talk: &Talk| lives.push((talk.tokens().to_vec(), talk.shared()));
    agent.kept.lives(id, see).map_err(sentence)?;
    // The longest first, so that none is counted twice.
    lives.sort_by_key(|(tokens, _)| std::cmp::Reverse(tokens.len()));
    lives.dedup();
    let each = lives.iter().map(|(tokens, shared)| forget_tokens(agent, tokens, *shared));
    each.sum()
}

fn forget_tokens(agent: &mut Loop, tokens: &[TokenId], shared: usize) -> Result<usize, String> {
    agent.end_reading();
    agent.model.forget(tokens, shared).map_err(sentence)
}

fn read(agent: &mut Loop, arguments: &str) -> Answer {
    let path = path_in(&agent.settings.tree, needed("file", arguments)?);
    let name = path.display();
    let failed = |error| format!("{name}: could not read it: {error}");
    let mut bytes = Vec::new();
    // A pipe or a terminal would be waited for.
    if !std::fs::metadata(&path).map_err(failed)?.is_file() {
        return Err(format!("{name}: expected a file"));
    }
    let file = File::open(&path).map_err(failed)?;
    file.take(PROMPT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PROMPT_BYTES_MAX {
        return Err(format!("{name}: more than {PROMPT_BYTES_MAX} bytes, too long for a prompt"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8 text"))?;
    match text.trim() {
        "" => Err(format!("{name}: empty, expected a prompt")),
        prompt => {
            agent.ask_next(prompt.to_owned());
            Ok(None)
        }
    }
}

fn system(agent: &mut Loop, arguments: &str) -> Answer {
    if arguments.is_empty() {
        return Ok(Some(agent.settings.system.clone()));
    }
    agent.settings.system = format!("{}\n\n{arguments}", agent.settings.system);
    if agent.talk.is_fresh() {
        agent.begin().map_err(sentence)?;
        return Ok(Some("Added to the instructions.".to_owned()));
    }
    let added = "Added to the instructions of conversations that begin from now on, until the \
                 program ends. This one keeps those that it began with; `/new` begins another.";
    Ok(Some(added.to_owned()))
}

fn think(agent: &mut Loop, thinking: Thinking) -> Answer {
    if !agent.set_thinking(thinking) {
        return Err(no_room_to_think(agent.context));
    }
    // Conversations that begin later begin so.
    agent.settings.thinking = thinking;
    let begins_hard = agent.format.begins_hard(agent.talk.tokens());
    if begins_hard == (thinking == Thinking::Max) {
        return Ok(None);
    }
    if agent.talk.is_fresh() {
        agent.begin().map_err(sentence)?;
        return Ok(None);
    }
    // How hard the model reasons stands before everything that was said.
    agent.thinking = match thinking {
        Thinking::Off => Thinking::Off,
        _ if begins_hard => Thinking::Max,
        _ => Thinking::On,
    };
    Ok(match thinking {
        Thinking::Off => None,
        Thinking::On => Some(BEGAN_HARD.to_owned()),
        Thinking::Max => Some(BEGAN_USUAL.to_owned()),
    })
}

const BEGAN_HARD: &str = "The model reasons from now on, and in this conversation as hard as \
    possible: that is told where a conversation begins, before everything that was said. `/new` \
    begins one in which it reasons as usual.";

const BEGAN_USUAL: &str = "The model reasons from now on, in this conversation as usual: to reason \
    as hard as possible is told where a conversation begins, before everything that was said. \
    `/new` begins one in which it does.";

fn mode(agent: &mut Loop, arguments: &str) -> Answer {
    if arguments.is_empty() {
        let (mode, protection) = (agent.settings.gate.mode(), agent.settings.gate.protection());
        return Ok(Some(format!("Mode: {mode}. Commands are kept in by: {protection}.")));
    }
    agent.settings.gate.set_mode(arguments)?;
    Ok(None)
}

fn context(agent: &mut Loop, arguments: &str) -> Answer {
    if !arguments.is_empty() {
        return set_context(agent, arguments);
    }
    let (tokens, context) = (agent.talk.tokens().len(), agent.context);
    let (shared, turns) = (agent.talk.shared(), agent.talk.turns());
    let kept = agent.kept.id().unwrap_or("not kept yet");
    Ok(Some(format!(
        "{tokens} of {context} tokens ({} %), {shared} of them instructions and tools; {turns} \
         turns; kept as: {kept}. `/ctx N` makes room for N tokens.",
        tokens * 100 / context.max(1)
    )))
}

/// Makes the context larger or smaller; what the model has read stays read.
fn set_context(agent: &mut Loop, arguments: &str) -> Answer {
    let wrong = || format!("/ctx {arguments}: expected a number of tokens");
    let wanted = arguments.parse::<usize>().map_err(|_| wrong())?;
    let (held, needed) = (agent.talk.tokens().len(), room_for(agent.talk.shared()));
    if wanted <= held {
        return Err(format!("this conversation has {held} tokens: /compact first, or /new"));
    }
    if wanted < needed {
        return Err(format!("instructions and tools need a context of {needed} tokens"));
    }
    agent.end_reading();
    agent.context = agent.model.set_context(wanted).map_err(sentence)?;
    agent.settings.gate.set_context(agent.context);
    let thinking = agent.thinking;
    if !agent.set_thinking(thinking) {
        agent.notice(no_room_to_think(agent.context));
    }
    Ok(Some(format!("There is room for {} tokens from now on; nothing was lost.", agent.context)))
}

fn stats(agent: &mut Loop, _: &str) -> Answer {
    let Cost { read, cached, prefill, written, decode, calls } = agent.total;
    let rate = |tokens: usize, time: std::time::Duration| {
        format!("{tokens} tokens, {:.1} t/s", tokens as f64 / time.as_secs_f64().max(1e-9))
    };
    let (read, written) = (rate(read, prefill), rate(written, decode));
    let compactions = agent.compactions;
    Ok(Some(format!(
        "- read: {read}; {cached} more needed no work\n- written: {written}\n- calls: {calls}\n\
         - summed up: {compactions} times\n"
    )))
}

fn quit(agent: &mut Loop, _: &str) -> Answer {
    agent.quit();
    Ok(None)
}

fn path_in(tree: &Path, name: &str) -> PathBuf {
    tree.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parsed_with_what_follows() {
        for (at, command) in LIST.iter().enumerate() {
            assert!(LIST[at + 1..].iter().all(|other| other.name != command.name));
            assert!(help().contains(&format!("`/{}", command.name)));
        }
        let parsed = |line| parse(line).map(|(command, rest)| (command.name, rest));
        assert_eq!(parsed("  /switch  ab12 "), Some(("switch", "ab12")));
        assert_eq!(parsed("/think-max"), Some(("think-max", "")));
        for line in ["", "/", "switch a", "/nothing", "//new"] {
            assert_eq!(parsed(line), None, "{line:?}");
        }
    }

    #[test]
    fn what_changes_something_waits_for_the_end_of_the_turn() {
        for (line, instant) in
            [("/ctx", true), ("/ctx 5000", false), ("/mode full", true), ("/undo", false)]
        {
            assert_eq!(is_instant(line), instant, "{line}");
        }
    }
}
