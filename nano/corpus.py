"""Builds the text corpus from unpacked distribution packages (see README for names and licences).

  python corpus.py UNPACKED_DIR OUT.jsonl.xz

UNPACKED_DIR holds one folder per package (`dpkg -x PACKAGE.deb UNPACKED_DIR/PACKAGE`). One JSON
object per line: {"source": ..., "text": ...}. The order is shuffled by a fixed seed.
"""

import gzip
import html
import json
import lzma
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

DOCUMENT_CHARS_MAX = 24_000
OFFENSIVE = re.compile(r"slur|offensive|obscene|vulgar|derogatory|disparag|sexual|nigger")


class Page(HTMLParser):
    """The readable text of a documentation page: no navigation, paragraphs on lines."""

    SKIPPED = {"script", "style", "nav", "header", "footer", "button", "title", "head"}
    BREAKS = {"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "pre", "dt", "dd", "br", "section"}

    def __init__(self):
        super().__init__()
        self.parts, self.depth, self.preformatted = [], 0, 0

    def handle_starttag(self, tag, attrs):
        if tag in self.SKIPPED:
            self.depth += 1
        if tag in self.BREAKS:
            self.parts.append("\n\n" if tag in ("h1", "h2", "h3", "p", "pre") else "\n")
        self.preformatted += tag == "pre"

    def handle_endtag(self, tag):
        if tag in self.SKIPPED:
            self.depth = max(0, self.depth - 1)
        self.preformatted = max(0, self.preformatted - (tag == "pre"))

    def handle_data(self, data):
        if not self.depth:
            self.parts.append(data if self.preformatted else re.sub(r"\s+", " ", data))

    @classmethod
    def text(cls, source):
        page = cls()
        page.feed(source)
        return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", "".join(page.parts))).strip()


def manual(source):
    """A manual page without roff requests."""
    lines = [l for l in source.splitlines() if not l.startswith(('.\\"', "'\\", ".TH", ".so"))]
    lines = [re.sub(r"^\.[A-Z]{1,2}\s*", "", l).replace('"', "") for l in lines]
    text = re.sub(r"\\f[A-Z]|\\f\([A-Z]{2}|\\&|\\c", "", "\n".join(lines))
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


def wordnet(folder):
    """Dictionary entries, and the same as short questions and answers."""
    for kind in ("noun", "verb", "adj", "adv"):
        entries = []
        for line in (folder / f"data.{kind}").read_text("latin-1").splitlines():
            if line.startswith("  ") or " | " not in line or OFFENSIVE.search(line):
                continue
            head, gloss = line.split(" | ", 1)
            words = head.split()
            count = int(words[3], 16)
            names = [re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in words[4 : 4 + 2 * count : 2]]
            entries.append((names, gloss.strip()))
        random.Random(kind).shuffle(entries)
        for i in range(0, len(entries), 40):
            yield "\n".join(f"{', '.join(n)} ({kind}): {g}" for n, g in entries[i : i + 40])


def bible(folder):
    raw = (folder / "bible.data").read_bytes()
    text = raw.decode("latin-1")
    return re.findall(r"[A-Za-z][\x20-\x7e\n]{400,}", text)


def read(path):
    data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8", "replace")


def documents(root):
    """Pairs (source, text) of everything in the unpacked packages."""
    doc = lambda name: root / name / "usr/share/doc"
    for path in sorted(doc("python3.11-doc").rglob("_sources/**/*.txt")):
        yield "python-docs", read(path)
    for path in sorted((root / "libpython3.11-stdlib").rglob("*.py")) + sorted(
        (root / "python3.11-minimal").rglob("*.py")
    ):
        if path.exists() and "encodings" not in path.parts and "pydoc_data" not in path.parts:
            yield "python-stdlib", read(path)
    for path in sorted(doc("nodejs-doc").rglob("*.html")):
        yield "node-docs", Page.text(read(path))
    for name, source in (
        ("postgresql-doc-15", "postgresql-docs"),
        ("sqlite3-doc", "sqlite-docs"),
        ("python-flask-doc", "flask-docs"),
        ("python-click-doc", "click-docs"),
    ):
        for path in sorted(doc(name).rglob("*.html")):
            yield source, Page.text(read(path))
    for part in (
        "book",
        "reference",
        "rust-by-example",
        "cargo",
        "rustc",
        "nomicon",
        "std/fs",
        "std/collections",
        "std/io",
        "std/path",
        "std/string",
        "std/vec",
        "std/process",
    ):
        for path in sorted((doc("rust-doc") / "rust-doc/html" / part).rglob("*.html")):
            if path.name != "print.html":
                yield "rust-docs", Page.text(read(path))
    for name in ("manpages", "manpages-dev"):
        for path in sorted((root / name).rglob("*.gz")):
            if "/man/" in str(path):
                yield "man-pages", manual(read(path))
    for text in wordnet(root / "wordnet-base/usr/share/wordnet"):
        yield "wordnet", text


def pieces(text):
    """Documents cut at blank lines into parts of bounded length."""
    part = ""
    for block in re.split(r"(?<=\n)\n+", text):
        if len(part) + len(block) > DOCUMENT_CHARS_MAX and part:
            yield part
            part = ""
        part += block[:DOCUMENT_CHARS_MAX] + "\n"
    if len(part) > 200:
        yield part


def main():
    root, out = Path(sys.argv[1]), sys.argv[2]
    kept, seen = [], set()
    for source, text in documents(root):
        for part in pieces(html.unescape(text) if source.endswith("docs") else text):
            printable = sum(c.isascii() for c in part) / len(part)
            if printable > 0.9 and hash(part) not in seen:
                seen.add(hash(part))
                kept.append({"source": source, "text": part.strip()})
    kept.sort(key=lambda d: (d["source"], d["text"]))
    random.Random(1).shuffle(kept)
    sizes = {}
    with lzma.open(out, "wt", preset=6) as file:
        for d in kept:
            sizes[d["source"]] = sizes.get(d["source"], 0) + len(d["text"])
            file.write(json.dumps(d, ensure_ascii=False) + "\n")
    for source, size in sorted(sizes.items()):
        print(f"{source}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
