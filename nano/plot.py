"""Draws the loss curve: python plot.py loss.csv loss.png"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def main():
    with open(sys.argv[1]) as file:
        rows = list(csv.DictReader(file))
    tokens = [float(r["tokens"]) / 1e6 for r in rows]
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for key, label in (
        ("loss", "next token"),
        ("mtp", "MTP block, token after next"),
        ("index", "indexer"),
    ):
        axes.plot(tokens, [float(r[key]) for r in rows], label=label, linewidth=1)
    axes.set(
        xlabel="million tokens",
        ylabel="loss (nats)",
        yscale="log",
        title="Nano: training loss of the logged batches",
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
