"""Cuts Nano's vocabulary from the real one: same splitting, same bytes, fewer merges.

  python vocab.py REAL_TOKENIZER.json CORPUS.jsonl.xz OUT.json [SIZE]

Tokens are chosen by frequency on the corpus and generated conversations, closed under the merges
that build them, and keep their order; so every text has exactly one encoding, made of tokens of
the real vocabulary.
"""

import collections
import json
import random
import sys

from tokenizers import Tokenizer

SPECIAL = (
    ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"],
    [
        "<｜fim▁hole｜>",
        "<｜fim▁begin｜>",
        "<｜fim▁end｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<think>",
        "</think>",
        "｜DSML｜",
        "<｜latest_reminder｜>",
        "<｜action｜>",
        "<｜query｜>",
        "<｜authority｜>",
        "<｜domain｜>",
        "<｜task｜>",
        "<｜political｜>",
        "<｜entity｜>",
        "<｜title｜>",
        "<｜safety｜>",
        "<｜answer｜>",
        "<｜search｜>",
        "<｜search▁begin｜>",
        "<｜search▁end｜>",
        "<｜extracted_url｜>",
        "<｜read_url｜>",
        "<｜end_of_query｜>",
    ],
)


def sample(corpus_path):
    """Texts that the vocabulary should encode shortly."""
    from data import Corpus, Speaker

    corpus, rng = Corpus(corpus_path), random.Random(5)
    speaker = Speaker(corpus, rng)
    texts = [t[:6000] for t in rng.sample(corpus.train, 700)]
    texts += [speaker.with_tools(500)[0] for _ in range(500)]
    return texts + [speaker.chat() for _ in range(1500)]


def derivations(model):
    """token -> (left, right) of the first merge that makes it."""
    parts = {}
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        parts.setdefault(left + right, (left, right))
    return parts


def cut(real, counts, size):
    """The tokenizer JSON with `size` ids."""
    first, last = SPECIAL
    added = {t["content"]: t for t in real["added_tokens"]}
    base, parts = real["model"]["vocab"], derivations(real["model"])
    chosen = {t for t in base if len(t) == 1 and t not in added and t not in parts}
    assert len(chosen) == 256
    room = size - len(first) - len(last)
    for token, _ in counts.most_common():
        closure, open_ = set(), [token]
        while open_:
            t = open_.pop()
            if t not in chosen and t not in closure:
                closure.add(t)
                open_ += parts.get(t, ())
        if len(chosen) + len(closure) <= room:
            chosen |= closure
    kept = sorted(chosen, key=base.get)
    order = first + kept + last
    merges = []
    for merge in real["model"]["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if left in chosen and right in chosen and left + right in chosen:
            merges.append(merge)
    ids = {t: i for i, t in enumerate(order)}
    out = dict(real)
    out["model"] = real["model"] | {"vocab": {t: ids[t] for t in first + kept}, "merges": merges}
    out["added_tokens"] = [added[t] | {"id": ids[t]} for t in first + last]
    return out


def main():
    real_path, corpus_path, out_path = sys.argv[1:4]
    size = int(sys.argv[4]) if len(sys.argv) > 4 else 4608
    real = json.load(open(real_path))
    tokenizer, counts = Tokenizer.from_file(real_path), collections.Counter()
    texts = sample(corpus_path)
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        counts.update(encoding.tokens)
    for special in SPECIAL[0] + SPECIAL[1]:
        counts.pop(special, None)
    small = cut(real, counts, size)
    json.dump(small, open(out_path, "w"), ensure_ascii=False)
    check(Tokenizer.from_file(out_path), texts, size)
    n = sum(len(t) for t in texts)
    for name, t in (("real", tokenizer), ("cut", Tokenizer.from_file(out_path))):
        print(f"{name}: {n / sum(len(e) for e in t.encode_batch(texts)):.2f} characters per token")


def check(tokenizer, texts, size):
    """Ids are dense and every text comes back."""
    assert tokenizer.get_vocab_size() == size
    noise = random.Random(3)
    texts = texts[:300] + [
        "".join(
            chr(
                noise.choice(
                    [
                        noise.randrange(32, 127),
                        noise.randrange(160, 0x2FFF),
                        noise.randrange(0x1F300, 0x1F600),
                    ]
                )
            )
            for _ in range(40)
        )
        for _ in range(300)
    ]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text, text


if __name__ == "__main__":
    main()
