"""Generated tool conversations: values of arguments, results, answers, thoughts, the call block.

Everything is drawn from a `random.Random`. `split` is "train" or "eval": the evaluation uses
paraphrases (`asking.py`), tool names (`toolset.py`), words and file names that training never
shows.
"""

import string

from asking import ROLES
from toolset import made_up, unseen

SHELL_WORDS = "build test lint check start deploy format clean bench install release docs".split()
EXTENSIONS = "txt md py rs js ts json toml yaml yml csv html css sh log ini cfg c h go java".split()
HELD_EXTENSIONS = "rst sql xml lua rb tex dat".split()
FOLDERS = "src docs tests notes data lib build scripts config assets tmp app tools home work".split()

SYLLABLES = "ba ko mi tra zen lo pu ver ni qua sto fel dra mo gi ran cu pel xi ton wa rim sha bu".split()


class Words:
    """Random names and texts. `pool` is a list of English words."""

    def __init__(self, rng, pool, split):
        self.rng, self.pool, self.held = rng, pool, split == "eval"

    def word(self):
        return self.rng.choice(self.pool)

    def extension(self):
        return self.rng.choice(HELD_EXTENSIONS + EXTENSIONS[:6] if self.held else EXTENSIONS)

    def invented(self):
        """A made-up word on the right side of the split."""
        while True:
            name = "".join(self.rng.choice(SYLLABLES) for _ in range(self.rng.randint(2, 3)))
            if self.rng.random() < 0.4:
                name = made_up(self.rng).lower()
            if unseen(name) == self.held:
                return name

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
        name = self.stem() + "." + self.extension()
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
            f"The user wants to {want}. There is a tool for this.",
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
