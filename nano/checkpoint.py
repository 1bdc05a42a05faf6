"""Weights between machines: small checkpoints in parts, and shipped files read back.

Published checkpoints are some 55 MB, so that they can be carried. A shipped nano.gguf (with
nano-mtp.gguf beside it) is enough to go on training: its experts are exact on the FP4 grid that
training uses, the rest has 8 or 16 bits.
"""

import io
from pathlib import Path

import torch


def pack(state):
    """Experts as 8-bit groups of 32 (finer than the FP4 they ship in), other floats as F16."""
    out = {}
    for name, value in state.items():
        if name.split(".")[-1] in ("w1", "w2", "w3"):
            y = value.float().unflatten(-1, (-1, 32))
            scale = (y.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-8)
            out[name] = ((y / scale).round().to(torch.int8).cpu(), scale.half().cpu())
        else:
            out[name] = (value.half() if value.is_floating_point() else value.int()).cpu()
    return out


def unpack(packed):
    out = {}
    for name, value in packed.items():
        if isinstance(value, tuple):
            out[name] = (value[0].float() * value[1].float()).flatten(-2)
        else:
            out[name] = value.float() if value.is_floating_point() else value.long()
    return out


def read_parts(folder):
    """A published checkpoint: {"model": state, "curve": ..., ...}."""
    raw = b"".join(p.read_bytes() for p in sorted(Path(folder).glob("checkpoint.*")))
    state = torch.load(io.BytesIO(raw), map_location="cpu")
    return state | {"model": unpack(state["model"])}


def read_model(path):
    """The model's state from a folder of parts or from a GGUF file."""
    path = Path(path)
    return read_gguf(path) if path.suffix == ".gguf" else read_parts(path)["model"]


def read_gguf(path):
    """The state of nano.gguf and of nano-mtp.gguf beside it, under own names."""
    return to_state(path) | to_state(path.with_name("nano-mtp.gguf"))


def to_state(path):
    """The tensors of one GGUF file, under own names."""
    import gguf
    from names import own_name

    state = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        values = (
            gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            if tensor.tensor_type != gguf.GGMLQuantizationType.I32
            else tensor.data.copy()
        )
        value = torch.from_numpy(values.reshape(shape).copy())
        state[own_name(tensor.name)] = value.float() if value.is_floating_point() else value.long()
    return state
