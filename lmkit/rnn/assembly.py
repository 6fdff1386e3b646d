"""Network and learner, put together as a settled config says."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from lmkit.config import RnnConfig
from lmkit.nn.devices import enough_memory
from lmkit.nn.sampled_softmax import SampledSoftmax
from lmkit.rnn.learner import Learner
from lmkit.rnn.network import Network
from lmkit.rnn.noise import regularization
from lmkit.text.vocabulary import BOS


def network_settings(config: RnnConfig) -> dict[str, Any]:
    """Give the arguments of `Network` that a settled config says, but the vocabulary; a trained model keeps them."""
    names = ("cell", "num_layers", "hidden_size", "embedding_size", "activation", "tie_weights")
    head = "adaptive" if config.head == "adaptive" else "full"
    return {**{name: getattr(config, name) for name in names}, "head": head}


def make_network(config: RnnConfig, vocab_size: int, device: torch.device) -> Network:
    """Make the network that a settled config says, on a device; its weights are anything.

    Raises:
        ResourceError: it is too large for the device.
    """
    what = f"{config.num_layers} layers of {config.hidden_size} units over {vocab_size:,} words on {device}"
    with enough_memory(what, "give a smaller --size, or a --vocab-size"):
        return Network(vocab_size=vocab_size, **network_settings(config)).to(device)


def unigram(ids: np.ndarray, vocab_size: int) -> torch.Tensor:
    """Give the smoothed unigram distribution (V,) of a text."""
    counts = np.bincount(ids, minlength=vocab_size) + 0.5
    counts[BOS] = 0
    return torch.as_tensor(counts / counts.sum(), dtype=torch.float32)


def make_learner(network: Network, ids: np.ndarray, config: RnnConfig, **more: Any) -> Learner:
    """Make what trains a network as a settled config says."""
    sampled = None
    if config.head == "sampled":
        vocab_size = network.output.vocab_size
        counts = np.bincount(ids, minlength=vocab_size)
        half = min(config.samples // 2, vocab_size // 4)
        sampled = SampledSoftmax(
            counts, frequent=half, drawn=max(1, min(config.samples - half, vocab_size // 4))
        )
    assert config.learning_rate is not None
    return Learner(
        network,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay or 0.0,
        grad_clip=config.grad_clip,
        clip_value=config.clip_value,
        max_norm=config.max_norm,
        regularization=partial(regularization, config),
        sampled=sampled,
        precision=config.precision,
        accumulate=config.accumulate,
        seed=config.seed,
        **more,
    )
