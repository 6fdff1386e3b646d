"""Measuring on the way: the cross-entropy of the same part of a text, again and again."""

from __future__ import annotations

import numpy as np
import torch

from lmkit.rnn.batches import streams, windows
from lmkit.rnn.network import Network

_STREAMS = 16


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
