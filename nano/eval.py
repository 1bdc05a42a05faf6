"""Measures a Nano file through the engine.

  python eval.py --engine target/release/dwarfstar --model nano.gguf \
      --tokenizer tokenizer.json --corpus corpus.jsonl.xz --cases 400 --characters 0

Tool calls: unseen tool names, words and file names; `--wordings train` takes requests as trained
instead of held-out ones, `--names known` the spellings of real agents. A call counts as exact if
greedy decoding writes the whole block right. The engine computes the logits of prompt and
expected call at once; greedy decoding is exact just when every expected token is the most likely
one there. With `--generate N`, greedy decoding goes on to the end in the first N inexact cases, to see whether
what comes is valid DSML; exact ones are valid.
Perplexity: held-out documents, first 2048 tokens each, given per token and per byte. `--long N` measures
the loss behind N tokens. `--jobs N` runs the engine N times side by side.
"""

import argparse
import json
import math
import random
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from data import BOS, EOS, Corpus, Speaker
from tokenizers import Tokenizer

PARAMETER = r'<｜DSML｜parameter name="[^"<>]+" string="(true|false)">[\s\S]*?</｜DSML｜parameter>\n'
INVOKE = rf'<｜DSML｜invoke name="[^"<>]+">\n({PARAMETER})*</｜DSML｜invoke>\n'
BLOCK = re.compile(rf"\n\n<｜DSML｜tool_calls>\n({INVOKE})+</｜DSML｜tool_calls>")
END = 1  # the token
INTENTS = ("list", "read", "write", "append", "replace", "run", "search", "mkdir")


class Engine:
    """Runs the program; `options` are the device and the number of threads."""

    def __init__(self, program, model, options):
        self.program, self.model, self.options = program, model, options
        self.folder = tempfile.TemporaryDirectory()

    def run(self, command, *arguments):
        line = [self.program, command, "-m", self.model, *self.options, *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout

    def logits(self, ids, last, rows="packed"):
        """Logits [last, vocab] of the final positions."""
        with tempfile.TemporaryDirectory(dir=self.folder.name) as own:
            listed, out = Path(own, "ids"), Path(own, "out.npy")
            listed.write_text(json.dumps(ids))
            arguments = ["--tokens", f"@{listed}", "--rows", rows, "--last", str(last)]
            self.run("logits", *arguments, "--out", str(out))
            return np.load(out)

    def greedy(self, ids, draft, rounds=200):
        """The tokens that greedy decoding writes up to EOS, or None if that is far to go.

        A draft is checked as a whole; what the model says instead is the next draft, so that
        every round settles one token or more."""
        settled = 0
        for _ in range(rounds):
            found = self.logits(ids + draft, len(draft) + 1).argmax(-1).tolist()
            while settled < len(draft) and found[settled] == draft[settled]:
                settled += 1
                if draft[settled - 1] == END:
                    return draft[:settled]
            draft = draft[:settled] + found[settled:]
        return None


def cases(corpus, count, characters, split, seed, names=None, wordings=None):
    """(intent, prompt, expected call) without thinking."""
    speaker = Speaker(corpus, random.Random(seed), split, names, wordings)
    for i in range(count):
        intent = INTENTS[i % len(INTENTS)]
        text, first = speaker.with_tools(characters, thinking=False, intent=intent)
        prompt, intent, _ = first
        yield intent, prompt, text[len(prompt) : text.index(EOS, len(prompt))]


def fault(written):
    """Where an inexact call goes wrong first: tool name, parameter name, value or form."""
    tail = written[written.rfind("<｜DSML｜") :] if "<｜DSML｜" in written else ""
    if re.search(r'invoke name="[^"]*$', tail):
        return "tool name"
    if re.search(r'parameter name="[^"]*$', tail):
        return "parameter name"
    return "value" if re.search(r'string="(true|false)">', tail) else "form"


def judge(engine, tokenizer, case):
    """(intent, tokens of the prompt, first fault, user's words, expected, written so far, wrong)."""
    intent, prompt, expected = case
    a = tokenizer.encode(prompt, add_special_tokens=False).ids
    b = tokenizer.encode(expected, add_special_tokens=False).ids + [END]
    found = engine.logits(a + b, len(b) + 1)[:-1].argmax(-1).tolist()
    at = next((i for i in range(len(b)) if found[i] != b[i]), None)
    said = None if at is None else (a, b[:at] + found[at:])
    written = None if at is None else tokenizer.decode(b[:at], skip_special_tokens=False)
    wrong = None if at is None else tokenizer.decode(found[at : at + 4], skip_special_tokens=False)
    return intent, len(a), said, prompt[prompt.rindex("<｜User｜>") :], expected, written, wrong


def tool_calls(engine, tokenizer, corpus, args):
    right, faults, lengths, valid = {}, {}, [], []
    split = args.split, args.seed, args.names, args.wordings
    asked = cases(corpus, args.cases, args.characters, *split)
    with ThreadPoolExecutor(args.jobs) as pool:
        judged = pool.map(lambda case: judge(engine, tokenizer, case), asked)
        for intent, length, said, user, expected, written, wrong in judged:
            lengths.append(length)
            right.setdefault(intent, []).append(said is None)
            if args.verbose:
                print(len(lengths), intent, length, "exact" if said is None else "inexact", flush=True)
            if said is None:
                continue
            kind = fault(written)
            faults[kind] = faults.get(kind, 0) + 1
            if len(valid) < args.generate:
                ids = engine.greedy(*said)
                text = tokenizer.decode(ids[:-1], skip_special_tokens=False) if ids else ""
                valid.append(bool(BLOCK.fullmatch(text)))
            if args.verbose:
                print(user, repr(expected[21:]), "->", repr(written[-30:]), repr(wrong), flush=True)
                if args.generate and not valid[-1]:
                    print("   not valid:", repr(text), flush=True)
    print_share(args, right, faults, lengths)
    if args.generate:
        print(f"valid DSML: {sum(valid)} of {len(valid)} inexact calls")


def print_share(args, right, faults, lengths):
    flat = [good for found in right.values() for good in found]
    share = sum(flat) / len(flat)
    error = math.sqrt(share * (1 - share) / len(flat))
    parts = ", ".join(f"{k} {sum(found)}/{len(found)}" for k, found in right.items())
    print(
        f"{args.split} calls, names {args.names or args.split}, wordings "
        f"{args.wordings or args.split}, {sum(lengths) / len(lengths):.0f} tokens of prompt, "
        f"{len(flat)} cases: {100 * share:.1f} % exact, standard error {100 * error:.1f} "
        f"({parts}); first faults {faults}",
        flush=True,
    )


def losses(rows, ids):
    """Loss of every next token: rows [T, vocab], ids [T]."""
    rows = rows.astype(np.float64)
    top = rows.max(-1, keepdims=True)
    logp = rows - top - np.log(np.exp(rows - top).sum(-1, keepdims=True))
    return -logp[np.arange(len(ids)), ids]


def long_context(engine, tokenizer, corpus, length):
    """The last 1024 tokens behind `length` tokens of documents, and behind the last 1024 of them."""
    text = BOS + "\n\n".join(corpus.held)[: 8 * length]
    ids = tokenizer.encode(text, add_special_tokens=False).ids[: length + 1024]
    for begin in (0, length - 1024):
        loss = losses(engine.logits(ids[begin:], 1025)[:-1], ids[-1024:]).mean()
        print(f"1024 tokens behind {length - begin} others: loss {loss:.3f}", flush=True)


def perplexity(engine, tokenizer, corpus, count):
    loss = tokens = size = 0
    for text in corpus.held[:count]:
        encoding = tokenizer.encode(BOS + text[:12000], add_special_tokens=False)
        ids = encoding.ids[:2048]
        loss += losses(engine.logits(ids, len(ids))[:-1], ids[1:]).sum()
        tokens += len(ids) - 1
        size += len(tokenizer.decode(ids[1:], skip_special_tokens=False).encode())
    print(
        f"held-out documents: {tokens} tokens, loss {loss / tokens:.3f}, perplexity {math.exp(loss / tokens):.2f}, "
        f"{loss / size / math.log(2):.3f} bits per byte"
    )


def main():
    parser = argparse.ArgumentParser()
    for name in ("engine", "model", "tokenizer", "corpus"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--split", default="eval")
    parser.add_argument("--names")
    parser.add_argument("--wordings")
    parser.add_argument("--device")
    for name, default in (
        ("cases", 400),
        ("characters", 0),
        ("documents", 0),
        ("generate", 0),
        ("long", 0),
        ("jobs", 1),
    ):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    options = ["--threads", str(args.threads)] + (["--device", args.device] if args.device else [])
    engine = Engine(args.engine, args.model, options)
    tokenizer, corpus = Tokenizer.from_file(args.tokenizer), Corpus(args.corpus)
    if args.documents:
        perplexity(engine, tokenizer, corpus, args.documents)
    if args.long:
        long_context(engine, tokenizer, corpus, args.long)
    if args.cases:
        tool_calls(engine, tokenizer, corpus, args)


if __name__ == "__main__":
    main()
