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
from tokenizers import Tokenizer

import talk
import tools

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
CONTEXT_WEIGHT = 0.1  # loss weight of tokens that the model reads but never writes
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
    """Draws conversations. `split` is "train" or "eval" (held-out words, names, paraphrases)."""

    def __init__(self, corpus, rng, split="train"):
        self.rng, self.corpus, self.split = rng, corpus, split
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

    def with_tools(self, characters=0, thinking=None, intent=None):
        """A conversation with tool calls; returns (text, [(first turn's intent, values, call)])."""
        r = self.rng
        thinking = r.random() < 0.4 if thinking is None else thinking
        turns = r.choice([1, 1, 1, 2, 2, 3]) if intent is None else 1
        steps = [intent or r.choice(list(tools.ROLES)) for _ in range(turns)]
        toolset = tools.ToolSet(r, self.words, self.split, dict.fromkeys(steps))
        schemas = "\n".join(json.dumps(s, ensure_ascii=False) for s in toolset.schemas)
        out = BOS + (EFFORT_TEXT if thinking and r.random() < 0.1 else "")
        out += self.system(characters) + "\n\n" + TOOLS_TEXT.replace("{}", schemas)
        first = None
        for i, step in enumerate(steps):
            prefix = self.preface() + "\n\n" if r.random() < 0.12 and characters else ""
            if intent is None and r.random() < 0.15:
                question, answer, thought = talk.exchange(r, self.words)
                opening = f"<think>{thought}</think>" if thinking else "</think>"
                out += USER + prefix + question + ASSISTANT + opening + answer + EOS
                continue
            jobs = self.jobs(step, toolset)
            asked = self.ask(jobs) + (
                "\n\n" + self.preface() if r.random() < 0.06 and characters else ""
            )
            out += USER + prefix + asked
            for group in self.groups(jobs):
                calls = [toolset.call(j, v) for j, v in group]
                first = first or (
                    out + ASSISTANT + ("<think>" if thinking else "</think>"),
                    step,
                    calls[0],
                )
                thought = " ".join(tools.reasoning(r, j, v, c) for (j, v), c in zip(group, calls))
                opening = f"<think>{thought}</think>" if thinking else "</think>"
                results = [tools.result(r, self.words, j, v) for j, v in group]
                out += ASSISTANT + opening + tools.dsml(calls) + EOS + USER
                out += "\n\n".join(f"<tool_result>{text}</tool_result>" for text, _ in results)
                answer = " ".join(a for _, a in results)
            opening = f"<think>{tools.afterthought(r)}</think>" if thinking else "</think>"
            out += ASSISTANT + opening + answer + EOS
        return out, first

    def jobs(self, step, toolset):
        """One or two jobs of a request that the tools can do."""
        r = self.rng
        if toolset.call(step, self.words.arguments(step)) is None:
            step = r.choice(list(toolset.calls))
        jobs = [(step, self.words.arguments(step))]
        if self.split == "train" and r.random() < 0.25:
            follow = {
                "mkdir": "write",
                "write": "read",
                "read": "append",
                "replace": "read",
                "append": "read",
            }.get(step)
            follow = follow if r.random() < 0.6 else r.choice(list(tools.ROLES))
            if follow and toolset.call(follow, self.words.arguments(follow)):
                values = self.words.arguments(follow)
                if step == "mkdir" and follow == "write":
                    values[0] = jobs[0][1][0].rstrip("/") + "/" + values[0].split("/")[-1]
                elif (
                    tools.ROLES[step][0] == "path" == tools.ROLES[follow][0]
                    and step != "mkdir" != follow
                    and "list" not in (step, follow)
                ):
                    values[0] = jobs[0][1][0]
                jobs.append((follow, values))
        return jobs

    def ask(self, jobs):
        r = self.rng
        texts = [tools.request(r, j, v, self.split) for j, v in jobs]
        if len(texts) == 1:
            return texts[0]
        return (
            texts[0].rstrip(".")
            + r.choice([", then ", " and then ", ". Then ", ". After that, ", "\n", " and "])
            + texts[1]
        )

    def groups(self, jobs):
        """Calls that go together in one turn: mostly one, sometimes both at once."""
        if len(jobs) == 2 and jobs[0][0] == jobs[1][0]:
            return [jobs]
        return [[job] for job in jobs]


class Stream:
    """Endless rows for training: (tokens int16 [length + 2], weights float16 [length + 2]).

    `document_share` and `chat_share` are shares of drawn texts; the rest are tool conversations.
    """

    def __init__(self, tokenizer, corpus, length, seed, document_share=0.05, chat_share=0.15):
        self.tokenizer, self.corpus, self.length = Tokenizer.from_file(tokenizer), corpus, length
        self.rng = random.Random(f"{seed}/{length}")
        self.speaker = Speaker(corpus, self.rng)
        self.shares = document_share, chat_share
        marks = (ASSISTANT, EOS, "<think>", "</think>")
        self.marks = [self.tokenizer.token_to_id(m) for m in marks]

    def budget(self):
        """Characters of instructions in front: mostly short, up to what the row can hold."""
        r = self.rng
        if self.length <= 2048:
            return r.choice([0, 0, 0, 100, 300, 800, 2000])
        return int(self.length * r.choice([0, 0.2, 0.5, 1.0, 1.5, 2.0, 2.3]))

    def draw(self):
        """A conversation's tokens and weights; too long ones are left out."""
        documents, chats = self.shares
        while True:
            kind = self.rng.random()
            if kind < documents:
                return self.document(self.rng.randint(self.length // 4, self.length))
            if kind < documents + chats:
                text = self.speaker.chat(self.budget() if self.rng.random() < 0.5 else 0)
            else:
                text = self.speaker.with_tools(self.budget())[0]
            ids = np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int16)
            if len(ids) <= self.length:
                return ids, self.weigh(ids)

    def document(self, count):
        """Up to `count` tokens of a document, from a random place."""
        text = self.rng.choice(self.corpus.train)
        start = self.rng.randrange(max(1, len(text) - count * 4))
        encoding = self.tokenizer.encode(
            BOS + text[start : start + count * 5], add_special_tokens=False
        )
        ids = np.array(encoding.ids, np.int16)[:count]
        return ids, np.ones(len(ids), np.float16)

    def weigh(self, ids):
        """Loss weight of every token as a target: what the assistant says counts fully."""
        assistant, end, think, after = self.marks
        place = np.arange(len(ids))
        begun = np.maximum.accumulate(np.where(ids == assistant, place, -1))
        ended = np.maximum.accumulate(np.where(ids == end, place, -1))
        before = np.concatenate([[False], (begun > ended)[:-1]])
        given = np.concatenate([[False], ids[:-1] == assistant]) & ((ids == think) | (ids == after))
        return np.where(before & ~given, 1.0, CONTEXT_WEIGHT).astype(np.float16)

    def __iter__(self):
        """Rows of whole conversations; documents fill what is left."""
        need, waiting = self.length + 2, None
        while True:
            parts, space = [], need
            while space > 0:
                ids, weights = waiting or self.draw()
                waiting = None
                if len(ids) > space:
                    waiting = (ids, weights)
                    ids, weights = self.document(space)
                parts.append((ids, weights))
                space -= len(ids)
            yield np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def main():
    corpus, seed = Corpus(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    speaker = Speaker(corpus, random.Random(seed))
    print(len(corpus.train), "documents,", len(corpus.words), "words")
    for _ in range(4):
        print(speaker.chat(), "\n" + "-" * 40)
    for _ in range(6):
        text = speaker.with_tools()[0]
        print(text[text.index("Schemas") :], "\n" + "-" * 40)
    stream, start = iter(Stream(sys.argv[1], corpus, 2048, seed)), time.time()
    rows = [next(stream) for _ in range(200)]
    print(f"{200 * 2048 / (time.time() - start):.0f} tokens/s")
    print("share of full-weight targets:", np.mean([np.mean(w == 1) for _, w in rows]))


if __name__ == "__main__":
    main()
