"""The F16 master, kept as what rounding to Q8_0 lost.

  python master.py nano.gguf master.delta OUT.gguf          rebuilds the master
  python master.py --make CHECKPOINT nano.gguf master.delta  writes the delta

For every value of a Q8_0 tensor, in the order of the file, the delta holds one signed byte: the
difference to the trained value in 256ths of the block's scale. What the first command rebuilds is
the master; all other tensors are the same in both files.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from checkpoint import read_model, to_state
from export import write
from model import Config
from names import own_name

TOKENIZER = Path(__file__).parent / "tokenizer.json"


def rounded(path):
    """(own name, values, scale of every value) of the Q8_0 tensors of a file."""
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            blocks = tensor.data.reshape(-1, 34)
            scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            values = blocks[:, 2:].view(np.int8) * scale
            yield own_name(tensor.name), values, np.broadcast_to(scale, values.shape)


def make(checkpoint, path):
    """The bytes of the delta."""
    state = read_model(checkpoint)
    parts = []
    for name, values, scale in rounded(path):
        trained = state[name].float().numpy().reshape(values.shape)
        steps = np.divide(trained - values, scale, out=np.zeros_like(values), where=scale != 0)
        parts.append(np.clip(np.round(steps * 256), -128, 127).astype(np.int8).tobytes())
    return b"".join(parts)


def master_state(path, delta):
    """The state of the main model with the lost parts added, as F16 holds it."""
    state, steps, at = to_state(path), np.fromfile(delta, np.int8), 0
    for name, values, scale in rounded(path):
        part = steps[at : at + values.size].reshape(values.shape)
        at += values.size
        whole = (values + part * scale / np.float32(256)).astype(np.float16)
        state[name] = torch.from_numpy(whole.astype(np.float32).reshape(state[name].shape))
    assert at == steps.size, f"the delta has {steps.size} values, the file {at}"
    return state


def main():
    if sys.argv[1] == "--make":
        checkpoint, path, delta = sys.argv[2:]
        Path(delta).write_bytes(make(checkpoint, path))
        return
    path, delta, out = sys.argv[1:]
    state = master_state(path, delta)
    cfg = Config(vocab_size=len(state["embed.weight"]))
    write(Path(out), state, cfg, json.loads(TOKENIZER.read_text()), master=True)


if __name__ == "__main__":
    main()
