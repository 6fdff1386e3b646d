"""What each piece of the recurrent engine buys: one thing changed at a time, each trained for the same time.

    python scripts/ablation.py --train T --valid V --test T --budget 5m
    python scripts/ablation.py --train T --valid V --test T --budget 2m --tokenizer char --only "as it,cell,noise"
    python scripts/ablation.py --budget 12m --units 400 regularize=0.3 regularize=0.7 cell=gru,num_layers=3
    python scripts/ablation.py --jobs 2 --threads 1 --units 128        # two at a time, one core each
    python scripts/ablation.py --epochs 4 --units 128 learning_rate=4e-3 learning_rate=8e-3   # as many steps each

Without --train the texts are those of WikiText-2 in ../shared/data, if they are there. Machines are noisy: a difference
of one per cent says nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import lmkit
from lmkit.nn.optim import warmup_cosine

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "wikitext-2"


def falling(share: float) -> Callable[[float], float]:
    """A rate that stays until a last share of the training, in which it falls to 0 in a straight line."""
    return lambda progress: min(progress / 0.03, 1.0, (1 - progress) / share)


PIECES: dict[str, dict[str, Any]] = {
    "as it is by default": {},
    "head: full softmax": {"head": "full"},
    "head: adaptive softmax": {"head": "adaptive"},
    "head: half as many samples": {"samples": 1024},
    "head: twice as many samples": {"samples": 4096},
    "head: not tied": {"tie_weights": False},
    "cell: gru": {"cell": "gru"},
    "cell: rnn": {"cell": "rnn"},
    "cell: lstm": {"cell": "lstm"},
    "cell: sru": {"cell": "sru"},
    "cell: mogrifier": {"cell": "mogrifier"},
    "layers: one": {"num_layers": 1},
    "layers: three": {"num_layers": 3},
    "noise: none": {"regularize": 0.0},
    "noise: 0.5": {"regularize": 0.5},
    "noise: 1": {"regularize": 1.0},
    "noise: 1.5": {"regularize": 1.5},
    "noise: dropout 0.1 from the beginning": {"dropout": 0.1},
    "noise: dropout 0.2 from the beginning": {"dropout": 0.2},
    "noise: embedding dropout 0.1": {"embedding_dropout": 0.1},
    "cell: lstm, weight drop 0.3": {"cell": "lstm", "weight_drop": 0.3},
    "noise: AR 2, TAR 1": {"activation_penalty": 2.0, "temporal_penalty": 1.0},
    "noise: no weight decay": {"weight_decay": 0.0},
    "optimiser: NT-ASGD": {"optimizer": "sgd", "averaging": "asgd", "patience": 3},
    "optimiser: a rate of 2e-3": {"learning_rate": 2e-3},
    "optimiser: a rate of 8e-3": {"learning_rate": 8e-3},
    "optimiser: a rate of 3.2e-2": {"learning_rate": 3.2e-2},
    "optimiser: no clipping": {"grad_clip": 0.0},
    "schedule: a constant rate": {"schedule": lambda progress: 1.0, "averaging": "off"},
    "schedule: a straight line": {"schedule": falling(0.97), "averaging": "off"},
    "schedule: falls in the last half": {"schedule": falling(0.5), "averaging": "off"},
    "schedule: falls in the last quarter": {"schedule": falling(0.25), "averaging": "off"},
    "schedule: falls in the last half, mean": {"schedule": falling(0.5), "averaging": "mean"},
    "schedule: a constant rate, mean": {"schedule": lambda progress: 1.0, "averaging": "mean"},
    "averaging: none": {"averaging": "off"},
    "averaging: mean": {"averaging": "mean"},
    "windows: of varied length": {"vary_bptt": True},
    "windows: half as long": {"bptt": 35},
    "windows: 16 streams": {"batch_size": 16},
    "windows: 32 streams": {"batch_size": 32},
    "windows: 64 streams": {"batch_size": 64},
    "precision: float32": {"precision": "float32"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("train", "valid", "test"):
        parser.add_argument(f"--{name}", type=Path, default=DATA / f"{name}.txt")
    parser.add_argument(
        "changes", nargs="*", help="options of a training each, instead of the pieces of the table"
    )
    parser.add_argument("--tokenizer", default="auto")
    parser.add_argument("--budget", default="5m", help="of each training")
    parser.add_argument("--epochs", type=float, help="of each training, in place of a time")
    parser.add_argument("--only", default="", help="pieces whose name holds one of these, between commas")
    parser.add_argument("--units", type=int, help="per layer; those of the first training if not given")
    parser.add_argument("--threads", type=int, help="of each training; all cores if not given")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, with --threads each")
    options = parser.parse_args()
    if options.jobs > 1 and not (options.threads and options.units):
        parser.error("--jobs wants --threads and --units, so that all trainings have the same")
    span = options.budget if options.epochs is None else f"{options.epochs:g} passes"
    print(f"| {span} each | test perplexity | tokens/s | passes |\n|---|---|---|---|", flush=True)
    pieces = {
        name: piece for name, piece in PIECES.items() if any(p in name for p in options.only.split(","))
    }
    asked = {text: dict(option.split("=", 1) for option in text.split(",")) for text in options.changes}
    if options.jobs == 1:
        for name in asked or pieces:
            print(row(options, name, asked), flush=True)
        return
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for line in pool.map(partial(row, options, asked=asked), asked or pieces):
            print(line, flush=True)


def row(options: argparse.Namespace, name: str, asked: dict[str, dict[str, str]]) -> str:
    """Train with a change, one that is asked for or a piece; give its row of the table."""
    found, points = measured(options, **(asked or PIECES)[name])
    rate = statistics.median(point["tokens_per_second"] for point in points)
    return f"| {name} | {found:.2f} | {rate:,.0f} | {points[-1]['epoch']:.2f} |"


def measured(
    options: argparse.Namespace, *, schedule: Any = warmup_cosine, **change: Any
) -> tuple[float, list[dict[str, Any]]]:
    """Train with a change; give the perplexity of the test text, and the learning curve."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("lmkit.rnn.trainer.warmup_cosine", schedule),
    ):
        model = lmkit.train(
            options.train,
            valid=options.valid,
            backend="rnn",
            tokenizer=options.tokenizer,
            budget=options.budget if options.epochs is None else None,
            epochs=options.epochs,
            threads=options.threads,
            output=Path(folder) / "model",
            **{"hidden_size": options.units, "patience": 0, **change},
        )
        lines = (Path(folder) / "model" / "metrics.jsonl").read_text().splitlines()
    options.units = options.units or int(model.protocol()["size"].split("x")[1])
    points = [json.loads(line) for line in lines]
    return lmkit.perplexity(model, options.test).perplexity, [p for p in points if "epoch" in p]


if __name__ == "__main__":
    main()
