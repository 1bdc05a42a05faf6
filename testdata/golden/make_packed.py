#!/usr/bin/env python3
"""logits_packed.npz: the golden prompts with KV rows as DwarfStar stores them.

usage: make_packed.py SPEC_FOLDER

SPEC_FOLDER holds spec_check.py, the float64 numpy statement of the model, with its golden folder.
Its activation simulation leaves the rotary channels of rows as they are; packed rows keep them in
BF16, as the published inference code does. This script adds that one rounding (to nearest, ties to
even) and stores the logits of the last 32 positions of each prompt.
"""
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def bf16_rotary(rows, channels=64):
    out = rows.copy()
    bits = np.ascontiguousarray(rows[..., -channels:].astype(np.float32)).view(np.uint32)
    kept = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    out[..., -channels:] = kept.astype(np.uint32).view(np.float32)
    return out


def main():
    sys.path.insert(0, sys.argv[1])
    import spec_check

    with open(os.path.join(HERE, "config.json")) as file:
        config = json.load(file)
    with open(os.path.join(HERE, "prompts.json")) as file:
        prompts = json.load(file)
    weights = spec_check.load_safetensors(os.path.join(HERE, "model.safetensors"))
    out = {}
    for name, ids in prompts.items():
        logits, _ = spec_check.run(config, weights, ids, qat=True, kv_round=bf16_rotary)
        out[name] = logits[-32:].astype(np.float32)
    np.savez(os.path.join(HERE, "logits_packed.npz"), **out)


if __name__ == "__main__":
    main()
