"""Looking things up and copying them: practice for reading schemas that are far away.

`about_tools` asks about the tools of a prompt, `table` about a list of entries. Answers are short and
exact, so that a row holds many of them.
"""

import others
from asking import ROLES, spelled
from toolset import Naming, description_of, made_up, styled

WHAT = {
    "list": "list a directory|see what a folder contains|get the files of a folder",
    "read": "read a file|see the text of a file|open a file",
    "write": "write a file|create a file with text|save text in a new file",
    "append": "append to a file|add a line at the end of a file",
    "replace": "replace text in a file|change a word in a file|edit a file",
    "run": "run a command|execute something in the shell|use the terminal",
    "search": "search for text|find a word in files|grep in a folder",
    "mkdir": "make a directory|create a folder",
}
BY_USE = [
    "which tool [do I use to|can|should I take to|is there to] {}?",
    "what is the name of the tool to {}?",
    "name the tool to {}",
    "tool to {}?",
    "I want to {}. Which tool?",
]
BY_NAME = ["what does {} do?", "describe {}", "what is {} for?", "explain the tool {}"]
PARAMETERS_OF = [
    "[which|what] parameters does {} [have|take|need]?",
    "parameters of {}?",
    "arguments of {}?",
    "how is {} called?",
]
INTROS = ["", "Entries:", "Known values:", "Here is the table.", "Look these up when asked.", "# Codes"]
LINES = [
    "{}: {}",
    "{} = {}",
    "{} -> {}",
    "- {}: {}",
    '"{}": "{}",',
    "| {} | {} |",
    "The code of {} is {}.",
]
FORWARD = ["{}?", "what is {}?", "value of {}?", "look up {}", "{}", "tell me the entry of {}", "get {}"]
BACKWARD = ["which entry is {}?", "what has the value {}?", "where is {}?"]


def about_tools(rng, toolset):
    """(question, answer) about the tools of a set."""
    kind = rng.random()
    if kind < 0.5 and toolset.calls:
        intent = rng.choice(list(toolset.calls))
        use = rng.choice(WHAT[intent].split("|"))
        return spelled(rng, rng.choice(BY_USE)).format(use), toolset.calls[intent][0]
    schema = rng.choice(toolset.schemas)
    name = schema["name"]
    if kind < 0.85:
        named = ", ".join(schema["parameters"]["properties"]) or "none"
        return spelled(rng, rng.choice(PARAMETERS_OF)).format(name), named
    return rng.choice(BY_NAME).format(name), schema["description"].split("\n")[0][:80]


TOOL_LINES = [
    '{{"name": "{0}", "description": "{1}"}}',
    "- {0}: {1}",
    "{0} = {1}",
    "{0}: {1}",
    "`{0}` {1}",
    "{1} -> {0}",
    "## {0}\n{1}\n",
]
ONLY_NAME = [
    "Answer with the name of the tool only.",
    "Name the tool for every request.",
    "Which tool fits? Say its name and nothing else.",
    "For each message, give the tool.",
]


def tool_list(rng, words, split):
    """(text, name by intent, [(other function, name)]) of a short list of tools."""
    naming = Naming(rng, words, split)
    few = rng.random() < 0.4
    intents = rng.sample(list(ROLES), rng.randint(1, 3 if few else 7))
    functions = rng.sample(others.OTHERS, rng.randint(1, 2 if few else 6))
    named = {intent: naming.intent(intent) for intent in intents}
    also = [(function, naming.other(function)) for function in functions]
    listed = [(name, description_of(rng, intent)) for intent, name in named.items()]
    listed += [(name, rng.choice(function.descriptions)) for function, name in also]
    rng.shuffle(listed)
    line = rng.choice(TOOL_LINES)
    intro = rng.choice(["", "Tools:\n", "## Tools\n\n", "You have these tools.\n\n"])
    return intro + "\n".join(line.format(*pair) for pair in listed), named, also


def item(rng, words):
    """A key or a value of a table."""
    kind = rng.random()
    word = lambda: words.word().lower()
    if kind < 0.3:
        return styled(rng, [word() for _ in range(rng.choice([1, 2, 2, 3]))])
    if kind < 0.5:
        return made_up(rng)
    if kind < 0.6:
        return str(rng.randint(0, 10 ** rng.randint(1, 6)))
    if kind < 0.75:
        return words.file()
    return " ".join(word() for _ in range(rng.randint(1, 3)))


def table(rng, words, count):
    """(text with entries, endless (question, answer) about them)."""
    entries = {}
    while len(entries) < count:
        entries[item(rng, words)] = item(rng, words)
    line, intro = rng.choice(LINES), rng.choice(INTROS)
    text = (intro + "\n\n" if intro else "") + "\n".join(line.format(*e) for e in entries.items())
    return text, questions(rng, entries)


def questions(rng, entries):
    names = list(entries)
    ask, back = rng.choice(FORWARD), rng.choice(BACKWARD)
    whole = rng.random() < 0.2
    while True:
        name = rng.choice(names)
        if rng.random() < 0.25 and list(entries.values()).count(entries[name]) == 1:
            yield back.format(entries[name]), name
        elif whole:
            yield ask.format(name), f"{name}: {entries[name]}"
        else:
            yield ask.format(name), entries[name]
