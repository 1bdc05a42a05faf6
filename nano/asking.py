"""What users ask for: eight intents in many wordings.

{0} is the first argument and so on; brackets hold alternatives. Training draws from `REQUESTS`
(with words exchanged by `SYNONYMS`) and `MORE_REQUESTS`, the evaluation from `HELD_REQUESTS`, less
those spellings that training could draw for any intent.
"""

import itertools
import re
from functools import cache

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
MORE_REQUESTS = {
    "list": [
        "[list|show|display|enumerate|give me|tell me|get|name] [|all |all the |the ][files|entries|contents|names|items] [in|of|inside|under] [|the folder |the directory |the dir ]{0}",
        "[what|which] [files|things|items|entries|documents] [are|do we have|can you find|exist|lie] [in|inside|under] [|the folder |the directory ]{0}?",
        "[what does|what can] the [folder|directory|dir] {0} [contain|hold|have in it]?",
        "[look|peek|go] [in|into|inside] [|the folder |the directory ]{0} [and|then] [list|name|show|report] [what is there|the files|everything]",
        "[I want|I need|I would like] [a listing|a list of the files|the file names|an overview] of [|the folder |the directory ]{0}",
        "[show|tell] me [what|which files] [lies|is stored|there is|are|sit] [in|inside|under] {0}",
    ],
    "read": [
        "[read|open|print|view|display|show me|get|load|give me|output] [|the file |the text of |the contents of |everything in |all of ]{0}",
        "[what|which text] [is written|is stored|stands|do we have|can be read] in [|the file |the document ]{0}?",
        "[tell me|show me|I want to know|I need to know] what [|the file |the document ]{0} [says|contains|has in it|holds]",
        "[open|load|read] {0} and [tell me what it says|show me the text|print it|report its text]",
        "[could you|can you|would you] [read|open|show] [|the file ]{0}[| to me| for me]?",
        "[the contents|the text|the content] of {0}, please",
    ],
    "write": [
        "[write|save|put|store|place] [|the text |the words |the line ]{1} [to|into|in] [|the file |a file called |a new file |a file named ]{0}",
        "[create|make|generate|produce|add|start] [|the file |a file |a new file |a file called ]{0} [with|containing|that contains|that says|holding|which reads] [|the text |the content |the words ]{1}",
        "[I want|I need|I would like] a [|new |text ]file [|called |named ]{0} [with|that says|containing|holding] {1}",
        "[overwrite|fill|replace the whole of] {0} with [|the text ]{1}",
        "{0} [should|must|shall|has to] [say|contain|hold|read] [|just |only |the text ]{1}",
        "[let|make] {0} [say|contain|hold|read] {1}",
    ],
    "append": [
        "[append|add|attach|write] [|the text |the line |the words ]{1} [to|at] the [end|bottom|tail] of [|the file |the document ]{0}",
        "[append|attach|add] [|the line |the text |a line |one more line ]{1} to [|the file |the existing file ]{0}",
        "[extend|continue] [|the file ]{0} [with|by] [|the line |the text ]{1}",
        "[at the end of|at the bottom of|below everything in] {0} [add|write|put|append] {1}",
        "{0} [gets|should get|needs|must get] [one more|another|a further] line: {1}",
        "[after|below|under] the [last line|rest|text] of {0} [comes|write|put|add] {1}",
        "{1} [goes|belongs|should go|must go] [at the end of|to the bottom of|after the last line of] {0}",
    ],
    "replace": [
        "[replace|exchange|swap|substitute] {1} [with|for] {2} in [|the file |the text of ]{0}",
        "[in|inside] [|the file ]{0} [change|turn|alter|edit] {1} [to|into] {2}",
        "[change|edit|modify|update|fix|correct] [|the file ]{0}: {1} [becomes|should be|must be|turns into] {2}",
        "{0} [says|has|contains] {1}, [it should be|make that|change it to] {2}",
        "[rename|change|turn] {1} [to|into] {2} [in|inside|within] [|the file ]{0}",
        "[put|write|use] {2} [instead of|in place of|where it says] {1} in {0}",
        "[inside|within|of|for] {0}[,|] [change|alter|make|convert|switch|rewrite] {1} [to|into|to be] {2}",
        "{1} [has to|should|shall|needs to|is to|will] [be|become|turn into|read|change to] {2} [in|inside|within] {0}",
        "[edit|change|modify|adjust|rewrite|fix] {0} so [that |]it [says|contains|reads|shows|has] {2} [instead of|rather than|where it had|where it says|not] {1}",
        "[in|inside] {0} [there is|you find|stands|we have] {1}[, make it| - change it to|, which should be|; it must read] {2}",
        "{2} [should|must|shall] [replace|stand for|take the place of] {1} [in|inside] {0}",
    ],
    "run": [
        "[run|execute|start|launch|try|do] [|the command |this command: |this: |the program ]{0}",
        "[run|execute|start|try] {0} [and|then] [show me|tell me|report] [the output|what happens|what it prints|the result]",
        "[what|which output] [does|will|would] {0} [print|give|return|produce]?",
        "[in|using|with|on] [the shell|the terminal|a terminal|bash|the command line], [run|execute|do|type] {0}",
        "[I want|I need] [the output|the result] of [|the command ]{0}",
        "[could you|can you|would you] [run|execute|try] {0}[| for me]?",
        "{0} - [run|execute|start|do] [that|this|it][| now| please]",
        "[please |]let me [see|know|have] [what|the output when] {0} [prints|runs|gives|says]",
    ],
    "search": [
        "[search|look|grep|hunt] for [|the text |the word |the string ]{0} [in|under|inside|within] [|the folder |the directory |all of ]{1}",
        "[find|locate|show me|list] [|the text |every |all places with |every line with |lines containing |each ]{0} [in|under|inside] {1}",
        "[where|in which files|in which places] [in|under|of] {1} [is|do we have|do you see] {0}?",
        "[search|scan|grep|go through|comb] [|the folder |everything in ]{1} for [|the text |the word ]{0}",
        "[is|does] {0} [anywhere|somewhere|found|present|mentioned] in {1}?",
        "[which|what] [files|lines] [of|in|under] {1} [contain|mention|have|use] {0}?",
        "[does|do we have|can you see|is there] {0} [occur|show up|come up|turn up|exist|anywhere] in {1}?",
        "[where|how often|in what files] [does|do you see|is] {0} [show up|occur|come up|written|in use] [in|under|inside] {1}?",
        "[what|which lines] [in|under|of] {1} [has|have|mention|mentions|refers to] {0}?",
    ],
    "mkdir": [
        "[create|make|add|set up|start|open up] [|a |the |a new |an empty ][folder|directory|dir] [|called |named |at ]{0}",
        "[I want|I need|we need|I would like] [a|a new|an empty] [folder|directory] [|called |named ]{0}",
        "[there should be|we should have|let there be] a [folder|directory] [|called |named ]{0}",
        "[make|create] {0} as a [new |][folder|directory]",
        "[could you|can you] [create|make|add] [the|a] [folder|directory] {0}?",
        "{0} [should|must|shall] [be|become|exist as] a [new |][folder|directory]",
    ],
}
HELD_REQUESTS = {
    "list": [
        "{0}: [which|what] [files|entries|things] are [in it|there|inside]?",
        "[see|check|find out] [what|which files] [the folder|the directory|] {0} [has|holds|contains]",
        "[is there|do we have] [anything|something] [in|inside|under] {0}?",
        "[report|read out|write down] the [files|entries|names] [in|of|under] {0}",
    ],
    "read": [
        "[see|check|find out] what {0} [says|holds|has][| inside]",
        "{0}: [read|open|show|print] it[| to me|, please]",
        "[what|which words] [stand|are] in {0}?",
        "[I want|I need|I would like] to [see|read|know] [|the text of |what is in ][|the file ]{0}",
    ],
    "write": [
        "[the words|the text|the line|] {1} [should|must|shall] [be|stand|go] [in|into] [a file|a new file|the file] [|called ]{0}",
        "{0}: [new file,|a file] [with|containing|saying] {1}",
        "[use|take] [|the text ]{1} [as|for] the [text|content|body] of [|the file |a new file ]{0}",
        "[a|one] [new |]file {0} [with|saying|that holds] {1}, please",
    ],
    "append": [
        "[let|make] {0} [also |]end [in|with|on] {1}",
        "{0} should [also |]get {1} [at its end|as its last line|appended|added below]",
        "[the last line of|the end of] {0} [should be|shall be|becomes] {1}, [keep the rest|leave the rest as it is]",
    ],
    "replace": [
        "[get rid of|drop|remove] {1} [in|from] {0} [and|then] [put|write|insert] {2} [instead|there|in its place]",
        "[the|each|the word|the text|the string] {1} of {0} [turns into|gets|becomes|is now] {2}",
        "{0} [has|got] a mistake: {1} [should be|ought to be|must read] {2}",
    ],
    "run": [
        "[how|what] does {0} [answer|end|say|report][| here]?",
        "[use|open|take] [bash|the shell|a terminal] [and run|to run|for] {0}",
        "[the command|command|next command]: {0}",
    ],
    "search": [
        "[see|check|find out|tell me] [if|whether|where] {0} [is in|occurs in|shows up under|exists in|turns up in] {1}",
        "[in|under|inside|within] {1}[,|] [search|look|grep|hunt] for {0}",
        "[I want|I need] [all|every|each] [line|place|spot|file] [with|that has|containing] {0} [in|under|from] {1}",
    ],
    "mkdir": [
        "[we|I] [lack|are missing|have no] [the|a] [folder|directory] {0}, [create|make|add] it",
        "[put|place] [a|an empty|a new] [folder|directory] [named|called|at] {0} [there|here]",
    ],
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


def spelled(rng, text):
    """One of the alternatives of every bracket."""
    text = re.sub(r"\[([^\]]*)\]", lambda m: rng.choice(m[1].split("|")), text)
    return re.sub(" +", " ", text)


def spellings(text):
    """All alternatives of the brackets of a text."""
    parts = [p.split("|") if i % 2 else [p] for i, p in enumerate(re.split(r"[\[\]]", text))]
    return [re.sub(" +", " ", "".join(choice)) for choice in itertools.product(*parts)]


def plain(template):
    """What counts as the same wording: letters and places only."""
    return re.sub(r"[^a-z0-9{}]+", " ", template.lower()).strip()


def rewordings(template):
    """Every exchange of words that `reworded` can make."""
    parts = re.split(r"([a-z]+)", template)
    return ["".join(c) for c in itertools.product(*({p, *SYNONYMS.get(p, [])} for p in parts))]


@cache
def trained():
    """All wordings that training can draw, for any intent."""
    known = {plain(t) for lines in MORE_REQUESTS.values() for m in lines for t in spellings(m)}
    return known | {plain(t) for lines in REQUESTS.values() for m in lines for t in rewordings(m)}


@cache
def held_out(intent):
    """The wordings of the evaluation, by template."""
    spelled_out = [spellings(template) for template in HELD_REQUESTS[intent]]
    return [[t for t in options if plain(t) not in trained()] for options in spelled_out]


def template_for(rng, intent, split):
    """A request with places for values."""
    if split == "eval":
        return rng.choice(rng.choice(held_out(intent)))
    if rng.random() < 0.45:
        return spelled(rng, rng.choice(MORE_REQUESTS[intent]))
    return reworded(rng, rng.choice(REQUESTS[intent]))


def request(rng, intent, values, split):
    """The user's sentence for one intent."""
    template = template_for(rng, intent, split)
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
    bare = (
        template.endswith(("{0}", "{1}", "{2}"))
        and shown[-1] in values
        and closing[:1] not in ("", " ", ",")
    )
    if not question and not bare and not text.endswith("```"):
        text += closing
    if rng.random() < 0.5 and not text.startswith(tuple(shown)):
        text = text[0].upper() + text[1:]
    if (
        opening in ("Can you ", "Could you ", "Could you please ", "Would you ")
        and text[-1].isalnum()
        and rng.random() < 0.5
        and not bare
    ):
        text += "?"
    return text
