"""Validation: the cross-entropy of the same part of a text, again and again, and the best weights that had it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from lmkit.checkpoints import Arrays
from lmkit.nn.sampled_softmax import SampledSoftmax
from lmkit.nn.saving import load_arrays, state_arrays
from lmkit.rnn.batches import streams, windows
from lmkit.rnn.distributed import World
from lmkit.rnn.network import Network
from lmkit.tensors import prefixed, under

FEWEST_TOKENS = 2000  # measured, of any text
_MEASUREMENTS = 20  # over a whole training
_STREAMS = 16
_SHARE = 0.03  # of the arithmetic of a training that goes into measuring one state of it each time


class Validation:
    """A text that a training is measured on now and then, and the weights that were best there.

    Attributes:
        part: (length + 1, B) what is measured, from places all over the text; none until `choose_part`.
        best: The lowest loss so far, in nats per token.
        weights: Those that had it.
    """

    def __init__(self, network: Network, ids: np.ndarray, *, bptt: int, world: World) -> None:
        self.network = network
        self.ids = ids
        self.bptt = bptt
        self.world = world
        self.tokens = 0
        self.part: np.ndarray | None = None
        self.best = math.inf
        self.weights: Arrays | None = None

    @property
    def measured_tokens(self) -> int:
        """How many tokens are predicted in a measurement."""
        assert self.part is not None
        return self.part.size - self.part.shape[1]

    def choose_part(self, tokens: int) -> None:
        """Choose about so many tokens, once for the whole training, or its losses could not be compared."""
        self.tokens, self.part = tokens, part_of(self.ids, tokens)

    def measure(self, states: Iterable[AbstractContextManager[None]]) -> list[float]:
        """Give the loss of the network in each state, and keep its weights there if none have been better.

        A loss that is no number counts as infinite.
        """
        losses = []
        for state in states:
            with state:
                loss = self.loss()
                if loss < self.best:
                    self.best, self.weights = loss, state_arrays(self.network)
            losses.append(math.inf if math.isnan(loss) else loss)
        return losses

    def loss(self) -> float:
        """Give the loss of the network as it is, in nats per token, as the first process has it."""
        assert self.part is not None
        return self.world.first(cross_entropy(self.network, self.part, bptt=self.bptt))

    def go_back(self) -> bool:
        """Let the best weights be those of the network; say whether there are any."""
        if self.weights is not None:
            load_arrays(self.network, self.weights)
        return self.weights is not None

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Give the arrays and the numbers that `restore` needs."""
        arrays = {} if self.weights is None else prefixed("best", self.weights)
        best = None if math.isinf(self.best) else self.best
        return arrays, {"tokens": self.tokens, "best": best}

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Be as it was."""
        self.tokens, self.part = facts["tokens"], None
        if self.tokens:
            self.choose_part(self.tokens)
        self.best = math.inf if facts["best"] is None else facts["best"]
        self.weights = under("best", arrays) or None


def part_of(ids: np.ndarray, tokens: int) -> np.ndarray:
    """Give about so many tokens of a text, from places all over it, as streams (length + 1, B)."""
    columns = streams(ids, max(1, min(_STREAMS, len(ids) // 64)))
    return columns[: max(1, tokens // columns.shape[1]) + 1]


def cross_entropy(network: Network, columns: np.ndarray, *, bptt: int) -> float:
    """Give the cross-entropy (nats per token) of a network on streams (length + 1, B), without noise."""
    training = network.training
    network.eval()
    device = network.output.bias.device
    states = network.initial_state(columns.shape[1])
    total = count = 0.0
    with torch.no_grad():
        for window in windows(columns, bptt):
            features, states = network(torch.as_tensor(window.inputs, device=device), states)
            targets = torch.as_tensor(window.targets, device=device).flatten()
            total += network.output.surprisals(features.flatten(0, 1), targets).cpu().double().sum().item()
            count += len(targets)
    network.train(training)
    return total / count


def next_mark(progress: float) -> float:
    """Give the progress at which validation is measured next.

    >>> next_mark(0.12)
    0.15
    """
    return (math.floor(progress * _MEASUREMENTS + 1e-9) + 1) / _MEASUREMENTS


def measured_share(network: Network, sampled: SampledSoftmax | None) -> float:
    """Give how many tokens may be measured for each one trained on, by counting multiplications.

    Training passes forwards and twice backwards, perhaps with a few words only; measuring, once, with all.
    """
    layers = sum(parameter.numel() for parameter in network.stack.parameters())
    words, size = network.output.weight.shape
    trained = words if sampled is None else len(sampled.frequent) + sampled.drawn
    return _SHARE * 3 * (layers + trained * size) / (layers + words * size)
