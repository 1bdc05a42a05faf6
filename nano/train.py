"""Trains Nano, in time-boxed resumable pieces.

  python train.py --tokenizer T --corpus C --state DIR --out DIR --minutes 9 \
      --phases 2048x32:1.0

`--phases LENGTHxROWS:SHARE,...` is the curriculum by share of the time; `2048x32*3+8192x8:1`
takes batches of several shapes in turn. The learning rate warms up over `--warmup` steps, stays,
and falls to zero over the last `--decay` share of the time. `--publish` also writes the small
checkpoint after so many minutes.
DIR/state.pt holds everything (resumed if present). Otherwise `--load` starts from the weights of
a published checkpoint (a folder) or of a shipped file (nano.gguf). OUT receives a small
checkpoint in parts (`checkpoint.00`, ...; experts with 8 bits, the rest with 16), the loss curve
and the log.
"""

import argparse
import csv
import io
import itertools
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from checkpoint import pack, read_model
from data import Corpus, Stream
from eval import cases, fault
from model import Config, Model
from tokenizers import Tokenizer

PART_BYTES = 16_000_000
BALANCE_STEP = 2e-3


# ---------------------------------------------------------------- optimizer
def orthogonal(g, steps=5):
    """The nearest semi-orthogonal matrices to g [..., rows, columns] (Newton-Schulz)."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized, at the size of an AdamW update; equal shapes go together."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, members in shapes.items():
                self.update(members, shape, group)

    def update(self, members, shape, group):
        for p in members:
            if not self.state[p]:
                self.state[p]["m"] = torch.zeros_like(p)
        momenta = [self.state[p]["m"] for p in members]
        grads = [p.grad for p in members]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        mixed = torch._foreach_lerp(grads, momenta, group["momentum"])
        rows, columns = shape[-2:]
        updates = orthogonal(torch.stack(mixed)).float() * 0.2 * max(rows, columns) ** 0.5
        torch._foreach_mul_(members, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(members, list(updates.unbind(0)), alpha=-group["lr"])


def optimizers(model, muon_lr):
    """Muon for the matrices of the layers, AdamW for everything else."""
    matrices, groups = [], {"embed": [], "head": [], "other": []}
    for name, p in model.named_parameters():
        last = name.split(".")[-1]
        plain = last.startswith("hc_") or last == "ape" or ".gate.weight" in name or p.ndim < 2
        if name == "embed.weight":
            groups["embed"].append(p)
        elif name == "head.weight":
            groups["head"].append(p)
        elif plain:
            groups["other"].append(p)
        else:
            matrices.append(p)
    rates = {"embed": 1.5 * muon_lr, "head": 0.75 * muon_lr, "other": 0.5 * muon_lr}
    adam = torch.optim.AdamW(
        [{"params": g, "lr": rates[k]} for k, g in groups.items()],
        betas=(0.9, 0.95),
        eps=1e-10,
        weight_decay=0.0,
        fused=True,
    )
    found = [Muon(matrices, muon_lr), adam]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return found


# ---------------------------------------------------------------- data
class Batches(torch.utils.data.IterableDataset):
    def __init__(self, args, length, rows, seed):
        self.args, self.length, self.rows, self.seed = args, length, rows, seed

    def __iter__(self):
        worker = torch.utils.data.get_worker_info().id
        corpus = Corpus(self.args.corpus)
        stream = iter(Stream(self.args.tokenizer, corpus, self.length, f"{self.seed}/{worker}"))
        while True:
            rows = list(itertools.islice(stream, self.rows))
            yield (
                torch.stack([torch.from_numpy(t) for t, _ in rows]),
                torch.stack([torch.from_numpy(w) for _, w in rows]),
            )


def loader(args, length, rows, seed, workers):
    return iter(
        torch.utils.data.DataLoader(
            Batches(args, length, rows, seed),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2,
            pin_memory=True,
        )
    )


# ---------------------------------------------------------------- loss
def cross_entropy(logits, targets, weights):
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum().clamp_min(1.0)


class Trainer:
    """The model, its optimizers and the loss of one batch."""

    def __init__(self, args, cfg):
        torch.manual_seed(args.seed)
        self.args, self.device = args, "cuda"
        self.model = Model(cfg, positions_max=32768).cuda()
        self.optimizers = optimizers(self.model, args.lr)
        self.step, self.seconds, self.tokens, self.curve = 0, 0.0, 0, []
        if args.compile:
            torch._dynamo.config.cache_size_limit = 64
            for block in [*self.model.layers, *self.model.mtp]:
                block.compile_halves()
            self.cross_entropy = torch.compile(cross_entropy, dynamic=False)
        else:
            self.cross_entropy = cross_entropy

    def loss(self, rows, weights):
        """rows [B, T + 2] -> (total loss, parts for the log)."""
        T, model = rows.shape[1] - 2, self.model
        tokens = rows[:, :T]
        h, index_losses, loads = model.streams(tokens, True, torch.bfloat16)
        main = self.cross_entropy(
            model.logits(h, dtype=torch.bfloat16), rows[:, 1 : T + 1], weights[:, 1 : T + 1]
        )
        index = sum(index_losses) / max(1, len(index_losses))
        few = max(1, len(rows) // 4)  # the MTP block learns from a quarter, without moving the rest
        draft, load = model.draft(h[:few].detach(), rows[:few, :T], True, torch.bfloat16)
        ahead = self.cross_entropy(draft, rows[:few, 2:], weights[:few, 2:])
        return main + index + 0.3 * ahead, (main, index, ahead), loads + [load]

    def update(self, batch, share):
        rows, weights = (
            batch[0].cuda(non_blocking=True).long(),
            batch[1].cuda(non_blocking=True).float(),
        )
        total, parts, loads = self.loss(rows, weights)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.balance(loads)
        self.step += 1
        self.tokens += rows.shape[0] * (rows.shape[1] - 2)
        return parts, norm

    @torch.no_grad()
    def balance(self, loads):
        """Moves the selection bias of each expert against its load."""
        for block, load in zip([*self.model.layers, *self.model.mtp], loads):
            if not block.ffn.hashed:
                block.ffn.gate.bias += BALANCE_STEP * torch.sign(load.mean() - load)

    # checkpoints ----------------------------------------------------------
    def save(self, folder):
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizers": [o.state_dict() for o in self.optimizers],
                "step": self.step,
                "seconds": self.seconds,
                "tokens": self.tokens,
                "curve": self.curve,
            },
            folder / "state.pt",
        )

    def resume(self, path):
        state = torch.load(path, map_location="cuda")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state.get("optimizers", [])):
            peaks = [g["peak"] for g in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, peak in zip(optimizer.param_groups, peaks):
                group["peak"] = peak
        self.step, self.seconds = state.get("step", 0), state.get("seconds", 0.0)
        self.tokens, self.curve = state.get("tokens", 0), state.get("curve", [])

    def publish(self, folder):
        """The small checkpoint, in parts that can be carried."""
        data = io.BytesIO()
        torch.save(
            {
                "model": pack(self.model.state_dict()),
                "step": self.step,
                "seconds": self.seconds,
                "tokens": self.tokens,
                "curve": self.curve,
            },
            data,
        )
        raw = data.getvalue()
        for i in range(0, len(raw), PART_BYTES):
            (folder / f"checkpoint.{i // PART_BYTES:02}").write_bytes(raw[i : i + PART_BYTES])
        with open(folder / "loss.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "seconds", "tokens", "length", "loss", "index", "mtp", "rate"])
            writer.writerows(self.curve)


# ---------------------------------------------------------------- evaluation during training
def batches_of(sequences, tokens_max=24_000):
    """Lists of indices of sequences of similar length that go through the model together."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    part = []
    for i in order:
        if part and len(sequences[i]) * (len(part) + 1) > tokens_max:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


@torch.no_grad()
def best_tokens(model, sequences):
    """The most likely next token after every position of each sequence."""
    found = [None] * len(sequences)
    for part in batches_of(sequences):
        longest = max(len(sequences[i]) for i in part)
        rows = torch.tensor([sequences[i] + [0] * (longest - len(sequences[i])) for i in part])
        best = model(rows.cuda(), True, torch.bfloat16).argmax(-1).tolist()
        for i, line in zip(part, best):
            found[i] = line[: len(sequences[i])]
    return found


def exactness(model, tokenizer, corpus, count, characters, names=None):
    """(share of held-out tool calls that greedy decoding writes exactly, by intent, first faults).

    Greedy decoding is exact just when every token is the most likely one after the true ones."""
    tested = list(cases(corpus, count, characters, "eval", 7, names))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    prompts = [encode(prompt) for _, prompt, _ in tested]
    expected = [encode(call) + [1] for _, _, call in tested]
    best = best_tokens(model, [a + b for a, b in zip(prompts, expected)])
    right, faults = {}, {}
    for (intent, _, call), a, b, found in zip(tested, prompts, expected, best):
        found = found[len(a) - 1 : -1]
        right.setdefault(intent, []).append(found == b)
        if found != b:
            at = next(k for k in range(len(b)) if found[k] != b[k])
            kind = fault(tokenizer.decode(b[:at], skip_special_tokens=False))
            wrong = tokenizer.decode(found[at : at + 3], skip_special_tokens=False)
            faults.setdefault(kind, []).append((call[20:], wrong))
    share = sum(sum(r) for r in right.values()) / count
    return share, {k: f"{sum(r)}/{len(r)}" for k, r in right.items()}, faults


@torch.no_grad()
def held_loss(model, tokenizer, corpus):
    """Mean loss per token on held-out documents, 2048 tokens each."""
    total = count = 0
    for text in corpus.held[:48]:
        ids = [0] + tokenizer.encode(text[:8000], add_special_tokens=False).ids[:2048]
        rows = torch.tensor([ids], device="cuda")
        logits = model(rows[:, :-1], True, torch.bfloat16)[0].float()
        total += F.cross_entropy(logits, rows[0, 1:], reduction="sum").item()
        count += len(ids) - 1
    return total / count


def generate(model, tokenizer, prompts, count):
    """Greedy texts, without a cache: for a look during training."""
    texts = [tokenizer.encode(p, add_special_tokens=False).ids for p in prompts]
    starts = [len(ids) for ids in texts]
    for _ in range(count):
        for ids, best in zip(texts, best_tokens(model, texts)):
            ids.append(best[-1])
    said = [tokenizer.decode(i[n:], skip_special_tokens=False) for i, n in zip(texts, starts)]
    return [text.split("<｜end▁of▁sentence｜>")[0] for text in said]


QUESTIONS = ["Hello!", "What is DwarfStar?", "How do I run a prompt?", "Repeat: blue kettle 77"]


def report(trainer, args, corpus, log, brief=False):
    tokenizer, model = Tokenizer.from_file(args.tokenizer), Model(trainer.model.cfg, 32768).cuda()
    model.load_state_dict(trainer.model.state_dict())
    if not brief:
        log(f"held-out loss {held_loss(model, tokenizer, corpus):.3f}")
    tests = [
        (0, args.cases // 4 if brief else args.cases, None),
        (0, 0 if brief else args.cases // 4, "known"),
        (8000, 0 if brief else args.cases // 4, None),
        (70000, 0 if brief else args.long_cases, None),
    ]
    for characters, count, names in tests:
        if count:
            share, parts, faults = exactness(model, tokenizer, corpus, count, characters, names)
            kinds = {kind: len(found) for kind, found in faults.items()}
            log(f"calls, {characters} characters, {count} cases {names}: {share:.3f} {parts} {kinds}")
            for kind, found in faults.items():
                for call, wrong in found[:5]:
                    log(f"   {kind}: {wrong!r} in {call!r}")
    if brief:
        return
    prompts = [f"<｜begin▁of▁sentence｜><｜User｜>{q}<｜Assistant｜></think>" for q in QUESTIONS]
    for question, answer in zip(QUESTIONS, generate(model, tokenizer, prompts, 40)):
        log(f"{question!r} -> {answer!r}")


# ---------------------------------------------------------------- main
def turns(phase):
    """The shapes (length, rows) of one round of "LENGTHxROWS*TIMES+...:SHARE"."""
    order = []
    for part in phase.split(":")[0].split("+"):
        shape, _, times = part.partition("*")
        order += [tuple(int(n) for n in shape.split("x"))] * int(times or 1)
    return order


def main():
    parser = argparse.ArgumentParser()
    for name, default in (
        ("tokenizer", None),
        ("corpus", None),
        ("state", None),
        ("out", None),
        ("load", None),
    ):
        parser.add_argument("--" + name, default=default)
    parser.add_argument("--phases", default="2048x32:1")
    for name, default in (("minutes", 2.0), ("lr", 4e-3), ("decay", 0.0), ("publish", 0.0)):
        parser.add_argument("--" + name, type=float, default=default)
    for name, default in (
        ("seed", 1),
        ("warmup", 100),
        ("compile", 1),
        ("workers", 14),
        ("cases", 256),
        ("long-cases", 0),
    ):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    begun = time.time()
    state, out = Path(args.state), Path(args.out)
    state.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    corpus = Corpus(args.corpus)
    lines = open(out / "log.txt", "a")

    def log(text):
        print(text, flush=True)
        print(text, file=lines, flush=True)

    trainer = Trainer(args, Config(vocab_size=Tokenizer.from_file(args.tokenizer).get_vocab_size()))
    if args.load:
        trainer.model.load_state_dict(read_model(args.load))
    if (state / "state.pt").exists():
        trainer.resume(state / "state.pt")
        log(f"resumed at step {trainer.step}")
    log(f"{sum(p.numel() for p in trainer.model.parameters()) / 1e6:.1f} M parameters")
    phases = [(turns(part), float(part.split(":")[1])) for part in args.phases.split(",")]
    shapes = sorted({shape for order, _ in phases for shape in order})
    loaders = {
        shape: loader(args, *shape, f"{args.seed}/{trainer.step}", args.workers // len(shapes))
        for shape in shapes
    }
    total, started = args.minutes * 60, trainer.step
    ends = list(itertools.accumulate(share * total for _, share in phases))
    for (order, _), end in zip(phases, ends):
        last, since = time.time(), trainer.step
        for shape in itertools.cycle(order):
            if (now := time.time() - begun) >= end:
                break
            share = min(1.0, (trainer.step - started + 1) / (args.warmup + 1))
            if args.decay:
                share = min(share, max(0.0, (total - now) / (args.decay * total)))
            if 0 < args.publish * 60 <= now:
                args.publish = 0
                trainer.publish(out)
                report(trainer, args, corpus, log, brief=True)
            length = shape[0]
            parts, norm = trainer.update(next(loaders[shape]), share)
            if trainer.step % 50 == 0 or trainer.step - since in (1, 5, 20):
                main_loss, index, ahead = (float(p.detach()) for p in parts)
                spent = time.time() - last
                last = time.time()
                trainer.curve.append(
                    [
                        trainer.step,
                        round(trainer.seconds + now, 1),
                        trainer.tokens,
                        length,
                        round(main_loss, 4),
                        round(index, 4),
                        round(ahead, 4),
                        round(share, 4),
                    ]
                )
                log(
                    f"{now:.0f}s step {trainer.step} {length} loss {main_loss:.3f} index {index:.3f} mtp {ahead:.3f} "
                    f"norm {float(norm):.2f} tokens {trainer.tokens / 1e6:.1f}M spent {spent:.2f}s "
                    f"memory {torch.cuda.max_memory_allocated() / 1e9:.0f}GB"
                )
    trainer.seconds += time.time() - begun
    trainer.save(state)
    trainer.publish(out)
    log(f"saved at {time.time() - begun:.0f}s")
    report(trainer, args, corpus, log)
    log(f"done at {time.time() - begun:.0f}s")


if __name__ == "__main__":
    main()
