"""Where a network that learns while it reads is in a text: what it remembers, and what its weights have become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmkit.rnn.network import States

Weights = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Reading:
    """One position of a text.

    Attributes:
        weights: of the network, as it has become.
        segments: how many steps made it so.
        before: the memory of the layers where the segment begins.
        inputs: the tokens read since.
        layers: the memory after them, H tensors (1, H).
        features: (E,) what the next token is predicted from.
    """

    weights: Weights
    segments: int
    before: States
    inputs: tuple[int, ...]
    layers: States
    features: Tensor

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Reading)
            and (self.segments, self.inputs) == (other.segments, other.inputs)
            and torch.equal(self.features, other.features)
            and all(torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items())
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class DynamicState:
    """Where each of B positions is."""

    rows: tuple[Reading, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: Sequence[int] | np.ndarray) -> DynamicState:
        """Give the state of some of the positions."""
        return DynamicState(tuple(self.rows[int(row)] for row in rows))

    def join(self, *others: DynamicState) -> DynamicState:
        """Give the positions of this state and of others, one after another."""
        return DynamicState(sum((other.rows for other in others), self.rows))
