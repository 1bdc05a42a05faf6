"""Compares the engine with PyTorch on the master: logits of ten prompts, and greedy texts.

  python check_engine.py ENGINE MASTER.gguf CORPUS.jsonl.xz [OPTIONS of the engine]

Six held-out documents (up to 4k tokens) and four questions. Differences are relative to the largest
|logit| of a prompt. A flipped FP8 or FP4 code moves single positions, so the bound is on the median
(1e-4); where no code flips, the largest difference is far smaller too. Texts have 64 tokens, or
fewer if the answer ends; they are the same if every token is the most likely one in PyTorch.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from checkpoint import to_state
from data import ASSISTANT, BOS, USER, Corpus
from eval import Engine
from model import Config, Model
from tokenizers import Tokenizer

LENGTHS = (48, 120, 500, 1000, 2000, 4000)
QUESTIONS = ("What is DwarfStar?", "Hello!", "How do I use my own model file?", "What can you do?")
MEDIAN_MAX = 1e-4


def written(engine, arguments):
    """The tokens that the engine writes greedily."""
    options = ["--temp", "0", "-n", "64", "-q", "--json"]
    return json.loads(engine.run("run", *arguments, *options))["tokens"]


def prompts(tokenizer, corpus):
    """(name, tokens, arguments of `run`)."""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    long_enough = [text for text in corpus.held if len(text) > 5 * max(LENGTHS)]
    for count, text in zip(LENGTHS, long_enough):
        part = tokenizer.decode(encode(text)[:count])
        yield f"document {count}", encode(BOS + part), part
    for question in QUESTIONS:
        yield question, encode(f"{BOS}{USER}{question}{ASSISTANT}</think>"), None


def main():
    program, path, corpus, *options = sys.argv[1:]
    tokenizer = Tokenizer.from_file(str(Path(__file__).parent / "tokenizer.json"))
    state = to_state(path)
    model = Model(Config(vocab_size=len(state["embed.weight"])), 8192)
    model.load_state_dict(state, strict=False)  # no MTP block in this file
    model.eval()
    engine, good = Engine(program, path, options), True
    for name, ids, document in prompts(tokenizer, Corpus(corpus)):
        if document is None:
            text = written(engine, ["-p", name, "--nothink"])
        else:
            file = Path(engine.folder.name, "prompt")
            file.write_text(document)
            text = written(engine, ["--raw-prompt", "--prompt-file", str(file)])
        with torch.no_grad():
            expected = model(torch.tensor([ids + text]), qat=True)[0].numpy()
        found = engine.logits(ids, len(ids), rows="f32")
        gap = np.abs(found - expected[: len(ids)]) / np.abs(expected[: len(ids)]).max()
        same = np.mean(found.argmax(-1) == expected[: len(ids)].argmax(-1))
        best = expected[len(ids) - 1 : -1].argmax(-1).tolist()
        told = sum(a == b for a, b in zip(best, text))
        good &= np.median(gap) < MEDIAN_MAX and told == len(text)
        print(
            f"{name}: {len(ids)} tokens, largest {gap.max():.1e}, median {np.median(gap):.1e}, "
            f"same best token {100 * same:.2f} %, text {told}/{len(text)}",
            flush=True,
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
