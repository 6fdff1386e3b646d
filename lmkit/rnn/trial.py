"""How fast a network is trained on this machine: a few steps, of which nothing is kept."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from lmkit.config import RnnConfig
from lmkit.rnn.assembly import make_learner, make_network
from lmkit.rnn.batches import Reader
from lmkit.rnn.teacher import Teacher


def trial(
    config: RnnConfig,
    ids: np.ndarray,
    vocab_size: int,
    *,
    device: torch.device,
    limit: float,
    teacher: Teacher | None = None,
) -> float:
    """Measure how many tokens a second a network is trained on, in about `limit` seconds; nothing is kept of it.

    The first step, for which loops may have to be compiled, does not count.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        network = make_network(config, vocab_size, device)
        network.initialize("uniform", torch.full((vocab_size,), 1 / vocab_size))
        config = replace(config, learning_rate=config.learning_rate or 1e-3)
        learner = make_learner(network, ids, config, teacher=teacher)
        reader = Reader(
            ids[: 1 << 20], vocab_size=vocab_size, batch_size=config.batch_size or 1, bptt=config.bptt or 1
        )
        learner.step(next(reader), number=0, rate=0.0, noise=1.0)
        speeds: list[float] = []
        began = time.monotonic()
        while not speeds or (time.monotonic() - began < limit and len(speeds) < 12):
            window = next(reader)
            start = time.perf_counter()
            learner.step(window, number=len(speeds), rate=0.0, noise=1.0)
            speeds.append(len(window) / (time.perf_counter() - start))
        if teacher is not None:
            teacher.state = None
    return float(np.median(speeds))
