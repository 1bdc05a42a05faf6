"""What quantizing costs Nano: every recipe, with and without importance, against the F16 master.

  python quantized.py DWARFSTAR MASTER.gguf OUT_DIR [--threads N]

Importance is measured on source code of this repository (crates/*/src/*.rs and nano/*.py,
shuffled), figures on its prose (the Markdown files of the root and of docs/), none of which is in
the other. Recipes store experts only in few bits; the rest is Q8_0 and F16 in all of them, so the
row "q8" shows what that costs. It has no use for an importance; nor has "mxfp4", where the master's
experts stay as they are. Needs no packages. Writes table.md, table.json and plot.svg.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ["q8", "mxfp4", "q4", "q2"]
UNWEIGHED = ["q8", "mxfp4"]
CPU = ["--device", "cpu", *sys.argv[4:]]
IMPORTANCE_TOKENS, COUNTED_CHUNK, COUNTED_SKIP, COUNTED_TOKENS = 60_000, 512, 128, 8_192


def run(*command):
    """The output of a command, as JSON."""
    print(" ".join(map(str, command)), file=sys.stderr)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def texts(out):
    """A text to measure importance on, another to measure the result with."""
    code = sorted(ROOT.glob("crates/*/src/*.rs")) + sorted(ROOT.glob("nano/*.py"))
    random.Random(1).shuffle(code)
    prose = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md"))
    for name, files in (("code.txt", code), ("prose.txt", prose)):
        (out / name).write_text("\n\n".join(file.read_text() for file in files))
    return out / "code.txt", out / "prose.txt"


def measure(dwarfstar, master, out):
    """One row per file."""
    code, prose = texts(out)
    importance = out / "nano.imatrix.gguf"
    run(dwarfstar, "imatrix", "-m", master, "--text", code, "--out", importance, "--force",
        "--json", "--max-tokens", str(IMPORTANCE_TOKENS), *CPU)
    rows = []
    for recipe in RECIPES:
        for weighed in (False, True)[: 1 if recipe in UNWEIGHED else 2]:
            file = out / f"{recipe}{'-imatrix' if weighed else ''}.gguf"
            given = ["--imatrix", importance] if weighed else []
            run(dwarfstar, "quantize", "--from", master, "--recipe", recipe, "--out", file,
                "--force", "--json", *given)
            found = run(dwarfstar, "perplexity", prose, "-m", file, "--against", master, "--json",
                        "--chunk", str(COUNTED_CHUNK), "--skip", str(COUNTED_SKIP),
                        "--max-tokens", str(COUNTED_TOKENS), *CPU)
            rows.append({
                "recipe": recipe,
                "importance": weighed,
                "bytes": file.stat().st_size,
                "counted": found["text"]["counted"],
                "perplexity": found["perplexity"],
                "master": found["reference"]["perplexity"],
                "difference": found["difference"],
                "divergence": found["divergence"],
                "same_choice": found["same_choice"],
            })
    return rows


def table(rows, master_bytes):
    """The rows in Markdown."""
    def figure(value, error, digits):
        return f"{value:.{digits}f} ± {error:.{digits}f}"

    lines = ["| recipe | importance | MB | perplexity | nll, paired difference "
             "| KL to the master, nats | same choice |",
             "|---|---|---|---|---|---|---|"]
    first = rows[0]["master"]
    lines.append(f"| master (F16, experts MXFP4) | | {master_bytes / 1e6:.1f} | "
                 f"{figure(first['value'], first['standard_error'], 2)} | 0 | 0 | |")
    for row in rows:
        perplexity, kl, same = row["perplexity"], row["divergence"], row["same_choice"]
        weighed = "" if row["recipe"] in UNWEIGHED else "yes" if row["importance"] else "no"
        size, same = f"{row['bytes'] / 1e6:.1f}", f"{100 * same['share']:.1f} %"
        loss = figure(perplexity["value"], perplexity["standard_error"], 2)
        far = figure(kl["mean"], kl["standard_error"], 5)
        more = figure(row["difference"]["mean"], row["difference"]["standard_error"], 4)
        lines.append(
            f"| {row['recipe']} | {weighed} | {size} | {loss} | {more} | {far} | {same} |")
    return "\n".join(lines) + "\n"


def plot(rows):
    """KL over recipes as bars on a logarithmic scale, an SVG."""
    width, height, left, bottom, top = 560, 320, 64, 40, 30
    low, high = 1e-4, 1e1
    from math import log10

    def y(value):
        share = (log10(max(value, low)) - log10(low)) / (log10(high) - log10(low))
        return height - bottom - share * (height - bottom - top)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="18">Nano: KL divergence from the F16 master, nats per token '
           '(smaller is better)</text>']
    for power in range(-4, 2):
        at = y(10.0**power)
        out.append(f'<line x1="{left}" x2="{width - 10}" y1="{at:.1f}" y2="{at:.1f}" '
                   'stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    step = (width - left - 20) / len(RECIPES)
    for row in rows:
        place = left + 14 + RECIPES.index(row["recipe"]) * step + (step / 2 - 6) * row["importance"]
        value, error = row["divergence"]["mean"], row["divergence"]["standard_error"]
        bar, colour = step / 2 - 12, "#2b6cb0" if row["importance"] else "#a0aec0"
        out.append(f'<rect x="{place:.1f}" y="{y(value):.1f}" width="{bar:.1f}" '
                   f'height="{height - bottom - y(value):.1f}" fill="{colour}"/>')
        middle = place + bar / 2
        out.append(f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(value - 2 * error):.1f}" '
                   f'y2="{y(value + 2 * error):.1f}" stroke="black"/>')
    for at, recipe in enumerate(RECIPES):
        middle = left + 8 + (at + 0.5) * step
        out.append(f'<text x="{middle:.1f}" y="{height - 22}" text-anchor="middle">{recipe}</text>')
    legend = (("#a0aec0", "without importance"),
              ("#2b6cb0", "with importance; lines are two standard errors"))
    for at, (colour, name) in enumerate(legend):
        out.append(f'<rect x="{left + 150 * at}" y="{height - 14}" width="10" height="10" '
                   f'fill="{colour}"/>')
        out.append(f'<text x="{left + 14 + 150 * at}" y="{height - 5}">{name}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    dwarfstar, master, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    rows = measure(dwarfstar, master, out)
    (out / "table.json").write_text(json.dumps(rows, indent=1))
    (out / "table.md").write_text(table(rows, master.stat().st_size))
    (out / "plot.svg").write_text(plot(rows))
    print((out / "table.md").read_text())


if __name__ == "__main__":
    main()
