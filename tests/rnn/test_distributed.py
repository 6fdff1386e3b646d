"""Two processes that share a batch train the network that one process trains."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lmkit
from lmkit.errors import UsageError
from lmkit.rnn.distributed import World


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def train(folder: Path, name: str, *flags: str, processes: int) -> lmkit.RnnModel:
    command = [
        *(
            "-m",
            "lmkit",
            "train",
            "train.txt",
            "--valid=valid.txt",
            "--backend=rnn",
            "--device=cpu",
            "--threads=1",
        ),
        *(
            "--epochs=4",
            "--batch-size=4",
            "--bptt=8",
            "--hidden-size=12",
            "--regularize=0",
            "--precision=float32",
        ),
        *("-o", str(folder / name), *flags),
    ]
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(processes),
        f"--master-port={free_port()}",
    ]
    if processes == 1:
        launcher = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    run = [sys.executable, *launcher, *command]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    model = lmkit.load(folder / name)
    assert isinstance(model, lmkit.RnnModel)
    return model


@pytest.mark.parametrize("flags", [(), ("--head=sampled", "--samples=20")], ids=["full", "sampled"])
def test_two_processes_agree_with_one(texts: Path, flags: tuple[str, ...]) -> None:
    name = flags[0][-4:] if flags else "full"
    one = train(texts, f"one-{name}", *flags, processes=1)
    two = train(texts, f"two-{name}", *flags, processes=2)
    for key, array in one.arrays().items():
        np.testing.assert_allclose(two.arrays()[key], array, atol=2e-4, err_msg=key)
    text = (texts / "valid.txt").read_text()
    assert lmkit.perplexity(two, text).perplexity == pytest.approx(
        lmkit.perplexity(one, text).perplexity, rel=1e-4
    )


def test_two_processes_end_by_one_clock(texts: Path) -> None:
    """Each has a clock of its own; were one at its last measurement alone, it would wait for the other for ever."""
    options = ("--epochs=1000000", "--budget=6s", "--averaging=mean")
    model = train(texts, "timed", *options, processes=2)
    entries = [json.loads(line) for line in (texts / "timed" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["progress"] for entry in entries if "progress" in entry][-1] == 1.0
    assert lmkit.perplexity(model, (texts / "valid.txt").read_text()).perplexity < len(model.tokenizer.vocab)


def test_streams_are_shared_out_evenly() -> None:
    parts = [World(rank, 3).share(6) for rank in range(3)]
    assert [list(range(6))[part] for part in parts] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(UsageError, match="--batch-size"):
        World(0, 3).share(8)


def test_one_process_needs_no_others() -> None:
    world = World()
    assert (world.mean(2.0), world.first(3.0), world.agree("x")) == (2.0, 3.0, "x")
