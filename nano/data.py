"""Training sequences: documents from the corpus and generated conversations, packed in rows.

`Stream(paths, length, seed)` yields rows of tokens and loss weights without end and without
repeating; the same seed gives the same rows. `python data.py TOKENIZER CORPUS [SEED]` prints a
few conversations and statistics.
"""

import json
import lzma
import random
import re
import sys
import time

import numpy as np
import others
import recall
import talk
import tools
from asking import ROLES, request
from tokenizers import Tokenizer
from toolset import ToolSet

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
CONTEXT_WEIGHT = 0.02  # loss weight of tokens that the model reads but never writes
DOCUMENT_WEIGHT = 0.12
CHOICE_WEIGHTS = {"tool": 8.0, "parameter": 3.0, "answer": 4.0}  # first tokens, where a choice is made
CHARACTERS_PER_TOKEN = 3.0  # of conversations, about
TOOLS_TEXT = """## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<｜DSML｜tool_calls>" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="$TOOL_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$TOOL_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

{}

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""
EFFORT_TEXT = """Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.

"""
SHORT_SYSTEMS = [
    "",
    "",
    "",
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are Nano, a helpful assistant.",
    "Be brief.",
    "You are a coding agent. Use the tools to do what the user asks.",
    "Answer in one sentence.",
    "You are an expert programmer.",
    "You are an interactive agent that helps users with software engineering tasks.",
    "You are operating in a terminal.",
]
SUBJECTS = [
    "the user",
    "the project",
    "every file",
    "the tests",
    "a command",
    "the code",
    "a tool",
    "your answer",
    "the repository",
    "the configuration",
    "an error message",
    "the working directory",
    "a commit",
    "the documentation",
    "the plan",
]
RULES = [
    "Always check {} before you change {}.",
    "Never touch {} without being asked.",
    "Keep {} short and clear.",
    "Do not explain {} unless {} asks for it.",
    "Prefer the tools over guessing about {}.",
    "When {} fails, say so and name the reason.",
    "Use absolute paths for {}.",
    "You may read {} at any time.",
    "If {} is missing, ask about {}.",
    "Treat {} with care: it belongs to the user.",
    "Before you finish, make sure that {} is still correct.",
    "Do not add comments to {}.",
    "Follow the style of {}.",
    "Only commit {} when the user asks you to.",
    "Explain {} in one or two sentences.",
    "Avoid long output about {}.",
    "Run {} only when needed.",
    "Work on {} step by step.",
    "Never print secrets from {}.",
    "Do the simplest thing that works for {}.",
]
TITLES = [
    "Rules",
    "Style",
    "Working with files",
    "Tone",
    "Safety",
    "Environment",
    "Git",
    "Testing",
    "Tools",
    "Project notes",
    "Memory",
    "Doing tasks",
    "Communication",
    "Permissions",
    "Context",
    "Guidelines",
    "Skills",
    "Output",
]


class Corpus:
    """Documents of corpus.py; every 97th is held out for evaluation."""

    def __init__(self, path):
        with lzma.open(path, "rt") as file:
            documents = [json.loads(line) for line in file]
        self.train = [d["text"] for i, d in enumerate(documents) if i % 97]
        self.held = [d["text"] for i, d in enumerate(documents) if i % 97 == 0]
        names = re.findall(
            r"^([a-z]{3,9})(?:, [^(\n]*)? \((?:noun|verb|adj)\): ",
            "\n".join(d["text"] for d in documents if d["source"] == "wordnet"),
            re.M,
        )
        self.words = sorted(set(names))


class Speaker:
    """Draws conversations. `split` is "train" or "eval" (held-out words, names, paraphrases);
    `names` can be "known", for the spellings of real agents, and `wordings` apart "train"."""

    def __init__(self, corpus, rng, split="train", names=None, wordings=None):
        self.rng, self.corpus, self.split = rng, corpus, split
        self.names, self.wordings = names or split, wordings or split
        held = [w for i, w in enumerate(corpus.words) if (i % 10 == 0) == (split == "eval")]
        self.words = tools.Words(rng, held, split)

    # instructions -------------------------------------------------------
    def system(self, characters):
        """Instructions of about the given length, varied in form."""
        r = self.rng
        parts = [r.choice(SHORT_SYSTEMS)]
        size = len(parts[0])
        while size < characters:
            part = self.section()
            parts.append(part)
            size += len(part) + 2
        return "\n\n".join(p for p in parts if p)

    def section(self):
        r, kind = self.rng, self.rng.random()
        if kind < 0.45:
            title = r.choice(["# {}", "## {}", "<{}>", "{}:", "**{}**"]).format(r.choice(TITLES))
            bullet = r.choice(["- ", "* ", "", "1. "])
            return title + "\n" + "\n".join(bullet + self.rule() for _ in range(r.randint(2, 9)))
        if kind < 0.55:
            lines = [
                f"Working directory: /{self.words.folder(2).strip('./~')}",
                f"Platform: {r.choice(['linux', 'darwin', 'win32'])}",
                f"Today's date: {r.randint(2024, 2027)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}",
                f"Shell: {r.choice(['bash', 'zsh', 'fish'])}",
                f"Is a git repository: {r.choice(['yes', 'no', 'true', 'false'])}",
            ]
            r.shuffle(lines)
            return r.choice(["<env>\n{}\n</env>", "Environment:\n{}", "# Environment\n{}"]).format(
                "\n".join(lines[: r.randint(2, 5)])
            )
        text = r.choice(self.corpus.train if self.split == "train" else self.corpus.held)
        start = r.randrange(max(1, len(text) - 1500))
        return text[start : start + r.randint(200, 3000)].strip()

    def rule(self):
        return re.sub(r"\{\}", lambda _: self.rng.choice(SUBJECTS), self.rng.choice(RULES))

    def preface(self):
        """Context that agents put before or after the request in the user's turn."""
        r = self.rng
        body = self.system(r.choice([100, 400, 1500]))
        return r.choice(
            [
                "<system-reminder>\n{}\n</system-reminder>",
                "<environment_context>\n{}\n</environment_context>",
                "# Context\n{}",
            ]
        ).format(body)

    # conversations --------------------------------------------------------
    def chat(self, characters=0, thinking=None):
        """A conversation without tools."""
        r = self.rng
        thinking = r.random() < 0.3 if thinking is None else thinking
        turns = [talk.exchange(r, self.words) for _ in range(r.choice([1, 1, 1, 2, 2, 3, 5]))]
        out = BOS + (EFFORT_TEXT if thinking and r.random() < 0.1 else "") + self.system(characters)
        for i, (question, answer, thought) in enumerate(turns):
            last = i == len(turns) - 1
            opening = f"<think>{thought}</think>" if thinking and last else "</think>"
            out += USER + question + ASSISTANT + opening + answer + EOS
        return out

    def head(self, characters, thinking, needed, size="usual"):
        """(prompt up to the first request, its tools)."""
        r = self.rng
        toolset = ToolSet(r, self.words, self.names, needed, size)
        schemas = "\n".join(json.dumps(s, ensure_ascii=False) for s in toolset.schemas)
        effort = EFFORT_TEXT if thinking and r.random() < 0.1 else ""
        shown = TOOLS_TEXT.replace("{}", schemas)
        return BOS + effort + self.system(characters) + "\n\n" + shown, toolset

    def with_tools(self, characters=0, thinking=None, intent=None, length=0, size="usual"):
        """A conversation with tool calls, of one request or until it has `length` characters.

        Returns (text, (prompt, intent, call) of the first call)."""
        r = self.rng
        thinking = r.random() < 0.4 if thinking is None else thinking
        counts = [1, 2, 2, 3, 4] if size == "small" else [1, 1, 2, 3, 4, 6, 8]
        needed = [intent] if intent else r.sample(list(ROLES), r.choice(counts))
        out, toolset = self.head(characters, thinking, needed, size)
        first, waiting = None, list(needed)
        while True:
            prefix = self.preface() + "\n\n" if r.random() < 0.12 and characters else ""
            kind = 1.0 if intent else r.random()
            if kind < 0.08:
                asked, parts = self.small_talk(thinking)
            elif kind < 0.33 and toolset.functions:
                asked, parts = self.other_request(toolset, thinking)
            else:
                waiting = waiting or r.sample(needed, len(needed))
                step = waiting.pop()
                asked, parts = self.file_request(step, toolset, thinking)
            if r.random() < 0.06 and characters:
                asked += "\n\n" + self.preface()
            out += USER + prefix + asked
            for said, call, results in parts:
                if call and kind >= 0.33 and not first:
                    first = (out + ASSISTANT + ("<think>" if thinking else "</think>"), step, call)
                out += ASSISTANT + said + EOS + (USER + results if results else "")
            if intent or len(out) >= length:
                return out, first

    def opening(self, thought, thinking):
        return f"<think>{thought}</think>" if thinking else "</think>"

    def small_talk(self, thinking):
        question, answer, thought = talk.exchange(self.rng, self.words)
        return question, [(self.opening(thought, thinking) + answer, None, "")]

    def file_request(self, step, toolset, thinking):
        """(request, [(what the assistant says, first call, results after it)])."""
        r, parts, answer = self.rng, [], ""
        jobs = self.jobs(step, toolset)
        for group in self.groups(jobs):
            calls = [toolset.call(j, v) for j, v in group]
            thought = " ".join(tools.reasoning(r, j, v, c) for (j, v), c in zip(group, calls))
            results = [tools.result(r, self.words, j, v) for j, v in group]
            shown = "\n\n".join(f"<tool_result>{text}</tool_result>" for text, _ in results)
            parts.append((self.opening(thought, thinking) + tools.dsml(calls), calls[0], shown))
            answer = " ".join(a for _, a in results)
        parts.append((self.opening(tools.afterthought(r), thinking) + answer, None, ""))
        return self.ask(jobs), parts

    def other_request(self, toolset, thinking):
        """The same for a function that is none of the eight intents."""
        r = self.rng
        function, name, parameters = r.choice(toolset.functions)
        values = [others.value(r, self.words, kind) for _, kind, _ in function.parameters]
        call = name, [(p, is_string, text) for p, (text, is_string) in zip(parameters, values)]
        thought = r.choice([f"{name} does this.", f"The tool for this is {name}. I call it."])
        found = self.words.text() if r.random() < 0.7 else "ok"
        answer = "Done." if found == "ok" else f"The tool says: {found}"
        said = self.opening(thought, thinking) + tools.dsml([call])
        after = self.opening(tools.afterthought(r), thinking) + answer
        shown = f"<tool_result>{found}</tool_result>"
        return others.ask(r, function, values), [(said, call, shown), (after, None, "")]

    def lookups(self, characters, length, size="usual"):
        """Questions about the tools of a prompt."""
        r = self.rng
        needed = r.sample(list(ROLES), r.choice([2, 4, 8]))
        out, toolset = self.head(characters, False, needed, size)
        while len(out) < length:
            question, answer = recall.about_tools(r, toolset)
            out += USER + question + ASSISTANT + "</think>" + answer + EOS
        return out

    def choices(self, characters, length):
        """Requests to which the assistant only names the tool that fits."""
        r = self.rng
        text, tools_of, functions = recall.tool_list(r, self.words, self.split)
        parts = [self.system(characters), text, r.choice(recall.ONLY_NAME)]
        out = BOS + "\n\n".join(p for p in parts if p)
        while len(out) < length:
            if functions and r.random() < 0.35:
                function, answer = r.choice(functions)
                values = [others.value(r, self.words, kind) for _, kind, _ in function.parameters]
                asked = others.ask(r, function, values)
            else:
                step = r.choice(list(tools_of))
                asked = request(r, step, self.words.arguments(step), self.wordings)
                answer = tools_of[step]
            out += USER + asked + ASSISTANT + "</think>" + answer + EOS
        return out

    def recalls(self, characters, length):
        """Questions about the entries of a table, which stands before or after instructions."""
        r = self.rng
        most = max(4, int((length - characters) / 60))
        text, asked = recall.table(r, self.words, r.randint(3, most))
        parts = [self.system(characters), text]
        if r.random() < 0.3:
            parts.reverse()
        out = BOS + "\n\n".join(p for p in parts if p)
        while len(out) < length:
            question, answer = next(asked)
            out += USER + question + ASSISTANT + "</think>" + answer + EOS
        return out

    def jobs(self, step, toolset):
        """One or two jobs of a request that the tools can do."""
        r = self.rng
        if toolset.call(step, self.words.arguments(step)) is None:
            step = r.choice(list(toolset.calls))
        jobs = [(step, self.words.arguments(step))]
        if self.split == "train" and r.random() < 0.2:
            follow = {
                "mkdir": "write",
                "write": "read",
                "read": "append",
                "replace": "read",
                "append": "read",
            }.get(step)
            follow = follow if r.random() < 0.6 else r.choice(list(ROLES))
            if follow and toolset.call(follow, self.words.arguments(follow)):
                jobs.append((follow, self.following(jobs[0], follow)))
        return jobs

    def following(self, job, follow):
        """Arguments of a second job, often on the same file."""
        step, values = job[0], self.words.arguments(follow)
        if step == "mkdir" and follow == "write":
            values[0] = job[1][0].rstrip("/") + "/" + values[0].split("/")[-1]
        elif ROLES[step][0] == "path" == ROLES[follow][0] and not ({"mkdir", "list"} & {step, follow}):
            values[0] = job[1][0]
        return values

    def ask(self, jobs):
        r = self.rng
        texts = [request(r, j, v, self.wordings) for j, v in jobs]
        if len(texts) == 1:
            return texts[0]
        between = [", then ", " and then ", ". Then ", ". After that, ", "\n", " and "]
        return texts[0].rstrip(".") + r.choice(between) + texts[1]

    def groups(self, jobs):
        """Calls that go together in one turn: mostly one, sometimes both at once."""
        if len(jobs) == 2 and jobs[0][0] == jobs[1][0]:
            return [jobs]
        return [[job] for job in jobs]


class Stream:
    """Endless rows for training: (tokens int16 [length + 2], weights float16 [length + 2]).

    `SHARES` are shares of tokens: the kind that lags most behind its share is drawn next."""

    SHARES = {
        "document": 0.14,
        "chat": 0.08,
        "call": 0.12,
        "calls": 0.23,
        "small": 0.2,
        "choose": 0.13,
        "lookup": 0.05,
        "recall": 0.05,
    }

    def __init__(self, tokenizer, corpus, length, seed):
        self.tokenizer, self.corpus, self.length = Tokenizer.from_file(tokenizer), corpus, length
        self.rng = random.Random(f"{seed}/{length}")
        self.speaker = Speaker(corpus, self.rng)
        self.drawn = dict.fromkeys(self.SHARES, 0)
        marks = (ASSISTANT, EOS, "<think>", "</think>")
        self.marks = [self.tokenizer.token_to_id(m) for m in marks]
        encode = lambda text: self.tokenizer.encode(text, add_special_tokens=False).ids
        self.before_tool = encode('<｜DSML｜invoke name="')
        self.before_parameter = encode('<｜DSML｜parameter name="')

    def budget(self):
        """Characters of instructions in front: mostly short, up to what the row can hold."""
        r = self.rng
        if self.length <= 2048:
            return r.choice([0, 0, 0, 0, 100, 300, 800, 2000])
        return int(self.length * r.choice([0, 0.2, 0.5, 1.0, 1.5, 2.0, 2.3]))

    def next_kind(self):
        total = sum(self.drawn.values())
        lag = lambda kind: self.SHARES[kind] * total - self.drawn[kind]
        return max(self.SHARES, key=lambda kind: lag(kind) + self.rng.random() * 2 * self.length)

    def conversation(self, kind, space):
        """The text of a conversation for about `space` tokens."""
        r, speaker = self.rng, self.speaker
        length = int(space * CHARACTERS_PER_TOKEN * r.uniform(0.6, 1.1))
        size = "large" if self.length > 2048 and r.random() < 0.5 else "usual"
        if kind == "chat":
            return speaker.chat(self.budget() if r.random() < 0.25 else 0)
        if kind == "call":
            return speaker.with_tools(self.budget(), size=size)[0]
        if kind == "calls":
            return speaker.with_tools(self.budget(), length=length, size=size)[0]
        if kind == "small":
            return speaker.with_tools(length=r.randint(2000, 6000), size="small")[0]
        if kind == "choose":
            return speaker.choices(0, min(length, r.randint(1000, 4000)))
        if kind == "lookup":
            return speaker.lookups(self.budget() if r.random() < 0.5 else 0, length, size)
        return speaker.recalls(self.budget() if r.random() < 0.4 else 0, length)

    def document(self, count):
        """Up to `count` tokens of a document, from a random place."""
        text = self.rng.choice(self.corpus.train)
        start = self.rng.randrange(max(1, len(text) - count * 4))
        encoding = self.tokenizer.encode(BOS + text[start : start + count * 5], add_special_tokens=False)
        ids = np.array(encoding.ids, np.int16)[:count]
        return ids, np.full(len(ids), DOCUMENT_WEIGHT, np.float16)

    def weigh(self, ids):
        """Loss weight of every token as a target: what the assistant says counts fully."""
        assistant, end, think, after = self.marks
        place = np.arange(len(ids))
        begun = np.maximum.accumulate(np.where(ids == assistant, place, -1))
        ended = np.maximum.accumulate(np.where(ids == end, place, -1))
        before = np.concatenate([[False], (begun > ended)[:-1]])
        given = np.concatenate([[False], ids[:-1] == assistant]) & ((ids == think) | (ids == after))
        weights = np.where(before & ~given, 1.0, CONTEXT_WEIGHT)
        for mark, kind in (
            (self.before_tool, "tool"),
            (self.before_parameter, "parameter"),
            ([assistant, after], "answer"),
        ):
            chosen = self.following(ids, mark)
            weights[chosen] *= np.where(before[chosen], CHOICE_WEIGHTS[kind], 1.0)
        return weights.astype(np.float16)

    @staticmethod
    def following(ids, mark):
        """The positions right after each occurrence of the tokens `mark`."""
        ends = np.arange(len(mark), len(ids))
        same = [ids[ends - len(mark) + i] == token for i, token in enumerate(mark)]
        return ends[np.logical_and.reduce(same)]

    def draw(self, space):
        """(kind, tokens, weights) of the next text; `space` tokens are left in the row."""
        kind = self.next_kind() if space > 300 else self.rng.choice(["document", "chat"])
        if kind == "document":
            return kind, *self.document(min(space, self.rng.randint(self.length // 4, self.length)))
        text = self.conversation(kind, space)
        ids = np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int16)
        return kind, ids, self.weigh(ids)

    def fits(self, ids, space):
        """Whether a conversation may be cut after `space` tokens: an answer begins well before."""
        begun = np.flatnonzero(ids == self.marks[0])
        return len(ids) <= space or (len(begun) and begun[0] < 0.7 * space)

    def __iter__(self):
        """Rows of conversations and documents; what does not fit starts the next row."""
        need, waiting = self.length + 2, None
        while True:
            parts, space = [], need
            while space > 0:
                kind, ids, weights = waiting or self.draw(space)
                waiting = None
                if not self.fits(ids, space):
                    waiting = (kind, ids, weights) if self.fits(ids, need) else None
                    kind, (ids, weights) = "document", self.document(space)
                parts.append((ids[:space], weights[:space]))
                self.drawn[kind] += len(parts[-1][0])
                space -= len(parts[-1][0])
            yield np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def main():
    corpus, seed = Corpus(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    length = int(sys.argv[4]) if len(sys.argv) > 4 else 2048
    speaker = Speaker(corpus, random.Random(seed))
    print(len(corpus.train), "documents,", len(corpus.words), "words")
    texts = [speaker.chat() for _ in range(4)] + [speaker.with_tools()[0] for _ in range(4)]
    texts += [speaker.with_tools(length=6000)[0], speaker.with_tools(length=2500, size="small")[0]]
    texts += [speaker.lookups(0, 5000), speaker.recalls(0, 2000), speaker.choices(0, 3000)]
    for text in texts:
        print(text[max(0, text.find("Schemas")) :], "\n" + "-" * 40)
    stream, start = Stream(sys.argv[1], corpus, length, seed), time.time()
    rows = [row for row, _ in zip(stream, range(400_000 // length))]
    print(f"{len(rows) * length / (time.time() - start):.0f} tokens/s")
    print("share of full-weight targets:", np.mean([np.mean(w >= 1) for _, w in rows]))
    total = sum(stream.drawn.values())
    print({kind: round(count / total, 3) for kind, count in stream.drawn.items()})
    print("calls per row:", np.mean([np.sum(w == CHOICE_WEIGHTS["tool"]) for _, w in rows]))


if __name__ == "__main__":
    main()
