"""The recurrent engine in figures. Each part can be run alone; machines are noisy: read the ratios, from one run.

    python scripts/bench_rnn.py speed                                  # cells, heads, single steps; CPU or GPU
    python scripts/bench_rnn.py baseline --train T --valid V           # against a plain PyTorch language model
    python scripts/bench_rnn.py budgets --train T --valid V --test T   # test perplexity after 10, 30 and 60 minutes
    python scripts/bench_rnn.py beside --train T                       # two trainings at once, and how threads wait
    python scripts/bench_rnn.py kill --train T --valid V               # ten kills, and the weights of a quiet run
    python scripts/bench_rnn.py seeds --train T --valid V              # ten seeds of a short training

Without --train the texts are those of WikiText-2 in ../shared/data, if they are there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import lmkit
from lmkit.nn.adaptive_softmax import AdaptiveHead
from lmkit.nn.cells import CELLS, make_cell
from lmkit.nn.devices import choose, prepare
from lmkit.nn.full_softmax import FullHead
from lmkit.nn.precision import Precision, fastest
from lmkit.nn.row_rmsprop import RowRmsProp
from lmkit.nn.sampled_softmax import SampledSoftmax
from lmkit.rnn.network import Network

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "wikitext-2"
BUDGETS = ("10m", "30m", "60m")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {
        "speed": speed,
        "baseline": baseline,
        "budgets": budgets,
        "beside": beside,
        "kill": kill,
        "seeds": seeds,
    }
    parser.add_argument("part", choices=parts)
    for name in ("train", "valid", "test"):
        parser.add_argument(f"--{name}", type=Path, default=DATA / f"{name}.txt")
    parser.add_argument("--tokenizer", default="auto")
    parser.add_argument("--budgets", default=",".join(BUDGETS), help="of `budgets`")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", help="of `speed`")
    options = parser.parse_args()
    parts[options.part](options)


def trained(options: argparse.Namespace, **more: Any) -> tuple[lmkit.LanguageModel, float]:
    """Train on the given texts; give the model and the seconds that it took."""
    began = time.monotonic()
    model = lmkit.train(
        options.train,
        valid=options.valid,
        backend="rnn",
        tokenizer=options.tokenizer,
        device=options.device,
        **more,
    )
    return model, time.monotonic() - began


def budgets(options: argparse.Namespace) -> None:
    """Measure the whole test text after each budget."""
    print("| budget | seconds | units | test perplexity |\n|---|---|---|---|", flush=True)
    for budget in options.budgets.split(","):
        model, seconds = trained(options, budget=budget)
        size = model.protocol()["size"]
        print(
            f"| {budget} | {seconds:.0f} | {size} | {lmkit.perplexity(model, options.test).perplexity:.2f} |",
            flush=True,
        )


class Plain(nn.Module):
    """The usual small model: two LSTM layers of 200, tied, a full softmax, one rate of dropout."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 200)
        self.lstm = nn.LSTM(200, 200, 2, dropout=0.2)
        self.output = nn.Linear(200, vocab_size)
        self.output.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        y, state = self.lstm(functional.dropout(self.embedding(x), 0.2, self.training), state)
        return functional.log_softmax(self.output(functional.dropout(y, 0.2, self.training)), dim=-1), state


def baseline(options: argparse.Namespace) -> None:
    """Time an epoch of the plain model at the usual settings, and lmkit to the same validation perplexity."""
    device = choose(options.device)
    words = [[*line.split(), "</s>"] for line in options.train.read_text(encoding="utf-8").splitlines()]
    vocab = {word: i for i, word in enumerate(dict.fromkeys(w for line in words for w in line))}
    vocab.setdefault("<unk>", len(vocab))
    unknown = vocab["<unk>"]

    def batches(path: Path, size: int) -> torch.Tensor:
        lines = path.read_text(encoding="utf-8").splitlines()
        ids = torch.tensor([vocab.get(w, unknown) for line in lines for w in [*line.split(), "</s>"]])
        return ids[: len(ids) // size * size].view(size, -1).t().contiguous().to(device)

    def windows(columns: torch.Tensor) -> Any:
        for begin in range(0, len(columns) - 1, 35):
            end = min(begin + 35, len(columns) - 1)
            yield columns[begin:end], columns[begin + 1 : end + 1].reshape(-1)

    torch.manual_seed(1)
    model = Plain(len(vocab)).to(device)
    began, state = time.monotonic(), None
    model.train()
    for x, y in windows(batches(options.train, 20)):
        state = None if state is None else tuple(part.detach() for part in state)
        model.zero_grad()
        out, state = model(x, state)
        functional.nll_loss(out.flatten(0, 1), y).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(20 * parameter.grad)
    seconds = time.monotonic() - began
    model.eval()
    total = count = 0.0
    state = None
    with torch.no_grad():
        for x, y in windows(batches(options.valid, 10)):
            out, state = model(x, state)
            total += functional.nll_loss(out.flatten(0, 1), y, reduction="sum").item()
            count += len(y)
    goal = math.exp(total / count)
    print(f"plain PyTorch, one epoch: {seconds:.0f} s, validation perplexity {goal:.1f}", flush=True)
    for share in (12, 8):
        ours, took = trained(options, budget=f"{seconds / share:.0f}s")
        found = lmkit.perplexity(ours, options.valid).perplexity
        verdict = "reached" if found <= goal else "not reached"
        print(
            f"lmkit, a {share}th of that: {took:.0f} s, validation perplexity {found:.1f}: {verdict}",
            flush=True,
        )


def speed(options: argparse.Namespace) -> None:
    """Tokens a second, forwards and backwards, of each cell and head, and milliseconds of a single step.

    In float32 and in --precision: the one that a training would choose here, if none is named.
    """
    device = choose(options.device)
    prepare(device)
    names = dict.fromkeys(("float32", options.precision or fastest(device)))
    precisions = [Precision(name, device) for name in names]
    print(f"on {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"| 32 streams of 70 steps | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for kind in CELLS:
        for units in (256, 640):
            rates = [_cell_rate(kind, units, precision) for precision in precisions]
            print(f"| {kind}, {units} units | {' | '.join(f'{rate:,.0f}' for rate in rates)} |", flush=True)
    wide = _cell_rate("lstm", 256, precisions[0], torch.float64)
    print(f"| lstm, 256 units, in float64 | {wide:,.0f} |", flush=True)
    for words in (10_000, 33_278):
        for name in ("full", "adaptive", "sampled"):
            rates = [_head_rate(name, words, precision) for precision in precisions]
            shown = " | ".join(f"{rate:,.0f}" for rate in rates)
            print(f"| {name} head, {words:,} words, 400 units | {shown} |", flush=True)
    print("\n| A step of a table of 33,278 x 400, 4,573 rows of which have a gradient | ms |\n|---|---|")
    for name, rate in _table_times(device).items():
        print(f"| {name} | {1e3 * rate:.1f} |", flush=True)
    print("\n| a single step, one thread | ms |\n|---|---|")
    torch.set_num_threads(1)
    for kind in CELLS:
        network = Network(vocab_size=33_278, cell=kind, num_layers=2, hidden_size=256, embedding_size=256).to(
            device
        )
        network.initialize("uniform", torch.full((33_278,), 1 / 33_278))
        network.eval()
        token, states = torch.zeros(1, 1, dtype=torch.long, device=device), network.initial_state(1)
        with torch.no_grad():
            features, _ = network(token, states)
            layers = _best(lambda network=network, token=token, states=states: network(token, states), device)  # type: ignore[misc]
            head = _best(lambda network=network, features=features: network.output.logprobs(features), device)  # type: ignore[misc]
        print(
            f"| 2 {kind} layers of 256 | {1e3 * layers:.3f} and {1e3 * head:.3f} for 33,278 words |",
            flush=True,
        )


def _best(work: Callable[[], Any], device: torch.device, runs: int = 30) -> float:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[3:])


def _cell_rate(kind: str, units: int, precision: Precision, dtype: torch.dtype = torch.float32) -> float:
    device = precision.device
    cell = make_cell(kind, input_size=units, hidden_size=units).to(device, dtype)
    x = torch.randn(70, 32, units, device=device, dtype=dtype, requires_grad=True)
    state = cell.initial_state(32)

    def work() -> None:
        with precision.step():
            with precision.forwards():
                out = cell(x, state)[0]
            out.sum().backward()

    return 70 * 32 / _best(work, device, 8)


def _table_times(device: torch.device) -> dict[str, float]:
    rows = torch.randperm(33_278)[:4573].sort().values.to(device)
    values = 1e-3 * torch.randn(4573, 400, device=device)
    found = {}
    for name, kind in (
        ("rows by a compiled loop", RowRmsProp),
        ("rows by torch.optim.SparseAdam", torch.optim.SparseAdam),
        ("the whole table by torch.optim.AdamW, fused", partial(torch.optim.AdamW, fused=True)),
    ):
        table = nn.Parameter(torch.randn(33_278, 400, device=device))
        gradient = torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=True).coalesce()
        table.grad = gradient.to_dense() if "whole" in name else gradient
        found[name] = _best(kind([table], lr=1e-3).step, device)
    return found


def _head_rate(name: str, words: int, precision: Precision) -> float:
    device = precision.device
    make = AdaptiveHead if name == "adaptive" else FullHead
    head = make(vocab_size=words, input_size=400).to(device)
    ranks = np.arange(words) + 2.7
    shares = 1 / ranks / (1 / ranks).sum()
    rng = np.random.default_rng(0)
    targets = torch.as_tensor(rng.choice(words, 2240, p=shares), device=device)
    features = torch.randn(2240, 400, device=device)
    sampled = SampledSoftmax((1e6 * shares).astype(np.int64), frequent=1024, drawn=1024)
    candidates = sampled.draw(rng).to(device)

    def work() -> None:
        head.zero_grad()
        with precision.step(), precision.forwards():
            if name == "sampled":
                assert isinstance(head, FullHead)
                sampled.backward(head, features, targets, candidates)
            else:
                head.backward(features, targets)

    return 2240 / _best(work, device, 8)


def beside(options: argparse.Namespace) -> None:
    """Train one, and two at once: as torch's threads wait for each other by default, and as lmkit lets them wait."""
    print("| 20 s, 2 LSTM layers of 128 units, characters | tokens/s alone | of two at once, together |")
    print("|---|---|---|", flush=True)
    for name, spins in (("threads spin (GNU's default)", 300_000), ("threads sleep (lmkit)", 1000)):
        environment = {**os.environ, "GOMP_SPINCOUNT": str(spins)}
        alone, together = (sum(_rates(options, count, environment)) for count in (1, 2))
        print(f"| {name} | {alone:,.0f} | {together:,.0f} |", flush=True)


def _rates(options: argparse.Namespace, count: int, environment: dict[str, str]) -> list[float]:
    """Give the tokens/s of so many trainings at once; 0 for one that has not ended in twice its time."""
    asked = "-q --backend rnn --tokenizer char --cell lstm --hidden-size 128 --budget 20s --holdout 0 --device cpu"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lmkit", "train", str(options.train), *asked.split(), "-o"]
        running = [
            subprocess.Popen([*command, f"{folder}/{number}"], env=environment) for number in range(count)
        ]
        rates = []
        for number, process in enumerate(running):
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            metrics = Path(folder) / str(number) / "metrics.jsonl"
            points = (
                [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
            )
            rates.append(statistics.median([p["tokens_per_second"] for p in points if "epoch" in p] or [0]))
    return rates


def kill(options: argparse.Namespace) -> None:
    """Kill a training at ten random moments, resume it each time, and compare its weights with a quiet run's."""
    with tempfile.TemporaryDirectory() as folder:
        lines = options.train.read_text(encoding="utf-8").splitlines(keepends=True)[:1500]
        text = Path(folder) / "text.txt"
        text.write_text("".join(lines), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "lmkit",
            "train",
            str(text),
            "--valid",
            str(text),
            "--backend",
            "rnn",
        ]
        command += ["--epochs", "12", "--hidden-size", "64", "--checkpoint", "0.2s", "--threads", "1", "-q"]
        began = time.monotonic()
        subprocess.run([*command, "-o", f"{folder}/quiet"], check=True)
        whole = time.monotonic() - began
        rng, place = random.Random(0), Path(folder) / "killed.checkpoint"
        for number in range(10):
            how = "--resume" if any(place.glob("state-*/manifest.json")) else "--force"
            before = set(place.glob("state-*"))
            with subprocess.Popen([*command, "-o", f"{folder}/killed", how]) as process:
                while number % 2 and set(place.glob("state-*")) <= before and process.poll() is None:
                    time.sleep(0.01)  # every other time, till it has gone on from where it was
                time.sleep(rng.uniform(0.0, 0.05) * whole)
                process.send_signal(signal.SIGKILL)
            print(f"kill {number + 1}: {sorted(path.name for path in place.glob('state-*'))}", flush=True)
        subprocess.run([*command, "-o", f"{folder}/killed", "--resume"], check=True)
        hashes = [
            hashlib.sha256((Path(folder) / name / "model.safetensors").read_bytes()).hexdigest()
            for name in ("quiet", "killed")
        ]
        print(*hashes, "the same" if hashes[0] == hashes[1] else "NOT THE SAME", sep="\n")


def seeds(options: argparse.Namespace) -> None:
    """Train ten times, each from another seed."""
    found = []
    for seed in range(10):
        model, _ = trained(options, epochs=1, hidden_size=64, seed=seed)
        found.append(lmkit.perplexity(model, options.valid).perplexity)
        print(f"seed {seed}: validation perplexity {found[-1]:.2f}", flush=True)
    print(f"from {min(found):.2f} to {max(found):.2f}, standard deviation {statistics.stdev(found):.2f}")


if __name__ == "__main__":
    main()
