"""Measuring on the way: the cross-entropy of the same part of a text, again and again."""

from __future__ import annotations

import math

import numpy as np
import torch

from lmkit.nn.sampled_softmax import SampledSoftmax
from lmkit.rnn.batches import streams, windows
from lmkit.rnn.network import Network

_MEASUREMENTS = 20  # over a whole training
_STREAMS = 16
_SHARE = 0.04  # of the arithmetic of a training that goes into measuring


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
