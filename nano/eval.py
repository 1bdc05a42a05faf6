"""Measures a Nano file through the engine.

  python eval.py --engine target/release/dwarfstar --model nano.gguf \
      --tokenizer tokenizer.json --corpus corpus.jsonl.xz --cases 400 --characters 0

Tool calls: held-out paraphrases, tool names and file names. A call counts as exact if greedy
decoding writes the whole block right. The engine computes the logits of prompt and expected call
at once; greedy decoding is exact just when every expected token is the most likely one there.
Perplexity: held-out documents, first 2048 tokens each, given per token and per byte.
"""

import argparse
import json
import math
import random
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from data import BOS, EOS, Corpus, Speaker

INTENTS = ("list", "read", "write", "append", "replace", "run", "search", "mkdir")


class Engine:
    def __init__(self, program, model):
        self.program, self.model = program, model
        self.folder = tempfile.TemporaryDirectory()

    def logits(self, ids, last):
        """Logits [last, vocab] of the final positions."""
        listed, out = Path(self.folder.name, "ids"), Path(self.folder.name, "out.npy")
        listed.write_text(json.dumps(ids))
        subprocess.run(
            [
                self.program,
                "logits",
                "-m",
                self.model,
                "--tokens",
                f"@{listed}",
                "--rows",
                "packed",
                "--last",
                str(last),
                "--out",
                str(out),
            ],
            check=True,
            capture_output=True,
        )
        return np.load(out)


def cases(corpus, count, characters, split, seed):
    """(intent, prompt, expected call) without thinking."""
    speaker = Speaker(corpus, random.Random(seed), split)
    for i in range(count):
        first = None
        while first is None:
            text, first = speaker.with_tools(
                characters, thinking=False, intent=INTENTS[i % len(INTENTS)]
            )
        prompt, intent, _ = first
        yield intent, prompt, text[len(prompt) : text.index(EOS, len(prompt))]


def fault(expected, found_prefix, found):
    """Where an inexact call goes wrong first: tool name, parameter name, value or form."""
    tail = found_prefix[found_prefix.rfind("<｜DSML｜") :] if "<｜DSML｜" in found_prefix else ""
    if re.search(r'invoke name="[^"]*$', tail):
        return "tool name"
    if re.search(r'parameter name="[^"]*$', tail):
        return "parameter name"
    return "value" if re.search(r'string="(true|false)">', tail) else "form"


def tool_calls(engine, tokenizer, corpus, args):
    right, total, faults = {}, {}, {}
    for intent, prompt, expected in cases(corpus, args.cases, args.characters, args.split, args.seed):
        a = tokenizer.encode(prompt, add_special_tokens=False).ids
        b = tokenizer.encode(expected, add_special_tokens=False).ids + [1]
        found = engine.logits(a + b, len(b) + 1)[:-1].argmax(-1).tolist()
        total[intent] = total.get(intent, 0) + 1
        right[intent] = right.get(intent, 0) + (found == b)
        if found != b:
            at = next(i for i in range(len(b)) if found[i] != b[i])
            written = tokenizer.decode(b[:at], skip_special_tokens=False)
            kind = fault(expected, written, found)
            faults[kind] = faults.get(kind, 0) + 1
            if args.verbose:
                print(
                    prompt[prompt.rindex("<｜User｜>") :],
                    repr(expected[21:]),
                    "->",
                    repr(written[-30:]),
                    repr(tokenizer.decode(found[at : at + 4], skip_special_tokens=False)),
                    flush=True,
                )
    share = sum(right.values()) / sum(total.values())
    parts = ", ".join(f"{k} {right[k]}/{total[k]}" for k in total)
    print(
        f"{args.split} calls, {args.characters} characters of instructions, {sum(total.values())} cases: "
        f"{100 * share:.1f} % exact ({parts}); first faults {faults}"
    )


def perplexity(engine, tokenizer, corpus, count):
    loss = tokens = size = 0
    for text in corpus.held[:count]:
        encoding = tokenizer.encode(BOS + text[:12000], add_special_tokens=False)
        ids = encoding.ids[:2048]
        rows = engine.logits(ids, len(ids))[:-1].astype(np.float64)
        top = rows.max(-1, keepdims=True)
        logp = rows - top - np.log(np.exp(rows - top).sum(-1, keepdims=True))
        loss -= logp[np.arange(len(ids) - 1), ids[1:]].sum()
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
    for name, default in (
        ("cases", 400),
        ("characters", 0),
        ("documents", 0),
        ("seed", 7),
        ("verbose", 0),
    ):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    engine, tokenizer, corpus = (
        Engine(args.engine, args.model),
        Tokenizer.from_file(args.tokenizer),
        Corpus(args.corpus),
    )
    if args.documents:
        perplexity(engine, tokenizer, corpus, args.documents)
    if args.cases:
        tool_calls(engine, tokenizer, corpus, args)


if __name__ == "__main__":
    main()
