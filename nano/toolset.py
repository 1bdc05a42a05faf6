"""Tool sets: the schemas that a client shows, and how each request is called with them.

Most names are composed at random, so that they can only be copied from the schema. `unseen`
splits names: training never draws one for which it is true, the evaluation draws only such.
"""

import json
import re
import string
import zlib

import others
from asking import ROLES, spelled

NAMES = {
    "list": [
        "list_directory",
        "list_dir",
        "ls",
        "list_files",
        "listFiles",
        "ListDir",
        "LS",
        "readdir",
        "browse_folder",
        "get_directory_contents",
        "dir_list",
        "fs_list",
        "ListFolder",
        "directory_tree",
        "show_folder",
        "enumerate_files",
        "files_list",
        "scan_dir",
    ],
    "read": [
        "read_file",
        "read",
        "Read",
        "readFile",
        "cat",
        "view_file",
        "open_file",
        "get_file",
        "ReadFile",
        "file_read",
        "fs_read",
        "load_file",
        "show_file",
        "view",
        "get_file_contents",
        "read_text_file",
        "fetch_file",
        "FileReader",
    ],
    "write": [
        "write_file",
        "write",
        "Write",
        "writeFile",
        "create_file",
        "save_file",
        "WriteFile",
        "file_write",
        "fs_write",
        "put_file",
        "CreateFile",
        "store_file",
        "write_to_file",
        "new_file",
        "save_text",
        "make_file",
        "output_file",
    ],
    "append": [
        "append_file",
        "append",
        "appendFile",
        "append_to_file",
        "add_line",
        "file_append",
        "AppendText",
        "fs_append",
        "add_to_file",
        "extend_file",
    ],
    "replace": [
        "edit_file",
        "edit",
        "Edit",
        "str_replace",
        "replace_in_file",
        "replace_text",
        "editFile",
        "EditFile",
        "search_replace",
        "modify_file",
        "substitute",
        "update_file",
        "file_edit",
        "apply_edit",
        "fs_replace",
        "StrReplace",
    ],
    "run": [
        "bash",
        "Bash",
        "run_command",
        "shell",
        "exec",
        "execute_command",
        "exec_command",
        "run_shell_command",
        "terminal",
        "RunCommand",
        "sh",
        "run_terminal_cmd",
        "execute",
        "command_line",
        "Shell",
        "run_bash",
        "console",
    ],
    "search": [
        "grep",
        "Grep",
        "search_files",
        "search",
        "search_text",
        "find_in_files",
        "ripgrep",
        "searchFiles",
        "grep_search",
        "code_search",
        "SearchText",
        "find_text",
        "rg",
        "fs_search",
        "search_file_content",
    ],
    "mkdir": [
        "create_directory",
        "mkdir",
        "make_directory",
        "makeDir",
        "create_folder",
        "MakeDir",
        "new_folder",
        "fs_mkdir",
        "CreateDirectory",
        "add_folder",
        "make_dir",
    ],
}
HELD_NAMES = {
    "list": ["folder_contents", "listDirectory", "view_dir"],
    "read": ["slurp", "readTextFile", "peek_file"],
    "write": ["writeText", "file_create", "persist_file"],
    "append": ["appendText", "append_line"],
    "replace": ["swap_text", "editText", "patch_text"],
    "run": ["run_cmd", "invoke_shell", "execShell"],
    "search": ["lookup_text", "grepFiles", "text_search"],
    "mkdir": ["makeFolder", "folder_create"],
}
VERBS = {
    "list": "list ls show get browse scan enumerate inspect index walk".split(),
    "read": "read get open load view show cat fetch print dump retrieve".split(),
    "write": "write create save put make store set output generate produce".split(),
    "append": "append add attach extend push".split(),
    "replace": "edit replace change modify update substitute patch rewrite swap fix".split(),
    "run": "run exec execute start call launch do shell perform".split(),
    "search": "search find grep look locate scan query match".split(),
    "mkdir": "make create new add build setup init".split(),
}
NOUNS = {
    "list": "dir directory folder files entries tree contents listing path".split(),
    "read": "file text content document doc source data".split(),
    "write": "file text content document doc data output".split(),
    "append": "line text file content end lines".split(),
    "replace": "text file string content words part section".split(),
    "run": "command cmd shell bash script terminal process program console".split(),
    "search": "text files pattern code content lines string project".split(),
    "mkdir": "dir directory folder path".split(),
}
PARAMETERS = {
    "path": [
        "path",
        "path",
        "file_path",
        "filePath",
        "file",
        "filename",
        "target",
        "file_name",
        "target_file",
        "absolute_path",
        "location",
        "uri",
        "name",
        "p",
    ],
    "folder": [
        "path",
        "path",
        "directory",
        "dir",
        "dir_path",
        "directory_path",
        "folder",
        "dirPath",
        "target",
        "location",
        "relative_path",
        "root",
    ],
    "content": [
        "content",
        "content",
        "text",
        "contents",
        "file_text",
        "data",
        "body",
        "value",
        "new_content",
        "string",
        "fileText",
    ],
    "old": [
        "old_string",
        "oldString",
        "old_str",
        "old",
        "search",
        "find",
        "old_text",
        "before",
        "from",
        "target_text",
        "original",
    ],
    "new": [
        "new_string",
        "newString",
        "new_str",
        "new",
        "replace",
        "replacement",
        "new_text",
        "after",
        "to",
        "with",
        "updated",
    ],
    "command": [
        "command",
        "command",
        "cmd",
        "script",
        "commandline",
        "shell_command",
        "code",
        "input",
        "command_line",
    ],
    "pattern": [
        "pattern",
        "pattern",
        "query",
        "regex",
        "text",
        "search",
        "needle",
        "expression",
        "search_term",
        "q",
    ],
}
DESCRIPTIONS = {
    "list": [
        "See which files a folder holds.",
        "Directory listing.",
        "Names of files and subfolders",
        "Look inside a directory",
        "List the entries of a directory.",
        "Lists files and folders at a path",
        "Show what a folder contains.",
        "Returns the names of all files in the given directory.",
        "List directory contents",
        "Gives the entries of a directory in alphabetical order, including hidden ones.",
    ],
    "read": [
        "Get the text of a file.",
        "Opens a file for reading",
        "Print a file.",
        "Use this to look at a file",
        "Read a file and return its text.",
        "Reads the content of a file",
        "Returns the text stored in a file.",
        "Read the contents of a file from the local file system.",
        "read files, with line numbers",
        "Show the text of one file. Large files are cut.",
    ],
    "write": [
        "Store text in a new file.",
        "Makes a file.",
        "Save a document",
        "Puts the given text into a file",
        "Write text to a file.",
        "Writes content to a file, overwriting it if it exists",
        "Create a file with the given text.",
        "Saves text under a path; parent folders are created.",
        "Create or overwrite a file.",
        "Writes a file to the local file system.",
    ],
    "append": [
        "Put text after what a file already holds.",
        "Add to a file",
        "Continue a file with new text",
        "Append text to the end of a file.",
        "Adds text at the end of an existing file",
        "Add a line to a file without changing the rest.",
        "Extends a file with more text.",
    ],
    "replace": [
        "Edit a file.",
        "Exchange text in a document",
        "Find and replace",
        "Update part of a file",
        "Swap one string for another in a file",
        "Replace text in a file.",
        "Performs exact string replacement in a file",
        "Edit a file by exchanging one piece of text for another.",
        "modify file contents in place",
        "Changes the first place where the old text occurs into the new text.",
    ],
    "run": [
        "Use the shell.",
        "Terminal access",
        "Start a process and wait for it",
        "Command line",
        "Run a shell command.",
        "Executes a command in the shell and returns its output",
        "Run a command line and give back what it prints.",
        "execute shell commands",
        "Executes a bash command in the working directory.",
        "Starts a program in the terminal.",
    ],
    "search": [
        "grep",
        "Find text.",
        "Which lines contain a text",
        "Query the contents of the project",
        "Search for text in files.",
        "Finds lines that match a pattern in a folder",
        "Look for a regular expression in all files below a directory.",
        "Fast content search",
        "Search the contents of files and show the matching lines.",
    ],
    "mkdir": [
        "mkdir",
        "New folder",
        "Add a directory to the file system",
        "Create a directory.",
        "Makes a new folder",
        "Creates a directory and its parents.",
        "Make an empty folder at the given path.",
    ],
}
ROLE_TEXT = {
    "path": [
        "Path of the file",
        "The file to use",
        "The absolute or relative path of the file",
        "file path",
    ],
    "folder": ["Path of the directory", "The folder", "Directory to use", "the directory path"],
    "content": ["The text to write", "Text", "The content", "What to put into the file"],
    "old": ["The text to replace", "Text to look for", "The old text", "must match exactly"],
    "new": ["The new text", "Text to put in its place", "The replacement"],
    "command": ["The command to run", "Shell command", "Command line to execute"],
    "pattern": ["The text to look for", "Regular expression", "What to search for"],
}
LIST_OF_TEXT = {"type": "array", "items": {"type": "string"}}
EXTRAS = [
    ("timeout", {"type": "number"}, "Time limit in seconds"),
    ("limit", {"type": "integer"}, "Largest number of lines"),
    ("offset", {"type": "integer"}, "First line"),
    ("recursive", {"type": "boolean"}, "Also look into subfolders"),
    ("description", {"type": "string"}, "What this does, in a few words"),
    ("encoding", {"type": "string", "enum": ["utf-8", "latin-1"]}, "Text encoding"),
    ("workdir", {"type": "string"}, "Working directory"),
    ("replace_all", {"type": "boolean", "default": False}, "Replace every occurrence"),
    ("include", {"type": "string"}, "Only files that match this glob"),
    ("background", {"type": "boolean"}, "Do not wait"),
    ("max_results", {"type": "integer"}, "Stop after so many results"),
    ("create_dirs", {"type": "boolean"}, "Create parents"),
    ("env", {"type": "object", "additionalProperties": {"type": "string"}}, "Variables to set"),
    ("ignore", LIST_OF_TEXT, "Patterns to leave out"),
    ("mode", {"type": "string", "enum": ["fast", "full", "safe"]}, "How to do it"),
    ("options", {"type": "object", "properties": {"dry": {"type": "boolean"}}}, "More settings"),
    ("justification", {"type": "string"}, "Why this is needed"),
]
NOTES = [
    "Use it only when the user asks for it.",
    "Paths may be absolute or relative.",
    "Prefer this over other ways.",
    "The result is plain text.",
    "Returns an error if the path does not exist.",
    "Output is cut after [500|1000|2000|5000] [lines|characters|bytes].",
    "Never use it on files outside the project.",
    "If you need something else, use {} [instead|for that].",
    "[Do not|Never] use this [in place of|instead of] {}.",
    "{} is a better choice for [large|small|other|binary] things.",
    "Before calling this, call {} [once|first] to [check|make sure of] the [place|state|name].",
    "Results of {} can be passed on to it.",
    "It [may|can] take [some time|a while|up to a minute].",
    "[Several|Two] calls can be made [in one turn|at once|in parallel].",
    "Ask the user first if [the change is large|you are not sure|something would be lost].",
    "Keep arguments [short|as given by the user|exact].",
    "[White space|Upper and lower case|Line breaks] matters.",
    "Errors are [reported|returned] as text.",
    "Words such as [{w} or {w}|{w}, {w} and {w}] have no special meaning.",
    "Default: {w}.",
    "Example: [{w} {w}|{w}/{w}|{w}.{w}]",
    "Supported since version {n}.{n}; [older|newer] ones use {}.",
    "When [it fails|nothing comes back|the result is empty], [say so|try again once|explain why].",
    "# [Usage|Notes|Limits|Safety|Hints|When to use this]",
]
MORE_DESCRIPTIONS = {
    "list": "[Lists|Shows|Returns|Gives|Enumerates|Prints] [the|all] [files|entries|names|items|contents] [in|of|inside] a [folder|directory|given directory|path][.|]",
    "read": "[Reads|Opens|Shows|Returns|Prints|Loads] [a|one|the given] [file|text file|document] [|and returns its text|and shows the content|from disk][.|]",
    "write": "[Writes|Saves|Stores|Creates|Makes] [a|a new|one] [file|text file|document] [with the given text|with new content|and replaces what was there|from a text][.|]",
    "append": "[Appends|Adds|Attaches] [text|a line|content|more text] [to|at] the [end|bottom] of [a|an existing|the given] file[.|]",
    "replace": "[Replaces|Exchanges|Swaps|Changes|Edits] [a piece of|some|a] [text|string|part] [in|inside|within] [a|an existing] file [|with another|by a new one][.|]",
    "run": "[Runs|Executes|Starts|Performs] a [shell|bash|terminal|command line] [command|program] [|and returns the output|and waits for it|in the working directory][.|]",
    "search": "[Searches|Greps|Scans|Looks through] [files|the files of a folder|file contents|a directory] for [a text|a pattern|a regular expression|lines with a word][.|]",
    "mkdir": "[Creates|Makes|Adds|Sets up] [a|a new|an empty] [directory|folder] [|with its parents|at the given path|in the file system][.|]",
}
OTHER_COUNTS = {"small": [0, 1, 2, 3], "usual": [0, 0, 1, 2, 3, 4, 6], "large": [0, 4, 8, 12, 20]}
CONSONANTS, VOWELS = "bcdfghjklmnpqrstvwxz", "aeiouy"
PREFIXES = (
    "fs__ mcp__files__ mcp__{}__ local_ workspace- my_ repo. {}__ {}. {}- {}_ functions. tool_".split()
)
USUAL = {name for names in PARAMETERS.values() for name in names} - {"text", "target", "search"}
EDITS_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"oldText": {"type": "string"}, "newText": {"type": "string"}},
        "required": ["oldText", "newText"],
    },
}
# Spellings of known agents: intent -> (tool name, parameter per role), and optional parameters.
KNOWN_SETS = [
    {
        "run": ("Bash", ["command"]),
        "read": ("Read", ["file_path"]),
        "write": ("Write", ["file_path", "content"]),
        "replace": ("Edit", ["file_path", "old_string", "new_string"]),
    },
    {
        "run": ("Bash", ["command"]),
        "read": ("Read", ["file_path"]),
        "write": ("Write", ["file_path", "content"]),
        "replace": ("Edit", ["file_path", "old_string", "new_string"]),
        "search": ("Grep", ["pattern", "path"]),
    },
    {
        "run": ("Bash", ["command"]),
        "read": ("Read", ["file_path"]),
        "replace": ("Edit", ["file_path", "old_string", "new_string"]),
    },
    {"run": ("exec_command", ["cmd"])},
    {"run": ("shell", ["command"])},
    {
        "run": ("bash", ["command"]),
        "read": ("read", ["filePath"]),
        "write": ("write", ["filePath", "content"]),
        "replace": ("edit", ["filePath", "oldString", "newString"]),
        "search": ("grep", ["pattern", "path"]),
    },
    {
        "run": ("bash", ["command"]),
        "read": ("read", ["path"]),
        "write": ("write", ["path", "content"]),
        "replace": ("edit", ["path", "edits"]),
    },
    {
        "run": ("exec", ["command"]),
        "read": ("read", ["path"]),
        "write": ("write", ["path", "content"]),
        "replace": ("edit", ["path", "edits"]),
        "list": ("ls", ["path"]),
    },
    {"run": ("bash", ["command"])},
    {
        "run": ("run_shell_command", ["command"]),
        "read": ("read_file", ["absolute_path"]),
        "write": ("write_file", ["file_path", "content"]),
        "list": ("list_directory", ["path"]),
        "search": ("search_file_content", ["pattern", "path"]),
        "replace": ("replace", ["file_path", "old_string", "new_string"]),
    },
    {
        "run": ("bash", ["command"]),
        "read": ("read", ["path"]),
        "write": ("write", ["path", "content"]),
        "replace": ("edit", ["path", "old", "new"]),
        "list": ("list", ["path"]),
        "search": ("search", ["pattern", "path"]),
    },
]


def key(name):
    """What counts as the same name: letters and digits without case."""
    return re.sub("[^a-z0-9]", "", name.lower())


HELD_KEYS = {key(n) for names in HELD_NAMES.values() for n in names}
KNOWN_KEYS = {key(n) for names in NAMES.values() for n in names}


def unseen(name):
    """Whether a composed name belongs to the evaluation."""
    return zlib.crc32(key(name).encode()) % 8 == 0


def styled(rng, words):
    """Words joined in one of the usual spellings."""
    kind = rng.random()
    if kind < 0.45:
        return "_".join(words)
    if kind < 0.6:
        return words[0] + "".join(w.capitalize() for w in words[1:])
    if kind < 0.75:
        return "".join(w.capitalize() for w in words)
    return rng.choice(["-", "", ".", "__"]).join(words)


def made_up(rng):
    """A name without meaning."""
    if rng.random() < 0.6:
        pairs = rng.choice([2, 2, 3, 3, 4])
        name = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(pairs))
        name += rng.choice(["", "", rng.choice(CONSONANTS)])
    else:
        name = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 7)))
    name = rng.choice([name, name, name, name.capitalize(), name.upper()])
    return name + rng.choice(["", "", "", str(rng.randint(0, 99)), f"_{rng.randint(0, 9)}"])


class Naming:
    """Draws names of tools and parameters on the right side of the split."""

    def __init__(self, rng, words, split):
        self.rng, self.words, self.split, self.taken = rng, words, split, set()

    def fits(self, name):
        if name in self.taken:
            return False
        if self.split == "train":
            return not unseen(name) and key(name) not in HELD_KEYS
        return unseen(name) and key(name) not in KNOWN_KEYS

    def tool(self, verbs, nouns, usual, held):
        """A tool name: usual (training), held out (evaluation), composed or without meaning."""
        r = self.rng
        for _ in range(4):
            name = r.choice(held if self.split == "eval" and held else usual)
            if r.random() < (0.2 if self.split == "train" else 0.4 if held else 0) and (
                name not in self.taken
            ):
                break
        else:
            name = self.composed(verbs, nouns)
            while not self.fits(name):
                name = self.composed(verbs, nouns)
        self.taken.add(name)
        return name

    def intent(self, intent):
        return self.tool(VERBS[intent], NOUNS[intent], NAMES[intent], HELD_NAMES[intent])

    def other(self, function):
        usual = [styled(self.rng, n.split("_")) for n in function.names.split()]
        words = function.names.replace("_", " ").split()
        return self.tool(words, words, usual, None)

    def composed(self, verbs, nouns):
        r, kind = self.rng, self.rng.random()
        word = lambda: self.words.word().lower()
        if kind < 0.22:
            parts = [r.choice(verbs), r.choice(nouns)]
            if r.random() < 0.35:
                parts.insert(r.choice([0, 1, 2]), r.choice([word(), "my", "all", "local", "new", "v2"]))
            if r.random() < 0.15:
                parts.reverse()
            name = styled(r, parts)
        elif kind < 0.6:
            name = styled(r, [word() for _ in range(r.choice([1, 1, 2, 2, 3]))])
        elif kind < 0.72:
            parts = [r.choice(verbs), word()] if r.random() < 0.6 else [word(), r.choice(nouns)]
            name = styled(r, parts)
        else:
            name = r.choice(["", "", "", "fn_", "tool_", "do_", "x"]) + made_up(r)
        if r.random() < 0.12:
            name = r.choice(PREFIXES).replace("{}", word()) + name
        return name

    def parameter(self, usual):
        """A parameter name: usual, composed or odd."""
        r, kind = self.rng, self.rng.random()
        if kind < 0.5:
            return r.choice(usual)
        word = lambda: self.words.word().lower()
        while True:
            if kind < 0.7:
                first = r.choice(["the", "target", "input", "new", "full", "source", "given", word()])
                name = styled(r, [first, r.choice(usual)])
            elif kind < 0.88:
                name = styled(r, [word() for _ in range(r.choice([1, 2]))])
            else:
                name = made_up(r)
            if unseen(name) == (self.split == "eval"):
                return name


def filled(roles, intent):
    """The kinds of value of an intent, folders told from files."""
    return ["folder" if r == "path" and intent in ("list", "mkdir", "search") else r for r in roles]


def description_of(rng, intent):
    if rng.random() < 0.5:
        return rng.choice(DESCRIPTIONS[intent])
    return spelled(rng, MORE_DESCRIPTIONS[intent]).replace(" .", ".").strip()


class ToolSet:
    """The tools of one conversation: schemas to show, and how each request is called.

    `needed` are the intents that will be asked for; `size` is "small", "usual" or "large" (that of
    an agent)."""

    def __init__(self, rng, words, split, needed, size="usual"):
        self.rng, self.size = rng, size
        self.naming = Naming(rng, words, split)
        self.words = words
        self.schemas, self.calls, self.functions = [], {}, []
        if split == "known" or (split == "train" and rng.random() < 0.2):
            self.known(rng.choice(KNOWN_SETS))
        else:
            self.invent(needed)
        for function in rng.sample(others.OTHERS, rng.choice(OTHER_COUNTS[size])):
            self.add_other(function)
        rng.shuffle(self.schemas)
        for schema in self.schemas:
            schema["description"] += self.notes(schema["description"])

    def known(self, tools):
        for intent, (name, parameters) in tools.items():
            self.add(intent, name, parameters)

    def invent(self, needed):
        extra = [i for i in ROLES if i not in needed]
        self.rng.shuffle(extra)
        more = self.rng.randint(0, 1 if self.size == "small" else 6)
        for intent in list(needed) + extra[:more]:
            if intent in needed and intent != "run" and self.rng.random() < 0.05:
                intent = "run"  # no tool for this one: the shell has to do its work
            if intent not in self.calls:
                roles = filled(ROLES[intent], intent)
                parameters = [self.naming.parameter(PARAMETERS[r]) for r in roles]
                self.add(intent, self.naming.intent(intent), parameters)

    def add(self, intent, name, parameters):
        if len(set(parameters)) < len(parameters):
            parameters = ROLES[intent]
        roles = filled(ROLES[intent], intent)
        described = [
            (p, {"type": "string"}, self.rng.choice(ROLE_TEXT[r])) for p, r in zip(parameters, roles)
        ]
        if parameters[-1] == "edits":
            described = described[:1] + [("edits", EDITS_SCHEMA, "The changes")]
        optional_path = intent in ("list", "search") and self.rng.random() < 0.3
        required = [p for p in parameters if not (optional_path and p == parameters[-1])]
        self.put(name, description_of(self.rng, intent), described, required, True)
        self.calls[intent] = (name, list(parameters))

    def add_other(self, function):
        name = self.naming.other(function)
        described, required = [], []
        for names, kind, text in function.parameters:
            shape = {"type": {"number": "number", "flag": "boolean"}.get(kind, "string")}
            parameter = self.naming.parameter(names.split())
            while parameter in required:
                parameter = self.naming.parameter(names.split())
            described.append((parameter, shape, text))
            required.append(parameter)
        self.put(name, self.rng.choice(function.descriptions), described, list(required), False)
        self.functions.append((function, name, required))

    def put(self, name, description, described, required, extended):
        r, properties = self.rng, {}
        usual = all(p in USUAL for p, _, _ in described)
        bare = usual and r.random() < 0.2  # odd names need their description
        extended = extended and self.size != "small"
        extras = r.sample(EXTRAS, r.choice([0, 0, 0, 1, 2, 3] if extended else [0, 0, 0, 0, 1]))
        listed = described + [e for e in extras if e[0] not in [d[0] for d in described]]
        if r.random() < 0.25:
            r.shuffle(listed)
        for parameter, shape, text in listed:
            if "description" in shape or bare:
                properties[parameter] = dict(shape)
            elif r.random() < 0.8:
                properties[parameter] = shape | {"description": text}
            else:
                properties[parameter] = {"description": text} | shape
        parameters = {"type": "object", "properties": properties}
        if required or r.random() < 0.5:
            parameters["required"] = required
        if r.random() < 0.3:
            parameters["additionalProperties"] = False
        if r.random() < 0.1:
            parameters = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | parameters
        self.naming.taken.add(name)
        self.schemas.append({"name": name, "description": description, "parameters": parameters})

    def notes(self, description):
        """More sentences after a description, some of which name other tools."""
        r = self.rng
        if self.size == "small" or r.random() < (0.3 if self.size == "large" else 0.72):
            return ""
        count = r.choice([1, 2, 4, 8, 14] if self.size == "large" else [1, 1, 1, 2, 4])
        between = r.choice([" ", " ", "\n", "\n- ", "\n\n"])
        stop = "" if description.endswith(".") else "."
        return stop + "".join(between + self.note() for _ in range(count))

    def note(self):
        text = spelled(self.rng, self.rng.choice(NOTES))
        text = text.replace("{}", self.rng.choice(self.schemas)["name"])
        text = re.sub(r"\{w\}", lambda _: self.words.word().lower(), text)
        return re.sub(r"\{n\}", lambda _: str(self.rng.randint(0, 30)), text)

    def call(self, intent, values):
        """(tool name, [(parameter, string flag, text)]) for a request, or None if it cannot be done."""
        if intent in self.calls:
            name, parameters = self.calls[intent]
            if parameters[-1] == "edits":
                edits = json.dumps([{"oldText": values[1], "newText": values[2]}], ensure_ascii=False)
                return name, [(parameters[0], True, values[0]), ("edits", False, edits)]
            return name, [(p, True, v) for p, v in zip(parameters, values)]
        if "run" not in self.calls:
            return None
        name, (parameter,) = self.calls["run"]
        return name, [(parameter, True, shell_command(intent, values))]


def shell_command(intent, values):
    """How a shell does what no tool is offered for."""
    quote = lambda text: "'" + text.replace("'", "'\\''") + "'"
    if intent == "list":
        return f"ls {values[0]}"
    if intent == "read":
        return f"cat {values[0]}"
    if intent == "write":
        return f"echo {quote(values[1])} > {values[0]}"
    if intent == "append":
        return f"echo {quote(values[1])} >> {values[0]}"
    if intent == "replace":
        return f"sed -i {quote(f's/{values[1]}/{values[2]}/')} {values[0]}"
    if intent == "search":
        return f"grep -rn {quote(values[0])} {values[1]}"
    return f"mkdir -p {values[0]}"


# ---------------------------------------------------------------- results and answers
