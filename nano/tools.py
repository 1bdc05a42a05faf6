"""Generated tool conversations: intents, tool sets in many spellings, calls, results, answers.

Everything is drawn from a `random.Random`. `split` is "train" or "eval": the evaluation uses
paraphrases, tool names and file names that training never shows.
"""

import json
import re
import string

SHELL_WORDS = "build test lint check start deploy format clean bench install release docs".split()
EXTENSIONS = "txt md py rs js ts json toml yaml yml csv html css sh log ini cfg c h go java".split()
HELD_EXTENSIONS = "rst sql xml lua rb tex dat".split()
FOLDERS = "src docs tests notes data lib build scripts config assets tmp app tools home work".split()

# Requests: {0} is the first argument and so on; the last lines of each list are held out.
REQUESTS = {
    "list": [
        "what do we have in {0}?",
        "I wonder what is in {0}",
        "go to {0} and list everything",
        "give me the file names in {0}",
        "report the contents of {0}",
        "could there be files in {0}? list them",
        "{0}: what is in there?",
        "anything in {0}?",
        "display what {0} has inside",
        "names of everything in {0}",
        "list the files in {0}",
        "list {0}",
        "show me what is in {0}",
        "what files are in {0}?",
        "what is inside the directory {0}?",
        "show the contents of the folder {0}",
        "which files does {0} contain?",
        "look into {0} and tell me what is there",
        "ls {0}",
        "list the directory {0}",
        "what's in {0}?",
        "give me a listing of {0}",
        "tell me the names of the files in {0}",
        "I want to see the entries of {0}",
        "check what {0} contains",
        "show all files under {0}",
        "dir {0}",
        "open the folder {0}",
        "see what we have in {0}",
        "enumerate the entries of the directory {0}",
        "have a look at the folder {0}",
        "which entries are there in {0}?",
        "let me know which files the folder {0} holds",
        "print the listing of {0}",
    ],
    "read": [
        "what's in {0}?",
        "what is {0} about?",
        "{0}: show it",
        "print {0} to the screen",
        "I'd like to read {0}",
        "check the contents of {0}",
        "could I have the text of {0}",
        "what does it say in {0}?",
        "show the whole file {0}",
        "take a look at {0}",
        "return what {0} holds",
        "how does {0} read?",
        "read {0}",
        "show me {0}",
        "open {0}",
        "read the file {0}",
        "what does {0} say?",
        "what is in the file {0}?",
        "print the contents of {0}",
        "cat {0}",
        "display {0}",
        "tell me what is written in {0}",
        "show the content of {0}",
        "view {0}",
        "read {0} and tell me what it says",
        "I need the text of {0}",
        "load {0} and show it",
        "what does the file {0} contain?",
        "can I see {0}?",
        "look at the file {0}",
        "give me the content of the file {0}",
        "what text is stored in {0}?",
        "let me see what {0} says",
        "fetch the content of {0}",
    ],
    "write": [
        "{0} should contain {1}",
        "the file {0} must say {1}",
        "drop {1} into a new file {0}",
        "{1} goes into {0}",
        "produce {0} with {1} inside",
        "generate a file {0} holding {1}",
        "write {0} with content {1}",
        "make the file {0} say {1}",
        "record {1} in {0}",
        "start a file {0} with {1}",
        "use {1} as the content of {0}",
        "write {1} to {0}",
        "create a file {0} with the text {1}",
        "save {1} in {0}",
        "put {1} into {0}",
        "make a file called {0} that contains {1}",
        "write {1} into the file {0}",
        "create {0} containing {1}",
        "store the text {1} in {0}",
        "create the file {0} with content {1}",
        "write a file {0} with {1} in it",
        "new file {0} with the content {1}",
        "please create {0}. It should contain {1}",
        "I want a file named {0} with the text {1}",
        "overwrite {0} with {1}",
        "fill {0} with {1}",
        "write the following to {0}: {1}",
        "make {0} and write {1} in it",
        "create a file named {0} and put {1} in it",
        "I need a new file {0} that says {1}",
        "save the words {1} as {0}",
        "set the content of {0} to {1}",
        "let the file {0} contain {1}",
    ],
    "append": [
        "{0} needs one more line: {1}",
        "put the line {1} last in {0}",
        "continue {0} with {1}",
        "after everything else in {0} write {1}",
        "let {0} end with {1}",
        "add one line to {0}: {1}",
        "push {1} onto {0}",
        "{1} should be added to {0}",
        "append {1} to {0}",
        "add {1} to the end of {0}",
        "add the line {1} to {0}",
        "put {1} at the end of {0}",
        "append the text {1} to the file {0}",
        "add {1} to {0}",
        "write {1} at the end of {0}",
        "extend {0} with {1}",
        "append a line {1} to {0}",
        "add a new line {1} at the bottom of {0}",
        "attach {1} to {0}",
        "at the end of {0}, add {1}",
        "{0} should also end with the line {1}",
        "tack {1} on to the end of {0}",
    ],
    "replace": [
        "make {1} into {2} in {0}",
        "where {0} says {1}, write {2}",
        "{0}: {1} -> {2}",
        "use {2} rather than {1} in {0}",
        "put {2} where {1} stands in {0}",
        "correct {1} to {2} in {0}",
        "patch {0}: {1} becomes {2}",
        "take {1} out of {0} and put {2} there",
        "every {1} in {0} is now {2}",
        "I want {2} in place of {1} in {0}",
        "replace {1} with {2} in {0}",
        "in {0}, change {1} to {2}",
        "change {1} to {2} in {0}",
        "edit {0}: replace {1} by {2}",
        "in the file {0} replace {1} with {2}",
        "substitute {2} for {1} in {0}",
        "swap {1} for {2} in {0}",
        "update {0}: {1} should be {2}",
        "open {0} and change {1} into {2}",
        "modify {0} so that {1} becomes {2}",
        "rename {1} to {2} in {0}",
        "fix {0}: it says {1} but it must be {2}",
        "in {0} turn {1} into {2}",
        "{1} in {0} must become {2}",
        "edit {0} so it has {2} in place of {1}",
    ],
    "run": [
        "{0}: run it",
        "I need the output of {0}",
        "enter {0} in the shell",
        "do {0}",
        "perform {0}",
        "see what {0} gives",
        "show me what {0} returns",
        "invoke {0}",
        "give me the result of {0}",
        "could you do {0} in a terminal",
        "run {0}",
        "execute {0}",
        "run the command {0}",
        "run {0} in the shell",
        "please execute the command {0}",
        "run {0} and tell me what it prints",
        "start {0}",
        "what does {0} print?",
        "use the terminal to run {0}",
        "in the shell, run {0}",
        "I want you to run {0}",
        "call {0} on the command line",
        "run this: {0}",
        "try {0} and show me the output",
        "launch the command {0}",
        "what is the output of {0}?",
        "type {0} in the terminal",
        "let {0} run",
    ],
    "search": [
        "check {1} for {0}",
        "does anything in {1} mention {0}?",
        "any {0} in {1}?",
        "list the lines of {1} with {0}",
        "hunt for {0} in {1}",
        "look through {1} for {0}",
        "I am looking for {0} in {1}",
        "go through {1} and find {0}",
        "show where {1} has {0}",
        "search for {0} in {1}",
        "find {0} in {1}",
        "grep for {0} in {1}",
        "look for {0} in {1}",
        "where does {0} occur in {1}?",
        "which files in {1} contain {0}?",
        "search {1} for {0}",
        "find all places with {0} under {1}",
        "find the text {0} in {1}",
        "is {0} used anywhere in {1}?",
        "show me every line with {0} in {1}",
        "search the folder {1} for the text {0}",
        "locate {0} in {1}",
        "where in {1} is {0} mentioned?",
        "scan {1} for {0}",
        "does {0} appear in {1}?",
    ],
    "mkdir": [
        "{0} should be a directory, create it",
        "there should be a folder {0}",
        "start a new folder {0}",
        "build the directory {0}",
        "we need the folder {0}",
        "add the directory {0}",
        "let there be a folder {0}",
        "put a new directory at {0}",
        "create a directory {0}",
        "make a folder {0}",
        "create the folder {0}",
        "mkdir {0}",
        "make a new directory called {0}",
        "add a folder named {0}",
        "create a new folder {0}",
        "I need a directory {0}",
        "set up the directory {0}",
        "please make the directory {0}",
        "create an empty folder {0}",
        "new folder: {0}",
        "I would like to have a folder called {0}",
        "prepare a directory named {0}",
    ],
}
HELD_OUT = {
    "list": 4,
    "read": 4,
    "write": 4,
    "append": 3,
    "replace": 3,
    "run": 3,
    "search": 3,
    "mkdir": 2,
}
ROLES = {
    "list": ["path"],
    "read": ["path"],
    "write": ["path", "content"],
    "append": ["path", "content"],
    "replace": ["path", "old", "new"],
    "run": ["command"],
    "search": ["pattern", "path"],
    "mkdir": ["path"],
}
OPENINGS = [
    "",
    "",
    "",
    "",
    "Please ",
    "Can you ",
    "Could you ",
    "Could you please ",
    "Hey, ",
    "Hi! ",
    "Now ",
    "I need you to ",
    "Would you ",
    "Next, ",
    "OK, ",
    "Go ahead and ",
    "Then ",
]
CLOSINGS = [
    "",
    "",
    "",
    "",
    ".",
    ".",
    " please",
    ", please.",
    " for me",
    " for me, please",
    " Thanks!",
    " now",
    ". Thank you.",
]

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
HELD_KEYS = {re.sub("[^a-z]", "", n.lower()) for names in HELD_NAMES.values() for n in names}


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
EXTRAS = [
    ("timeout", "number", "Time limit in seconds"),
    ("limit", "integer", "Largest number of lines"),
    ("offset", "integer", "First line"),
    ("recursive", "boolean", "Also look into subfolders"),
    ("description", "string", "What this does, in a few words"),
    ("encoding", "string", "Text encoding"),
    ("workdir", "string", "Working directory"),
    ("replace_all", "boolean", "Replace every occurrence"),
    ("include", "string", "Only files that match this glob"),
    ("background", "boolean", "Do not wait"),
    ("max_results", "integer", "Stop after so many results"),
    ("create_dirs", "boolean", "Create parents"),
]
DISTRACTORS = [
    ("web_search", "Search the web.", ["query"]),
    ("fetch_url", "Download a web page.", ["url"]),
    ("WebFetch", "Fetches a URL and answers a question about it.", ["url", "prompt"]),
    ("get_weather", "Current weather of a city.", ["city"]),
    ("todo_write", "Keep a list of tasks.", ["todos"]),
    ("task", "Start another agent for a task.", ["description", "prompt"]),
    ("Agent", "Launch a new agent.", ["prompt"]),
    ("ask_user", "Ask the user a question.", ["question"]),
    ("calculator", "Evaluate an expression.", ["expression"]),
    ("glob", "Find files by name pattern.", ["pattern", "path"]),
    ("delete_file", "Delete a file.", ["path"]),
    ("move_file", "Move or rename a file.", ["source", "destination"]),
    ("git_status", "Show the state of the repository.", []),
    ("write_stdin", "Write characters to a running session.", ["session_id", "chars"]),
    ("view_image", "Show an image file.", ["path"]),
    ("skill", "Load a skill by name.", ["name"]),
    ("send_mail", "Send a message.", ["to", "subject", "body"]),
    ("update_plan", "Update the plan.", ["plan"]),
    ("process", "Control a running process.", ["action", "session_id"]),
    ("get_time", "The current time.", []),
    ("notebook_edit", "Change a cell of a notebook.", ["notebook_path", "new_source"]),
    ("memory_save", "Remember a fact.", ["key", "value"]),
    ("translate", "Translate a text.", ["text", "language"]),
]
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
SYLLABLES = (
    "ba ko mi tra zen lo pu ver ni qua sto fel dra mo gi ran cu pel xi ton wa rim sha bu".split()
)


class Words:
    """Random names and texts. `pool` is a list of English words."""

    def __init__(self, rng, pool, split):
        self.rng, self.pool, self.held = rng, pool, split == "eval"

    def word(self):
        return self.rng.choice(self.pool)

    def invented(self):
        return "".join(self.rng.choice(SYLLABLES) for _ in range(self.rng.randint(2, 3)))

    def stem(self):
        r = self.rng
        kind = r.random()
        if kind < 0.35:
            return self.word().lower()
        if kind < 0.5:
            return r.choice("_-").join([self.word().lower(), self.word().lower()])
        if kind < 0.6:
            return self.word().lower() + str(r.randint(0, 9999))
        if kind < 0.75:
            return self.invented() + r.choice(["", str(r.randint(0, 99))])
        if kind < 0.85:
            return self.word().capitalize() + self.word().capitalize()
        letters = string.ascii_lowercase + string.digits
        return "".join(r.choice(letters) for _ in range(r.randint(3, 10)))

    def file(self):
        r = self.rng
        extension = r.choice(HELD_EXTENSIONS + EXTENSIONS[:6] if self.held else EXTENSIONS)
        name = self.stem() + "." + extension
        if r.random() < 0.04:
            name = r.choice(["README", "Makefile", "LICENSE", ".env", ".gitignore", "Dockerfile"])
        return self.folder(r.choice([0, 0, 0, 1, 1, 2])) + name

    def folder(self, depth=None):
        """A folder prefix with a slash, or, without `depth`, a folder path."""
        r = self.rng
        if depth is None:
            if r.random() < 0.12:
                return r.choice([".", "..", "src", "/tmp", "/", "~", "./src", "/etc", "docs"])
            path = self.folder(r.choice([0, 0, 1, 2])) + self.stem()
            return path + r.choice(["", "", "", "/"])
        start = r.choice(["", "", "", "./", "/", "/home/" + self.stem() + "/", "/tmp/", "~/", "../"])
        parts = [r.choice(FOLDERS) if r.random() < 0.5 else self.stem() for _ in range(depth)]
        return (start if depth else r.choice(["", "", "", "", "./", "/tmp/"])) + "".join(
            p + "/" for p in parts
        )

    def text(self):
        """A short text as a person would put it into a file."""
        r = self.rng
        words = lambda n: " ".join(self.word().lower() for _ in range(n))
        kind = r.random()
        if kind < 0.2:
            return r.choice(
                [
                    "hello",
                    "hello world",
                    "Hello, world!",
                    "test",
                    "done",
                    "ok",
                    "42",
                    "TODO",
                    "hi there",
                    "it works",
                    "goodbye",
                    "yes",
                    "Hello from DwarfStar",
                ]
            )
        if kind < 0.45:
            return words(r.randint(1, 5))
        if kind < 0.6:
            return words(r.randint(3, 9)).capitalize() + r.choice([".", "!", "", "?"])
        if kind < 0.7:
            return f"{self.stem()} = {r.choice([str(r.randint(0, 5000)), repr(self.stem()), 'true', 'False'])}"
        if kind < 0.8:
            return f"{self.word().capitalize()}: {words(r.randint(1, 4))}"
        if kind < 0.87:
            return r.choice(
                [
                    f"print('{words(2)}')",
                    f"import {self.stem()}",
                    f"def {self.invented()}(): pass",
                    f"let {self.invented()} = {r.randint(0, 99)};",
                    f"# {words(3)}",
                    f"- [ ] {words(3)}",
                ]
            )
        if kind < 0.94:
            return f"{r.randint(1, 31)} {self.word()} {r.randint(1900, 2030)}, {words(2)}"
        return self.stem()

    def fragment(self):
        """A short piece of text inside a file, for search and replacement."""
        r = self.rng
        kind = r.random()
        if kind < 0.45:
            return self.word().lower()
        if kind < 0.7:
            return self.stem()
        if kind < 0.8:
            return r.choice(
                [
                    "TODO",
                    "FIXME",
                    "main",
                    "error",
                    "import os",
                    "debug",
                    "version",
                    "localhost",
                    "return None",
                    "true",
                    "false",
                    "8080",
                ]
            )
        if kind < 0.9:
            return f"{self.word().lower()} {self.word().lower()}"
        return f"{self.invented()}({r.choice(['', self.invented()])})"

    def command(self):
        r = self.rng
        choices = [
            "ls -la",
            "pwd",
            "git status",
            "git log --oneline -5",
            "date",
            "whoami",
            "uname -a",
            "df -h",
            "python3 --version",
            "cargo build",
            "cargo test",
            "npm test",
            "npm run " + r.choice(SHELL_WORDS),
            "make " + r.choice(SHELL_WORDS),
            f"python3 {self.file()}",
            f"node {self.file()}",
            f"wc -l {self.file()}",
            f"cat {self.file()}",
            f"rm {self.file()}",
            f"echo {self.word().lower()}",
            f"echo '{self.text()}'",
            f"cp {self.file()} {self.file()}",
            f"mv {self.file()} {self.file()}",
            f"touch {self.file()}",
            f"git checkout -b {self.stem()}",
            f"git diff {self.file()}",
            f"head -n {r.randint(1, 50)} {self.file()}",
            f"grep -rn {self.fragment()} {self.folder()}",
            f"du -sh {self.folder()}",
            f"sleep {r.randint(1, 9)}",
            f"cargo run --release -- {self.word().lower()}",
            f"pip install {self.stem()}",
            f"find . -name '*.{r.choice(EXTENSIONS)}'",
            f"chmod +x {self.file()}",
            f"sort {self.file()} | uniq -c",
            f"git commit -m '{self.text()}'",
            f"./{self.stem()}.sh --{self.word().lower()}",
            f"{self.stem()} --help",
            f"tail -f {self.file()}",
            f"curl -s http://localhost:{r.randint(1000, 9999)}/{self.stem()}",
            f"kill {r.randint(100, 99999)}",
        ]
        return r.choice(choices)

    def arguments(self, intent):
        """One value per role of the intent."""
        make = {
            "path": self.folder if intent in ("list", "search", "mkdir") else self.file,
            "content": self.text,
            "old": self.fragment,
            "new": self.fragment,
            "command": self.command,
            "pattern": self.fragment,
        }
        values = [make[role]() for role in ROLES[intent]]
        if intent == "mkdir" and values[0] in (".", "..", "/", "~", "/tmp", "/etc"):
            values[0] = self.stem()
        if intent == "search" and self.rng.random() < 0.15:
            values[1] = self.file()
        return values


def quoted(rng, text, role):
    """A value as people write it in a request."""
    if role in ("path",):
        return rng.choice(["{}"] * 6 + ["`{}`", '"{}"', "'{}'", "**{}**"]).format(text)
    marks = ['"{}"', '"{}"', '"{}"', "'{}'", "`{}`", "“{}”", "```\n{}\n```"]
    if '"' in text or "'" in text:
        marks = ["`{}`", "```\n{}\n```"]
    if role == "command" or " " not in text:
        marks += ["{}"] * 3 if role in ("command", "content", "pattern") else []
    return rng.choice(marks).format(text)


SYNONYMS = {
    "show": ["show", "display", "print", "present", "output"],
    "folder": ["folder", "directory", "dir"],
    "directory": ["directory", "folder", "dir"],
    "files": ["files", "entries", "things", "documents"],
    "create": ["create", "make", "add", "produce", "generate"],
    "text": ["text", "words", "content", "string"],
    "content": ["content", "contents", "text"],
    "find": ["find", "look for", "search for", "locate"],
    "contains": ["contains", "holds", "has"],
    "write": ["write", "put", "save", "store"],
    "tell": ["tell", "inform", "tell"],
    "change": ["change", "turn", "alter", "modify"],
    "replace": ["replace", "exchange", "substitute", "swap"],
    "execute": ["execute", "run", "start", "perform"],
    "run": ["run", "execute", "run"],
    "append": ["append", "add", "attach"],
    "called": ["called", "named", "with the name"],
    "new": ["new", "fresh", "new"],
    "read": ["read", "open", "view", "read"],
    "want": ["want", "need", "would like"],
    "end": ["end", "bottom", "tail"],
    "command": ["command", "program", "command line"],
}


def reworded(rng, template):
    """The template with some words exchanged for others of the same meaning."""

    def exchange(match):
        word = match[0]
        return rng.choice(SYNONYMS[word]) if rng.random() < 0.35 and word in SYNONYMS else word

    return re.sub(r"[a-z]+", exchange, template)


def request(rng, intent, values, split):
    """The user's sentence for one intent."""
    held = HELD_OUT[intent]
    options = REQUESTS[intent][-held:] if split == "eval" else REQUESTS[intent][:-held]
    template = rng.choice(options)
    if split == "train":
        template = reworded(rng, template)
    shown = [quoted(rng, v, role) for v, role in zip(values, ROLES[intent])]
    if template.endswith("{1}") and intent == "write" and rng.random() < 0.3:
        shown[1] = values[1]  # "write the following to F: text" without quotes
    body = template.format(*shown)
    question = body.endswith("?")
    opening = rng.choice(OPENINGS)
    if (
        question
        or re.match(r"(I |let me|which|what|is |does |can |where|\{|please)", template)
        or template[0] == "{"
    ):
        opening = rng.choice(["", "", "Hey, ", "Hi! ", "OK, "])
    text = opening + body
    closing = rng.choice(CLOSINGS)
    plain = (
        template.endswith(("{0}", "{1}", "{2}"))
        and shown[-1] in values
        and closing[:1] not in ("", " ", ",")
    )
    if not question and not plain and not text.endswith("```"):
        text += closing
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if (
        opening in ("Can you ", "Could you ", "Could you please ", "Would you ")
        and text[-1].isalnum()
        and rng.random() < 0.5
        and not plain
    ):
        text += "?"
    return text


class ToolSet:
    """The tools of one conversation: schemas to show, and how each intent is called."""

    def __init__(self, rng, words, split, needed):
        self.rng, self.words, self.split = rng, words, split
        self.schemas, self.calls, self.names = [], {}, set()
        if rng.random() < 0.35:
            self.known(rng.choice(KNOWN_SETS))
        else:
            self.invent(needed)
        for _ in range(rng.choice([0, 0, 1, 2, 3, 5, 8])):
            self.distract()
        rng.shuffle(self.schemas)

    def known(self, tools):
        for intent, (name, parameters) in tools.items():
            self.add(intent, name, parameters)

    def invent(self, needed):
        others = [i for i in ROLES if i not in needed]
        self.rng.shuffle(others)
        for intent in list(needed) + others[: self.rng.randint(0, 6)]:
            if intent in needed and intent != "run" and self.rng.random() < 0.06:
                self.fall_back()
                continue
            roles = [
                "folder" if r == "path" and intent in ("list", "mkdir", "search") else r
                for r in ROLES[intent]
            ]
            if "run" not in self.calls or intent != "run":
                self.add(intent, self.name(intent), [self.parameter(r) for r in roles])

    def fall_back(self):
        """Leaves a tool out, so that the shell has to do its work."""
        if "run" not in self.calls:
            self.add("run", self.name("run"), [self.parameter("command")])

    def name(self, intent):
        """A tool name: known, composed or without meaning; held-out ones only in evaluation."""
        r = self.rng
        if self.split == "eval" and r.random() < 0.5:
            return r.choice(HELD_NAMES[intent])
        while True:
            name = self.any_name(intent)
            if re.sub("[^a-z]", "", name.lower()) not in HELD_KEYS:
                return name

    def any_name(self, intent):
        r, kind = self.rng, self.rng.random()
        if kind < 0.25:
            name = r.choice(NAMES[intent])
        elif kind < 0.6:
            parts = [r.choice(VERBS[intent]), r.choice(NOUNS[intent])]
            if r.random() < 0.25:
                parts.insert(
                    r.choice([1, 2]),
                    r.choice(
                        ["my", "one", "all", "in", "local", "text", "safe", "new", "v2", "simple"]
                    ),
                )
            if r.random() < 0.15:
                parts.reverse()
            name = styled(r, parts)
        elif kind < 0.75:
            name = styled(r, [self.words.word().lower() for _ in range(r.choice([1, 1, 2]))])
        elif kind < 0.85:
            name = styled(r, [r.choice(VERBS[intent]), self.words.word().lower()])
        else:
            name = (
                r.choice(["", "", "fn_", "tool_", "do_", "x"])
                + self.words.invented()
                + r.choice(["", str(r.randint(0, 99))])
            )
        if r.random() < 0.12:
            name = (
                r.choice(
                    [
                        "fs__",
                        "mcp__files__",
                        "local_",
                        "workspace-",
                        "my_",
                        "repo.",
                        f"{self.words.word().lower()}__",
                    ]
                )
                + name
            )
        return name

    def parameter(self, role):
        """A parameter name: mostly usual, sometimes composed or odd."""
        r = self.rng
        if r.random() < 0.75:
            return r.choice(PARAMETERS[role])
        first = r.choice(
            [
                "the",
                "target",
                "input",
                "new",
                "full",
                "my",
                "source",
                "given",
                self.words.word().lower(),
            ]
        )
        second = r.choice(PARAMETERS[role] if r.random() < 0.7 else [self.words.word().lower()])
        return styled(r, [first, second]) if r.random() < 0.8 else self.words.invented()

    def add(self, intent, name, parameters):
        if name in self.names or len(set(parameters)) < len(parameters):
            name, parameters = self.words.invented(), ROLES[intent]
        roles = [
            "folder" if r == "path" and intent in ("list", "mkdir", "search") else r
            for r in ROLES[intent]
        ]
        described = [(p, "string", self.rng.choice(ROLE_TEXT[r])) for p, r in zip(parameters, roles)]
        if parameters[-1] == "edits":
            described = described[:1] + [("edits", "edits", "")]
        extras = self.rng.sample(EXTRAS, self.rng.choice([0, 0, 0, 1, 2, 3]))
        extras = [e for e in extras if e[0] not in parameters]
        optional_path = intent in ("list", "search") and self.rng.random() < 0.3
        required = [p for p in parameters if not (optional_path and p == parameters[-1])]
        self.put(name, self.rng.choice(DESCRIPTIONS[intent]), described, extras, required)
        self.calls[intent] = (name, list(parameters))

    def distract(self):
        name, description, parameters = self.rng.choice(DISTRACTORS)
        if name not in self.names:
            described = [(p, "string", p.replace("_", " ").capitalize()) for p in parameters]
            self.put(name, description, described, [], parameters)

    def put(self, name, description, described, extras, required):
        r, properties = self.rng, {}
        bare, shuffled = r.random() < 0.2, r.random() < 0.25
        listed = described + extras
        if shuffled:
            r.shuffle(listed)
        for parameter, kind, text in listed:
            if kind == "edits":
                properties[parameter] = EDITS_SCHEMA
                continue
            properties[parameter] = {"type": kind} if bare else {"type": kind, "description": text}
        parameters = {"type": "object", "properties": properties}
        if required or r.random() < 0.5:
            parameters["required"] = required
        if r.random() < 0.4:
            parameters["additionalProperties"] = False
        if r.random() < 0.1:
            parameters = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | parameters
        if r.random() < 0.25:
            description += " " + r.choice(USAGE_NOTES)
        self.names.add(name)
        self.schemas.append({"name": name, "description": description, "parameters": parameters})

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


EDITS_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"oldText": {"type": "string"}, "newText": {"type": "string"}},
        "required": ["oldText", "newText"],
    },
}
USAGE_NOTES = [
    "Use it only when the user asks for it.",
    "Paths may be absolute or relative.",
    "Prefer this over other ways.",
    "The result is plain text.",
    "Returns an error if the path does not exist.",
    "Output is cut after 2000 lines.",
    "Never use it on files outside the project.",
]


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
def result(rng, words, intent, values):
    """(tool result, one-line answer)."""
    if rng.random() < 0.08:
        return failure(rng, intent, values)
    path = values[ROLES[intent].index("path")] if "path" in ROLES[intent] else ""
    if intent == "list":
        names = sorted(
            {
                words.file().split("/")[-1] if rng.random() < 0.8 else words.stem() + "/"
                for _ in range(rng.choice([0, 1, 2, 3, 4, 5, 6, 9]))
            }
        )
        if not names:
            return rng.choice(["", "(empty)"]), f"The directory {path} is empty."
        shown = ", ".join(names[:5])
        if len(names) > 5:
            return "\n".join(names), f"The directory {path} contains {shown} and more."
        return "\n".join(names), f"The directory {path} contains {shown}."
    if intent == "read":
        lines = [words.text() for _ in range(rng.choice([1, 1, 1, 2, 3, 6]))]
        body = "\n".join(lines)
        if rng.random() < 0.2:
            body = "\n".join(f"{i + 1}\t{line}" for i, line in enumerate(lines))
        if len(lines) == 1:
            return body, f"The file {path} says: {lines[0]}"
        return body, f"The file {path} starts with: {lines[0]}"
    if intent == "run":
        output = rng.choice(
            [words.text(), words.text() + "\n" + words.text(), "", "ok", f"exit code 0\n{words.text()}"]
        )
        if not output:
            return "", f"I ran {values[0]}; it printed nothing."
        return output, f"I ran {values[0]}; it printed: {output.splitlines()[0]}"
    if intent == "search":
        if rng.random() < 0.2:
            return (
                rng.choice(["", "No matches found", "no results"]),
                f"I found no {values[0]} in {path}.",
            )
        hits = [
            f"{words.file()}:{rng.randint(1, 900)}:{words.text()} {values[0]}"
            for _ in range(rng.choice([1, 1, 2, 3]))
        ]
        place = ":".join(hits[0].split(":")[:2])
        return "\n".join(hits), f"I found {values[0]} in {place}" + (
            "." if len(hits) == 1 else " and other places."
        )
    said = rng.choice(
        ["ok", "Done.", "", "success", '{"ok": true}', f"Wrote {path}", "File updated", "(no output)"]
    )
    return (
        said,
        {
            "write": f"I wrote the text to {path}.",
            "append": f"I added the text to {path}.",
            "replace": f"I replaced {values[1:2][0] if len(values) > 1 else ''} in {path}.",
            "mkdir": f"I created the directory {path}.",
        }[intent],
    )


def failure(rng, intent, values):
    subject = values[-1] if intent == "search" else values[0]
    reason, plain = rng.choice(
        [
            ("No such file or directory", "it does not exist"),
            ("Permission denied", "permission was denied"),
            ("not found", "it was not found"),
            ("timed out", "it timed out"),
        ]
    )
    text = rng.choice([f"Error: {subject}: {reason}", f"error: {reason}", f"{reason}: {subject}"])
    return text, f"That did not work for {subject}: {plain}."


def reasoning(rng, intent, values, call):
    """A short thought before a call: what is wanted, and which tool does it."""
    name, arguments = call
    want = {
        "list": "list a directory",
        "read": "read a file",
        "write": "write a file",
        "append": "append to a file",
        "replace": "replace text in a file",
        "run": "run a command",
        "search": "search for text",
        "mkdir": "make a directory",
    }[intent]
    keys = ", ".join(a[0] for a in arguments)
    return rng.choice(
        [
            f"The user wants to {want}. The tool for this is {name} with {keys}.",
            f"I should {want}. I call {name} ({keys}).",
        ]
    )


def afterthought(rng):
    return rng.choice(
        ["The tool answered. I can tell the user now.", "I have the result and can answer."]
    )


def dsml(calls):
    """The call block of an assistant turn."""
    lines = ["<｜DSML｜tool_calls>"]
    for name, arguments in calls:
        lines.append(f'<｜DSML｜invoke name="{name}">')
        for key, is_string, text in arguments:
            flag = "true" if is_string else "false"
            lines.append(f'<｜DSML｜parameter name="{key}" string="{flag}">{text}</｜DSML｜parameter>')
        lines.append("</｜DSML｜invoke>")
    return "\n\n" + "\n".join(lines + ["</｜DSML｜tool_calls>"])
