"""Shows that model.py is the architecture: golden weights in, golden logits out.

  python check.py [GOLDEN_DIR]     default ../testdata/golden

Without activation simulation the logits must agree with those of the reference implementation
to 1e-4 of the largest; with it, medians must (a flipped FP8 or FP4 code moves single positions).
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from model import Config, Model, load_official
from safetensors.torch import load_file


def errors(model, prompts, golden, qat):
    """Per prompt: (name, largest, median) difference relative to the largest |logit|."""
    for name in golden.files:
        tokens = torch.tensor([prompts[name]])
        with torch.no_grad():
            found = model(tokens, qat=qat)[0].double().numpy()
        expected = golden[name]
        if expected.shape != found.shape:
            found = found[-len(expected):]
        gap = np.abs(found - expected) / np.abs(expected).max()
        yield name, gap.max(), np.median(gap)


def main():
    here = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "../testdata/golden")
    cfg = Config.from_json(here / "config.json")
    model = Model(cfg, positions_max=1024).eval()
    load_official(model, load_file(here / "model.safetensors"))
    prompts = json.loads((here / "prompts.json").read_text())
    good = True
    for file, qat, limit, median_limit in (("logits.npz", False, 1e-4, 1e-4),
                                           ("logits_qat.npz", True, 5e-3, 1e-4)):
        for name, largest, median in errors(model, prompts, np.load(here / file), qat):
            fits = largest < limit and median < median_limit
            good &= fits
            print(f"{file} {name}: largest {largest:.1e} median {median:.1e}",
                  "ok" if fits else "WRONG")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
