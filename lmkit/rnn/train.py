"""From ids to a recurrent model: build the network, initialise it, train it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lmkit.config import RnnConfig, seconds
from lmkit.errors import Stopped
from lmkit.nn.cells import make_cell
from lmkit.nn.devices import choose, prepare
from lmkit.rnn.fine_tune import settled, take_over
from lmkit.rnn.model import RnnModel
from lmkit.rnn.network import Network
from lmkit.rnn.trainer import Trainer
from lmkit.seeds import check_seed
from lmkit.text.tokenizer import Tokenizer
from lmkit.text.vocabulary import BOS

_SMALL_VOCAB = 2000


def train(
    ids: np.ndarray,
    *,
    tokenizer: Tokenizer,
    config: RnnConfig,
    valid: np.ndarray | None = None,
    report: Callable[[str], None] | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
    initial: RnnModel | None = None,
) -> RnnModel:
    """Train a recurrent network on a text.

    Args:
        ids: (T,) int32, every line ended by `</s>`.
        tokenizer: Whose ids they are.
        config: The network, the optimiser, and how long.
        valid: Ids to validate on; without them training runs to its end and the last weights are kept.
        report: Receives lines for the user.
        log: Receives each point of the learning curve.
        initial: The model to begin from, whose words the tokenizer numbers as it does; see `fine_tune`.

    Raises:
        UsageError: an option cannot be.
        ResourceError: the device is not there.
        DivergedError: the loss stays non-finite, or worse than guessing.
        Stopped: the user or the system ended it; it carries the model.
    """
    device = choose(config.device)
    prepare(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    config = config if initial is None else settled(config, initial=initial)
    settings = network_settings(config, len(tokenizer.vocab))
    bptt = config.bptt or (100 if len(tokenizer.vocab) <= _SMALL_VOCAB else 64)
    with torch.random.fork_rng():
        torch.manual_seed(check_seed(config.seed))
        network = Network(vocab_size=len(tokenizer.vocab), **settings)
        network.initialize(config.init, unigram(ids, len(tokenizer.vocab)))
        if initial is not None:
            take_over(network, initial, ids, seed=config.seed)
        network.to(device)
        if report:
            size = sum(parameter.numel() for parameter in network.parameters())
            units = f"{settings['num_layers']} x {settings['hidden_size']} units"
            report(f"{config.cell} of {units}, {size:,} parameters, on {device}")
        try:
            Trainer(network, ids, config=config, bptt=bptt, report=report, log=log).run(valid)
        except KeyboardInterrupt as stop:
            if report:
                report("stopped: the best weights so far are kept")
            model = RnnModel(tokenizer=tokenizer, network=network, settings=settings)
            raise Stopped(getattr(stop, "exit_code", 130), model) from None
    return RnnModel(tokenizer=tokenizer, network=network, settings=settings)


def check(config: RnnConfig) -> None:
    """Refuse options that cannot be, before any work is done.

    Raises:
        UsageError: a span of time, an activation or a device that is none.
        ResourceError: the device is not there.
    """
    choose(config.device)
    if config.budget is not None:
        seconds(config.budget)
    make_cell(config.cell, input_size=1, hidden_size=1, activation=config.activation)


def network_settings(config: RnnConfig, vocab_size: int) -> dict[str, Any]:
    """Give the arguments of `Network`, with the sizes that suit the vocabulary where none are given."""
    hidden_size = config.hidden_size or (384 if vocab_size <= _SMALL_VOCAB else 256)
    return {
        "cell": config.cell,
        "num_layers": config.num_layers,
        "hidden_size": hidden_size,
        "embedding_size": config.embedding_size or hidden_size,
        "activation": config.activation,
        "dropout": config.dropout,
        "tie_weights": config.tie_weights,
    }


def unigram(ids: np.ndarray, vocab_size: int) -> torch.Tensor:
    """Give the smoothed unigram distribution (V,) of a text."""
    counts = np.bincount(ids, minlength=vocab_size) + 0.5
    counts[BOS] = 0
    return torch.as_tensor(counts / counts.sum(), dtype=torch.float32)
