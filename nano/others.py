"""Other things that tools do: a table of everyday functions beside the eight intents.

They stand beside the tools of an intent as distractors, and training asks for them too, so that
a tool is found by what its description says. The evaluation only shows them.
"""

from dataclasses import dataclass


@dataclass
class Other:
    names: str  # words to compose names from
    descriptions: list
    parameters: list  # (usual names, kind of value, description)
    requests: list


def other(names, descriptions, parameters, requests):
    parsed = [tuple(p.split(":")) for p in parameters.split(";")] if parameters else []
    return Other(names, descriptions.split("|"), parsed, requests.split("|"))


OTHERS = [
    other(
        "weather forecast get_weather climate",
        "Current weather of a city.|Tells how the weather is somewhere|Weather report for a place, with temperature.",
        "city place location town:name:The city",
        "what is the weather in {0}?|how is the weather in {0}?|tell me the weather of {0}|is it raining in {0}?|weather for {0}",
    ),
    other(
        "time clock get_time now",
        "The current time in a place.|Says what time it is|Clock for any city",
        "zone city place timezone:name:The place",
        "what time is it in {0}?|tell me the time in {0}|how late is it in {0}?|current time for {0}",
    ),
    other(
        "translate translator translation",
        "Translate a text into another language.|Turns words of one language into another|Language translation",
        "text input sentence:text:The text;language target to:language:The language",
        "translate {0} into {1}|how do I say {0} in {1}?|what is {0} in {1}?|give me {0} in {1}",
    ),
    other(
        "send_mail email mail post_message mailer",
        "Send a message by mail.|Writes an email to somebody|Mail a person.",
        "to recipient address:mail:Who gets it;body text message:text:What to say",
        "send a mail to {0} that says {1}|write an email to {0}: {1}|mail {1} to {0}|tell {0} by mail: {1}",
    ),
    other(
        "delete remove delete_file rm unlink",
        "Delete a file.|Removes a file for good|Takes a file away from the disk.",
        "path file file_path target:file:Path of the file",
        "delete {0}|remove the file {0}|get rid of {0}|throw {0} away|the file {0} can be deleted",
    ),
    other(
        "move rename mv move_file",
        "Move or rename a file.|Gives a file another name or place|Moves a file to a new path",
        "source from old_path src:file:Where it is;destination to new_path dst:file:Where it goes",
        "move {0} to {1}|rename the file {0} to {1}|{0} should be moved to {1}|give the file {0} the name {1}",
    ),
    other(
        "copy copy_file cp duplicate",
        "Copy a file.|Makes a second file with the same content|Duplicates a file under another path",
        "source from src:file:The file;destination to target:file:The copy",
        "copy {0} to {1}|make a copy of {0} called {1}|duplicate {0} as {1}",
    ),
    other(
        "web_search search_web internet google lookup",
        "Search the web.|Looks something up on the internet|Web search, returns links.",
        "query q terms question:words:What to look for",
        "search the web for {0}|look up {0} on the internet|what does the internet say about {0}?|google {0}",
    ),
    other(
        "fetch_url download fetch web_fetch get_page",
        "Download a web page.|Fetches the address and returns its text|Get a page from the web",
        "url address link:url:The address",
        "download {0}|fetch {0}|get the page {0}|open the address {0}|what is at {0}?",
    ),
    other(
        "calculator calculate math eval_expression",
        "Evaluate an expression.|Does arithmetic|A calculator.",
        "expression formula input:sum:What to compute",
        "calculate {0}|what is {0}?|compute {0}|how much is {0}?",
    ),
    other(
        "reminder remind set_reminder alarm",
        "Set a reminder.|Reminds the user of something after some minutes|An alarm with a text",
        "text message note:words:What to remember;minutes delay after:number:Minutes from now",
        "remind me in {1} minutes of {0}|set a reminder for {0} in {1} minutes|in {1} minutes, remind me: {0}",
    ),
    other(
        "todo add_task todo_write task_add",
        "Keep a list of tasks.|Adds an item to the list of things to do|Task list",
        "task item title:words:The task",
        "add {0} to my tasks|new task: {0}|put {0} on the todo list|I have to do this: {0}",
    ),
    other(
        "agent task start_agent subagent delegate",
        "Start another agent for a task.|Hands work over to a helper|Launches a new agent with a prompt.",
        "prompt task instructions:words:The task",
        "start an agent for {0}|let another agent do this: {0}|hand {0} over to a helper",
    ),
    other(
        "glob find_files find_by_name locate_file",
        "Find files by name pattern.|Matches file names against a wildcard|Which files have a name like the pattern",
        "pattern glob name_pattern:glob:The wildcard",
        "which files are named like {0}?|find files called {0}|find file names that match {0}|glob {0}",
    ),
    other(
        "git_status status repo_state vcs",
        "Show the state of the repository.|Which changes are not committed|git status",
        "",
        "what changed in the repository?|show the git state|are there uncommitted changes?|what is the state of the repository?",
    ),
    other(
        "git_commit commit save_commit",
        "Commit the staged changes.|Makes a commit with a message|Records changes in the history",
        "message text title:words:The message",
        "commit with the message {0}|make a commit: {0}|commit the changes as {0}",
    ),
    other(
        "view_image show_image image open_picture",
        "Show an image file.|Displays a picture|Opens a picture for the user",
        "path image file:picture:The image",
        "show the picture {0}|display the image {0}|I want to see the image {0}",
    ),
    other(
        "skill load_skill use_skill",
        "Load a skill by name.|Gets the instructions of a skill|Uses a named skill",
        "name skill:word:The skill",
        "load the skill {0}|use the skill {0}|I want the skill called {0}",
    ),
    other(
        "plan update_plan planner",
        "Update the plan.|Writes down what the next steps are|Changes the plan of the work",
        "plan steps text:words:The plan",
        "the new plan is {0}|set the plan to {0}|update the plan: {0}",
    ),
    other(
        "kill stop_process process_kill terminate",
        "Stop a running process.|Ends the process with a given number|Terminates a process",
        "pid process id:number:Number of the process",
        "stop the process {0}|kill process {0}|end process number {0}|terminate {0}",
    ),
    other(
        "memory remember memory_save save_fact",
        "Remember a fact.|Keeps something in the long memory|Stores a fact for later sessions",
        "fact text value:words:The fact",
        "remember this: {0}|keep in mind: {0}|remember that {0}|note for later: {0}",
    ),
    other(
        "convert currency exchange_rate money",
        "Convert money from one currency into another.|Currency exchange|How much is an amount in another currency",
        "amount value sum:number:How much;currency to target:currency:The currency",
        "how much are {0} dollars in {1}?|convert {0} dollars to {1}|change {0} dollars into {1}",
    ),
    other(
        "dictionary define lookup_word meaning",
        "Explain a word.|A dictionary|Gives the meaning of a word",
        "word term:word:The word",
        "what does the word {0} mean?|define {0}|look up the meaning of {0}|explain the word {0}",
    ),
    other(
        "play music play_song player",
        "Play music.|Starts a song|Music player",
        "title song track:words:The song",
        "play {0}|I want to hear {0}|start the song {0}|put on {0}",
    ),
    other(
        "calendar add_event schedule appointment",
        "Add an event to the calendar.|Makes an appointment|Puts a date into the calendar",
        "title event what:words:The event;day date when:day:The day",
        "put {0} into the calendar on {1}|I have {0} on {1}, add it to the calendar|schedule {0} for {1}",
    ),
    other(
        "ping host_ping reachable check_host",
        "Check whether a host answers.|Pings a machine|Is a server reachable?",
        "host server machine:host:The host",
        "ping {0}|is {0} reachable?|check whether {0} answers|does the host {0} answer?",
    ),
    other(
        "sql query_database database select",
        "Ask the database.|Runs an SQL query|Query of the data base",
        "query sql statement:sql:The query",
        "ask the database: {0}|run the query {0}|send {0} to the database",
    ),
    other(
        "compress zip archive pack_files",
        "Pack a folder into an archive.|Makes a zip file of a folder|Compresses a directory",
        "path folder source:folder:What to pack",
        "zip {0}|pack the folder {0}|make an archive of {0}|compress {0}",
    ),
    other(
        "count count_lines line_count wc",
        "Count the lines of a file.|How many lines does a file have|Line counter",
        "path file file_path:file:The file",
        "how many lines has {0}?|count the lines of {0}|how long is the file {0}?",
    ),
    other(
        "checksum hash_file sha256 digest",
        "Checksum of a file.|Computes the hash of a file|SHA-256 of a file",
        "path file target:file:The file",
        "hash {0}|what is the checksum of {0}?|compute the checksum of the file {0}",
    ),
    other(
        "install package_install add_package",
        "Install a package.|Adds a library to the project|Gets a package from the registry",
        "package name library:stem:The package",
        "install the package {0}|add the library {0}|I need the package {0}",
    ),
    other(
        "format_code formatter prettify",
        "Format a source file.|Puts code into the usual layout|Pretty printer for code",
        "path file source:file:The file",
        "format {0}|prettify the file {0}|put {0} into the usual layout",
    ),
    other(
        "ask_user question ask request_input",
        "Ask the user a question.|Gets an answer from the user|Use this when something is unclear",
        "question text:words:The question",
        "ask me this: {0}|ask the user about {0}|put the question {0} to the user",
    ),
    other(
        "temperature heating thermostat set_heating",
        "Set the heating.|Changes the temperature of a room|Thermostat control",
        "room place where:word:The room;degrees temperature value:number:Degrees",
        "set {0} to {1} degrees|make it {1} degrees in {0}|heat {0} to {1} degrees",
    ),
    other(
        "route directions navigate map",
        "Find a route.|How to get from one place to another|Directions",
        "start from origin:name:Start;end to destination:name:End",
        "how do I get from {0} to {1}?|find a route from {0} to {1}|directions from {0} to {1}",
    ),
    other(
        "light lamp switch_light set_lamp",
        "Switch a lamp.|Turns the light on or off|Lamp control",
        "lamp name which:word:The lamp;on state value:flag:On or off",
        "set the lamp {0} to {1}|lamp {0}: {1}|put the light {0} to {1}",
    ),
    other(
        "log log_message write_log",
        "Write a line into the log of the session.|Logs a message|Session log",
        "message entry line:words:The message",
        "log {0}|log the message {0}|a log entry please: {0}",
    ),
    other(
        "session write_stdin send_keys type_keys",
        "Write characters to a running session.|Sends keys to a program that waits for input|Types into a session",
        "session_id session id:number:The session;chars keys input:word:What to type",
        "type {1} into session {0}|send {1} to the session {0}|session {0} gets the input {1}",
    ),
]
LANGUAGES = "German French Spanish Italian Dutch Polish Greek Latin Danish Welsh Czech Irish".split()
CURRENCIES = "euro yen pounds francs kroner pesos rupees zloty".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday tomorrow today".split()


def value(rng, words, kind):
    """(text, whether it is a string) of one argument."""
    if kind == "number":
        return str(rng.choice([rng.randint(1, 60), rng.randint(1, 99999)])), False
    if kind == "flag":
        return rng.choice(["true", "false"]), False
    makers = {
        "name": lambda: words.word().capitalize(),
        "word": lambda: words.word().lower(),
        "words": lambda: " ".join(words.word().lower() for _ in range(rng.randint(1, 4))),
        "text": words.text,
        "file": words.file,
        "folder": words.folder,
        "stem": words.stem,
        "language": lambda: rng.choice(LANGUAGES),
        "currency": lambda: rng.choice(CURRENCIES),
        "day": lambda: rng.choice(DAYS),
        "mail": lambda: (
            f"{words.word().lower()}@{words.word().lower()}.{rng.choice(['org', 'com', 'net'])}"
        ),
        "url": lambda: (
            f"https://{words.word().lower()}.{rng.choice(['org', 'com', 'io'])}/{words.stem()}"
        ),
        "host": lambda: f"{words.word().lower()}.{rng.choice(['local', 'org', 'net'])}",
        "sum": lambda: f"{rng.randint(2, 999)} {rng.choice('+-*/')} {rng.randint(2, 99)}",
        "glob": lambda: rng.choice(["*.", "**/*.", words.word().lower() + "*."]) + words.extension(),
        "picture": lambda: (
            words.folder(rng.choice([0, 1])) + words.stem() + rng.choice([".png", ".jpg"])
        ),
        "sql": lambda: f"select {words.word().lower()} from {words.word().lower()}",
    }
    return makers[kind](), True


def ask(rng, function, values):
    """The user's sentence for such a function."""
    marks = ["{}"] * 3 + ['"{}"', "'{}'", "`{}`"]
    shown = []
    for (_, kind, _), (text, is_string) in zip(function.parameters, values):
        quotable = kind in ("words", "text", "sql", "file", "folder", "word", "stem", "glob")
        usable = marks[3:] if kind == "text" else marks if quotable else marks[:1]
        usable = [m for m in usable if m == "{}" or m[0] not in text] or ["```\n{}\n```"]
        shown.append(rng.choice(usable).format(text))
    text = rng.choice(function.requests).format(*shown)
    if rng.random() < 0.3 and not text.endswith(("?", "`")):
        text = rng.choice(["please ", "now ", "hey, ", "can you "]) + text
    if rng.random() < 0.5 and not text.startswith(tuple(shown)):
        text = text[0].upper() + text[1:]
    return text
